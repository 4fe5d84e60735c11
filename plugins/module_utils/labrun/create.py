# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""The runtime side of a start: the steps in their order, from a bundle to an init process that waits to be started."""

from __future__ import annotations

import os
import time

from ..linux import files, mounts, namespaces, processes, syscalls, trace
from ..linux.cgroups import manager as cgroups
from ..linux.errors import InvalidInput, KernelRefused, OcilabError, Unsupported
from ..spec import document, validate
from . import init as child
from . import process
from .state import Folder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

    Warn = Callable[[str], None]


class Plan:
    """What step 1 found out: a valid configuration, and all that the child needs ready made."""

    def __init__(self, bundle: str, config: dict[str, Any], rootfs: str, prepared: process.Prepared) -> None:
        self.bundle = bundle
        self.config = config
        self.rootfs = rootfs
        self.prepared = prepared
        self.cgroup_mounts: list[Any] = []
        linux = config.get("linux") or {}
        listed = linux.get("namespaces") or []
        self.new_kinds = [item["type"] for item in listed if not item.get("path")]
        self.joined = {item["type"]: item["path"] for item in listed if item.get("path")}
        self.uid_mappings = linux.get("uidMappings") or []
        self.gid_mappings = linux.get("gidMappings") or []
        self.new_user_namespace = "user" in self.new_kinds
        self.new_cgroup_namespace = "cgroup" in self.new_kinds


def receive_bundle(bundle: str, debug: Warn, warn: Warn) -> Plan:
    """Step 1: read <bundle>/config.json and hold it against the specification and this kernel.

    Raises NotFound, InvalidInput and Unsupported; nothing has been changed then.
    """
    trace.step("receive_bundle")
    if not syscalls.is_supported_machine():
        raise Unsupported("labrun runs on x86_64 and aarch64, not on " + syscalls.machine)
    bundle = os.path.realpath(bundle)
    path = os.path.join(bundle, "config.json")
    config: dict[str, Any] = trace.call("openat", (path,), document.read, path)
    validate.config(config, path, debug)
    for index, item in enumerate(config.get("mounts") or []):
        for word in item.get("options") or []:
            if word in mounts.LATER:
                message = "%s: mounts[%d].options: labrun does not support %r yet; remove it"
                raise Unsupported(message % (path, index, word))
    rootfs = os.path.realpath(os.path.join(bundle, config["root"]["path"]))
    if not os.path.isdir(rootfs):
        raise InvalidInput("%s: root.path: %s is not a directory" % (path, rootfs))
    profile = (config.get("linux") or {}).get("seccomp")
    return Plan(bundle, config, rootfs, process.Prepared(config["process"], profile, debug, warn))


class Created:
    """An init process that waits for its start: the pid, and the pipe that tells how its execve(2) went."""

    def __init__(self, pid: int, report_fd: int) -> None:
        self.pid = pid
        self.report_fd = report_fd


def make(folder: Folder, plan: Plan, stdio: list[int] | None, preserved: list[int]) -> Created:
    """Steps 2 to 5 up to the start. The folder has been reserved; on failure all is undone but the folder itself.

    stdio: three descriptors for the container, or None for the caller's own; preserved: further ones that it keeps.
    Raises KernelRefused, InvalidInput, Unsupported, CommandNotFound and CommandNotExecutable.
    """
    linux = plan.config.get("linux") or {}
    host = cgroups.detect()
    cgroup = host.at(linux.get("cgroupsPath") or "/labrun-" + folder.id)
    cgroup.refuse_existing()
    plan.cgroup_mounts = _cgroup_mounts(plan, cgroup)
    pipes = child.Pipes()
    pid = 0
    try:
        entry = create_cgroup(folder, cgroup, linux.get("resources") or {})
        try:
            pid = create_namespaces(plan, entry, pipes, folder, stdio, preserved)
        finally:
            entry.close()
        pipes.close_child_ends()
        folder.note({"object": "process", "pid": pid, "started": processes.start_time(pid)})
        _prepare_child(plan, pid)
        os.write(pipes.go_write, child.GO)
        report = child.receive_report(pipes.report_read)
        if not report.get("ready"):
            child.raise_reported(report or {"message": "the container's init was killed before it was ready"})
        trace.add(report["trace"])
        return Created(pid, pipes.keep_report())
    except BaseException:
        pipes.close_all()
        _abandon(pid, cgroup)
        raise


def _cgroup_mounts(plan: Plan, cgroup: cgroups.Cgroup) -> list[cgroups.CgroupMount]:
    """What a mount of type cgroup needs; nothing is looked up where the configuration has none."""
    if any(item.get("type") == "cgroup" for item in plan.config.get("mounts") or []):
        return cgroup.mounts_for_container()
    return []


def _make_fifo(folder: Folder) -> int:
    """The FIFO that the init waits on, open for reading and writing, so that neither side blocks in open (fifo(7))."""
    trace.call("mkfifo", (folder.fifo,), os.mkfifo, folder.fifo, 0o600)
    return os.open(folder.fifo, os.O_RDWR | os.O_CLOEXEC)


def create_namespaces(
    plan: Plan, entry: cgroups.Entry, pipes: child.Pipes, folder: Folder, stdio: list[int] | None, preserved: list[int]
) -> int:
    """Step 2: a child in new and joined namespaces, which waits for the word to go on; its pid on the host."""
    trace.step("create_namespaces")
    # The cgroup namespace comes in step 3, when the child is where that namespace's root is to be.
    new_kinds = [kind for kind in plan.new_kinds if kind != "cgroup"]
    fifo_fd = _make_fifo(folder)
    report_fd = pipes.report_write

    def body() -> None:
        child.init(plan, entry, fifo_fd, report_fd)

    def start_child() -> None:
        pipes.close_parent_ends()
        child.run_child(pipes, [fifo_fd] + entry.descriptors() + preserved, stdio, body)

    try:
        return spawn(plan.joined, new_kinds, entry.clone_into, start_child)
    finally:
        os.close(fifo_fd)


def spawn(joined: dict[str, str], new_kinds: list[str], into_cgroup: int, start_child: Callable[[], None]) -> int:
    """Clone a child of ours into namespaces: joined ones by path, then new ones. start_child() must not return.

    A joined pid namespace counts for children only, so a process in between joins and clones for us (CLONE_PARENT).
    Raises InvalidInput and KernelRefused.
    """
    flags = namespaces.new_flags(new_kinds)
    shown = namespaces.shown_flags(new_kinds) or "no new namespace"
    if not joined:
        try:
            pid = syscalls.clone(flags, shown, into_cgroup)
        except OSError as error:
            raise KernelRefused(
                "clone", shown, error.errno, "see container_host_info for what this host allows"
            ) from None
        if pid == 0:
            start_child()
        return pid
    opened = namespaces.open_all(joined)
    read_fd, write_fd = os.pipe()
    between = os.fork()
    if between == 0:
        _join_and_clone(opened, flags, shown, into_cgroup, write_fd, start_child)
    os.close(write_fd)
    for _kind, fd, _path in opened:
        os.close(fd)
    answer = os.read(read_fd, 4096).decode()
    os.close(read_fd)
    os.waitpid(between, 0)
    if not answer.isdigit():
        raise OcilabError(answer or "the process that joins the namespaces was killed")
    return int(answer)


def _join_and_clone(
    opened: Any, flags: int, shown: str, into_cgroup: int, write_fd: int, start_child: Callable[[], None]
) -> None:
    try:
        syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0, "PR_SET_DUMPABLE")  # case R04
        namespaces.join(opened)
        pid = syscalls.clone(flags | syscalls.CLONE_PARENT, shown, into_cgroup)
        if pid == 0:
            os.close(write_fd)
            start_child()
        os.write(write_fd, b"%d" % pid)
    except OcilabError as error:
        os.write(write_fd, str(error).encode())
    except OSError as error:
        os.write(write_fd, str(KernelRefused("clone", shown, error.errno)).encode())
    finally:
        os._exit(0)


def _prepare_child(plan: Plan, pid: int) -> None:
    """What only the outside may do to the waiting child: its id maps and its oom score."""
    if plan.new_user_namespace:
        namespaces.map_ids(pid, plan.uid_mappings, plan.gid_mappings)
    score = plan.config["process"].get("oomScoreAdj")
    if score is not None:
        try:
            files.write("/proc/%d/oom_score_adj" % pid, b"%d" % score)
        except OSError as error:
            hint = "a lower score than the caller's own needs CAP_SYS_RESOURCE"
            raise KernelRefused("write", "oomScoreAdj %d" % score, error.errno, hint) from None


def create_cgroup(folder: Folder, cgroup: cgroups.Cgroup, resources: dict[str, Any]) -> cgroups.Entry:
    """Step 3: the cgroup, noted before it is made, with its limits, and the way into it for the child.

    It comes before step 2 in time, for the child is to be cloned into it; the cgroup namespace follows in the child.
    """
    trace.step("create_cgroup")
    folder.note({"object": "cgroup", "paths": list(cgroup.paths.values())})
    cgroup.create()
    cgroup.set(resources)
    return cgroup.entry()


def _abandon(pid: int, cgroup: Any) -> None:
    """Undo a failed start: the child ends with its pipe or by SIGKILL, its mounts with its namespace."""
    if pid:
        try:
            os.kill(pid, 9)
        except ProcessLookupError:
            pass
        os.waitpid(pid, 0)
    cgroup.remove()


def new_state(folder: Folder, plan: Plan, pid: int) -> dict[str, Any]:
    """The state to keep of a created container: runtime-spec's fields and what the later commands need."""
    return {
        "ociVersion": plan.config["ociVersion"],
        "id": folder.id,
        "pid": pid,
        "started": processes.start_time(pid),
        "bundle": plan.bundle,
        "rootfs": plan.rootfs,
        "created_ns": time.time_ns(),
        "annotations": plan.config.get("annotations") or {},
    }
