# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""Measuring engines side by side: interleaved shuffled blocks, so that a drift of the host favours none."""

from __future__ import annotations

import random
import time

from ..engines import engine
from ..linux.errors import OcilabError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Benchmark:
    """A run of a plan (comparison/plan.py) over engines that are prepared."""

    def __init__(self, plan: dict[str, Any], engines: list[engine.Engine], prefix: str) -> None:
        self.plan = plan
        self.engines = engines
        self.prefix = prefix
        self.count = 0
        self.order: list[dict[str, Any]] = []
        self.results: dict[str, dict[str, Any]] = {
            item.name: {case: {"samples_ns": [], "failures": []} for case in plan["cases"]} for item in engines
        }

    def run(self) -> None:
        """Measure everything; results and order hold it then."""
        pairs = [(item, case) for item in self.engines for case in self.plan["cases"]]
        for item, case in pairs:
            for _index in range(self.plan["warmup"]):
                self._once(item, case, record=False)
        shuffler = random.Random(self.plan["seed"])
        index = 0
        for block, size in enumerate(block_sizes(self.plan["samples"], self.plan["blocks"])):
            entries = [(item, case, index + place) for place in range(size) for item, case in pairs]
            shuffler.shuffle(entries)
            for item, case, number in entries:
                self.order.append({"engine": item.name, "case": case, "block": block, "index": number})
                self._once(item, case, record=True, index=number)
            index += size

    def _once(self, item: engine.Engine, case: str, record: bool, index: int = -1) -> None:
        """One sample; a failure is recorded apart and leaves neither a time nor a container."""
        self.count += 1
        container_id = "%s-%d" % (self.prefix, self.count)
        result = self.results[item.name][case]
        try:
            times = _life(item, container_id) if case == "lifecycle" else _whole(item, container_id)
        except OcilabError as error:
            item.remove(container_id)
            if record:
                result["failures"].append({"index": index, "message": str(error)})
            return
        if record:
            result["samples_ns"].append(sum(times.values()))
            if case == "lifecycle":
                phases = result.setdefault("phases_ns", {})
                for phase, duration in times.items():
                    phases.setdefault(phase, []).append(duration)


def _whole(item: engine.Engine, container_id: str) -> dict[str, int]:
    before = time.perf_counter_ns()
    item.run_true(container_id)
    return {"run": time.perf_counter_ns() - before}


def _life(item: engine.Engine, container_id: str) -> dict[str, int]:
    times = {}
    for phase, function in item.phases(container_id):
        before = time.perf_counter_ns()
        function()
        times[phase] = time.perf_counter_ns() - before
    return times


def block_sizes(samples: int, blocks: int) -> list[int]:
    """The samples of each block, as equal as can be: [5, 5, 4] for 14 in 3."""
    return [samples // blocks + (1 if block < samples % blocks else 0) for block in range(blocks)]
