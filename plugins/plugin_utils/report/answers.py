# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""The report's questions and what the figures answer, as keys of the texts and what is filled in."""

from __future__ import annotations

from dataclasses import dataclass, field

from . import units
from .fleet import Fleet, Measured, commands
from .inventory import Layers
from .isolation import Matrix

_GIB = 1 << 30


@dataclass
class Answer:
    """word: what is read from the back row; figure: below it; key and values: the sentence."""

    question: str
    word: str
    figure: str
    key: str
    values: dict[str, str] = field(default_factory=dict)


def answers(fleet: Fleet, isolation: Matrix, layers: list[Layers]) -> list[Answer]:
    """The answers to the four questions, in order."""
    return [fastest(fleet), densest(fleet), tightest(isolation), nearest(fleet, layers)]


def fastest(fleet: Fleet) -> Answer:
    """Which engine starts a container fastest?"""
    rows = commands(fleet.measured.get("run_true", []), fleet)
    if not rows:
        return Answer("start", "–", "", "start_nothing")
    first, last = rows[0], rows[-1]
    values = {"engine": first.engine, "figure": units.figure(first.median, "ns")}
    if len(rows) == 1:
        return Answer("start", first.engine, values["figure"], "start_one", values)
    values |= {
        "last": last.engine,
        "last_figure": units.figure(last.median, "ns"),
        "times": units.ratio(last.median / first.median),
    }
    level = _level(fleet, "run_true", rows)
    if level:
        values["level"] = ", ".join(level)
        return Answer("start", " · ".join([first.engine, *level][:2]), values["figure"], "start_level", values)
    reference = fleet.references["run_true"]
    between = fleet.ratio_interval("run_true", first.engine, reference) if reference != first.engine else None
    if first.ratio is None or between is None:
        return Answer("start", first.engine, values["figure"], "start_fastest", values)
    values |= {
        "ratio": units.ratio(first.ratio),
        "reference": reference,
        "low": units.ratio(between[0]),
        "high": units.ratio(between[1]),
    }
    return Answer("start", first.engine, values["figure"], "start_fastest_ratio", values)


def _level(fleet: Fleet, case: str, rows: list[Measured]) -> list[str]:
    """The engines behind the first that the samples cannot tell from it."""
    level = []
    for row in rows[1:]:
        between = fleet.ratio_interval(case, row.engine, rows[0].engine)
        if between is None or not between[0] <= 1 <= between[1]:
            break
        level.append(row.engine)
    return level


def densest(fleet: Fleet) -> Answer:
    """Which engine holds most containers?"""
    rows = [row for row in commands(fleet.measured.get("density", []), fleet) if row.median > 0]
    if not rows:
        return Answer("density", "–", "", "density_nothing")
    first, last = rows[0], rows[-1]
    values = {
        "engine": first.engine,
        "figure": units.figure(first.median, "bytes"),
        "count": _count(first.median),
        "last": last.engine,
        "last_figure": units.figure(last.median, "bytes"),
        "last_count": _count(last.median),
        "size": fleet.headline("density").rpartition("_")[2],
    }
    return Answer(
        "density", first.engine, f"{values['figure']}", "density_most" if len(rows) > 1 else "density_one", values
    )


def _count(size: float) -> str:
    """How many of the size a GiB holds, to two digits: memory is not that even."""
    whole = float(f"{_GIB / size:.2g}")
    return f"{whole:,.0f}" if whole >= 1 else "–"


def tightest(isolation: Matrix) -> Answer:
    """Which engine isolates more by default?"""
    scores = isolation.scores
    if not scores:
        return Answer("isolation", "–", "", "isolation_nothing")
    best = [score.engine for score in scores if score.shut == scores[0].shut]
    last = scores[-1]
    values = {
        "engine": ", ".join(best),
        "shut": str(scores[0].shut),
        "tried": str(scores[0].tried),
        "last": last.engine,
        "last_shut": str(last.shut),
        "last_tried": str(last.tried),
    }
    return Answer("isolation", " · ".join(best[:2]), f"{values['shut']} / {values['tried']}", "isolation_most", values)


def nearest(fleet: Fleet, layers: list[Layers]) -> Answer:
    """What lies between the command and the process?"""
    layers = [found for found in layers if fleet.engine(found.engine)["kind"] != "library"]
    if not layers:
        return Answer("layers", "–", "", "layers_nothing")
    few = min(layers, key=lambda found: found.between)
    many = max(layers, key=lambda found: found.between)
    values = {"few": few.engine, "few_count": str(few.between), "many": many.engine, "many_count": str(many.between)}
    word = f"{few.between} – {many.between}" if few.between != many.between else str(few.between)
    return Answer("layers", word, f"{few.engine} – {many.engine}", "layers_between", values)
