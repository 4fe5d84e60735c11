# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""labrun in its two forms: as a command, measured like any other runtime, and as a library, in this very process."""

from __future__ import annotations

import os
import sys
import time

from ..labrun import bundle as bundles
from ..labrun import command, container, logs, monitor, running
from ..labrun.cli import VERSION
from ..linux.errors import Unsupported
from ..networks.network import Network
from . import components, engine, own_bundle
from .oci_runtime import OciRuntime

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

_STOP_TIMEOUT_S = 10.0
_ALL_LINES = 1 << 20
_NO_REGISTRY = "labrun-module: labrun has no registry client; it imports root filesystems"
_NO_ARCHIVES = "labrun-module: labrun reads no archives of images; it imports root filesystems"


class LabrunCommand(OciRuntime):
    """The command, built into the work directory from the collection that runs: it needs no installation."""

    def __init__(self) -> None:
        super().__init__("labrun")

    def detect(self) -> str:
        return VERSION

    def prepare(self, workload: engine.Workload) -> None:
        self.path = os.path.join(workload.work_dir, "labrun")
        command.write_executable(self.path)
        super().prepare(workload)


class LabrunModule(engine.Engine):
    """The functions that labrun_container calls, called here: no process is started but the container's own.

    What goes on by itself has a monitor, as the module gives it one, and a network is one of ours.
    """

    kind = "library"
    notes = "a library call inside a running Python process, not a command"

    def __init__(self) -> None:
        self.name = self.engine = "labrun-module"
        self.network: Network | None = None

    def detect(self) -> str:
        return VERSION

    def prepare(self, workload: engine.Workload) -> None:
        self.workload = workload
        self.root = os.path.join(workload.work_dir, "labrun-module-state")

    def clean_up(self) -> None:
        """The state is in the work directory, which goes as a whole; the network's bridge is the host's."""
        if self.network:
            self.network.remove()
            self.network = None

    # A container's life

    def run_true(self, container_id: str) -> None:
        for _name, phase in self.phases(container_id):
            phase()

    def phases(self, container_id: str) -> list[tuple[str, Callable[[], None]]]:
        made: list[container.Container] = []

        def create() -> None:
            made.append(container.create(container_id, self.workload.bundle, self.root))

        def wait() -> None:
            code = made[0].wait()
            if code != 0:
                raise engine.EngineFailed("the container ended with exit code %d" % code)

        def start() -> None:
            made[0].start()

        def delete() -> None:
            made[0].delete()

        return [("create", create), ("start", start), ("wait", wait), ("delete", delete)]

    def output(self, container_id: str, wanted: engine.Wanted) -> str:
        try:
            self.start(container_id, wanted)
            code = self._ended(container_id)
            lines = logs.tail(self._log(container_id), _ALL_LINES)
        finally:
            self.remove(container_id)
        said = {name: [line["text"] for line in lines if line["stream"] == name] for name in ("stdout", "stderr")}
        if code != 0:
            told = said["stderr"][-1] if said["stderr"] else "no message"
            raise engine.EngineFailed("the container ended with exit code %d: %s" % (code, told))
        return "".join(text + "\n" for text in said["stdout"])

    def _log(self, container_id: str) -> str:
        return os.path.join(self.workload.work_dir, "labrun-module-logs", container_id + ".log")

    def _ended(self, container_id: str) -> int:
        """The exit code, which the monitor records when it has read all that was written."""
        deadline, pause_s = time.monotonic() + self.workload.timeout_s, 0.001
        while time.monotonic() < deadline:
            code = self._container(container_id).exit_code()
            if code is not None:
                return code
            time.sleep(pause_s)
            pause_s = min(pause_s * 1.5, 0.05)
        raise engine.EngineFailed("the container did not end within %g s" % self.workload.timeout_s)

    def _container(self, container_id: str) -> container.Container:
        return container.Container(container_id, self.root)

    def start(self, container_id: str, wanted: engine.Wanted) -> None:
        if wanted.options:
            raise Unsupported("labrun-module: a library has no command line to give %s to" % wanted.options[0])
        folder, config = own_bundle.make(self.workload, container_id, wanted)
        if wanted.network:
            self._connect(config, folder, container_id)
        own_bundle.write(folder, config)
        monitor.Start(container_id, folder, self.root, self._log(container_id), True, False).finish()

    def _connect(self, config: dict[str, Any], folder: str, container_id: str) -> None:
        if not self.network:
            config_dir = os.path.join(self.workload.work_dir, "labrun-module-networks")
            network = Network("ocilab-%d" % os.getpid(), config_dir)
            network.create(network.wanted())
            self.network = network
        config["hostname"] = container_id[:64]
        hosts = os.path.join(folder, "hosts")
        member = {"name": self.network.name, "address": "", "aliases": []}
        wish = {"config_dir": self.network.config_dir, "networks": [member], "ports": [], "hosts": hosts}
        bundles.connect(config, wish)
        bundles.Bundle(folder).write_files()

    def execute(self, container_id: str, words: list[str]) -> str:
        found = self._container(container_id)
        described = running.described(found, words, {}, None, None)
        code, output, errors = running.run(found, described, b"", self.workload.timeout_s, _ignore)
        if code != 0:
            lines = errors.decode("utf-8", "replace").strip().splitlines()
            raise engine.EngineFailed("exit code %d: %s" % (code, lines[-1] if lines else "no message"))
        return output.decode("utf-8", "replace")

    def stop(self, container_id: str) -> None:
        self._container(container_id).stop(_STOP_TIMEOUT_S)

    def remove(self, container_id: str) -> None:
        left = self._container(container_id)
        if left.folder.exists():
            watcher = left.noted("monitor").get("pid", 0)
            left.delete(force=True)
            _reap(watcher)
        own_bundle.remove(self.workload, container_id)

    # What stands behind it

    def process(self, container_id: str) -> int:
        return self._container(container_id).pid

    def address(self, container_id: str) -> str:
        for record in self.network.attached() if self.network else []:
            if record["id"] == container_id:
                return str(record["address"])
        raise Unsupported("labrun-module: container %s is in no network" % container_id)

    def daemons(self) -> list[int]:
        return []

    def components(self, container_id: str) -> list[dict[str, Any]]:
        version = "%d.%d.%d" % sys.version_info[:3]
        parts = [components.part("client", "python", version, os.path.realpath(sys.executable), os.getpid())]
        runtime = components.part("low-level runtime", "labrun", VERSION, pid=os.getpid())
        if not container_id:
            return [*parts, runtime]
        pid = self.process(container_id)
        return [*parts, *components.monitor(pid), runtime, components.container(pid)]

    # Images

    def pull(self, reference: str) -> None:
        raise Unsupported(_NO_REGISTRY)

    def load(self, archive: str) -> None:
        raise Unsupported(_NO_ARCHIVES)

    def forget(self, image: str) -> None:
        raise Unsupported(_NO_ARCHIVES)

    def image_bytes(self, image: str) -> int:
        raise Unsupported(_NO_ARCHIVES)


def _reap(pid: int) -> None:
    """A monitor is this process's child, and one that has ended waits to be asked for."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except (ChildProcessError, OverflowError):
        pass


def _ignore(_text: str) -> None:
    """Warnings of an exec."""
