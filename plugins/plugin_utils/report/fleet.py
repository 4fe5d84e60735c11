# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""The hosts of a run side by side: a table of each statistic, hosts down, what was measured across."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import chain

from ansible_collections.ocilab.hosts.plugins.module_utils.comparison import catalogue

from . import statistics
from .arrays import Floats, NDArray, np
from .documents import Key, Run

REFERENCES = ("runc", "labrun", "docker", "podman")  # that ratios are to, the first that most hosts measured


@dataclass
class Measured:
    """An engine in a case on the hosts of a fleet, by the case's headline. NaN where a host has no such figure."""

    engine: str
    medians: Floats
    ratios: Floats
    lows: Floats
    highs: Floats
    counts: NDArray[np.intp]

    @property
    def hosts(self) -> int:
        """How many hosts measured it."""
        return int((self.counts > 0).sum())

    @property
    def median(self) -> float:
        """The median of the hosts' medians."""
        return statistics.middle(self.medians)

    @property
    def ratio(self) -> float | None:
        """The median of the hosts' ratios; None where no host has one."""
        return statistics.middle(self.ratios) if (~np.isnan(self.ratios)).any() else None


class Fleet:
    """What the report asks of a run."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.hosts = run.hosts
        self.unreached = run.unreached
        self.engines = list(dict.fromkeys(chain.from_iterable(host.engines for host in run.hosts)))
        self.keys: dict[Key, int] = {}
        self.units: dict[tuple[str, str], str] = {}
        for host in run.hosts:
            for key, unit in zip(host.keys, host.units):
                self.keys.setdefault(key, len(self.keys))
                self.units.setdefault(key[1:], unit)
        shape = (len(run.hosts), len(self.keys))
        self.counts = np.zeros(shape, np.intp)
        self.medians = np.full(shape, np.nan)
        self.p95s = np.full(shape, np.nan)
        self._starts = np.zeros(shape, np.intp)
        self._values = np.concatenate([np.frombuffer(host.values) for host in run.hosts] or [np.zeros(0)])
        self._ratio_intervals: dict[tuple[str, str, str], tuple[float, float] | None] = {}
        self._place()
        self._work_out()
        self.cases = [name for name in catalogue.CASES if any(key[1] == name for key in self.keys)]

    def _place(self) -> None:
        """Where the samples of each cell lie in the values of all."""
        offset = 0
        for row, host in enumerate(self.hosts):
            columns = [self.keys[key] for key in host.keys]
            lengths = np.array(host.lengths, np.intp)
            self.counts[row, columns] = lengths
            self._starts[row, columns] = offset + np.cumsum(lengths) - lengths
            offset += int(lengths.sum())

    def _work_out(self) -> None:
        """Sort each cell's samples, and take medians and percentiles: all cells of one number of samples at once."""
        for count in np.unique(self.counts[self.counts > 0]):
            where = np.nonzero(self.counts == count)
            places = self._starts[where][:, None] + np.arange(count)
            ordered = np.sort(self._values[places], axis=1)
            self._values[places] = ordered
            self.medians[where] = statistics.percentile(ordered, 50)
            self.p95s[where] = statistics.percentile(ordered, 95)

    def samples(self, row: int, key: Key) -> Floats:
        """The sorted samples of a cell; empty where there are none."""
        column = self.keys.get(key)
        if column is None:
            return np.zeros(0)
        start = self._starts[row, column]
        return self._values[start : start + self.counts[row, column]]

    def column(self, table: NDArray, key: Key) -> NDArray:
        """A column of medians, p95s or counts; of NaN, or 0, where it was not measured."""
        if key in self.keys:
            return table[:, self.keys[key]]
        return np.full(len(self.hosts), np.nan if table.dtype.kind == "f" else 0, table.dtype)

    def measures(self, case: str) -> list[str]:
        """The measures of a case that some host has, in the order of the documents, sizes by their number."""
        names = dict.fromkeys(measure for _engine, found, measure in self.keys if found == case)
        return sorted(names, key=lambda name: int(name.rpartition("_")[2]) if name.rpartition("_")[2].isdigit() else 0)

    @cached_property
    def _headlines(self) -> dict[str, str]:
        return {case: self._headline(case) for case in self.cases}

    def _headline(self, case: str) -> str:
        """The measure that stands for the case; of sizes the greatest that at least half of those measured reached."""
        wanted = catalogue.CASES[case].headline
        if not wanted.endswith("_"):
            return wanted
        reached = {
            measure: sum(int((self.column(self.counts, (engine, case, measure)) > 0).sum()) for engine in self.engines)
            for measure in self.measures(case)
            if measure.startswith(wanted)
        }
        most = max(reached.values(), default=0)
        return catalogue.CASES[case].headline_of(name for name, count in reached.items() if 2 * count >= most)

    def headline(self, case: str) -> str:
        """The measure that stands for the case in this run."""
        return self._headlines[case]

    @cached_property
    def references(self) -> dict[str, str]:
        """Case -> the engine that ratios are to; empty where none of REFERENCES was measured."""
        result = {}
        for case in self.cases:
            counts = {
                engine: int((self.column(self.counts, (engine, case, self.headline(case))) > 0).sum())
                for engine in REFERENCES
            }
            best = max(counts, key=lambda engine: counts[engine])
            result[case] = best if counts[best] else ""
        return result

    @cached_property
    def measured(self) -> dict[str, list[Measured]]:
        """Case -> its engines, best first."""
        result = {}
        for case in self.cases:
            rows = [self._measured(engine, case) for engine in self.engines]
            found = [row for row in rows if row.hosts]
            better = 1 if catalogue.CASES[case].better == "lower" else -1
            result[case] = sorted(found, key=lambda row: better * row.median)
        return result

    def _measured(self, engine: str, case: str) -> Measured:
        measure, reference = self.headline(case), self.references[case]
        key, base = (engine, case, measure), (reference, case, measure)
        medians, counts = self.column(self.medians, key), self.column(self.counts, key)
        ratios = _divided(medians, self.column(self.medians, base))
        lows, highs = np.full(len(self.hosts), np.nan), np.full(len(self.hosts), np.nan)
        if engine != reference and base in self.keys:
            self._intervals(key, base, lows, highs)
        return Measured(engine, medians, ratios, lows, highs, counts)

    def _intervals(self, key: Key, base: Key, lows: Floats, highs: Floats) -> None:
        for where, ordered, below in self._pairs(key, base):
            lows[where], highs[where] = statistics.ratio_intervals(ordered, below)

    def _pairs(self, key: Key, base: Key):
        """(rows, samples, samples of the base) of the hosts that have both, those of equal numbers at once."""
        counts = np.stack([self.column(self.counts, key), self.column(self.counts, base)], axis=1)
        for ours, theirs in np.unique(counts[(counts > 0).all(axis=1)], axis=0):
            where = np.nonzero((counts == (ours, theirs)).all(axis=1))[0]
            yield where, self._block(key, where, ours), self._block(base, where, theirs)

    def _block(self, key: Key, rows: NDArray[np.intp], count: int) -> Floats:
        return self._values[self._starts[rows, self.keys[key]][:, None] + np.arange(count)]

    def ratio_interval(self, case: str, engine: str, other: str) -> tuple[float, float] | None:
        """The 95 % interval of an engine's headline to another's: over hosts, or of few hosts over their samples."""
        question = case, engine, other
        if question not in self._ratio_intervals:
            self._ratio_intervals[question] = self._ratio_interval(case, engine, other)
        return self._ratio_intervals[question]

    def _ratio_interval(self, case: str, engine: str, other: str) -> tuple[float, float] | None:
        measure = self.headline(case)
        key, base = (engine, case, measure), (other, case, measure)
        if key not in self.keys or base not in self.keys:
            return None
        ratios = _divided(self.column(self.medians, key), self.column(self.medians, base))
        ratios = ratios[~np.isnan(ratios)]
        if not len(ratios):
            return None
        if len(ratios) >= statistics.ENOUGH:
            return statistics.median_interval(ratios)
        pairs = [(ours, theirs) for _rows, ours, theirs in self._pairs(key, base)]
        if not pairs or min(block.shape[1] for pair in pairs for block in pair) < statistics.ENOUGH:
            return None
        resamples = np.concatenate([statistics.resampled_ratios(ours, theirs) for ours, theirs in pairs])
        low, high = statistics.interval(np.median(resamples, axis=0)[None, :])
        return float(low[0]), float(high[0])

    def engine(self, name: str) -> dict[str, object]:
        """What the documents say of an engine, from the first host on which it was measured, or else is known."""
        known = [host.engines[name] for host in self.hosts if name in host.engines]
        return next((engine for engine in known if engine["available"]), known[0])

    @property
    def available(self) -> list[str]:
        """The engines that some host could measure."""
        return [name for name in self.engines if self.engine(name)["available"]]

    @property
    def synthetic(self) -> bool:
        """Whether the documents were made up, and not measured."""
        return any(host.plan["profile"].startswith("synthetic") for host in self.hosts)


def _divided(above: Floats, below: Floats) -> Floats:
    """Ratios; NaN where there is nothing to divide, or nothing to divide by."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(below > 0, above / below, np.nan)


def commands(rows: list[Measured], fleet: Fleet) -> list[Measured]:
    """The rows without library calls, which are no command to compare with."""
    return [row for row in rows if fleet.engine(row.engine)["kind"] != "library"]
