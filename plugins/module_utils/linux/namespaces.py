# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""Namespaces (namespaces(7)): their names in config.json, their clone flags, and the id maps of a user namespace."""

from __future__ import annotations

import errno
import os

from . import files, syscalls
from .errors import InvalidInput, KernelRefused, Unsupported

# runtime-spec type -> (clone flag, file under /proc/PID/ns)
KINDS = {
    "pid": (syscalls.CLONE_NEWPID, "pid"),
    "network": (syscalls.CLONE_NEWNET, "net"),
    "mount": (syscalls.CLONE_NEWNS, "mnt"),
    "ipc": (syscalls.CLONE_NEWIPC, "ipc"),
    "uts": (syscalls.CLONE_NEWUTS, "uts"),
    "user": (syscalls.CLONE_NEWUSER, "user"),
    "cgroup": (syscalls.CLONE_NEWCGROUP, "cgroup"),
    "time": (syscalls.CLONE_NEWTIME, "time"),
}

# The order of opening and joining: pid and mount last, for they change what the later ones are seen as.
JOIN_ORDER = ("user", "ipc", "uts", "network", "cgroup", "time", "pid", "mount")


def new_flags(kinds: list[str]) -> int:
    """The clone flags of the named kinds."""
    flags = 0
    for kind in kinds:
        flags |= KINDS[kind][0]
    return flags


def shown_flags(kinds: list[str]) -> str:
    """'CLONE_NEWPID|CLONE_NEWNS' for ['pid', 'mount'], as manual pages write it."""
    names = {"network": "NET", "mount": "NS"}
    return "|".join("CLONE_NEW" + names.get(kind, kind.upper()) for kind in kinds)


def own(kind: str, pid: str = "self") -> str:
    """The identity of a process's namespace, as 'pid:[4026531836]'; empty where the kernel lacks that kind."""
    try:
        return os.readlink("/proc/%s/ns/%s" % (pid, KINDS[kind][1]))
    except OSError:
        return ""


def open_all(paths: dict[str, str]) -> list[tuple[str, int, str]]:
    """(kind, descriptor, path) for the namespace files to join, in the order of joining.

    Raises InvalidInput when a path is not a namespace of its kind.
    """
    opened: list[tuple[str, int, str]] = []
    try:
        for kind in JOIN_ORDER:
            if kind in paths:
                opened.append((kind, _open(kind, paths[kind]), paths[kind]))
    except InvalidInput:
        for _kind, fd, _path in opened:
            os.close(fd)
        raise
    return opened


def _open(kind: str, path: str) -> int:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise InvalidInput("%s namespace %s: %s" % (kind, path, str(error.strerror).lower())) from None
    if syscalls.namespace_type(fd) != KINDS[kind][0]:
        os.close(fd)
        raise InvalidInput("%s namespace %s: not a namespace of that type" % (kind, path))
    return fd


def join(opened: list[tuple[str, int, str]]) -> None:
    """setns(2) into each and close it; a joined pid namespace counts for children only. Raises KernelRefused.

    What the caller may join as who it is goes first: a user namespace gives the right to what it owns, and takes away
    the right to what the host owns (a network namespace that was made outside, say).
    """
    later = [item for item in opened if item[0] != "user"]
    user = [item for item in opened if item[0] == "user"]
    if user:
        later = [item for item in later if not _join_if_allowed(item)]
    for kind, fd, path in user + later:
        try:
            syscalls.setns(fd, KINDS[kind][0], path)
        except OSError as error:
            raise KernelRefused("setns", "the %s namespace %s" % (kind, path), error.errno) from None
        os.close(fd)


def _join_if_allowed(item: tuple[str, int, str]) -> bool:
    kind, fd, path = item
    try:
        syscalls.setns(fd, KINDS[kind][0], path)
    except OSError as error:
        if error.errno == errno.EPERM:
            return False
        raise KernelRefused("setns", "the %s namespace %s" % (kind, path), error.errno) from None
    os.close(fd)
    return True


def unshare_time(offsets: dict[str, dict[str, int]]) -> None:
    """Make a time namespace for the children to come, its clocks set off (time_namespaces(7)).

    offsets: {"monotonic" or "boottime": {"secs": seconds, "nanosecs": nanoseconds}}. Raises KernelRefused, Unsupported.
    """
    if not own("time"):
        raise Unsupported("this kernel has no time namespaces (CONFIG_TIME_NS, Linux 5.6)")
    syscalls.unshare(syscalls.CLONE_NEWTIME, "CLONE_NEWTIME")
    for clock, offset in offsets.items():
        line = "%s %d %d" % (clock, offset.get("secs") or 0, offset.get("nanosecs") or 0)
        try:
            files.write("/proc/self/timens_offsets", line.encode())
        except OSError as error:
            hint = "the clock may not go below zero"
            raise KernelRefused("write", "timens_offsets " + line, error.errno, hint) from None


def write_map(pid: int, kind: str, mappings: list[dict[str, int]]) -> None:
    """Write the map of 'uid' or 'gid' of the process's new user namespace (user_namespaces(7)). Raises KernelRefused.

    A mapping is {"containerID": int, "hostID": int, "size": int}, as in runtime-spec.
    """
    lines = ["%d %d %d\n" % (item["containerID"], item["hostID"], item["size"]) for item in mappings]
    try:
        files.write("/proc/%d/%s_map" % (pid, kind), "".join(lines).encode())
    except OSError as error:
        hint = "the ranges must not overlap, and the caller must own the host ids"
        raise KernelRefused("write", "%s_map of the new user namespace" % kind, error.errno, hint) from None
