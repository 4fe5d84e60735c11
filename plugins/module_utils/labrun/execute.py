# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""exec: a further process in the namespaces and the cgroup of a running container."""

from __future__ import annotations

import os

from ..linux import namespaces, trace
from ..linux.cgroups import manager as cgroups
from ..linux.errors import InvalidInput, WrongState
from ..spec import fields, validate
from . import create as creation
from . import init as child
from . import listener, process
from .channel import Channel, raise_reported, run_child
from .container import Container
from .create import Settings
from .spawn import Namespaces, spawn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

    Warn = Callable[[str], None]


def process_for(container: Container, args: list[str], changes: dict[str, Any]) -> dict[str, Any]:
    """A process object like the container's own, that runs args, with changes.

    env is added to; user is laid over the container's; capabilities (a list) are added to its sets; the rest replaced.
    """
    configured: dict[str, Any] = container.folder.config().get("process") or dict(process.NONE)
    result = dict(configured, args=args, terminal=False)
    for key, value in changes.items():
        if key == "env":
            value = (configured.get("env") or []) + value
        elif key == "user":
            value = dict(configured.get("user") or {}, **value)
        elif key == "capabilities":
            value = _with_capabilities(configured.get("capabilities") or {}, value)
        result[key] = value
    return result


def _with_capabilities(configured: dict[str, list[str]], more: list[str]) -> dict[str, list[str]]:
    """Ambient ones only where some are inheritable, for without that they cannot be; as runc does it."""
    kinds = ["bounding", "effective", "permitted"] + (["ambient"] if configured.get("inheritable") else [])
    return dict(configured, **{kind: (configured.get(kind) or []) + more for kind in kinds})


def execute(
    container: Container,
    described: dict[str, Any],
    settings: Settings,
    debug: Warn,
    warn: Warn,
    cgroup: list[str] | None = None,
    ignore_paused: bool = False,
) -> int:
    """Start the described process (a process object of config.json) in a running container; its pid, a child of ours.

    cgroup: words of --cgroup, which name cgroups below the container's. Raises WrongState when the container is not
    running, InvalidInput, KernelRefused, CommandNotFound, CommandNotExecutable.
    """
    trace.step("exec")
    state = container.state()
    if state["status"] == "paused" and not ignore_paused:
        message = "cannot exec in a paused container: %s: resume it, or use --ignore-paused"
        raise WrongState(message % container.id)
    if state["status"] not in ("created", "running", "paused"):
        raise WrongState("container %s: cannot exec in it, it is %s" % (container.id, state["status"]))
    validate.shape(described, fields.PROCESS, "process", "exec", debug)
    validate.process(described, "exec: process")
    linux = container.folder.config().get("linux") or {}
    filters = os.path.join(container.folder.root, creation.FILTERS)
    prepared = process.Prepared(described, linux, debug, warn, filters, joining=True)
    prepared.keyring = b"_ses." + container.id.encode()
    console = settings.open_console(described) if settings.open_console else None
    kinds = [item["type"] for item in linux.get("namespaces") or []]
    joined = [{"type": kind, "path": _namespace(state["pid"], kind)} for kind in kinds]
    joining = _Joining(container, prepared, console, settings.stdio, settings.preserved)
    joining.own_mounts = any(item["type"] == "mount" and not item.get("path") for item in linux.get("namespaces") or [])
    return joining.start(Namespaces({"namespaces": joined}), cgroup or [])


def _cgroup(container: Container) -> cgroups.Cgroup:
    """The container's cgroup, in which a further process must be. Raises WrongState where its making was cut short."""
    noted = container.noted("cgroup")
    if not noted.get("complete"):
        message = (
            "container %s: cannot exec in it: the runtime was killed before its cgroup was made; delete it with --force"
        )
        raise WrongState(message % container.id)
    return cgroups.from_journal(noted)


def _namespace(pid: int, kind: str) -> str:
    return "/proc/%d/ns/%s" % (pid, namespaces.KINDS[kind][1])


class _Joining:
    """One exec: what its two processes need."""

    def __init__(
        self, container: Container, prepared: process.Prepared, console: Any, stdio: list[int] | None, preserved: int
    ) -> None:
        self.container = container
        self.prepared = prepared
        self.console = console
        self.stdio = stdio
        self.preserved = preserved
        self.channel = Channel()
        # In the container there is only the container's /proc, which may tell lies (case R09).
        self.proc_fd = process.open_proc(prepared)
        self.own_mounts = True
        self.cgroup_fd = -1
        self.root_fd = -1

    def start(self, wanted: Namespaces, cgroup: list[str]) -> int:
        """The pid of the process, once it has become its program. Raises what it reports."""
        self.wanted = wanted
        self.cgroup_fd = wanted.open_cgroup()
        if not self.own_mounts:  # the root of its mount namespace is not the container's
            flags = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
            self.root_fd = os.open("/proc/%d/root" % self.container.pid, flags)
        entry = _cgroup(self.container).entry(cgroups.subgroups(cgroup), self.container.pid)
        pid = 0
        try:
            pid = spawn(wanted, entry.clone_into, lambda: self._start_child(entry))
            self.channel.close_child_ends()
            self.channel.go()
            self._accompany(pid)
        except BaseException:
            if pid:
                os.waitpid(pid, 0)
            raise
        finally:
            entry.close()
            self.channel.close_all()
            for fd in (self.proc_fd, self.cgroup_fd, self.root_fd):
                if fd >= 0:
                    os.close(fd)
        return pid

    def _accompany(self, pid: int) -> None:
        while True:
            told = self.channel.receive()
            if "listener" not in told:
                break
            state = creation.told_state(self.container.folder.load(), "running")
            listener.forward(pid, told["listener"], self.prepared.seccomp, state, self.channel.go_write)
        if told:
            raise_reported(told)

    def _start_child(self, entry: cgroups.Entry) -> None:
        keep = [*entry.descriptors(), *range(3, 3 + self.preserved)]
        console_fd = self.console.socket_fd if self.console else -1
        keep += [fd for fd in (self.proc_fd, self.cgroup_fd, self.root_fd, console_fd) if fd >= 0]
        run_child(self.channel, keep, self.stdio, lambda: self._run(entry))

    def _run(self, entry: cgroups.Entry) -> None:
        """In the container's namespaces already, where nothing may be looked up (case R22)."""
        child.forget_imports()
        os.setsid()
        if self.root_fd >= 0:
            os.fchdir(self.root_fd)
            os.chroot(".")
        process.set_initial_affinity(self.prepared)
        entry.enter()
        self.wanted.join_cgroup(self.cgroup_fd)
        child.become_root()
        process.open_host_files(self.prepared, self.proc_fd)
        if self.console:
            root_fd = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            self.console.open(root_fd).take(self.prepared.uid)
            os.close(root_fd)

        def give_listener(fd: int) -> None:
            listener.give(self.channel.report_write, self.channel.go_read, fd)

        process.become_process(self.prepared, trace.end, self.channel.report_write, give_listener, self.preserved)


def user(text: str) -> dict[str, Any]:
    """The user object of UID or UID:GID, as runc's exec takes it. Raises InvalidInput."""
    uid, colon, gid = text.partition(":")
    for part in (uid, gid if colon else "0"):
        if not (part.isascii() and part.isdigit()) or int(part) > validate.MAX_ID:
            raise InvalidInput("--user %r: give UID or UID:GID as numbers" % text)
    return {"uid": int(uid), "gid": int(gid)} if colon else {"uid": int(uid)}
