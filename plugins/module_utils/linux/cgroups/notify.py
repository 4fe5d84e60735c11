# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""Notices of a cgroup's memory running out: an eventfd on v1 (memory.rst), inotify on v2 (cgroup-v2.rst)."""

from __future__ import annotations

import ctypes
import os

from ..errors import KernelRefused, Unsupported
from .hierarchy import Hierarchy

_IN_MODIFY = 0x2
_IN_CLOEXEC = _EFD_CLOEXEC = 0x80000
_libc = ctypes.CDLL(None, use_errno=True)


class Notifier:
    """Poll fd for reading, then call read(). The fd is the caller's until close()."""

    def __init__(self, fd: int, is_v2: bool, directory: str) -> None:
        self.fd = fd
        self._is_v2 = is_v2
        self._directory = directory
        self._oom = self._oom_kills()

    def read(self) -> str:
        """What happened: 'oom', 'end' when the cgroup has no process any more or is gone, '' for nothing of note."""
        os.read(self.fd, 4096)
        if not self._is_v2:
            # The removal of the cgroup is told in the same way.
            return "oom" if os.path.exists(self._directory + "/cgroup.event_control") else "end"
        before, self._oom = self._oom, self._oom_kills()
        if self._oom > before:
            return "oom"
        return "end" if _value(self._directory + "/cgroup.events", "populated") in (0, None) else ""

    def _oom_kills(self) -> int:
        return _value(self._directory + "/memory.events", "oom_kill") or 0 if self._is_v2 else 0

    def close(self) -> None:
        os.close(self.fd)


def _value(file: str, key: str) -> int | None:
    try:
        with open(file) as lines:
            for line in lines:
                if line.startswith(key + " "):
                    return int(line.split()[1])
    except OSError:
        pass
    return None


def for_memory(paths: dict[str, str], hierarchies: list[Hierarchy]) -> Notifier:
    """A notifier of the cgroup. Raises Unsupported without a memory controller, KernelRefused."""
    for item in hierarchies:
        if "memory" in item.controllers:
            directory = paths[item.name]
            return Notifier(_inotify(directory) if item.is_v2 else _eventfd(directory), item.is_v2, directory)
    raise Unsupported("events: the container's cgroup has no memory controller, which tells when memory runs out")


def _checked(call: str, target: str, result: int) -> int:
    if result < 0:
        raise KernelRefused(call, target, ctypes.get_errno())
    return result


def _eventfd(directory: str) -> int:
    fd = _checked("eventfd", directory, _libc.eventfd(0, _EFD_CLOEXEC))
    try:
        control = os.open(directory + "/memory.oom_control", os.O_RDONLY | os.O_CLOEXEC)
        try:
            register = os.open(directory + "/cgroup.event_control", os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.write(register, b"%d %d" % (fd, control))
            finally:
                os.close(register)
        finally:
            os.close(control)
    except OSError as error:
        os.close(fd)
        raise KernelRefused("write", directory + "/cgroup.event_control", error.errno) from None
    return fd


def _inotify(directory: str) -> int:
    fd = _checked("inotify_init1", directory, _libc.inotify_init1(_IN_CLOEXEC))
    try:
        for name in ("/memory.events", "/cgroup.events"):
            path = directory + name
            _checked("inotify_add_watch", path, _libc.inotify_add_watch(fd, os.fsencode(path), _IN_MODIFY))
    except KernelRefused:
        os.close(fd)
        raise
    return fd
