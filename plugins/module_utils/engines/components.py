# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""What lies between an engine's command and a container's process, as the host's /proc tells it."""

from __future__ import annotations

import os
import re

from ..linux import files
from . import engine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Iterator

_VERSION_TIMEOUT_S = 20.0
_LISTENS = 0x10000  # __SO_ACCEPTCON, which /proc/net/unix shows (proc(5))
_INIT = 1
# Whoever stays with a container for its engine, by the beginning of its program's name or of its process's.
_MONITORS = ("containerd-shim", "conmon", "labrun-monitor", "lxc-start", "lxc-execute")
_versions: dict[str, str | None] = {}


def part(
    role: str,
    name: str,
    version: str | None = None,
    path: str | None = None,
    pid: int | None = None,
    socket: str | None = None,
    unit: str | None = None,
) -> dict[str, Any]:
    """A component, as Engine.components() lists them."""
    return {
        "role": role,
        "name": name,
        "version": version,
        "path": path,
        "pid": pid,
        "socket": socket,
        "unit": unit,
    }


def program(role: str, path: str, name: str = "", socket: str | None = None) -> dict[str, Any]:
    """A part that is a command, which has come and gone."""
    return part(role, name or os.path.basename(path), version_of(path), path, None, socket)


def process(role: str, pid: int, name: str = "", socket: str | None = None) -> dict[str, Any]:
    """A part that runs."""
    path = _program(pid)
    name = name or (os.path.basename(path) if path else _name(pid))
    return part(role, name, version_of(path) if path else None, path, pid, socket, unit_of(pid))


def container(pid: int) -> dict[str, Any]:
    """The container's first process; its program is the container's, so that it is not asked for its version."""
    name = _name(pid)
    if name == "exe":  # gVisor's, which executes itself by that link and names itself by its first word
        name = os.path.basename(_words(pid)[0])
    return part("container", name, None, _program(pid), pid)


def monitor(pid: int) -> list[dict[str, Any]]:
    """The nearest process above a container's that is known to watch one, as a list of it; empty where none does."""
    for one in ancestors(pid):
        if _is_monitor(one):
            own = not _name(one).startswith("labrun")  # its program is the interpreter, whose version tells nothing
            return [process("monitor", one) if own else part("monitor", _name(one), None, _program(one), one)]
    return []


def _is_monitor(pid: int) -> bool:
    names = (_name(pid), os.path.basename(_program(pid) or ""), os.path.basename(_words(pid)[0]).strip("[]"))
    return any(name.startswith(known) for name in names for known in _MONITORS)


def runtime_of(monitors: list[dict[str, Any]]) -> str:
    """The low-level runtime that a conmon was started with, from what monitor() gives; empty where it tells none."""
    for one in monitors:
        words = _words(one["pid"])
        for option in ("-r", "--runtime"):
            if option in words[:-1]:
                return words[words.index(option) + 1]
    return ""


def ancestors(pid: int) -> Iterator[int]:
    """The processes above one, the nearest first, without the host's init."""
    above = parent(pid)
    while above > _INIT:
        yield above
        above = parent(above)


def is_of(pid: int, program_name: str) -> bool:
    """Whether a process runs the program of that name."""
    return os.path.basename(_program(pid) or "") == program_name


def socket_of(pid: int, name: str) -> str | None:
    """The path of the socket of that name that a process serves."""
    for line in files.read_text("/proc/net/unix").splitlines()[1:]:
        fields = line.split(None, 7)
        if len(fields) == 8 and os.path.basename(fields[7]) == name and _has_open(pid, {"socket:[%s]" % fields[6]}):
            return fields[7]
    return None


def parent(pid: int) -> int:
    """The parent of a process; 0 where it has none here, or is gone."""
    try:
        stat = files.read("/proc/%d/stat" % pid)
    except OSError:
        return 0
    return int(stat[stat.rfind(b")") + 2 :].split()[1])


def children(pid: int) -> list[int]:
    """The children of a process."""
    return [one for one in pids() if parent(one) == pid]


def pids() -> list[int]:
    """All processes of the host."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def listener(path: str) -> int:
    """The pid of who serves a unix socket; 0 where nobody does. Where systemd has made it, its service, if that runs.

    Nothing connects to it: that would start a service that waits for it.
    """
    inodes = _listening(os.path.realpath(path))
    found = [pid for pid in pids() if _has_open(pid, inodes)] if inodes else []
    served = [pid for pid in found if pid != _INIT]
    return min(served or found, default=0)


def _listening(path: str) -> set[str]:
    result = set()
    for line in files.read_text("/proc/net/unix").splitlines()[1:]:
        fields = line.split(None, 7)
        if len(fields) == 8 and int(fields[3], 16) & _LISTENS and os.path.realpath(fields[7]) == path:
            result.add("socket:[%s]" % fields[6])
    return result


def _has_open(pid: int, links: set[str]) -> bool:
    folder = "/proc/%d/fd" % pid
    try:
        return any(_link(os.path.join(folder, name)) in links for name in os.listdir(folder))
    except OSError:
        return False  # it has ended meanwhile


def unit_of(pid: int) -> str | None:
    """The systemd service that a process belongs to, by its cgroup."""
    try:
        lines = files.read_text("/proc/%d/cgroup" % pid).splitlines()
    except OSError:
        return None
    for line in lines:
        _number, controllers, path = line.split(":", 2)
        if controllers in ("", "name=systemd"):
            units = [name for name in path.split("/") if name.endswith((".service", ".scope"))]
            if units:
                return units[-1]
    return None


def version_of(path: str) -> str | None:
    """What a program answers to --version, but the version alone; None where it tells none."""
    if path not in _versions:
        option = "-v" if os.path.basename(path).startswith("containerd-shim") else "--version"
        try:
            _versions[path] = version_in(engine.run([path, option], _VERSION_TIMEOUT_S))
        except engine.EngineFailed:
            _versions[path] = None
    return _versions[path]


def version_in(text: str) -> str | None:
    """The version in what programs answer to --version: behind that word, or else the first thing like one."""
    found = re.search(r"version:?\s+(\S+)", text, re.IGNORECASE) or re.search(r"(?:^|\s)v?(\d+\.\d+\S*)", text)
    return found.group(1).rstrip(",") if found else None


def _name(pid: int) -> str:
    try:
        return files.read_text("/proc/%d/comm" % pid).strip()
    except OSError:
        return ""


def _words(pid: int) -> list[str]:
    try:
        return files.read_text("/proc/%d/cmdline" % pid).split("\0")
    except OSError:
        return [""]


def _program(pid: int) -> str | None:
    return _link("/proc/%d/exe" % pid) or None


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""
