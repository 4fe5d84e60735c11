# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""labrun in its two forms: as a command, measured like any other runtime, and as a library, in this very process."""

from __future__ import annotations

import os

from ..labrun import command, container
from ..labrun.cli import VERSION
from . import engine
from .oci_runtime import OciRuntime

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable


class LabrunCommand(OciRuntime):
    """The command, built into the work directory from the collection that runs: it needs no installation."""

    def __init__(self) -> None:
        super().__init__("labrun")

    def detect(self) -> str:
        return VERSION

    def prepare(self, workload: engine.Workload) -> None:
        super().prepare(workload)
        self.path = os.path.join(workload.work_dir, "labrun")
        command.write_executable(self.path)


class LabrunModule(engine.Engine):
    """The functions that labrun_container calls, called here: no process is started but the container's own."""

    name = "labrun-module"
    kind = "library"
    notes = "a library call inside a running Python process, not a command"

    def detect(self) -> str:
        return VERSION

    def prepare(self, workload: engine.Workload) -> None:
        self.workload = workload
        self.root = os.path.join(workload.work_dir, "labrun-module-state")

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

    def remove(self, container_id: str) -> None:
        left = container.Container(container_id, self.root)
        if left.folder.exists():
            left.delete(force=True)

    def clean_up(self) -> None:
        """The state is in the work directory, which goes as a whole."""
