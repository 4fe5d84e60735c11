# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""linux.maskedPaths and linux.readonlyPaths, each by the descriptor of what its path leads to inside the root."""

from __future__ import annotations

import errno
import os
import stat

from ..linux import mounts, paths, syscalls
from ..linux.errors import KernelRefused
from . import devices

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Iterator


def mask(root_fd: int, masked: list[str], label: str) -> None:
    """Hide each existing path: a directory under an empty read-only tmpfs, a file under the container's /dev/null.

    All directories show one tmpfs, as in newer runcs: each file system of its own costs the kernel memory.
    """
    if not masked:
        return
    null_fd = devices.open_null(root_fd)
    null = paths.fd_path(null_fd)
    data = b"nr_blocks=1,nr_inodes=2" + (b',context="%s"' % label.encode() if label else b"")
    empty = b""
    for path, fd in _existing(root_fd, masked):
        try:
            if stat.S_ISDIR(os.fstat(fd).st_mode):
                if empty:
                    syscalls.mount(empty, paths.fd_path(fd), b"", syscalls.MS_BIND, b"", path)
                    continue
                syscalls.mount(b"tmpfs", paths.fd_path(fd), b"tmpfs", syscalls.MS_RDONLY, data, path)
                mask_fd = paths.open_in_root(root_fd, path, os.O_PATH)
                empty = paths.fd_path(mask_fd)
            else:
                syscalls.mount(null, paths.fd_path(fd), b"", syscalls.MS_BIND, b"", path)
        except OSError as error:
            raise KernelRefused("mount", "a mask on " + path, error.errno) from None
    os.close(null_fd)
    if empty:
        os.close(mask_fd)


def make_readonly(root_fd: int, readonly: list[str]) -> None:
    """Each existing path as a read-only mount of itself; what is mounted below it stays as it is (as runc)."""
    for path, fd in _existing(root_fd, readonly):
        try:
            mount_fd = syscalls.open_tree(fd, b"", True, path)
            syscalls.move_mount(mount_fd, fd, path)
            mounts.make_readonly(mount_fd, path)
        except OSError as error:
            raise KernelRefused("mount", "%s read-only" % path, error.errno) from None
        os.close(mount_fd)


def _existing(root_fd: int, wanted: list[str]) -> Iterator[tuple[str, int]]:
    """(path, descriptor) of each path that exists, each once; the descriptor is closed when the next is asked for."""
    for path in dict.fromkeys(wanted):
        try:
            fd = paths.open_in_root(root_fd, path, os.O_PATH)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR):
                continue
            raise KernelRefused("open", path, error.errno) from None
        yield path, fd
        os.close(fd)
