# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""The runtime side of a start: the steps in their order, from a bundle to an init process that waits to be started."""

from __future__ import annotations

import marshal
import os
import time

from ..linux import files, mounts, namespaces, processes, syscalls, trace
from ..linux.cgroups import manager as cgroups
from ..linux.errors import InvalidInput, KernelRefused, OcilabError, Unsupported
from ..spec import document, validate
from . import init as child
from . import listener, process, rootfs
from .channel import Channel, raise_reported, run_child
from .rootless import is_rootless
from .spawn import Namespaces, spawn
from .state import Folder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

    Warn = Callable[[str], None]

# Kept filters lie beside the containers, under a name that is no container id.
FILTERS = "@seccomp"


class Settings:
    """What a caller asks for beside config.json.

    stdio: three descriptors for the container, or None for the caller's own; preserved: how many descriptors from 3 on
    it keeps, listen_fds of them by systemd's protocol; open_console: is given the process object and returns a
    terminal.Console, or None for one that wants no terminal; notes: for the journal, before anything is made; observe:
    is called after each step with its name and the init's pid (0 before there is one), while the child waits for it;
    notify_directory: the folder of a socket for sd_notify(3), see notify.py.
    """

    def __init__(
        self,
        stdio: list[int] | None = None,
        preserved: int = 0,
        open_console: Callable[[dict[str, Any]], Any] | None = None,
        no_pivot: bool = False,
        no_new_keyring: bool = False,
        systemd_cgroup: bool = False,
        rootless: bool | None = None,
        listen_fds: int = 0,
        notes: list[dict[str, Any]] | None = None,
        observe: Callable[[str, int], None] | None = None,
        notify_directory: str = "",
    ) -> None:
        self.stdio = stdio
        self.preserved = preserved
        self.open_console = open_console
        self.no_pivot = no_pivot
        self.no_new_keyring = no_new_keyring
        self.systemd_cgroup = systemd_cgroup
        self.rootless = is_rootless() if rootless is None else rootless
        self.listen_fds = listen_fds
        self.notes = notes or []
        self.observe = observe
        self.notify_directory = notify_directory


class Plan:
    """What step 1 found out: a valid configuration, and all that the child needs ready made."""

    def __init__(self, bundle: str, text: bytes, config: dict[str, Any], rootfs_path: str, settings: Settings) -> None:
        linux = config.get("linux") or {}
        self.bundle = bundle
        self.text = text
        self.config = config
        self.rootfs = rootfs_path
        self.settings = settings
        self.namespaces = Namespaces(linux)
        self.hooks: dict[str, list[dict[str, Any]]] = config.get("hooks") or {}
        self.no_pivot = settings.no_pivot
        self.new_user_namespace = "user" in self.namespaces.new
        self.new_cgroup_namespace = "cgroup" in self.namespaces.new
        self.prepared: process.Prepared
        self.console: Any = None
        self.cgroup_mounts: list[Any] = []
        self.sources: Any = None  # the module, where some bind sources are the runtime's to open
        self.source_indexes: list[int] = []
        self.source_channel: Any = None
        self.cgroup_fd = -1

    @property
    def new_kinds(self) -> list[str]:
        return self.namespaces.new

    @property
    def joined(self) -> dict[str, str]:
        return self.namespaces.joined


def receive_bundle(bundle: str, root: str, settings: Settings, debug: Warn, warn: Warn) -> Plan:
    """Step 1: read <bundle>/config.json and hold it against the specification and this kernel.

    root is the folder of states. Raises NotFound, InvalidInput and Unsupported; nothing has been changed then.
    """
    trace.step("receive_bundle")
    if not syscalls.is_supported_machine():
        raise Unsupported("labrun runs on x86_64 and aarch64, not on " + syscalls.machine)
    bundle = os.path.realpath(bundle)
    path = os.path.join(bundle, "config.json")
    text, config = read_config(path, debug)
    if config.get("hooks"):
        from . import hooks

        hooks.check(config["hooks"], path)
    described, linux = config.setdefault("process", dict(process.NONE)), config.get("linux") or {}
    if settings.notify_directory:
        from . import notify

        notify.add(config, settings.notify_directory)
    rootfs_path = os.path.realpath(os.path.join(bundle, config["root"]["path"]))
    rootfs.prepare(config, path, rootfs_path)
    if not os.path.isdir(rootfs_path):
        raise InvalidInput("%s: root.path: %s is not a directory" % (path, rootfs_path))
    plan = Plan(bundle, text, config, rootfs_path, settings)
    if settings.listen_fds:  # sd_listen_fds(3)
        listening = ["LISTEN_FDS=%d" % settings.listen_fds, "LISTEN_PID=1"]
        described = dict(described, env=(described.get("env") or []) + listening)
    plan.prepared = process.Prepared(described, linux, debug, warn, os.path.join(root, FILTERS))
    _find_sources(plan)
    if settings.open_console:
        plan.console = settings.open_console(described)
    elif described.get("terminal"):
        raise InvalidInput("%s: process.terminal: nobody takes the terminal; set it to false" % path)
    return plan


_checked: list[tuple[bytes, str, list[str], bytes]] = []


def read_config(path: str, debug: Warn) -> tuple[bytes, dict[str, Any]]:
    """The file at path and what it says, held against the specification. Raises NotFound, InvalidInput, Unsupported.

    The last one is kept with what debug was told of it, for many containers may be started of one bundle.
    """
    text = trace.call("openat", (path,), document.read_bytes, path)
    if _checked and _checked[0][:2] == (text, path):
        config = marshal.loads(_checked[0][3])
    else:
        config = document.parse(text, path)
        told: list[str] = []
        validate.config(config, path, told.append)
        _checked[:] = [(text, path, told, marshal.dumps(config))]
    for line in _checked[0][2]:
        debug(line)
    return text, config


def _find_sources(plan: Plan) -> None:
    """Load what bind mounts with id mappings or of a user namespace may need; for others it is not even loaded."""
    mapped = any(
        item.get("uidMappings") or any(word in ("idmap", "ridmap") for word in item.get("options") or [])
        for item in plan.config.get("mounts") or []
    )
    if not mapped and "user" not in plan.new_kinds and "user" not in plan.joined:
        return
    from . import sources

    plan.source_indexes = sources.needed(plan.config, plan.bundle, plan.rootfs)
    if plan.source_indexes:
        plan.sources = sources


def make(folder: Folder, plan: Plan, debug: Warn) -> int:
    """Steps 2 to 5 up to the start; the init's pid. The folder has been reserved; on failure all is undone but it.

    Raises KernelRefused, InvalidInput, Unsupported, CommandNotFound and CommandNotExecutable.
    """
    cgroup = _cgroup(folder, plan)
    plan.prepared.keyring = None if plan.settings.no_new_keyring else b"_ses." + folder.id.encode()
    if plan.sources:
        plan.source_channel = plan.sources.pair()
    channel = Channel(folder.report_fifo)
    pid = 0
    try:
        observe = plan.settings.observe
        if observe:
            observe("receive_bundle", 0)
        _note_mounts(folder, plan)
        entry = create_cgroup(folder, cgroup, (plan.config.get("linux") or {}).get("resources") or {})
        if cgroup.left_out:
            debug(cgroup.left_out)
        plan.cgroup_mounts = _cgroup_mounts(plan, cgroup)
        if observe:
            observe("create_cgroup", 0)
        try:
            pid = create_namespaces(plan, entry, channel, folder)
        finally:
            entry.close()
        channel.close_child_ends()
        folder.note({"object": "process", "pid": pid, "started": processes.start_time(pid)})
        if plan.hooks:  # they may ask for the container's state, and whoever undoes it runs those of poststop
            folder.save(dict(new_state(folder, plan, pid), half_made=True))
        _adopt(folder, plan, cgroup, pid)
        _prepare_child(plan, pid)
        if observe:
            observe("create_namespaces", pid)
        channel.go()
        _accompany(folder, plan, pid, channel)
        return pid
    except BaseException:
        _abandon(pid, cgroup)
        raise
    finally:
        channel.close_all()
        for end in plan.source_channel or ():
            end.close()


def _cgroup(folder: Folder, plan: Plan) -> cgroups.Cgroup:
    path = (plan.config.get("linux") or {}).get("cgroupsPath") or ""
    settings = plan.settings
    properties = None
    if settings.systemd_cgroup:
        from ..linux.cgroups import systemd

        properties = systemd.annotated(plan.config.get("annotations") or {})
    return cgroups.detect().at(path, folder.id, settings.systemd_cgroup, settings.rootless, properties)


def _note_mounts(folder: Folder, plan: Plan) -> None:
    """Without a new mount namespace the container's mounts outlive it, on the host or in a namespace that it joins."""
    if "mount" in plan.new_kinds:
        return
    namespace = plan.joined.get("mount", "")
    before = 0 if namespace else mounts.count_at(plan.rootfs)
    folder.note({"object": "mounts", "path": plan.rootfs, "before": before, "namespace": namespace})


def undo_mounts(noted: dict[str, Any]) -> None:
    """Take away what _note_mounts() noted, the process being gone. Raises OSError."""
    if not noted["namespace"]:
        mounts.take_away(noted["path"], noted["before"])
        return
    pid = os.fork()  # a process may be in one mount namespace only
    if pid:
        os.waitpid(pid, 0)
        return
    try:
        namespaces.join(namespaces.open_all({"mount": noted["namespace"]}))
        mounts.take_away(noted["path"], noted["before"])
    except (OSError, OcilabError):
        pass  # the namespace has gone, and its mounts with it
    finally:
        os._exit(0)


def _adopt(folder: Folder, plan: Plan, cgroup: cgroups.Cgroup, pid: int) -> None:
    """What needs the process: systemd makes a cgroup only around one; and what root of the container may write to."""
    if plan.settings.systemd_cgroup:
        try:
            cgroup.adopt(pid)
        finally:
            folder.note(cgroup.journal_entry())
    if plan.new_user_namespace and plan.new_cgroup_namespace and cgroup.paths:
        writable = [item for item in plan.config.get("mounts") or [] if "ro" not in (item.get("options") or [])]
        root = [item["hostID"] for item in plan.namespaces.uid_mappings if item["containerID"] == 0]
        if root and any(item.get("type") in ("cgroup", "cgroup2") for item in writable):
            cgroup.give(root[0])


def _cgroup_mounts(plan: Plan, cgroup: cgroups.Cgroup) -> list[cgroups.CgroupMount]:
    """What a mount of type cgroup needs; nothing is looked up where the configuration has none."""
    if any(item.get("type") in ("cgroup", "cgroup2") for item in plan.config.get("mounts") or []):
        return cgroup.mounts_for_container()
    return []


def _make_fifo(folder: Folder) -> int:
    """The FIFO that the init waits on, open for reading and writing, so that neither side blocks in open (fifo(7))."""
    trace.call("mkfifo", (folder.fifo,), os.mkfifo, folder.fifo, 0o600)
    return os.open(folder.fifo, os.O_RDWR | os.O_CLOEXEC)


def create_namespaces(plan: Plan, entry: cgroups.Entry, channel: Channel, folder: Folder) -> int:
    """Step 2: a child in new and joined namespaces, which waits for the word to go on; its pid on the host."""
    trace.step("create_namespaces")
    fifo_fd = _make_fifo(folder)
    plan.cgroup_fd = plan.namespaces.open_cgroup()
    settings = plan.settings

    def body() -> None:
        child.init(plan, folder.id, entry, channel, fifo_fd)

    def start_child() -> None:
        keep = [fifo_fd, *entry.descriptors(), *range(3, 3 + settings.preserved)]
        keep += [fd for fd in (plan.cgroup_fd, plan.console.socket_fd if plan.console else -1) if fd >= 0]
        if plan.sources:
            keep.append(plan.source_channel[1].fileno())
        run_child(channel, keep, settings.stdio, body)

    try:
        return spawn(plan.namespaces, entry.clone_into, start_child)
    finally:
        os.close(fifo_fd)
        if plan.cgroup_fd >= 0:
            os.close(plan.cgroup_fd)


def _prepare_child(plan: Plan, pid: int) -> None:
    """What only the outside may do to the waiting child: its oom score, its network devices."""
    score = plan.config["process"].get("oomScoreAdj")
    if score is not None:
        try:
            files.write("/proc/%d/oom_score_adj" % pid, b"%d" % score)
        except OSError as error:
            hint = "a lower score than the caller's own needs CAP_SYS_RESOURCE"
            raise KernelRefused("write", "oomScoreAdj %d" % score, error.errno, hint) from None
    for name, item in ((plan.config.get("linux") or {}).get("netDevices") or {}).items():
        from ..linux import netlink

        netlink.move_device(name, (item or {}).get("name") or name, pid)


def _accompany(folder: Folder, plan: Plan, pid: int, channel: Channel) -> None:
    """Do the runtime's part of what the child asks for, until it only waits for its start. Raises what it reports."""
    while True:
        told = channel.receive()
        if told.get("ready"):
            trace.add(told["trace"])
            if plan.settings.observe:
                plan.settings.observe("become_process", pid)
            return
        if told.get("mounted"):
            _run_hooks(folder, plan, pid)
            channel.go()
        elif told.get("entered"):
            plan.settings.observe("build_rootfs", pid)  # type: ignore[misc]  # the child asks only where there is one
            channel.go()
        elif "source" in told:  # as late as can be, for it may lie in what was mounted before it
            plan.sources.send(plan.source_channel[0], plan.config, plan.bundle, pid, told["source"])
        elif "listener" in told:
            state = told_state(new_state(folder, plan, pid), "creating")
            listener.forward(pid, told["listener"], plan.prepared.seccomp, state, channel.go_write)
        else:
            raise_reported(told or {"message": "the container's init was killed before it was ready"})


def _run_hooks(folder: Folder, plan: Plan, pid: int) -> None:
    """The hooks between the mounts and pivot_root that are the runtime's to run (runtime.md, lifecycle 3 and 4)."""
    from . import hooks

    state = told_state(new_state(folder, plan, pid), "created")
    for kind in hooks.IN_RUNTIME:
        hooks.Hooks(kind, plan.hooks.get(kind) or [], state, None, plan.bundle).run()


def create_cgroup(folder: Folder, cgroup: cgroups.Cgroup, resources: dict[str, Any]) -> cgroups.Entry:
    """Step 3: the cgroup, noted before it is made, with its limits, and the way into it for the child.

    It comes before step 2 in time, for the child is to be cloned into it; the cgroup namespace follows in the child.
    """
    trace.step("create_cgroup")
    folder.note(cgroup.journal_entry())
    cgroup.create(resources)
    folder.note(cgroup.journal_entry())  # what is in it from here on is ours, and may be killed with it
    return cgroup.entry()


def _abandon(pid: int, cgroup: cgroups.Cgroup) -> None:
    """Undo a failed start: the child ends with its channel or by SIGKILL, its mounts with its namespace."""
    if pid:
        try:
            os.kill(pid, 9)
        except ProcessLookupError:
            pass
        os.waitpid(pid, 0)
    cgroup.remove()


def new_state(folder: Folder, plan: Plan, pid: int) -> dict[str, Any]:
    """The state to keep of a created container: runtime-spec's fields and what the later commands need."""
    state: dict[str, Any] = {
        "ociVersion": plan.config["ociVersion"],
        "id": folder.id,
        "pid": pid,
        "started": processes.start_time(pid),
        "bundle": plan.bundle,
        "rootfs": plan.rootfs,
        "created_ns": time.time_ns(),
        "annotations": plan.config.get("annotations") or {},
        "own_pids": "pid" in plan.namespaces.new,
    }
    later = {kind: plan.hooks[kind] for kind in ("poststart", "poststop") if plan.hooks.get(kind)}
    return dict(state, hooks=later) if later else state


def told_state(kept: dict[str, Any], status: str) -> dict[str, Any]:
    """runtime-spec's state (state-schema.json) of a kept one, as hooks and seccomp agents are told it."""
    told: dict[str, Any] = {
        key: kept[key] for key in ("ociVersion", "id", "pid", "bundle", "annotations") if key in kept
    }
    told["status"] = status
    if status == "stopped":
        told["pid"] = 0
    return told
