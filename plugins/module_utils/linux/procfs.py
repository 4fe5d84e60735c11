# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""A procfs that is one (proc(5)): what is written to it must not be led astray by mounts in its way (case R09)."""

from __future__ import annotations

import ctypes
import os

from . import syscalls
from .errors import KernelRefused, OcilabError

_MAGIC = 0x9FA0  # PROC_SUPER_MAGIC
_ROOT_INODE = 1
_NO_XDEV = 0x01
_NO_MAGICLINKS = 0x02
_BENEATH = 0x08


class _OpenHow(ctypes.Structure):
    _fields_ = [("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64)]


_fstatfs = ctypes.CDLL(None, use_errno=True).fstatfs


def _filesystem(fd: int) -> int:
    buffer = ctypes.create_string_buffer(256)  # struct statfs; its first word is the type
    if _fstatfs(fd, buffer) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return int.from_bytes(buffer.raw[:8], "little")


def open_root(path: str = "/proc") -> int:
    """The descriptor (O_PATH) of the root of the procfs at path. Raises OcilabError, KernelRefused."""
    try:
        fd = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        found = _filesystem(fd) == _MAGIC and os.fstat(fd).st_ino == _ROOT_INODE
    except OSError as error:
        raise KernelRefused("open", path, error.errno) from None
    if not found:
        os.close(fd)
        raise OcilabError("%s: not a procfs; labrun writes labels and kernel parameters to no other" % path)
    return fd


def open_at(proc_fd: int, path: str, flags: int) -> int:
    """Open path below the procfs, over no mount and no magic link in it. Raises OSError (EXDEV: something is mounted).

    The descriptor is close-on-exec.
    """
    how = _OpenHow(flags | os.O_CLOEXEC, 0, _BENEATH | _NO_MAGICLINKS | _NO_XDEV)
    return syscalls.raw("openat2", proc_fd, os.fsencode(path), ctypes.byref(how), ctypes.sizeof(how))
