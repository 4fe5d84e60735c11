# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""Figures as people read them."""

from __future__ import annotations

import math

_STEPS = {
    "ns": [(1e9, "s"), (1e6, "ms"), (1e3, "µs"), (1, "ns")],
    "bytes": [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"), (1, "B")],
    "bytes_per_s": [(1 << 30, "GiB/s"), (1 << 20, "MiB/s"), (1 << 10, "KiB/s"), (1, "B/s")],
    "per_s": [(1, "/s")],
}


def scale(unit: str, typical: float) -> tuple[float, str]:
    """(factor, sign) of the unit that suits a figure; milliseconds reach up to ten seconds."""
    reach = 10 if unit == "ns" else 1
    for factor, sign in _STEPS[unit]:
        if typical >= factor * (reach if sign == "s" else 1):
            return factor, sign
    return _STEPS[unit][-1]


def number(value: float) -> str:
    """Three digits, and no more: 0.123, 1.23, 12.3, 123, 1,230."""
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else "–"
    digits = 2 - math.floor(math.log10(abs(value)))
    rounded = round(value, digits)
    return f"{rounded:,.{max(0, digits)}f}" if abs(rounded) < 1000 else f"{rounded:,.0f}"


def figure(value: float, unit: str) -> str:
    """A figure with the unit that suits it: 26.1 ms."""
    factor, sign = scale(unit, value)
    return f"{number(value / factor)} {sign}"


def ratio(value: float) -> str:
    """A ratio: 0.37, 1.04, 18.2."""
    return f"{value:.2f}" if value < 9.995 else number(value)
