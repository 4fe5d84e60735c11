# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""Control groups of this host, whichever way they are mounted (cgroups(7)): v1, v2, or both side by side (hybrid)."""

from __future__ import annotations

import errno
import os
import time

from .. import files, mounts, trace
from ..errors import AlreadyExists, InvalidInput, KernelRefused, OcilabError, Unsupported
from . import devices, v1, v2

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_REMOVE_TIMEOUT_S = 2.0
SIGKILL = 9


class Hierarchy:
    """One mounted hierarchy: name ('memory', 'cpu,cpuacct', 'systemd'; '' for a pure v2 host), controllers, mount."""

    def __init__(self, name: str, kind: str, controllers: list[str], mount_point: str, options: str) -> None:
        self.name = name
        self.kind = kind
        self.controllers = controllers
        self.mount_point = mount_point
        self.options = options


class CgroupMount:
    """What a mount of type cgroup inside a container needs for one hierarchy (see Cgroup.mounts_for_container)."""

    def __init__(self, hierarchy: Hierarchy, directory: str) -> None:
        self.name = hierarchy.name
        self.kind = hierarchy.kind
        self.options = hierarchy.options
        self.directory = directory
        self.links = hierarchy.controllers if len(hierarchy.controllers) > 1 and hierarchy.kind == "cgroup" else []


class Cgroups:
    """The hierarchies of this host. mode is 'v1', 'hybrid' or 'v2'."""

    def __init__(self, hierarchies: list[Hierarchy]) -> None:
        kinds = {hierarchy.kind for hierarchy in hierarchies}
        self.hierarchies = hierarchies
        self.mode = "v2" if kinds == {"cgroup2"} else "hybrid" if len(kinds) == 2 else "v1"
        self.controllers = sorted({name for hierarchy in hierarchies for name in hierarchy.controllers})

    def at(self, path: str) -> Cgroup:
        """The cgroup at cgroupsPath, from each hierarchy's root. Raises InvalidInput."""
        parts = [part for part in path.split("/") if part not in ("", ".")]
        if not parts or ".." in parts or "\0" in path:
            raise InvalidInput("cgroupsPath %r: a path below the cgroup root without '..' is expected" % path)
        return Cgroup(self, "/".join(parts))


def detect() -> Cgroups:
    """The cgroup hierarchies mounted on this host. Raises Unsupported when there is none."""
    hierarchies = []
    seen = set()
    for entry in mounts.table():
        if entry["kind"] not in ("cgroup", "cgroup2") or (entry["root"] != "/" and entry["kind"] == "cgroup"):
            continue
        if entry["kind"] == "cgroup2":
            name, options = "unified", ""
            controllers = files.read_text(entry["target"] + "/cgroup.controllers").split()
        else:
            words = [word for word in entry["super_options"].split(",") if word in v1.CONTROLLERS]
            named = [word for word in entry["super_options"].split(",") if word.startswith("name=")]
            name = ",".join(words) or named[0][5:] if words or named else ""
            options = ",".join(words) if words else "none," + named[0] if named else ""
            controllers = words
        if name and name not in seen:
            seen.add(name)
            hierarchies.append(Hierarchy(name, entry["kind"], controllers, entry["target"], options))
    if not hierarchies:
        raise Unsupported("no cgroup hierarchy is mounted on this host; mount cgroup2 on /sys/fs/cgroup")
    if len(hierarchies) == 1 and hierarchies[0].kind == "cgroup2":
        hierarchies[0].name = ""
    return Cgroups(hierarchies)


class Cgroup:
    """One cgroup in all hierarchies. paths: hierarchy name -> directory; it need not exist."""

    def __init__(self, host: Cgroups, relative: str) -> None:
        self.host = host
        self.relative = relative
        self.paths = {item.name: item.mount_point + "/" + relative for item in host.hierarchies}

    def refuse_existing(self) -> None:
        """Raise AlreadyExists when any hierarchy has it: what is made here is removed later, with all its processes."""
        for path in self.paths.values():
            if os.path.exists(path):
                raise AlreadyExists("cgroup %s: exists already; name another linux.cgroupsPath, or remove it" % path)

    def create(self) -> None:
        """Make the cgroup in every hierarchy. Raises KernelRefused."""
        for hierarchy in self.host.hierarchies:
            path = self.paths[hierarchy.name]
            try:
                self._make(hierarchy, path)
            except OSError as error:
                hint = "another user of that cgroup, or one that was not removed" if error.errno == errno.EEXIST else ""
                raise KernelRefused("mkdir", "cgroup " + path, error.errno, hint) from None

    def _make(self, hierarchy: Hierarchy, path: str) -> None:
        try:
            files.mkdir(path)
        except FileNotFoundError:
            parent = path.rpartition("/")[0]
            try:
                self._make(hierarchy, parent)
            except FileExistsError:
                pass  # another create was quicker
            files.mkdir(path)
        if hierarchy.kind == "cgroup2" and hierarchy.controllers:
            v2.enable_controllers(hierarchy.mount_point, path, hierarchy.controllers)
        if "cpuset" in hierarchy.controllers and hierarchy.kind == "cgroup":
            v1.inherit_cpuset(path)

    def set(self, resources: dict[str, Any]) -> None:
        """Apply linux.resources (config-linux.md, control groups). Raises Unsupported, InvalidInput, KernelRefused."""
        convert = v2.settings if self.host.mode == "v2" else v1.settings
        for controller, name, value, asked in convert(resources):
            hierarchy = self._hierarchy_of(controller, asked)
            path = "%s/%s" % (self.paths[hierarchy.name], name)
            try:
                files.write(path, value.encode())
            except OSError as error:
                if error.errno == errno.ENOENT:
                    message = "linux.resources.%s: this kernel has no %s (%s cgroups)"
                    raise Unsupported(message % (asked, name, self.host.mode)) from None
                hint = "linux.resources.%s asked for %s" % (asked, value)
                raise KernelRefused("write", path, error.errno, hint) from None
        self._set_devices(resources.get("devices") or [])

    def _hierarchy_of(self, controller: str, asked: str) -> Hierarchy:
        for hierarchy in self.host.hierarchies:
            if controller in hierarchy.controllers:
                return hierarchy
        raise Unsupported(
            "linux.resources.%s: this host has no %s controller (%s cgroups with %s); remove the limit, or enable the"
            " controller on the kernel's command line"
            % (asked, controller, self.host.mode, " ".join(self.host.controllers))
        )

    def _set_devices(self, rules: list[dict[str, Any]]) -> None:
        """Access to devices is denied but for the rules and the default devices, by files (v1) or by eBPF (v2)."""
        for hierarchy in self.host.hierarchies:
            if "devices" in hierarchy.controllers:
                devices.write_rules(self.paths[hierarchy.name], rules)
                return
        for hierarchy in self.host.hierarchies:
            if hierarchy.kind == "cgroup2":
                devices.attach_program(self.paths[hierarchy.name], rules)
                return
        raise Unsupported("access to devices cannot be limited: there is neither a devices controller nor cgroup2")

    def entry(self) -> Entry:
        """The way into this cgroup for a process that is about to be cloned."""
        return Entry(list(self.paths.values()))

    def mounts_for_container(self) -> list[CgroupMount]:
        """For each hierarchy what a mount inside the container needs."""
        return [CgroupMount(item, self.paths[item.name]) for item in self.host.hierarchies]

    def remove(self) -> None:
        """Remove the cgroup from every hierarchy; see remove_paths()."""
        remove_paths(list(self.paths.values()))


class Entry:
    """The way of a new process into a cgroup: cloned into it on v2, by its own write to `tasks` on v1.

    Moving another process makes the kernel wait for an RCU grace period (5 to 15 ms when nothing else moves); a thread
    that moves itself alone, and a clone(2) into a cgroup, do not wait.
    """

    def __init__(self, paths: list[str]) -> None:
        self.clone_into = -1
        self.tasks: list[tuple[str, int]] = []
        try:
            for path in paths:
                self._open(path)
        except OSError as error:
            self.close()
            raise KernelRefused("open", str(error.filename), error.errno) from None

    def _open(self, path: str) -> None:
        try:
            self.tasks.append((path + "/tasks", os.open(path + "/tasks", os.O_WRONLY | os.O_CLOEXEC)))
        except FileNotFoundError:  # v2 has none
            self.clone_into = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def descriptors(self) -> list[int]:
        """What the child needs open for enter()."""
        return [fd for _path, fd in self.tasks]

    def enter(self) -> None:
        """Called by the new process, which was cloned with clone_into. Raises KernelRefused."""
        for path, fd in self.tasks:
            try:
                trace.call("write", (path, "0"), os.write, fd, b"0")
            except OSError as error:
                raise KernelRefused("write", path, error.errno) from None
            os.close(fd)

    def close(self) -> None:
        """Called by the runtime when the child has been cloned."""
        for fd in self.descriptors() + [self.clone_into]:
            if fd >= 0:
                os.close(fd)


def processes(paths: list[str]) -> set[int]:
    """The processes in the cgroup directories and all below them."""
    found: set[int] = set()
    for top in paths:
        for directory, _names, _files in os.walk(top):
            try:
                found.update(int(pid) for pid in files.read(directory + "/cgroup.procs").split())
            except OSError:
                continue  # removed meanwhile
    return found


def kill(paths: list[str], timeout_s: float = 10.0) -> None:
    """SIGKILL every process in the cgroup directories, until none is left. Raises OcilabError after timeout_s."""
    deadline = time.monotonic() + timeout_s
    while True:
        left = processes(paths)
        if not left:
            return
        if time.monotonic() > deadline:
            raise OcilabError("cgroup %s: processes %s did not end" % (paths[0], sorted(left)))
        for pid in left:
            try:
                os.kill(pid, SIGKILL)
            except ProcessLookupError:
                pass
        time.sleep(0.002)


def remove_paths(paths: list[str]) -> None:
    """Kill what still runs in the cgroup directories and remove them, with all below; silent where they are gone.

    Raises OcilabError when a directory stays busy.
    """
    for path in paths:
        try:
            files.rmdir(path)
        except FileNotFoundError:
            continue
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise KernelRefused("rmdir", "cgroup " + path, error.errno) from None
            kill(paths)
            _remove_tree(path)


def _remove_tree(top: str) -> None:
    """rmdir bottom-up, again while the kernel still finishes off the processes that were killed."""
    deadline = time.monotonic() + _REMOVE_TIMEOUT_S
    while True:
        try:
            for directory, _names, _files in os.walk(top, topdown=False):
                files.rmdir(directory)
            return
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno != errno.EBUSY or time.monotonic() > deadline:
                raise KernelRefused("rmdir", "cgroup " + top, error.errno) from None
            time.sleep(0.002)
