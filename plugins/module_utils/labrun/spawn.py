# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""Cloning a child into namespaces: new ones, and joined ones by their path; the ids mapped, the clocks set."""

from __future__ import annotations

import os

from ..linux import namespaces, syscalls
from ..linux.errors import KernelRefused, OcilabError
from . import rootless

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

_MAP = b"map"
_MAPPED = b"1"


class Namespaces:
    """What linux of config.json says of namespaces: kinds to make, kind -> path to join, id maps, clock offsets."""

    def __init__(self, linux: dict[str, Any]) -> None:
        listed = linux.get("namespaces") or []
        self.new = [item["type"] for item in listed if not item.get("path")]
        self.joined = {item["type"]: item["path"] for item in listed if item.get("path")}
        # Joined by the child itself, when it is in the container's cgroup: seen from within that namespace the
        # caller's own cgroup does not exist, and nothing could be cloned into another (cgroup_namespaces(7)).
        self.cgroup_path = self.joined.pop("cgroup", "")
        self.uid_mappings = linux.get("uidMappings") or []
        self.gid_mappings = linux.get("gidMappings") or []
        self.time_offsets = (linux.get("timeOffsets") or {}) if "time" in self.new else {}

    def open_cgroup(self) -> int:
        """The cgroup namespace to join, for join_cgroup() in the child, or -1. Raises InvalidInput."""
        if not self.cgroup_path:
            return -1
        return namespaces.open_all({"cgroup": self.cgroup_path})[0][1]

    def join_cgroup(self, fd: int) -> None:
        """Called by the child when it has entered its cgroup, with open_cgroup()'s descriptor. Raises KernelRefused."""
        if fd >= 0:
            namespaces.join([("cgroup", fd, self.cgroup_path)])

    def at_clone(self) -> list[str]:
        """The kinds that the clone makes. The cgroup namespace comes later, from within the container's cgroup."""
        return [kind for kind in self.new if kind not in ("cgroup", "time")]


def spawn(wanted: Namespaces, into_cgroup: int, start_child: Callable[[], None]) -> int:
    """Clone a child of ours into the wanted namespaces, its ids mapped; start_child() must not return. Its pid.

    into_cgroup: the descriptor of the v2 cgroup that it is to be in, or -1. A joined pid namespace and a new time
    namespace count for children only, so that a process in between joins them and clones for us (CLONE_PARENT).
    Raises InvalidInput and KernelRefused.
    """
    if wanted.joined or "time" in wanted.new:
        return _spawn_through(wanted, into_cgroup, start_child)
    kinds = wanted.at_clone()
    pid = _clone(kinds, 0, into_cgroup)
    if pid == 0:
        start_child()
    if "user" in kinds:
        try:
            rootless.map_ids(pid, wanted.uid_mappings, wanted.gid_mappings)
        except BaseException:
            _end(pid)
            raise
    return pid


def _clone(kinds: list[str], flags: int, into_cgroup: int) -> int:
    shown = namespaces.shown_flags(kinds) or "no new namespace"
    try:
        return syscalls.clone(namespaces.new_flags(kinds) | flags, shown, into_cgroup)
    except OSError as error:
        hint = "see container_host_info for what this host allows"
        raise KernelRefused("clone", shown, error.errno, hint) from None


def _end(pid: int) -> None:
    os.kill(pid, 9)
    os.waitpid(pid, 0)


def _spawn_through(wanted: Namespaces, into_cgroup: int, start_child: Callable[[], None]) -> int:
    opened = namespaces.open_all(wanted.joined)
    answer_read, answer_write = os.pipe()
    mapped_read, mapped_write = os.pipe()
    between = os.fork()
    if between == 0:
        os.close(mapped_write)
        _join_and_clone(wanted, opened, into_cgroup, answer_write, mapped_read, start_child)
    try:
        for fd in [answer_write, mapped_read] + [fd for _kind, fd, _path in opened]:
            os.close(fd)
        answer = os.read(answer_read, 4096)
        if answer == _MAP:
            rootless.map_ids(between, wanted.uid_mappings, wanted.gid_mappings)
            os.write(mapped_write, _MAPPED)
            answer = os.read(answer_read, 4096)
    finally:
        os.close(mapped_write)
        os.close(answer_read)
        os.waitpid(between, 0)
    if not answer.isdigit():
        raise OcilabError(answer.decode() or "the process that joins the namespaces was killed")
    return int(answer)


def _join_and_clone(
    wanted: Namespaces,
    opened: list[tuple[str, int, str]],
    into_cgroup: int,
    answer: int,
    mapped: int,
    start_child: Callable[[], None],
) -> None:
    """The process in between: join, make the user and the time namespace, clone, tell the pid; never returns."""
    try:
        kinds = wanted.at_clone()
        if "user" not in kinds:
            # Nothing in a joined namespace may trace us (case R04). A new user namespace is mapped from outside, which
            # a process that cannot be dumped does not allow a caller that is not root.
            syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0, "PR_SET_DUMPABLE")
        namespaces.join(opened)
        if "user" in kinds:
            syscalls.unshare(syscalls.CLONE_NEWUSER, "CLONE_NEWUSER")
            os.write(answer, _MAP)
            if os.read(mapped, 1) != _MAPPED:
                os._exit(1)
            kinds.remove("user")
        if "time" in wanted.new:
            namespaces.unshare_time(wanted.time_offsets)
        pid = _clone(kinds, syscalls.CLONE_PARENT, into_cgroup)
        if pid == 0:
            os.close(answer)
            os.close(mapped)
            start_child()
        os.write(answer, b"%d" % pid)
    except OcilabError as error:
        os.write(answer, str(error).encode())
    except OSError as error:
        os.write(answer, str(KernelRefused("unshare", "the new namespaces", error.errno)).encode())
    finally:
        os._exit(0)
