# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""The monitor: the small process that stays with a container which a module has started (conmon's and a shim's place).

It creates the container as its child, holds its standard streams, writes them to a log in the CRI's format, reaps what
the container leaves to it, and records the exit code.
"""

from __future__ import annotations

import gc
import os

from ..linux import processes, syscalls, trace
from ..linux.errors import OcilabError
from ..spec import document
from . import bundle as bundles
from . import channel, watch
from . import container as life

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_NAME = "labrun-monitor"
_SETTLE_S = 5.0  # a second interpreter is started when whoever started many containers has done so


class Start:
    """The start of a container under a monitor of its own, under way once this is made; several may be so at once."""

    def __init__(self, container_id: str, bundle: str, root: str, log_path: str, run: bool, explain: bool) -> None:
        """Begin to create the container, and then to start it if run."""
        # What nearly every start imports late: here once for all monitors that are forked from this process.
        from ..linux import seccomp_kept  # noqa: F401
        from . import cgroupfs  # noqa: F401

        self.id = container_id
        self.report_fd, write_fd = os.pipe()
        # Nothing that is there now is garbage to the monitor, whose collector would write to, and so copy, each page.
        gc.freeze()
        if os.fork() == 0:  # the process of a module soon ends, and init has the monitor for a child
            os.setsid()
            _main(container_id, bundle, root, log_path, run, explain, write_fd)
        os.close(write_fd)
        gc.unfreeze()

    def finish(self) -> dict[str, Any]:
        """Wait until it is done: {"trace": records (linux/trace.py; empty unless explain), "warnings": [text]}.

        Raises what create() and start() raise; nothing is left behind then.
        """
        report = channel.receive_report(self.report_fd)
        os.close(self.report_fd)
        if "error" in report or not report:
            channel.raise_reported(report or {"message": "container %s: its monitor was killed" % self.id})
        return report


def _main(container_id: str, bundle: str, root: str, log_path: str, run: bool, explain: bool, report_fd: int) -> None:
    """The monitor's life; never returns."""
    code = 1
    try:
        _detach(report_fd)
        if explain:
            trace.begin()
        monitor = _Monitor(container_id, root, log_path)
        monitor.create(bundle, run)
        channel.report(report_fd, {"trace": trace.take(), "warnings": monitor.warnings})
        os.close(report_fd)
        trace.end()
        monitor.watch()
        code = 0
    except OcilabError as error:
        channel.report(report_fd, {"error": type(error).__name__, "message": str(error)})
    except BaseException as error:
        channel.report(report_fd, {"error": "OcilabError", "message": "monitor: %r" % error})
    os._exit(code)


def _detach(report_fd: int) -> None:
    """Let go of all that the module's process had open, so that nobody waits for the monitor to end."""
    os.chdir("/")
    null = os.open("/dev/null", os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    syscalls.close_others([report_fd])
    syscalls.prctl(syscalls.PR_SET_CHILD_SUBREAPER, 1, "PR_SET_CHILD_SUBREAPER")
    syscalls.set_process_name(_NAME.encode())


class _Monitor:
    def __init__(self, container_id: str, root: str, log_path: str) -> None:
        self.id = container_id
        self.root = root
        self.log_path = log_path
        self.warnings: list[str] = []
        # Now, while the module's own files are still there
        spec: Any = watch.__spec__
        self.source: str = spec.loader.get_source(watch.__name__)

    def create(self, bundle: str, run: bool) -> None:
        """Create the container with pipes for its output, and start it if run."""
        own = {"object": "monitor", "pid": os.getpid(), "started": processes.start_time(os.getpid())}
        notes: list[dict[str, Any]] = [own, {"object": "log", "path": self.log_path}]
        out_read, out_write = os.pipe()
        err_read, err_write = os.pipe()
        warn = self.warnings.append
        stdio = [0, out_write, err_write]
        settings = life.Settings(stdio, notes=notes)
        self.container = life.create(self.id, bundle, self.root, settings, warn=warn)
        os.close(out_write)
        os.close(err_write)
        try:
            os.makedirs(os.path.dirname(self.log_path), mode=0o700, exist_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
            log_fd = os.open(self.log_path, flags, 0o600)
            pid, _started = self.container.folder.process()
            pidfd = syscalls.pidfd_open(pid)
            self.watching = watch.Watch(pid, pidfd, out_read, err_read, log_fd, self.container.folder.path)
            self._connect(pid)
            if run:
                self.container.start()
        except BaseException:
            if self.container.noted("monitor") == own:  # another may have made a new one of that id meanwhile
                self.container.delete(force=True)
            raise

    def _connect(self, pid: int) -> None:
        """Attach the container to the networks that its configuration names, while its process waits to be started."""
        wish = self.container.folder.load()["annotations"].get(bundles.NETWORKS_ANNOTATION)
        if not wish:
            return
        from ..networks import attachment

        lock = self.container.folder.lock()
        try:
            entries = attachment.plan(self.id, self.root, document.parse(wish.encode(), bundles.NETWORKS_ANNOTATION))
            attachment.attach(entries, "/proc/%d/ns/net" % pid, self.container.folder.note)
        finally:
            os.close(lock)

    def watch(self) -> None:
        """Stay until the container's process has ended, soon as a smaller process (watch.py)."""
        if not self.watching.run(_SETTLE_S):
            watch.take_over(self.source, self.watching, _NAME)
            self.watching.run()
