# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""Measuring engines side by side. What fails costs its own rows only; what the budget ends is said to be left out."""

from __future__ import annotations

from ..linux.errors import OcilabError, Unsupported
from . import schedule
from .cases import seat, table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .budget import Budget
    from .progress import Progress

_PATIENCE = 3  # failures without a value between them, after which an engine is not tried again in a case


class Result:
    """What is known of one engine in one case."""

    def __init__(self) -> None:
        self.measures: dict[str, dict[str, Any]] = {}
        self.failures: list[dict[str, Any]] = []
        self.left_out: str | None = None
        self.in_a_row = 0

    def add(self, name: str, unit: str, value: float) -> None:
        self.measures.setdefault(name, {"unit": unit, "values": []})["values"].append(value)

    def fail(self, index: int, error: Exception) -> None:
        self.failures.append({"index": index, "message": str(error)})
        self.in_a_row += 1

    def is_hopeless(self) -> bool:
        """Whether another try is in vain: the warm-up failed, too much did, or the engine has no such thing."""
        cold = any(failure["index"] == schedule.WARM_UP for failure in self.failures)
        return cold or self.in_a_row >= _PATIENCE or (self.left_out is not None and not self.measures)

    def record(self) -> dict[str, Any]:
        """As the document of results has it."""
        return {"measures": self.measures, "failures": self.failures, "left_out": self.left_out}


class Benchmark:
    """A run of a plan (comparison/plan.py) over the seats of engines that are prepared."""

    def __init__(self, plan: dict[str, Any], seats: list[seat.Seat], budget: Budget, progress: Progress) -> None:
        self.plan = plan
        self.budget = budget
        self.progress = progress
        self.seats = {item.engine.name: item for item in seats}
        self.order: list[dict[str, Any]] = []
        self.components: dict[str, list[dict[str, Any]]] = {}
        self._results = {(name, case): Result() for name in self.seats for case in plan["cases"]}
        # One more than stand still: the one that is measured.
        keeps = len(seats) + 1 <= budget.containers
        for item in seats:
            item.keeps = keeps

    def results(self, engine: str) -> dict[str, Any]:
        """case -> what was measured of the engine."""
        return {case: self._results[engine, case].record() for case in self.plan["cases"]}

    def run(self) -> None:
        """Measure everything; results(), order and components tell of it then."""
        self._leave_out_twins()
        pairs = [pair for pair, result in self._results.items() if result.left_out is None]
        try:
            self._run(schedule.entries(self.plan, pairs))
        finally:
            for place in self.seats.values():
                place.clear(failed=True)

    def _run(self, entries: list[schedule.Entry]) -> None:
        for number, entry in enumerate(entries):
            if entry.case not in table.AT_FIRST and not self.components:
                self._look_at_components()
            if entry.case in table.ALONE:
                for place in self.seats.values():
                    place.dismiss()
            self.progress.tell("%s of %s" % (entry.case, entry.engine), number / len(entries))
            self._sample(entry)
        if not self.components:
            self._look_at_components()

    def _leave_out_twins(self) -> None:
        """A column ENGINE+RUNTIME beside ENGINE has the same figures in what no low-level runtime has a part in."""
        for (name, case), result in self._results.items():
            twin = name.partition("+")[0]
            if case in table.OF_ENGINE and twin != name and twin in self.seats:
                result.left_out = "as %s: a low-level runtime has no part in it" % twin

    def _sample(self, entry: schedule.Entry) -> None:
        """One sample; a failure is recorded apart and leaves neither a value nor a container."""
        result, place = self._results[entry.engine, entry.case], self.seats[entry.engine]
        if result.is_hopeless():
            return
        counts = entry.index != schedule.WARM_UP
        try:
            self.budget.check()
            if counts:
                self.order.append(entry.record())
            for name, unit, value in self._measured(entry, place):
                if counts:
                    result.add(name, unit, value)
            result.in_a_row = 0
        except Unsupported as error:
            result.left_out = str(error)
        except (OcilabError, OSError) as error:
            result.fail(entry.index, error)

    @staticmethod
    def _measured(entry: schedule.Entry, place: seat.Seat) -> Any:
        """What the case yields, and after it no container that it started."""
        failed = True
        try:
            yield from table.FUNCTIONS[entry.case](place)
            failed = False
        finally:
            place.clear(failed)

    def _look_at_components(self) -> None:
        """What lies between each engine's command and a container, while one runs."""
        for name, place in self.seats.items():
            self.progress.tell("components of %s" % name)
            try:
                self.components[name] = place.engine.components(place.standing())
                place.clear(False)
            except (OcilabError, OSError):
                place.clear(True)
                self.components[name] = _lasting(place)


def _lasting(place: seat.Seat) -> list[dict[str, Any]]:
    """The parts of an engine in which no container runs, for the cases will tell why."""
    try:
        return place.engine.components("")
    except (OcilabError, OSError):
        return []
