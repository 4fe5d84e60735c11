# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""A mount of type cgroup: the container's own cgroups, in a cgroup namespace as the kernel shows them, else bound."""

from __future__ import annotations

import errno
import os

from ..linux import mounts, paths, syscalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def mount(entries: Any, destination: str, options: mounts.Options) -> None:
    """One cgroup2 mount, or a tmpfs with a mount for each v1 hierarchy; of entries.Entries. Raises OSError.

    Without a cgroup namespace the whole tree of the host would be seen: only the container's own part is bound.
    """
    hierarchies = entries.plan.cgroup_mounts
    bind = "cgroup" not in entries.kinds
    if len(hierarchies) == 1 and not hierarchies[0].name:
        _mount_v2(entries, destination, options, hierarchies[0], bind)
    elif hierarchies:
        _mount_v1(entries, destination, options, hierarchies, bind)
    else:
        _hide(entries, destination)


def _mount_v2(entries: Any, destination: str, options: mounts.Options, hierarchy: Any, bind: bool) -> None:
    target = entries.directory(destination, "cgroup2")
    try:
        if not bind:
            try:
                mount_fd = mounts.new_filesystem("cgroup2", "cgroup", options.flags, options.data)
            except OSError as error:
                if error.errno not in (errno.EPERM, errno.EBUSY):
                    raise
                bind = True  # a user namespace that does not own the cgroup namespace
        if bind:
            if not hierarchy.directory:
                _hide(entries, destination)
                return
            mount_fd = syscalls.open_tree(syscalls.AT_FDCWD, os.fsencode(hierarchy.directory), False)
        entries.attach(mount_fd, target, destination)
        mounts.change(mount_fd, destination, options)
        os.close(mount_fd)
    finally:
        os.close(target.fd)


def _mount_v1(entries: Any, destination: str, options: mounts.Options, hierarchies: list[Any], bind: bool) -> None:
    """The tmpfs is fresh and ours alone: names in it need no look-up that could be led astray."""
    target = entries.directory(destination, "tmpfs")
    flags = syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC
    top_fd = mounts.new_filesystem("tmpfs", "tmpfs", flags, "mode=755")
    entries.attach(top_fd, target, destination)
    os.close(target.fd)
    for hierarchy in hierarchies:
        if bind and not hierarchy.directory:
            continue
        os.mkdir(hierarchy.name, 0o755, dir_fd=top_fd)
        _mount_hierarchy(top_fd, destination, hierarchy, options, bind)
        for link in hierarchy.links:
            os.symlink(hierarchy.name, link, dir_fd=top_fd)
    for propagation in options.propagation:
        mounts.set_propagation(top_fd, destination, propagation)
    if options.flags & syscalls.MS_RDONLY:
        mounts.make_readonly(top_fd, destination)
    os.close(top_fd)


def _mount_hierarchy(top_fd: int, destination: str, hierarchy: Any, options: mounts.Options, bind: bool) -> None:
    shown = destination + "/" + hierarchy.name
    target = paths.fd_path(top_fd) + b"/" + os.fsencode(hierarchy.name)
    if not bind:
        try:
            data = hierarchy.options.encode()
            syscalls.mount(b"cgroup", target, hierarchy.kind.encode(), options.flags, data, shown)
            return
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.EBUSY) or not hierarchy.directory:
                raise
    mount_fd = syscalls.open_tree(syscalls.AT_FDCWD, os.fsencode(hierarchy.directory), False)
    target_fd = os.open(hierarchy.name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=top_fd)
    syscalls.move_mount(mount_fd, target_fd, shown)
    mounts.change(mount_fd, shown, options)
    os.close(target_fd)
    os.close(mount_fd)


def _hide(entries: Any, destination: str) -> None:
    """A container without cgroups of its own sees none: what a bound /sys may show of the host's is covered."""
    target = entries.directory(destination, "tmpfs")
    mounts.mount_on("tmpfs", target.fd, destination, "tmpfs", syscalls.MS_RDONLY, "nr_blocks=1,nr_inodes=2")
    os.close(target.fd)
