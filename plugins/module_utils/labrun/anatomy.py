# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""One container taken through its steps: after each, what exists on the host that did not exist before."""

from __future__ import annotations

import os

from ..linux import capabilities, files, namespaces, processes
from ..linux.errors import NotFound
from . import container as life

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# In the order of time. The cgroup comes before the namespaces: the process is cloned into it.
STEPS = (
    "receive_bundle",
    "create_cgroup",
    "create_namespaces",
    "build_rootfs",
    "become_process",
    "start",
    "delete",
)
_LIMITS = (
    "memory.limit_in_bytes",
    "memory.max",
    "cpu.shares",
    "cpu.cfs_period_us",
    "cpu.cfs_quota_us",
    "cpu.weight",
    "cpu.max",
    "cpuset.cpus",
    "pids.max",
    "devices.list",
)


class Observer:
    """Collects the steps of one container of the bundle; run() does it all, and leaves nothing behind."""

    def __init__(self, container_id: str, bundle: str, root: str) -> None:
        self.container = life.Container(container_id, root)
        self.bundle = bundle
        self.steps: list[dict[str, Any]] = []
        self._before: dict[str, Any] = {"files": {}, "cgroups": {}, "namespaces": _namespaces(0), "mounts": {}}
        self._before["process"] = {}
        self._objects: list[str] = []

    def run(self) -> list[dict[str, Any]]:
        """Create, start and delete the container; its steps, in the order of STEPS. Raises what create() raises.

        A step is {"step", "new", "copied_mounts", "left"}; new has what appeared or changed in this step:
        files: [path]; cgroups: [{"path", "limits": {file: value}, "processes": [pid]}]; namespaces: [{"kind", "inode",
        "host_inode"}]; mounts: [{"target", "type", "source", "options"}]; process: [{"name", "value"}].
        copied_mounts: how many mounts a new mount namespace began with, copies of the host's. left: of the last step,
        what is still there of all that came.
        """
        null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        try:
            settings = life.Settings([null, null, null], observe=self.observe)
            folder = self.container.folder
            life.create(self.container.id, self.bundle, folder.root, settings)
        finally:
            os.close(null)
        pid = self.container.pid
        try:
            self.container.start()
            self.observe("start", pid)
        finally:
            self.container.delete(force=True)
            processes.wait(pid)
        self._steps_end(pid)
        return self.steps

    def observe(self, step: str, pid: int) -> None:
        """Called after each step, while the container's process (0: none yet) waits."""
        now: dict[str, dict[str, Any]] = {
            "files": {path: path for path in _tree(self.container.folder.path)},
            "cgroups": {item["path"]: item for item in self._cgroups()},
            "namespaces": _namespaces(pid),
            "mounts": _mounts(pid) if pid else {},
            "process": _process(pid) if pid else {},
        }
        copied = 0
        if step == "create_namespaces":  # clone(CLONE_NEWNS) copies the host's; nothing in them is new yet
            copied = len(now["mounts"])
            self._before["mounts"] = now["mounts"]
        new = {
            kind: [value for key, value in found.items() if self._before[kind].get(key) != value]
            for kind, found in now.items()
        }
        self._before = now
        self._objects += new["files"] + [item["path"] for item in new["cgroups"]]
        self.steps.append({"step": step, "new": new, "copied_mounts": copied, "left": []})

    def _steps_end(self, pid: int) -> None:
        seen = sorted(set(self._objects)) + ["/proc/%d" % pid]
        left = [path for path in seen if os.path.exists(path)]
        new: dict[str, list[Any]] = {kind: [] for kind in self._before}
        self.steps.append({"step": "delete", "new": new, "copied_mounts": 0, "left": left})

    def _cgroups(self) -> list[dict[str, Any]]:
        """The folders of the container in each hierarchy, by its journal, with their limits and processes."""
        try:
            paths = self.container.noted("cgroup").get("paths") or {}
        except NotFound:
            return []
        result = []
        for path in sorted(set(paths.values())):
            if not os.path.isdir(path):
                continue
            limits = {}
            for name in _LIMITS:
                text = _text(os.path.join(path, name))
                if text:
                    limits[name] = "; ".join(text.splitlines())
            pids = [int(word) for word in _text(os.path.join(path, "cgroup.procs")).split()]
            result.append({"path": path, "limits": limits, "processes": pids})
        return result


def _text(path: str) -> str:
    """The file's text; "" when it, or the process that it tells of, is not there."""
    try:
        return files.read_text(path)
    except OSError:
        return ""


def _tree(path: str) -> list[str]:
    try:
        return [path] + [os.path.join(path, name) for name in sorted(os.listdir(path))]
    except OSError:
        return []


def _namespaces(pid: int) -> dict[str, dict[str, Any]]:
    """By kind, those of the process (0: the caller's), as the inode numbers of /proc/PID/ns (namespaces(7))."""
    result = {}
    for kind in namespaces.KINDS:
        host = namespaces.own(kind)
        if host:
            inode = (namespaces.own(kind, str(pid)) if pid else host) or host
            result[kind] = {"kind": kind, "inode": _number(inode), "host_inode": _number(host)}
    return result


def _number(link: str) -> int:
    return int(link.partition("[")[2].rstrip("]"))


def _mounts(pid: int) -> dict[str, dict[str, str]]:
    """Mount id -> mount, as the process sees them (proc(5), /proc/PID/mountinfo)."""
    result = {}
    for line in _text("/proc/%d/mountinfo" % pid).splitlines():
        fields = line.split(" ")
        kind, source = fields[fields.index("-") + 1 :][:2]
        target = fields[4].replace("\\040", " ")
        result[fields[0]] = {"target": target, "type": kind, "source": source, "options": fields[5]}
    return result


def _process(pid: int) -> dict[str, dict[str, str]]:
    """Name -> {"name", "value"} of what a process shows of itself in /proc/PID."""
    base = "/proc/%d/" % pid
    status = dict(line.partition(":\t")[::2] for line in _text(base + "status").splitlines())
    values = {
        "pid": str(pid),
        "pid_inside": (status.get("NSpid") or "").split("\t")[-1],
        "command": _text(base + "cmdline").replace("\0", " ").strip(),
        "program": _link(base + "exe"),
        "user": (status.get("Uid") or "").replace("\t", " "),
        "uid_map": "; ".join(" ".join(line.split()) for line in _text(base + "uid_map").splitlines()),
        "capabilities": _capabilities(status.get("CapEff") or ""),
        "bounding": _capabilities(status.get("CapBnd") or ""),
        "no_new_privs": status.get("NoNewPrivs") or "",
        "seccomp": status.get("Seccomp") or "",
        "open_files": _text(base + "limits").partition("Max open files")[2].partition("\n")[0].strip(),
    }
    return {name: {"name": name, "value": " ".join(value.split())} for name, value in values.items() if value}


def _capabilities(mask: str) -> str:
    """'14: CHOWN KILL ...' for the hexadecimal set of /proc/PID/status; more than 20 are only counted."""
    number = int(mask or "0", 16)
    names = [name for index, name in enumerate(capabilities.NAMES) if number >> index & 1]
    return "%d: %s" % (len(names), " ".join(names)) if 0 < len(names) <= 20 else str(len(names))


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""
