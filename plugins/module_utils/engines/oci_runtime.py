# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""OCI runtimes as commands (runc and whatever has its command line, labrun among them), driven from a bundle."""

from __future__ import annotations

import json
import os

from ..linux import processes, syscalls
from ..linux.errors import OcilabError, Unsupported
from . import components, engine, own_bundle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

_STOP_TIMEOUT_S = 10.0
# gVisor's sandbox has no network of its own where its namespace has none, and not every host's cgroups suit it.
_OPTIONS = {"runsc": (("--network=none",), ("--network=none", "--ignore-cgroups"))}
_NO_IMAGES = "%s: a runtime is given a bundle and knows no images; its caller unpacks them"
_NO_NETWORK = "%s: a runtime makes a namespace for the network and nothing in it; its caller does"


class OciRuntime(engine.Engine):
    """A runtime by the name of its command."""

    kind = "runtime"

    def __init__(self, name: str) -> None:
        self.name = self.engine = name
        self.path = ""
        self.global_options: list[str] = []

    def detect(self) -> str:
        self.path = engine.find_command(self.name)
        return self._version()

    def _version(self) -> str:
        first = engine.run([self.path, "--version"], 20).splitlines()[:1]
        return first[0].replace(self.name + " version ", "") if first else ""

    def prepare(self, workload: engine.Workload) -> None:
        self.workload = workload
        self.root = os.path.join(workload.work_dir, self.name + "-state")
        os.makedirs(self.root, mode=0o700, exist_ok=True)
        self.bundle, config = own_bundle.make(workload, self.name + "-true", engine.Wanted([engine.PROGRAM]))
        own_bundle.write(self.bundle, config)
        self._settle()

    def _settle(self) -> None:
        """Find options with which it runs on this host. Raises Unavailable where it does with none."""
        failures: list[str] = []
        for options in _OPTIONS.get(self.name, ((),)):
            self.global_options = list(options)
            try:
                self.run_true(self.name + "-probe")
                break
            except engine.EngineFailed as error:
                self.remove(self.name + "-probe")
                failures.append(str(error))
        else:
            raise engine.Unavailable("it cannot run a container on this host: " + failures[0])
        if self.global_options:
            self.notes = "run with " + " ".join(self.global_options)
            self.notes += ", for without: " + failures[0] if failures else ""

    def clean_up(self) -> None:
        """The state is in the work directory, which goes as a whole."""

    def _command(self, *words: str) -> list[str]:
        return [self.path, "--root", self.root, *self.global_options, *words]

    def _run(self, *words: str) -> str:
        return engine.run(self._command(*words), self.workload.timeout_s)

    # A container's life

    def run_true(self, container_id: str) -> None:
        self._run("run", "--bundle", self.bundle, container_id)

    def phases(self, container_id: str) -> list[tuple[str, Callable[[], None]]]:
        pid_file = os.path.join(self.workload.work_dir, container_id + ".pid")
        watched: list[int] = []

        def create() -> None:
            self._run("create", "--bundle", self.bundle, "--pid-file", pid_file, container_id)
            with open(pid_file) as file:
                watched.append(syscalls.pidfd_open(int(file.read())))

        def start() -> None:
            self._run("start", container_id)

        def wait() -> None:
            ended = processes.wait_gone(watched[0], self.workload.timeout_s)
            os.close(watched.pop())
            os.unlink(pid_file)
            if not ended:
                raise engine.EngineFailed("the container did not end within %g s" % self.workload.timeout_s)

        def delete() -> None:
            self._run("delete", container_id)

        return [("create", create), ("start", start), ("wait", wait), ("delete", delete)]

    def _new(self, container_id: str, wanted: engine.Wanted, *options: str) -> list[str]:
        if wanted.network:
            raise Unsupported(_NO_NETWORK % self.name)
        bundle, config = own_bundle.make(self.workload, container_id, wanted)
        own_bundle.write(bundle, config)
        return ["run", "--bundle", bundle, *options, *wanted.options, container_id]

    def output(self, container_id: str, wanted: engine.Wanted) -> str:
        try:
            return self._run(*self._new(container_id, wanted))
        finally:
            own_bundle.remove(self.workload, container_id)

    def start(self, container_id: str, wanted: engine.Wanted) -> None:
        self._run(*self._new(container_id, wanted, "--detach"))

    def execute(self, container_id: str, words: list[str]) -> str:
        return self._run("exec", container_id, *words)

    def stop(self, container_id: str) -> None:
        pidfd = syscalls.pidfd_open(self.process(container_id))
        try:
            for signal in ("TERM", "KILL"):
                self._run("kill", container_id, signal)
                if processes.wait_gone(pidfd, _STOP_TIMEOUT_S):
                    return
            raise engine.EngineFailed("container %s: does not end" % container_id)
        finally:
            os.close(pidfd)

    def remove(self, container_id: str) -> None:
        try:
            self._run("delete", "--force", container_id)
        except OcilabError:
            pass  # there was nothing of it
        own_bundle.remove(self.workload, container_id)

    # What stands behind it

    def process(self, container_id: str) -> int:
        return int(json.loads(self._run("state", container_id))["pid"])

    def address(self, container_id: str) -> str:
        raise Unsupported(_NO_NETWORK % self.name)

    def daemons(self) -> list[int]:
        return []

    def components(self, container_id: str) -> list[dict[str, Any]]:
        runtime = components.program("low-level runtime", self.path, self.name)
        return [runtime, components.container(self.process(container_id))] if container_id else [runtime]

    # Images

    def pull(self, reference: str) -> None:
        raise Unsupported(_NO_IMAGES % self.name)

    def load(self, archive: str) -> None:
        raise Unsupported(_NO_IMAGES % self.name)

    def forget(self, image: str) -> None:
        raise Unsupported(_NO_IMAGES % self.name)

    def image_bytes(self, image: str) -> int:
        raise Unsupported(_NO_IMAGES % self.name)
