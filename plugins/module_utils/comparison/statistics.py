# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""Statistics of samples: medians, percentiles, and bootstrap confidence intervals (Efron and Tibshirani, 1993)."""

from __future__ import annotations

import random

_RESAMPLES = 1000
_LEVEL = 0.95


def median(samples: list[int]) -> float:
    """The median of at least one sample."""
    return percentile(samples, 50)


def percentile(samples: list[int], percent: float) -> float:
    """The percentile with linear interpolation between the nearest ranks."""
    ordered = sorted(samples)
    position = (len(ordered) - 1) * percent / 100
    low = int(position)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (position - low)


def median_interval(samples: list[int], seed: int = 1) -> tuple[float, float]:
    """The 95 % confidence interval of the median, by the percentile bootstrap; the same for the same samples."""
    generator = random.Random(seed)
    medians = [median(generator.choices(samples, k=len(samples))) for _resample in range(_RESAMPLES)]
    return _interval(medians)


def ratio_interval(samples: list[int], reference: list[int], seed: int = 1) -> tuple[float, float, float]:
    """(ratio of the medians, and its 95 % interval's ends); both sides are resampled."""
    generator = random.Random(seed)
    ratios = [
        median(generator.choices(samples, k=len(samples))) / median(generator.choices(reference, k=len(reference)))
        for _resample in range(_RESAMPLES)
    ]
    low, high = _interval(ratios)
    return median(samples) / median(reference), low, high


def _interval(values: list[float]) -> tuple[float, float]:
    tail = (1 - _LEVEL) / 2
    ordered = sorted(values)
    return ordered[int(tail * len(ordered))], ordered[int((1 - tail) * len(ordered)) - 1]
