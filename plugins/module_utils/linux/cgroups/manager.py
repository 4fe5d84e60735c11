# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""Control groups of this host, whichever way they are mounted (cgroups(7)): v1, v2, or both side by side (hybrid).

A cgroup's life: Cgroups.at(), journal_entry(), create(), a process that enters by entry() or adopt(), and
from_journal() whenever a later command wants it again.
"""

from __future__ import annotations

import errno
import os

from .. import files, trace
from ..errors import AlreadyExists, InvalidInput, KernelRefused, Unsupported, WrongState
from . import devices, hierarchy, limits, v1
from .directory import Directory
from .hierarchy import Hierarchy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_KILL_TIMEOUT_S = 10.0
_REMOVE_TIMEOUT_S = 5.0
_DENIED = (errno.EACCES, errno.EPERM, errno.EROFS)


class CgroupMount:
    """What a mount of type cgroup inside a container needs for one hierarchy (see Cgroup.mounts_for_container)."""

    def __init__(self, item: Hierarchy, directory: str) -> None:
        self.name = item.name
        self.kind = item.kind
        self.options = item.options
        self.directory = directory
        self.links = item.controllers if len(item.controllers) > 1 and not item.is_v2 else []


class Cgroups:
    """The hierarchies of this host. mode is 'v1', 'hybrid' or 'v2'."""

    def __init__(self, hierarchies: list[Hierarchy]) -> None:
        kinds = {item.kind for item in hierarchies}
        self.hierarchies = hierarchies
        self.mode = "v2" if kinds == {"cgroup2"} else "hybrid" if len(kinds) == 2 else "v1"
        self.controllers = sorted({name for item in hierarchies for name in item.controllers})

    def at(
        self,
        path: str,
        container_id: str,
        systemd: bool = False,
        rootless: bool | None = None,
        properties: list[tuple[str, str, Any]] | None = None,
    ) -> Cgroup:
        """The cgroup at linux.cgroupsPath; nothing is made yet.

        path: from each hierarchy's root; relative, below the caller's own cgroup (v1) or beside it (v2); empty for the
        default, labrun-<id>. With systemd it is slice:prefix:name, and properties are further ones of the unit (see
        systemd.annotated()). rootless: None finds out by itself whether the caller is root of this host.
        Raises InvalidInput, Unsupported; with systemd OcilabError too.
        """
        if rootless is None:
            rootless = os.geteuid() != 0 or hierarchy.in_user_namespace()
        if systemd:
            from .systemd import SystemdCgroup

            return SystemdCgroup.at(self, path, container_id, rootless, properties or [])
        parts = [part for part in path.split("/") if part not in ("", ".")]
        if ".." in parts or "\0" in path or (path and not parts):
            raise InvalidInput("cgroupsPath %r: a path below the cgroup root without '..' is expected" % path)
        relative = "/".join(parts) or "labrun-" + container_id
        if path.startswith("/") or not (path or rootless):
            tops = {item.name: item.mount_point for item in self.hierarchies}
        else:
            try:
                tops = hierarchy.own_directories(self.hierarchies)
            except Unsupported:
                if path:
                    raise
                tops = {}  # a container without cgroup, where nobody asked for one
            if self.mode == "v2":  # no process may be in a cgroup that passes controllers on: beside ours, not below
                mount_point = self.hierarchies[0].mount_point
                tops = {name: top if top == mount_point else os.path.dirname(top) for name, top in tops.items()}
        paths = {name: top + "/" + relative for name, top in tops.items()}
        return Cgroup(paths, self, is_optional=rootless and not path)


def detect() -> Cgroups:
    """The cgroup hierarchies mounted on this host. Raises Unsupported when there is none."""
    return Cgroups(hierarchy.mounted())


class Cgroup:
    """One cgroup in all hierarchies. paths: hierarchy name -> directory; empty where a container runs without cgroup.

    is_optional: the caller is not root and named no cgroup, so that a hierarchy which it may not write is left out.
    """

    def __init__(self, paths: dict[str, str], host: Cgroups | None = None, is_optional: bool = False) -> None:
        self.paths = paths
        self.is_optional = is_optional
        self.left_out = ""
        self._host = host
        self._made: list[str] | None = None  # the directories that are ours, parents before children
        self._is_complete = False
        self._missing_controllers = ""

    @property
    def host(self) -> Cgroups:
        if self._host is None:
            self._host = detect()
        return self._host

    def journal_entry(self) -> dict[str, Any]:
        """What to note before create(), and again after it, for only then processes in it are known to be ours.

        {"object": "cgroup", "paths": {name: directory}, "made": [directories that were missing], "complete": bool}.
        Raises AlreadyExists when there are processes in it already, WrongState when it is frozen.
        """
        made = self._survey()
        return {"object": "cgroup", "paths": self.paths, "made": made, "complete": self._is_complete}

    def _survey(self) -> list[str]:
        """The directories that are not there yet. An empty cgroup that is there is joined, and never removed."""
        if self._made is None:
            made: list[str] = []
            for item in self._hierarchies():
                path = self.paths[item.name]
                if os.path.isdir(path):
                    self._check_joinable(path)
                    continue
                missing = [path]
                parent = os.path.dirname(path)
                while len(parent) > len(item.mount_point) and not os.path.isdir(parent):
                    missing.append(parent)
                    parent = os.path.dirname(parent)
                made += reversed(missing)
            self._made = made
        return self._made

    def _check_joinable(self, path: str) -> None:
        from . import control

        present = control.processes([path])
        if present:
            message = "container's cgroup is not empty: %s: exists already, with the processes %s; %s"
            hint = "name another linux.cgroupsPath, or end them"
            raise AlreadyExists(message % (path, ", ".join(map(str, sorted(present)[:8])), hint))
        for name in ("/freezer.self_freezing", "/cgroup.freeze"):
            if os.path.exists(path + name) and files.read_text(path + name) == "1":
                message = "container's cgroup unexpectedly frozen: %s: thaw it, or name another linux.cgroupsPath"
                raise WrongState(message % path)

    def _hierarchies(self) -> list[Hierarchy]:
        return [item for item in self.host.hierarchies if item.name in self.paths]

    def create(self, resources: dict[str, Any]) -> None:
        """Make the directories that are missing, and set linux.resources (config-linux.md, control groups).

        Raises AlreadyExists, Unsupported, InvalidInput, KernelRefused; remove() then undoes what was made.
        """
        made = self._survey()
        self._made = []
        cpu = resources.get("cpu") or {}
        for item in self._hierarchies():
            path = self.paths[item.name]
            is_fresh = path in made
            try:
                if is_fresh:
                    self._make(item, path, made)
                if "cpuset" in item.controllers and not item.is_v2:
                    v1.inherit_cpuset(path, cpu, is_fresh)
            except FileExistsError:
                message = "cgroup %s: another container took it meanwhile; name another linux.cgroupsPath"
                raise AlreadyExists(message % path) from None
            except OSError as error:
                self._leave_out(item, error)
                continue
            if item.is_v2:
                self._prepare_v2(item, path, resources)
        self._is_complete = True
        self._apply(resources, is_update=False)
        self._set_devices(resources.get("devices") or [])

    def _make(self, item: Hierarchy, path: str, missing: list[str]) -> None:
        """mkdir, with the parents that are missing. Raises OSError, FileExistsError for the cgroup itself only."""
        try:
            files.mkdir(path)
        except FileNotFoundError:
            parent = os.path.dirname(path)
            try:
                self._make(item, parent, missing)
            except FileExistsError:
                pass  # another create was quicker
            if "cpuset" in item.controllers and not item.is_v2:
                v1.inherit_cpuset(parent, {}, False)
            files.mkdir(path)
        self._own(path)

    def _own(self, path: str) -> None:
        self._made = [*(self._made or []), path]

    def _leave_out(self, item: Hierarchy, error: OSError) -> None:
        """Without the permission, and without anybody who asked for it, the container is in no cgroup there."""
        path = self.paths[item.name]
        if not self.is_optional or error.errno not in _DENIED:
            hint = "the cgroup above it must be delegated to the caller" if error.errno in _DENIED else ""
            raise KernelRefused("mkdir", "cgroup " + path, error.errno, hint) from None
        del self.paths[item.name]
        self.left_out = self.left_out or str(KernelRefused("mkdir", "cgroup " + path, error.errno))

    def _prepare_v2(self, item: Hierarchy, path: str, resources: dict[str, Any]) -> None:
        """Controllers for it, all of them where v2 is alone as in runc, beside v1 those that are asked for."""
        wanted = item.controllers
        if self.host.mode != "v2":
            wanted = [part.v2_controller for part in limits.parts(resources) if part.v2_controller in item.controllers]
        if wanted:
            from . import v2

            self._missing_controllers = v2.enable(item.mount_point, path, wanted)
        if os.path.dirname(path) != item.mount_point:
            self._join_threaded(path)

    def _join_threaded(self, path: str) -> None:
        """Below a threaded cgroup a new one must be threaded too before a process can enter it (cgroup-v2.rst)."""
        directory = Directory(path, True)
        if directory.text("cgroup.type") == "domain invalid":
            try:
                files.write(path + "/cgroup.type", b"threaded")
            except OSError as error:
                raise KernelRefused("write", path + "/cgroup.type", error.errno) from None

    def update(self, resources: dict[str, Any]) -> None:
        """Change the limits that resources names; the others and the devices stay, as in runc.

        Raises Unsupported, InvalidInput, KernelRefused.
        """
        self._apply(resources, is_update=True)

    def _apply(self, resources: dict[str, Any], is_update: bool) -> None:
        unified = resources.get("unified")
        if unified and self.host.mode != "v2":
            message = (
                "invalid configuration: linux.resources.unified: is for hosts with cgroup v2 alone; this one has %s"
            )
            raise Unsupported((message + " cgroups") % self.host.mode)
        for part in limits.parts(resources):
            item = self._hierarchy_of(part.controller, part.v2_controller, part.named)
            limits.write(part, Directory(self.paths[item.name], item.is_v2), is_update)
        if unified:
            from . import v2

            directory = Directory(self.paths[""], True) if "" in self.paths else self._refuse_limit("unified")
            v2.set_unified(directory, unified, directory.text("cgroup.controllers").split())

    def _hierarchy_of(self, controller: str, v2_controller: str | None, asked: str) -> Hierarchy:
        for item in self.host.hierarchies:
            if (v2_controller if item.is_v2 else controller) in item.controllers:
                if item.name not in self.paths:
                    self._refuse_limit(asked)
                if item.is_v2 and self._missing_controllers:
                    available = files.read_text(self.paths[item.name] + "/cgroup.controllers").split()
                    if v2_controller not in available:
                        message = "linux.resources.%s: the controller %s cannot be had for the cgroup: %s"
                        raise Unsupported(message % (asked, v2_controller, self._missing_controllers))
                return item
        name = controller if self.host.mode != "v2" else v2_controller or controller
        raise Unsupported(
            "linux.resources.%s: this host has no %s controller (%s cgroups with %s); remove the limit, or enable the"
            " controller on the kernel's command line" % (asked, name, self.host.mode, " ".join(self.host.controllers))
        )

    def _refuse_limit(self, asked: str) -> Any:
        reason = self.left_out or "the container is in no cgroup"
        raise Unsupported(
            "linux.resources.%s: the limit cannot be set: %s; remove it, or have a cgroup delegated" % (asked, reason)
        )

    def _set_devices(self, rules: list[dict[str, Any]]) -> None:
        """Access to devices is denied but for the rules and the default devices, by files (v1) or by eBPF (v2)."""
        for item in self._hierarchies():
            if "devices" in item.controllers:
                devices.write_rules(self.paths[item.name], rules)
                return
        directory = hierarchy.v2_directory(self.paths)
        if directory:
            self._attach_program(directory, rules)
        elif not self.is_optional:
            raise Unsupported("access to devices cannot be limited: there is neither a devices controller nor cgroup2")

    def _attach_program(self, directory: str, rules: list[dict[str, Any]]) -> None:
        from . import bpf

        try:
            bpf.attach_program(directory, rules, self._is_fresh(directory))
        except KernelRefused as error:
            # A user's container has no device nodes but those that the user may open anyway, as runc sees it.
            if error.errno not in _DENIED or os.geteuid() == 0:
                raise

    def _is_fresh(self, path: str) -> bool:
        """True where nobody but us can have attached a program to it."""
        return path in (self._made or [])

    def adopt(self, pid: int) -> None:
        """Called when the process has been cloned; only a cgroup of systemd is made now, see there."""

    def give(self, uid: int) -> None:
        """Make a v2 cgroup the host's user uid's, with the files that /sys/kernel/cgroup/delegate lists.

        For a container with its own cgroup namespace and a writable /sys/fs/cgroup (config-linux.md, cgroup ownership).
        Of v1 nothing is given, for it has no safe delegation. Raises KernelRefused.
        """
        directory = self.paths.get("")
        if not directory:
            return
        try:
            names = files.read_text("/sys/kernel/cgroup/delegate").split()
        except OSError:
            names = ["cgroup.procs", "cgroup.subtree_control", "cgroup.threads"]
        for path in [directory] + [directory + "/" + name for name in names]:
            try:
                trace.call("chown", (path, uid), os.chown, path, uid, -1)
            except FileNotFoundError:
                continue
            except OSError as error:
                raise KernelRefused("chown", path, error.errno) from None

    def entry(self, sub: str | dict[str, str] = "", init_pid: int = 0) -> Entry:
        """The way into this cgroup for a process that is about to be cloned.

        sub: a cgroup below it, or one for each controller (see subgroups()). init_pid: the container's first process;
        where that moved into a cgroup below, on v2 no other may stay above it, and the entry leads to where it is.
        Raises InvalidInput, KernelRefused.
        """
        if isinstance(sub, str):
            paths = {name: _below(path, sub) for name, path in self.paths.items()}
        else:
            paths = dict(self.paths)
            for controller, below in sub.items():
                name = self._named(controller)
                paths[name] = _below(paths[name], below)
        if init_pid and not sub and "" in paths and Directory(paths[""], True).text("cgroup.subtree_control"):
            paths[""] = hierarchy.own_directories(self.host.hierarchies, init_pid)[""]
        return Entry(list(paths.values()))

    def _named(self, controller: str) -> str:
        for item in self._hierarchies():
            if controller in item.controllers or controller in (item.name, "name=" + item.name):
                return item.name
        raise InvalidInput("--cgroup: unknown controller %r: the container's cgroup has none of that name" % controller)

    def mounts_for_container(self) -> list[CgroupMount]:
        """For each hierarchy what a mount inside the container needs."""
        return [CgroupMount(item, self.paths[item.name]) for item in self._hierarchies()]

    def freeze(self) -> None:
        """Stop all processes. Raises Unsupported, KernelRefused, OcilabError."""
        from . import control

        control.freeze(self.paths)

    def thaw(self) -> None:
        """Let them go on. Raises KernelRefused."""
        from . import control

        control.thaw(self.paths)

    def is_frozen(self) -> bool:
        from . import control

        return control.is_frozen(self.paths)

    def pids(self) -> list[int]:
        """The processes in it and in all cgroups below it, sorted."""
        from . import control

        return sorted(control.processes(list(self.paths.values())))

    def kill(self, signal: int) -> None:
        """Send the signal to all of them; a frozen cgroup is thawed for SIGKILL. Raises KernelRefused."""
        from . import control

        control.kill(self.paths, signal)

    def stats(self) -> dict[str, Any]:
        """What it uses, in the shape of `data` of `runc events --stats`. Raises KernelRefused."""
        from . import stats

        return stats.collect(self._hierarchies(), self.paths)

    def oom_notifier(self) -> Any:
        """A notify.Notifier: poll its fd, then ask read(). Raises Unsupported, KernelRefused."""
        from . import notify

        return notify.for_memory(self.paths, self._hierarchies())

    def oom_kills(self) -> int:
        """How many processes the kernel killed for want of memory."""
        for item in self._hierarchies():
            file = "/memory.events" if item.is_v2 else "/memory.oom_control"
            if "memory" in item.controllers:
                for line in Directory(self.paths[item.name], item.is_v2).text(file).splitlines():
                    if line.startswith("oom_kill "):
                        return int(line.split()[1])
        return 0

    def remove(self) -> None:
        """Kill what still runs in it and remove what we made of it, with all below; silent where that is gone.

        Parents that we made go too if nobody else uses them. Of a cgroup whose making was cut short nothing is killed,
        for whoever is in it is not ours. Raises KernelRefused, OcilabError when it stays busy.
        """
        made = self._made or []
        own = [path for path in self.paths.values() if path in made]
        busy = [path for path in own if not _rmdir(path)]
        joined = [path for path in self.paths.values() if path not in made]
        if self._is_complete and (busy or joined):
            from . import control

            control.destroy(self.paths, _KILL_TIMEOUT_S)
            for path in busy:
                control.remove_tree(path, hierarchy.v2_directory(self.paths), _REMOVE_TIMEOUT_S)
        for path in reversed(made):
            if path not in own:
                _rmdir(path)


def _rmdir(path: str) -> bool:
    """False when the cgroup is in use. Raises KernelRefused."""
    try:
        files.rmdir(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        if error.errno in (errno.EBUSY, errno.ENOTEMPTY):
            return False
        if os.path.isdir(path):  # where nothing may be written, the kernel says so of what is not there too
            raise KernelRefused("rmdir", "cgroup " + path, error.errno) from None
    return True


def from_journal(entry: dict[str, Any]) -> Cgroup:
    """The cgroup that an entry of the journal names (see Cgroup.journal_entry), whatever has become of it."""
    if entry.get("unit"):
        from .systemd import SystemdCgroup

        return SystemdCgroup.from_entry(entry)
    cgroup = Cgroup(dict(entry["paths"]))
    cgroup._made = list(entry["made"])
    cgroup._is_complete = entry["complete"]
    return cgroup


def _below(path: str, sub: str) -> str:
    parts = [part for part in sub.split("/") if part not in ("", ".")]
    if ".." in parts or "\0" in sub:
        message = "bad sub cgroup path: --cgroup %r: a path below the container's cgroup without '..' is expected"
        raise InvalidInput(message % sub)
    return "/".join([path, *parts])


def subgroups(words: list[str]) -> str | dict[str, str]:
    """The values of `exec --cgroup` for Cgroup.entry(): one PATH, or CONTROLLER[,CONTROLLER]:PATH for each hierarchy.

    Raises InvalidInput.
    """
    result: dict[str, str] = {}
    for word in words:
        controllers, colon, path = word.partition(":")
        if not colon:
            if len(words) > 1:
                raise InvalidInput("--cgroup %r: name its controllers, as CONTROLLER:PATH" % word)
            return word
        for controller in controllers.split(","):
            if not controller or controller in result:
                raise InvalidInput("--cgroup %r: a controller is missing, or named twice" % word)
            result[controller] = path
    return result


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
            raise KernelRefused("open", "%s for adding pid of the process" % error.filename, error.errno) from None

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
