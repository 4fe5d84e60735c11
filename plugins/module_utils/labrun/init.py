# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""The child side of a start: what the new process does between clone(2) and execve(2)."""

from __future__ import annotations

import os
import sys

from ..linux import namespaces, network, syscalls, trace
from . import listener, process
from .rootfs import enter_root, mount_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .channel import Channel


def init(plan: Any, container_id: str, entry: Any, channel: Channel, fifo_fd: int) -> None:
    """The container's first process: the end of step 3, then steps 4 and 5; of create.Plan and cgroups.Entry."""
    os.setsid()
    trace.step("create_cgroup")
    entry.enter()
    plan.namespaces.join_cgroup(plan.cgroup_fd)
    if plan.new_user_namespace or "user" in plan.joined:
        become_root()
    if plan.new_cgroup_namespace:
        syscalls.unshare(syscalls.CLONE_NEWCGROUP, namespaces.shown_flags(["cgroup"]))
    trace.step("build_rootfs")
    _name_host(plan.config)
    if "network" in plan.new_kinds:
        network.bring_up_loopback()
    _use_host_proc(plan.prepared)
    start_hooks = _start_hooks(plan, container_id)
    built = mount_all(plan, lambda index: _source(plan, channel, index))
    if plan.sources:
        plan.source_channel[1].close()
    if plan.hooks.get("prestart") or plan.hooks.get("createRuntime"):
        channel.report({"mounted": True})
        channel.await_go()
    if plan.hooks.get("createContainer"):
        os.fchdir(built.root_fd)  # where runc runs them, too
        _hooks(plan, container_id, "createContainer", {}).run()
    forget_imports()
    enter_root(plan, built)
    if plan.settings.observe:
        channel.report({"entered": True})
        channel.await_go()
    if built.pty:
        built.pty.take(plan.prepared.uid)
    trace.step("become_process")

    # The launcher waits in some pages of memory, the interpreter in some MiB, but for what is to be done afterwards.
    wait_fd = -1 if start_hooks or process.is_direct(plan.prepared) else fifo_fd

    def wait_for_start() -> None:
        channel.report({"ready": True, "trace": trace.take()})
        if wait_fd < 0:
            os.read(fifo_fd, 1)
        if start_hooks:
            start_hooks.run()

    def give_listener(fd: int) -> None:
        listener.give(channel.report_write, channel.go_read, fd)

    preserved = plan.settings.preserved
    process.become_process(plan.prepared, wait_for_start, channel.report_write, give_listener, preserved, wait_fd)


def _source(plan: Any, channel: Channel, index: int) -> int:
    """The descriptor of a bind source that is the runtime's to open, or -1."""
    if index not in plan.source_indexes:
        return -1
    channel.report({"source": index})
    fd: int = plan.sources.receive(plan.source_channel[1])
    return fd


def become_root() -> None:
    """Take on id 0 of the user namespace, where it has one: until the drop to the process's user all is done by it."""
    try:
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)
    except OSError:
        pass  # not mapped: the namespace's capabilities are there all the same


def _name_host(config: dict[str, Any]) -> None:
    if config.get("hostname"):
        syscalls.sethostname(os.fsencode(config["hostname"]))
    if config.get("domainname"):
        syscalls.setdomainname(os.fsencode(config["domainname"]))


def _use_host_proc(prepared: Any) -> None:
    """What is read and written through the host's /proc, which nothing in the container can lie about (case R09)."""
    proc_fd = process.open_proc(prepared)
    process.open_host_files(prepared, proc_fd)
    process.write_sysctls(prepared, proc_fd)
    if proc_fd >= 0:
        os.close(proc_fd)


def _hooks(plan: Any, container_id: str, kind: str, default: dict[bytes, bytes]) -> Any:
    """The hooks of one kind that run in the container's namespaces, where the init is; the state has the pid seen in
    them. default: the environment of those that name none.
    """
    from . import hooks

    state = {
        "ociVersion": plan.config["ociVersion"],
        "id": container_id,
        "status": "created",
        "pid": os.getpid(),
        "bundle": plan.bundle,
        "annotations": plan.config.get("annotations") or {},
    }
    return hooks.Hooks(kind, plan.hooks.get(kind) or [], state, default)


def _start_hooks(plan: Any, container_id: str) -> Any:
    """Ready to run, for after pivot_root nothing may be looked up any more (case R22); None without any."""
    if not plan.hooks.get("startContainer"):
        return None
    # The process's own environment, as in runc: HOME is added to it later.
    ready = _hooks(plan, container_id, "startContainer", plan.prepared.environment)
    ready.guard()
    return ready


def forget_imports() -> None:
    """From here on no import can find anything: what the container put on a path must never be run (case R22)."""
    sys.meta_path.clear()
    sys.path_hooks.clear()
    sys.path.clear()
