# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""Statistics of many small groups of samples at once: medians, percentiles, bootstrap intervals, robust spread.

The bootstrap (Efron and Tibshirani, 1993) resamples places, not values: which order statistics a resample's median
stands between does not depend on the values. So the places are drawn once for each number of samples, and thousands of
groups of that number are one look-up. The same samples always give the same interval.
"""

from __future__ import annotations

from functools import lru_cache

from .arrays import Floats, NDArray, np

RESAMPLES = 1000
ENOUGH = 5  # samples or hosts, below which there is no interval
_TAILS = (2.5, 97.5)
_CHUNK = 4000  # groups that are resampled at once: 4,000 x 1,000 numbers
_MAD_TO_SIGMA = 1.4826  # for a normal distribution


def percentile(ordered: Floats, percent: float) -> Floats:
    """The percentile of each row of sorted samples, with linear interpolation between the nearest ranks."""
    position = (ordered.shape[1] - 1) * percent / 100
    low = int(position)
    high = min(low + 1, ordered.shape[1] - 1)
    return ordered[:, low] + (ordered[:, high] - ordered[:, low]) * (position - low)


@lru_cache(maxsize=None)
def _places(count: int, side: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Between which two order statistics the median of each resample of count samples stands."""
    drawn = np.random.default_rng([count, side]).integers(0, count, (RESAMPLES, count))
    drawn.sort(axis=1)
    return drawn[:, (count - 1) // 2], drawn[:, count // 2]


def resampled_medians(ordered: Floats, side: int) -> Floats:
    """The medians of resamples, a row for each row of sorted samples. Sides 0 and 1 are drawn independently."""
    low, high = _places(ordered.shape[1], side)
    return (ordered[:, low] + ordered[:, high]) / 2


def resampled_ratios(ordered: Floats, base: Floats) -> Floats:
    """The ratios of the medians of resamples, a row for each pair of rows; both sides are resampled."""
    below = resampled_medians(base, 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(below > 0, resampled_medians(ordered, 0) / below, np.nan)


def ratio_intervals(ordered: Floats, base: Floats) -> tuple[Floats, Floats]:
    """The 95 % confidence intervals of the ratios of medians, for each pair of rows of sorted samples.

    NaN where a side has fewer than ENOUGH samples: an interval of them would promise too much.
    """
    rows = ordered.shape[0]
    if min(ordered.shape[1], base.shape[1]) < ENOUGH:
        return np.full(rows, np.nan), np.full(rows, np.nan)
    # Four bytes for a number are enough for an interval of three digits, and take half the time.
    ordered, base = ordered.astype(np.float32), base.astype(np.float32)
    ends = [
        interval(resampled_ratios(ordered[start : start + _CHUNK], base[start : start + _CHUNK]))
        for start in range(0, rows, _CHUNK)
    ]
    return np.concatenate([low for low, _high in ends]), np.concatenate([high for _low, high in ends])


def interval(resamples: Floats) -> tuple[Floats, Floats]:
    """What holds 95 % of each row."""
    ordered = np.sort(resamples, axis=1)
    return percentile(ordered, _TAILS[0]), percentile(ordered, _TAILS[1])


def median_interval(values: Floats) -> tuple[float, float] | None:
    """The 95 % confidence interval of the median of values, as of hosts; None of fewer than ENOUGH."""
    if len(values) < ENOUGH:
        return None
    low, high = interval(resampled_medians(np.sort(values)[None, :], 0))
    return float(low[0]), float(high[0])


def deviations(table: Floats) -> tuple[Floats, Floats]:
    """(robust z-scores of the logarithms, spread as a factor) of each column of positive values, NaN where none.

    The median absolute deviation is deaf to outliers. The spread is exp(sigma): 1.1 says that hosts differ by 10 %.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(np.where(table > 0, table, np.nan))
    centre = nanmedian(logs)
    sigma = _MAD_TO_SIGMA * nanmedian(np.abs(logs - centre))
    with np.errstate(divide="ignore", invalid="ignore"):
        # Hosts that agree within 2 % are no measure of what is unusual.
        return (logs - centre) / np.maximum(sigma, 0.02), np.exp(sigma)


def nanmedian(table: Floats) -> Floats:
    """The median of each column, without NaN; NaN of a column that holds nothing else.

    As numpy's own, which takes a hundred times as long for small tables.
    """
    counts = (~np.isnan(table)).sum(axis=0)
    if not len(table):
        return np.full(table.shape[1], np.nan)
    ordered, columns = np.sort(table, axis=0), np.arange(table.shape[1])  # NaN last
    return (ordered[np.maximum(counts - 1, 0) // 2, columns] + ordered[counts // 2 % len(table), columns]) / np.where(
        counts > 0, 2, np.nan
    )


def middle(values: Floats) -> float:
    """The median of values, without NaN."""
    return float(nanmedian(values[:, None])[0])
