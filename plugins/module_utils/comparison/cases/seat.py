# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""An engine's seat in a benchmark: what a case gets, and the containers that it may leave to be removed."""

from __future__ import annotations

import os
import time

from ...engines import engine
from ...linux.errors import OcilabError, Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, Callable, Tuple

    from ..budget import Budget

    Measured = Tuple[str, str, float]  # the measure's name, its unit, its value
    Case = Callable[["Seat"], Iterator[Measured]]

SHELL = ["/bin/busybox", "sh", "-c"]
# It ends by SIGTERM at once: the first process of a pid namespace has no default for signals, and without the trap
# each stop would measure the engine's patience instead, ten seconds with most.
IDLE = [*SHELL, "trap 'exit 0' TERM; /bin/busybox sleep 1000000 & wait"]


class Seat:
    """An engine that is prepared, the sizes of the plan, and names for containers.

    A case is a function of a seat that yields what it measured, so that nothing of it is lost when a later part fails.
    keeps: whether the standing container may run on between samples, as the budget allows it.
    """

    def __init__(
        self, item: engine.Engine, workload: engine.Workload, sizes: dict[str, Any], budget: Budget, prefix: str
    ) -> None:
        self.engine = item
        self.workload = workload
        self.sizes = sizes
        self.budget = budget
        self.prefix = prefix
        self.keeps = True
        self.no_volume = ""  # why the standing container has none
        self._count = 0
        self._named: list[str] = []
        self._started: list[str] = []
        self._standing = ""

    def name(self) -> str:
        """A name for a container that the engine itself removes, unless it fails."""
        self._named.append(self._next())
        return self._named[-1]

    def start(self, wanted: engine.Wanted) -> str:
        """Start a container that is removed after the sample; its name."""
        container_id = self._next()
        self._started.append(container_id)
        self.engine.start(container_id, wanted)
        return container_id

    def standing(self) -> str:
        """The name of an idle container that runs from its first use on, with a volume where the engine has such."""
        if not self._standing:
            container_id = self._next()
            try:
                self._standing = container_id
                self.engine.start(container_id, engine.Wanted(IDLE, volume=self._volume()))
            except Unsupported as error:
                self.no_volume = str(error)
                self.engine.start(container_id, engine.Wanted(IDLE))
        return self._standing

    def clear(self, failed: bool) -> None:
        """Remove what the sample left; of one that failed all that it may have made, and the standing container."""
        names = self._started + (self._named if failed else [])
        self._started, self._named = [], []
        for container_id in names:
            self.engine.remove(container_id)
        if failed or not self.keeps:
            self.dismiss()

    def dismiss(self) -> None:
        """Remove the standing container, if there is one."""
        container_id, self._standing = self._standing, ""
        if container_id:
            self.engine.remove(container_id)

    def _next(self) -> str:
        self._count += 1
        return "%s-%d" % (self.prefix, self._count)

    def _volume(self) -> str:
        """A folder that whoever an engine's containers run as may write to, below one that nobody else finds."""
        path = os.path.join(self.workload.work_dir, "volume-" + self.prefix)
        if not os.path.isdir(path):
            os.mkdir(path)
            os.chmod(path, 0o1777)
        return path


def took_ns(function: Callable[[], object]) -> int:
    """The nanoseconds of a call."""
    before = time.perf_counter_ns()
    function()
    return time.perf_counter_ns() - before


def required(size: int, name: str) -> int:
    """The size, unless it is 0. Raises Unsupported, which leaves the case out."""
    if not size:
        raise Unsupported("the plan's size %s is 0" % name)
    return size


def failed(message: str) -> OcilabError:
    """The failure of a sample."""
    return engine.EngineFailed(message)
