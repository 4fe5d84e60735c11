# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""Measuring engines side by side. What fails costs its own rows only; what the budget ends is said to be left out."""

from __future__ import annotations

from ..linux.errors import OcilabError
from . import schedule
from .budget import BudgetSpent
from .cases import table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol

    from .budget import Budget
    from .progress import Progress

    class Measurable(Protocol):
        """As Place and Apart are."""

        name: str

        def sample(self, case: str) -> dict[str, Any]: ...
        def components(self, keeps: bool) -> list[dict[str, Any]]: ...
        def dismiss(self) -> None: ...


_PATIENCE = 3  # failures without a value between them, after which an engine is not tried again in a case


class Result:
    """What is known of one engine in one case."""

    def __init__(self) -> None:
        self.measures: dict[str, dict[str, Any]] = {}
        self.failures: list[dict[str, Any]] = []
        self.left_out: str | None = None
        self.in_a_row = 0

    def add(self, found: dict[str, Any], index: int) -> None:
        """Note a sample; of a warm-up only its failure."""
        if index != schedule.WARM_UP:
            for name, unit, value in found["measures"]:
                self.measures.setdefault(name, {"unit": unit, "values": []})["values"].append(value)
        self.left_out = found["left_out"] or self.left_out
        if found["failure"] is None:
            self.in_a_row = 0
        else:
            self.failures.append({"index": index, "message": found["failure"]})
            self.in_a_row += 1

    def is_hopeless(self) -> bool:
        """Whether another try is in vain: the warm-up failed, too much did, or the engine has no such thing."""
        cold = any(failure["index"] == schedule.WARM_UP for failure in self.failures)
        return cold or self.in_a_row >= _PATIENCE or (self.left_out is not None and not self.measures)

    def record(self) -> dict[str, Any]:
        """As the document of results has it."""
        return {"measures": self.measures, "failures": self.failures, "left_out": self.left_out}


class Benchmark:
    """A run of a plan (comparison/plan.py) over the places of engines that are prepared."""

    def __init__(self, plan: dict[str, Any], places: list[Measurable], budget: Budget, progress: Progress) -> None:
        self.plan = plan
        self.budget = budget
        self.progress = progress
        self.places = {item.name: item for item in places}
        self.order: list[dict[str, Any]] = []
        self.components: dict[str, list[dict[str, Any]]] = {}
        self._results = {(name, case): Result() for name in self.places for case in plan["cases"]}

    def results(self, engine: str) -> dict[str, Any]:
        """case -> what was measured of the engine."""
        return {case: self._results[engine, case].record() for case in self.plan["cases"]}

    def run(self) -> None:
        """Measure everything; results(), order and components tell of it then."""
        self._leave_out_twins()
        pairs = [pair for pair, result in self._results.items() if result.left_out is None]
        entries = schedule.entries(self.plan, pairs)
        for number, entry in enumerate(entries):
            if entry.case not in table.AT_FIRST and not self.components:
                self._look_at_components()
            if entry.case in table.ALONE:
                self._dismiss()
            self.progress.tell("%s of %s" % (entry.case, entry.engine), number / len(entries))
            self._sample(entry)
        if not self.components:
            self._look_at_components()
        self._dismiss()

    def _leave_out_twins(self) -> None:
        """A column ENGINE+RUNTIME beside ENGINE has the same figures in what no low-level runtime has a part in."""
        for (name, case), result in self._results.items():
            twin = name.partition("+")[0]
            if case in table.OF_ENGINE and twin != name and twin in self.places:
                result.left_out = "as %s: a low-level runtime has no part in it" % twin

    def _sample(self, entry: schedule.Entry) -> None:
        result = self._results[entry.engine, entry.case]
        if result.is_hopeless():
            return
        try:
            self.budget.check()
        except BudgetSpent as error:
            result.left_out = str(error)
            return
        if entry.index != schedule.WARM_UP:
            self.order.append(entry.record())
        try:
            found = self.places[entry.engine].sample(entry.case)
        except OcilabError as error:
            found = {"measures": [], "left_out": None, "failure": str(error)}
        result.add(found, entry.index)

    def _look_at_components(self) -> None:
        """What lies between each engine's command and a container, while one runs."""
        keeps = len(self.places) + 1 <= self.budget.containers  # one more than stand by: the one that is measured
        for name, place in self.places.items():
            self.progress.tell("components of %s" % name)
            try:
                self.components[name] = place.components(keeps)
            except OcilabError:
                self.components[name] = []  # the cases will tell why

    def _dismiss(self) -> None:
        for place in self.places.values():
            try:
                place.dismiss()
            except OcilabError:
                pass  # what is left of it is told at the end
