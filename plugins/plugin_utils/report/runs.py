# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""Several runs over time: what changed from one to the next, on the hosts that both measured."""

from __future__ import annotations

from dataclasses import dataclass

from ansible_collections.ocilab.hosts.plugins.module_utils.comparison import catalogue

from . import statistics
from .arrays import Floats, np
from .fleet import Fleet


@dataclass
class Change:
    """An engine in a case over the runs, oldest first; None where a run has no figure of it.

    ratio: of the newest to the run before, over the hosts of both, with its 95 % interval; None where samples are few.
    verdict: better, worse, level, or unknown.
    """

    engine: str
    medians: list[float | None]
    ratio: float | None
    interval: tuple[float, float] | None
    verdict: str


def in_order(fleets: list[Fleet]) -> list[Fleet]:
    """The runs by the time of their first host."""
    return sorted(fleets, key=lambda fleet: (fleet.run.time, fleet.run.path))


def changes(fleets: list[Fleet]) -> dict[str, list[Change]]:
    """Case -> its engines, of at least two runs in order of time."""
    last = fleets[-1]
    return {case: [_change(fleets, case, row.engine) for row in last.measured[case]] for case in last.cases}


def _change(fleets: list[Fleet], case: str, engine: str) -> Change:
    key = (engine, case, fleets[-1].headline(case))
    columns = [fleet.column(fleet.medians, key) for fleet in fleets]
    medians = [statistics.middle(column) if (~np.isnan(column)).any() else None for column in columns]
    ratio, interval = _compared(fleets[-2], fleets[-1], key)
    return Change(engine, medians, ratio, interval, _verdict(case, interval))


def _verdict(case: str, interval: tuple[float, float] | None) -> str:
    if interval is None:
        return "unknown"
    if interval[0] <= 1 <= interval[1]:
        return "level"
    return "better" if (interval[1] < 1) == (catalogue.CASES[case].better == "lower") else "worse"


def _compared(
    before: Fleet, after: Fleet, key: tuple[str, str, str]
) -> tuple[float | None, tuple[float, float] | None]:
    rows = {host.name: row for row, host in enumerate(before.hosts)}
    pairs = [
        (before.samples(rows[host.name], key), after.samples(row, key))
        for row, host in enumerate(after.hosts)
        if host.name in rows
    ]
    pairs = [(old, new) for old, new in pairs if len(old) and len(new) and np.median(old) > 0]
    if not pairs:
        return None, None
    ratios = np.array([np.median(new) / np.median(old) for old, new in pairs])
    return float(np.median(ratios)), statistics.median_interval(ratios) or _of_samples(pairs)


def _of_samples(pairs: list[tuple[Floats, Floats]]) -> tuple[float, float] | None:
    if min(len(samples) for pair in pairs for samples in pair) < statistics.ENOUGH:
        return None
    resamples = np.concatenate([statistics.resampled_ratios(new[None, :], old[None, :]) for old, new in pairs])
    low, high = statistics.interval(np.median(resamples, axis=0)[None, :])
    return float(low[0]), float(high[0])
