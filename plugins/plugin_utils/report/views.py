# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""What the templates show of a case: its chart, its sentence, and its figures as text."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

from ansible_collections.ocilab.hosts.plugins.module_utils.comparison import catalogue

from . import charts, statistics, units
from .answers import Answer
from .arrays import np
from .fleet import Fleet, Measured, commands

STACKS = {"lifecycle": ["create", "start", "wait", "delete"], "density": ["monitors", "daemons", "cgroup"]}


@dataclass
class Figures:
    """An engine's line in the table of a case; value is what the table is sorted by."""

    engine: str
    library: bool
    value: float
    median: str
    p95: str
    ratio: str
    interval: str
    spread: str
    samples: int
    hosts: int
    failures: int


@dataclass
class Case:
    name: str
    better: str
    sign: str
    reference: str
    chart: charts.Distribution
    stack: charts.Stack | None
    sentence: Answer
    rows: list[Figures]
    measures: list[tuple[str, str]]  # (name without its size, size)
    parts: list[tuple[str, list[str]]]  # engine, figures of the measures
    left_out: list[tuple[str, str]]  # reason, engines
    few: bool


def case(fleet: Fleet, name: str) -> Case:
    """A case of the fleet that was measured."""
    chart = charts.distribution(fleet, name)
    failures = Counter((engine, found) for host in fleet.hosts for engine, found, _index, _message in host.failures)
    rows = [_figures(fleet, name, row, chart.axis, failures[row.engine, name]) for row in fleet.measured[name]]
    measures = fleet.measures(name)
    suffix = "_" + fleet.headline(name).rpartition("_")[2] if name == "density" else ""
    return Case(
        name=name,
        better=catalogue.CASES[name].better,
        sign=chart.axis.sign,
        reference=fleet.references[name],
        chart=chart,
        stack=charts.stack(fleet, name, STACKS[name], suffix) if name in STACKS else None,
        sentence=_sentence(fleet, name),
        rows=rows,
        measures=[_split(measure) for measure in measures],
        parts=_parts(fleet, name, measures) if len(measures) > 1 else [],
        left_out=_left_out(fleet, name),
        few=any(not row.interval and row.engine != fleet.references[name] for row in rows),
    )


def _split(measure: str) -> tuple[str, str]:
    """starts_4 is starts and 4."""
    name, _underline, size = measure.rpartition("_")
    return (name, size) if size.isdigit() else (measure, "")


def _figures(fleet: Fleet, name: str, row: Measured, axis: charts.Axis, failures: int) -> Figures:
    reference = fleet.references[name]
    interval = fleet.ratio_interval(name, row.engine, reference) if reference not in ("", row.engine) else None
    p95 = statistics.middle(fleet.column(fleet.p95s, (row.engine, name, fleet.headline(name))))
    spread = ""
    if row.hosts >= statistics.ENOUGH:
        factor = float(statistics.deviations(row.medians[:, None])[1][0])
        spread = f"± {100 * (factor - 1):.0f} %" if not math.isnan(factor) else ""
    return Figures(
        engine=row.engine,
        library=fleet.engine(row.engine)["kind"] == "library",
        value=row.median,
        median=units.number(row.median / axis.factor),
        p95=units.number(p95 / axis.factor),
        ratio=units.ratio(row.ratio) if row.ratio is not None else "",
        interval="–".join(units.ratio(end) for end in interval) if interval else "",
        spread=spread,
        samples=int(row.counts.sum()),
        hosts=row.hosts,
        failures=failures,
    )


def _sentence(fleet: Fleet, name: str) -> Answer:
    rows = commands(fleet.measured[name], fleet)
    if not rows:
        return Answer(name, "", "", "nothing")
    unit = fleet.units[name, fleet.headline(name)]
    first, last = rows[0], rows[-1]
    values = {"engine": first.engine, "figure": units.figure(first.median, unit)}
    if len(rows) == 1:
        return Answer(name, first.engine, "", "sentence_one", values)
    values |= {"last": last.engine, "last_figure": units.figure(last.median, unit)}
    between = fleet.ratio_interval(name, rows[1].engine, first.engine)
    level = rows[1].median == first.median or (between is not None and between[0] <= 1 <= between[1])
    if level and len(rows) > 2:
        return Answer(name, first.engine, "", "sentence_level", values | {"level": rows[1].engine})
    return Answer(name, first.engine, "", "sentence_best", values)


def _parts(fleet: Fleet, name: str, measures: list[str]) -> list[tuple[str, list[str]]]:
    result = []
    for row in fleet.measured[name]:
        figures = []
        for measure in measures:
            column = fleet.column(fleet.medians, (row.engine, name, measure))
            known = (~np.isnan(column)).any()
            figures.append(units.figure(statistics.middle(column), fleet.units[name, measure]) if known else "")
        result.append((row.engine, figures))
    return result


def _left_out(fleet: Fleet, name: str) -> list[tuple[str, str]]:
    """Reasons and the engines that they hold for, of those that took no part on any host."""
    measured = {row.engine for row in fleet.measured[name]}
    reasons: dict[str, list[str]] = {}
    for engine in fleet.engines:
        told = [host.left_out[engine, name] for host in fleet.hosts if (engine, name) in host.left_out]
        if told and engine not in measured:
            reasons.setdefault(Counter(told).most_common(1)[0][0], []).append(engine)
    return [(reason, ", ".join(engines)) for reason, engines in reasons.items()]
