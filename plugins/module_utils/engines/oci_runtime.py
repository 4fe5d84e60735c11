# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""OCI runtimes as commands (runc and whatever has its command line, labrun among them), driven from a bundle."""

from __future__ import annotations

import os

from ..linux import processes, syscalls
from ..linux.errors import OcilabError
from . import engine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable


class OciRuntime(engine.Engine):
    """A runtime by the name of its command."""

    kind = "runtime"

    def __init__(self, name: str) -> None:
        self.name = name
        self.path = ""

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

    def _command(self, *words: str) -> list[str]:
        return [self.path, "--root", self.root, *words]

    def run_true(self, container_id: str) -> None:
        engine.run(self._command("run", "--bundle", self.workload.bundle, container_id), self.workload.timeout_s)

    def phases(self, container_id: str) -> list[tuple[str, Callable[[], None]]]:
        pid_file = os.path.join(self.workload.work_dir, container_id + ".pid")
        timeout_s = self.workload.timeout_s
        watched: list[int] = []

        def create() -> None:
            words = ("create", "--bundle", self.workload.bundle, "--pid-file", pid_file, container_id)
            engine.run(self._command(*words), timeout_s)
            with open(pid_file) as file:
                watched.append(syscalls.pidfd_open(int(file.read())))

        def start() -> None:
            engine.run(self._command("start", container_id), timeout_s)

        def wait() -> None:
            ended = processes.wait_gone(watched[0], timeout_s)
            os.close(watched.pop())
            os.unlink(pid_file)
            if not ended:
                raise engine.EngineFailed("the container did not end within %g s" % timeout_s)

        def delete() -> None:
            engine.run(self._command("delete", container_id), timeout_s)

        return [("create", create), ("start", start), ("wait", wait), ("delete", delete)]

    def remove(self, container_id: str) -> None:
        try:
            engine.run(self._command("delete", "--force", container_id), self.workload.timeout_s)
        except OcilabError:
            pass  # there was nothing of it

    def clean_up(self) -> None:
        """The state is in the work directory, which goes as a whole."""
