# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""The life of a container (runtime.md, lifecycle): create, start, state, kill, delete; for commands and for modules."""

from __future__ import annotations

import errno
import os
import time

from ..linux import processes, syscalls, trace
from ..linux.errors import HookFailed, InvalidInput, KernelRefused, NotFound, OcilabError, WrongState
from . import channel
from . import create as creation
from .create import Settings
from .state import DEFAULT_ROOT, Folder, folders

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

    Warn = Callable[[str], None]

_KILL_TIMEOUT_S = 10.0
_MONITOR_TIMEOUT_S = 2.0
_STOP_SIGNAL = "org.opencontainers.image.stopSignal"
SIGKILL = 9
SIGTERM = 15
# CHLD, CONT, STOP, TSTP, TTIN, TTOU, URG, WINCH do not end a process (signal(7)); 0 asks whether it is there.
HARMLESS = (0, 17, 18, 19, 20, 21, 22, 23, 28)


def _ignore(_text: str) -> None:
    """Where nobody asked for debug lines or warnings."""


class Container:
    """A container by its id. Everything about it is read from its folder when asked for: it may change at any time."""

    def __init__(self, container_id: str, root: str = DEFAULT_ROOT) -> None:
        self.folder = Folder(root, container_id)
        self.id = container_id

    @property
    def pid(self) -> int:
        """The init process's pid on the host; 0 when it has ended."""
        pid: int = self.state()["pid"]
        return pid

    def state(self) -> dict[str, Any]:
        """runtime-spec's state (state-schema.json), with runc's rootfs, created and owner. Raises NotFound."""
        kept = self.folder.load()
        status = self._status(kept)
        pid = kept["pid"] or self.folder.process()[0]
        state = {
            "ociVersion": kept.get("ociVersion", "1.3.0"),
            "id": self.id,
            "pid": 0 if status == "stopped" else pid,
            "status": status,
            "bundle": kept["bundle"],
            "rootfs": kept.get("rootfs", ""),
            "created": _timestamp(kept.get("created_ns", 0)),
        }
        if kept["annotations"]:  # like runc, which leaves it out where there are none
            state["annotations"] = kept["annotations"]
        return dict(state, owner="")

    def _status(self, kept: dict[str, Any]) -> str:
        """'creating', 'created', 'running', 'stopped' (runtime.md, state), or 'paused' where its cgroup is frozen."""
        status = self.folder.status(kept)
        if status != "running":
            return status
        cgroup = self.cgroup()
        return "paused" if cgroup and cgroup.is_frozen() else status

    def cgroup(self) -> Any:
        """The container's cgroup (linux/cgroups), or None where it has none."""
        noted = self.noted("cgroup")
        if not noted:
            return None
        from ..linux.cgroups import manager

        return manager.from_journal(noted)

    def start(self) -> None:
        """Let a created container's process run, then the hooks of poststart.

        Raises NotFound, WrongState; CommandNot* where execve fails; OcilabError where a hook does: the container is
        destroyed then (runtime.md, lifecycle 9).
        """
        trace.step("start")
        kept = self.folder.load()
        status = self.folder.status(kept)
        if status != "created":
            raise WrongState("container %s: cannot be started, it is %s" % (self.id, status))
        try:
            fifo = os.open(self.folder.fifo, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            reports = channel.listen(self.folder.report_fifo)
            trace.call(
                "unlink", (self.folder.fifo,), os.unlink, self.folder.fifo
            )  # who removes it is the one that starts the container
        except OSError as error:
            if error.errno in (errno.ENXIO, errno.ENOENT):
                raise WrongState("container %s: was started or has ended meanwhile" % self.id) from None
            raise KernelRefused("open", self.folder.fifo, error.errno) from None
        trace.call("write", (self.folder.fifo, "the word to go"), os.write, fifo, channel.GO)
        os.close(fifo)
        try:
            channel.await_execve(reports)
            if kept.get("hooks", {}).get("poststart"):
                from . import hooks

                state = creation.told_state(kept, "running")
                hooks.Hooks("poststart", kept["hooks"]["poststart"], state, None, kept["bundle"]).run()
        except HookFailed:
            self.delete(force=True)
            raise

    def stop(self, timeout_s: float) -> None:
        """ask_to_stop(), and await_stop(). Raises NotFound, OcilabError."""
        self.ask_to_stop()
        self.await_stop(timeout_s)

    def ask_to_stop(self) -> None:
        """SIGTERM, or the signal that an annotation names (image-spec, annotations.md and conversion.md), as systemd's.

        Raises NotFound, OcilabError.
        """
        trace.step("stop")
        kept = self.folder.load()
        name = kept["annotations"].get(_STOP_SIGNAL)
        signal = SIGTERM
        if name:
            from ..linux import signals

            try:
                signal = signals.number(name)
            except InvalidInput:
                pass  # the annotation is the bundle's: whatever it says, the container can be stopped
        pidfd = processes.open_process(*self.folder.process())
        if pidfd >= 0:
            try:
                syscalls.pidfd_send_signal(pidfd, self._heard(signal, self.folder.status(kept)))
            except ProcessLookupError:
                pass
            finally:
                os.close(pidfd)

    def await_stop(self, timeout_s: float) -> None:
        """SIGKILL when the process has not ended after timeout_s seconds; then the exit code is recorded.

        Raises OcilabError.
        """
        trace.step("stop")
        pidfd = processes.open_process(*self.folder.process())
        if pidfd >= 0:
            try:
                if not processes.wait_gone(pidfd, timeout_s):
                    self._destroy_process()
            finally:
                os.close(pidfd)
        monitor = self.noted("monitor")
        if monitor:
            self._await_monitor(monitor["pid"], monitor["started"])

    def exit_code(self) -> int | None:
        """How the process ended, by the monitor's record; None while it runs or where no monitor watched it."""
        try:
            with open(os.path.join(self.folder.path, "exit")) as file:
                return int(file.read())
        except (OSError, ValueError):
            return None

    def noted(self, name: str) -> dict[str, Any]:
        """The journal's last entry of that object; {} without one."""
        entries = [entry for entry in self.folder.journal() if entry["object"] == name]
        return entries[-1] if entries else {}

    def wait(self) -> int:
        """The exit code of the container's process, which must be a child of the caller. Raises ChildProcessError."""
        pid, _started = self.folder.process()
        return processes.wait(pid)

    def kill(self, signal: int, everyone: bool = False) -> None:
        """Send a signal to the init process, or to everyone in the container.

        Without a pid namespace of its own, whose end is everyone's, SIGKILL goes to everyone, as with runc.
        Raises NotFound, WrongState when it is not running.
        """
        trace.step("kill")
        kept = self.folder.load()
        status = self.folder.status(kept)
        signal = self._heard(signal, status)
        everyone = everyone or (signal == SIGKILL and not kept.get("own_pids", True))
        cgroup = self.cgroup() if everyone or signal == SIGKILL else None
        if everyone and cgroup and (status != "stopped" or cgroup.pids()):
            cgroup.kill(signal)
            return
        pidfd = processes.open_process(kept["pid"] or 0, kept["started"])
        if pidfd < 0:
            raise WrongState("container not running: %s cannot be sent a signal, it is stopped" % self.id)
        try:
            syscalls.pidfd_send_signal(pidfd, signal)
            if signal == SIGKILL and cgroup and cgroup.is_frozen():
                cgroup.thaw()  # frozen, it would not end
        except OSError as error:
            raise KernelRefused("pidfd_send_signal", "container %s" % self.id, error.errno) from None
        finally:
            os.close(pidfd)

    def _heard(self, signal: int, status: str) -> int:
        """SIGKILL for what would end a process that waits for its start: nothing handles signals there yet, and the
        kernel drops those of an init that nothing handles (pid_namespaces(7)). runc's init ends, too.
        """
        return SIGKILL if status == "created" and signal not in HARMLESS else signal

    def delete(self, force: bool = False, warn: Warn = _ignore) -> None:
        """Remove all that the journal names, then the folder. Raises NotFound and WrongState, none of them with force.

        With force a running container is killed first, and the remains of a runtime that was killed are removed.
        warn is told of poststop hooks that fail.
        """
        try:
            status = self.folder.status(self.folder.load())
            if status != "stopped" and not force:
                hint = "kill it first, or delete with --force"
                raise WrongState("container %s: cannot be deleted, it is %s: %s" % (self.id, status, hint))
            lock = self.folder.lock()
        except NotFound:
            if force:
                return  # gone is what was asked for (case F04)
            raise
        try:
            self._destroy(warn)
        finally:
            os.close(lock)

    def _destroy(self, warn: Warn) -> None:
        """Whoever calls it holds the folder's lock."""
        trace.step("delete")
        kept = self.folder.load()
        self._destroy_process()
        entries = self.folder.journal()
        cgroups = [entry for entry in entries if entry["object"] == "cgroup"]
        for entry in reversed(entries):
            if entry["object"] == "cgroup" and entry is cgroups[-1]:  # the last knows all that was made
                from ..linux.cgroups import manager

                manager.from_journal(entry).remove()
            elif entry["object"] == "mounts":
                creation.undo_mounts(entry)
            elif entry["object"] == "network":
                from ..networks import attachment

                attachment.detach(entry)
            elif entry["object"] == "monitor":
                self._await_monitor(entry["pid"], entry["started"])
            elif entry["object"] == "log" and os.path.exists(entry["path"]):
                os.unlink(entry["path"])
        if kept.get("hooks", {}).get("poststop"):
            from . import hooks

            state = creation.told_state(kept, "stopped")
            hooks.Hooks("poststop", kept["hooks"]["poststop"], state, None, kept["bundle"]).run_all(warn)
        self.folder.remove()

    def _await_monitor(self, pid: int, started: int) -> None:
        """The monitor writes the exit status into the folder; it ends by itself when the container has."""
        pidfd = processes.open_process(pid, started) if pid != os.getpid() else -1
        if pidfd >= 0:
            processes.wait_gone(pidfd, _MONITOR_TIMEOUT_S)
            os.close(pidfd)

    def _destroy_process(self) -> None:
        pid, started = self.folder.process()
        pidfd = processes.open_process(pid, started)
        if pidfd < 0:
            return
        try:
            syscalls.pidfd_send_signal(pidfd, SIGKILL)
            cgroup = self.cgroup()
            if cgroup and cgroup.is_frozen():
                cgroup.thaw()
            if not processes.wait_gone(pidfd, _KILL_TIMEOUT_S):
                message = "container %s: pid %d did not end within %d s of SIGKILL"
                raise OcilabError(message % (self.id, pid, _KILL_TIMEOUT_S))
        except ProcessLookupError:
            pass
        finally:
            os.close(pidfd)


def create(
    container_id: str,
    bundle: str,
    root: str = DEFAULT_ROOT,
    settings: Settings | None = None,
    debug: Warn = _ignore,
    warn: Warn = _ignore,
) -> Container:
    """Create a container from the bundle; its process waits until start().

    The init process is a child of the caller, who reaps it (Container.wait). Raises InvalidInput, NotFound,
    AlreadyExists, Unsupported, KernelRefused, CommandNotFound, CommandNotExecutable; nothing is left behind then.
    """
    container = Container(container_id, root)
    settings = settings or Settings()
    plan = creation.receive_bundle(bundle, root, settings, debug, warn)
    folder = container.folder
    lock = folder.reserve()
    try:
        for note in settings.notes:
            folder.note(note)
        folder.keep_config(plan.text)
        if settings.notify_directory:
            os.mkdir(settings.notify_directory, 0o755)
        pid = creation.make(folder, plan, debug)
        folder.save(creation.new_state(folder, plan, pid))
    except BaseException:
        if folder.exists():
            container._destroy(warn)
        raise
    finally:
        os.close(lock)
    return container


def containers(root: str = DEFAULT_ROOT) -> list[Container]:
    """All containers below root, by id."""
    return [Container(folder.id, root) for folder in folders(root)]


def _timestamp(nanoseconds: int) -> str:
    """RFC 3339 with nanoseconds, in UTC."""
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + ".%09dZ" % rest
