# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""The geometry of the charts: where things stand, in percent of a width. The templates draw it, as HTML and SVG."""

from __future__ import annotations

import math
from dataclasses import dataclass

from . import statistics, units
from .arrays import Floats, np
from .fleet import Fleet, Measured

DOTS = 130  # more would be a blot: then only what lies beyond the whiskers is drawn
_LOG_FROM = 8  # the greatest to the least, from which a scale is logarithmic


@dataclass
class Axis:
    """A scale, and its ticks as (percent, label)."""

    low: float
    high: float
    log: bool
    factor: float
    sign: str

    def at(self, value: float) -> float:
        """The place of a value."""
        if self.log:
            part = math.log(max(value, self.low) / self.low) / math.log(self.high / self.low)
        else:
            part = (value - self.low) / (self.high - self.low)
        return round(100 * min(1.0, max(0.0, part)), 2)

    @property
    def ticks(self) -> list[tuple[float, str]]:
        """At most about eight."""
        low, high = self.low / self.factor, self.high / self.factor
        values = _log_ticks(low, high) if self.log else _linear_ticks(low, high)
        return [(self.at(value * self.factor), f"{value:,.10g}") for value in values]


def _log_ticks(low: float, high: float) -> list[float]:
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1, 2, 5), (1, 3), (1,)):
        ticks = [step * 10.0**power for power in powers for step in steps if low <= step * 10.0**power <= high]
        if len(ticks) <= 8:
            break
    return ticks


def _linear_ticks(low: float, high: float) -> list[float]:
    raw = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(nice * power for nice in (1, 2, 5, 10) if raw <= nice * power)
    return [step * count for count in range(math.ceil(low / step), math.floor(high / step) + 1)]


def axis(values: Floats, unit: str) -> Axis:
    """The scale that suits the values: from zero, or logarithmic where they lie far apart."""
    positive = values[values > 0]
    if not len(positive):
        return Axis(0, 1, False, *units.scale(unit, 1))
    low, high = float(positive.min()), float(positive.max())
    scale = units.scale(unit, float(np.median(positive)))
    if high > _LOG_FROM * low and len(positive) == len(values):
        return Axis(low * 0.85, high * 1.1, True, *scale)
    return Axis(0, high * 1.05, False, *scale)


@dataclass
class Line:
    """An engine in a distribution: figures in the axis's unit, places in percent, dots as (percent, pixels down)."""

    name: str
    hollow: bool
    figure: str
    ratio: str
    median: float
    box: tuple[float, float] | None
    whiskers: tuple[float, float] | None
    dots: list[tuple[float, int]]


@dataclass
class Distribution:
    axis: Axis
    lines: list[Line]
    kind: str  # what a dot is: samples, hosts or many


def distribution(fleet: Fleet, case: str) -> Distribution:
    """A line for each engine: of one host its samples, of several hosts their medians."""
    rows = fleet.measured[case]
    measure, unit = fleet.headline(case), fleet.units[case, fleet.headline(case)]
    values = {row.engine: _values(fleet, row, (row.engine, case, measure)) for row in rows}
    scale = axis(np.concatenate([*values.values()]), unit)
    kind = "samples" if len(fleet.hosts) == 1 else "hosts" if len(fleet.hosts) <= DOTS else "many"
    lines = [_line(fleet, row, values[row.engine], scale, kind) for row in rows]
    return Distribution(scale, lines, kind)


def _values(fleet: Fleet, row: Measured, key: tuple[str, str, str]) -> Floats:
    if len(fleet.hosts) == 1:
        return fleet.samples(0, key)
    return np.sort(row.medians[~np.isnan(row.medians)])


def _line(fleet: Fleet, row: Measured, values: Floats, scale: Axis, kind: str) -> Line:
    enough = len(values) >= 5
    low, first, third, high = (float(value) for value in np.percentile(values, [5, 25, 75, 95]))
    shown = values if kind != "many" else values[(values < low) | (values > high)]
    shown = shown if len(shown) <= DOTS else shown[np.linspace(0, len(shown) - 1, DOTS).astype(int)]
    return Line(
        name=row.engine,
        hollow=fleet.engine(row.engine)["kind"] == "library",
        figure=units.number(row.median / scale.factor),
        ratio=units.ratio(row.ratio) if row.ratio is not None else "",
        median=scale.at(float(np.median(values))),
        box=(scale.at(first), scale.at(third)) if enough else None,
        whiskers=(scale.at(low), scale.at(high)) if enough else None,
        # The dots' heights only part them: a rule serves, and gives the same picture each time.
        dots=[(scale.at(float(value)), 15 + (place * 7) % 13 - 6) for place, value in enumerate(shown)],
    )


@dataclass
class Bar:
    """A bar of segments, (key, percent, figure), from first to last."""

    name: str
    hollow: bool
    figure: str
    segments: list[tuple[str, float, str]]


@dataclass
class Stack:
    sign: str
    keys: list[str]
    bars: list[Bar]


def stack(fleet: Fleet, case: str, parts: list[str], suffix: str = "") -> Stack | None:
    """The medians of the parts of a case, one after the other; None where no engine has parts."""
    rows = []
    for row in fleet.measured.get(case, []):
        columns = [fleet.column(fleet.medians, (row.engine, case, part + suffix)) for part in parts]
        values = [statistics.middle(column) if (~np.isnan(column)).any() else 0.0 for column in columns]
        if sum(values) > 0:
            rows.append((row.engine, values))
    if not rows:
        return None
    rows.sort(key=lambda entry: sum(entry[1]))
    unit = fleet.units[case, next(part + suffix for part in parts if (case, part + suffix) in fleet.units)]
    most = max(sum(values) for _engine, values in rows)
    factor, sign = units.scale(unit, float(np.median([sum(values) for _engine, values in rows])))
    bars = [
        Bar(
            engine,
            fleet.engine(engine)["kind"] == "library",
            units.number(sum(values) / factor),
            [(part, round(100 * value / most, 2), units.number(value / factor)) for part, value in zip(parts, values)],
        )
        for engine, values in rows
    ]
    return Stack(sign, parts, bars)


def heat(ratio: float, better: str) -> int:
    """The shade of a ratio: -3 much better, 0 level, 4 many times worse."""
    worse = ratio if better == "lower" else 1 / ratio if ratio else math.inf
    for shade, bound in zip(range(-3, 4), (0.5, 0.8, 0.95, 1.05, 1.5, 3, 10)):
        if worse < bound:
            return shade
    return 4
