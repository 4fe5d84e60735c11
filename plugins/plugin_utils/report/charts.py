# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""The report's charts, by matplotlib, as SVG that stands in the page itself; the same data give the same bytes."""

from __future__ import annotations

import io
import random

from .data import Case

_STYLE = {
    "svg.fonttype": "none",  # text stays text: it scales, and a reader program can read it
    "svg.hashsalt": "ocilab.hosts",
    "font.family": "sans-serif",
}

# Okabe and Ito's colours, which people with any colour vision tell apart.
COLOURS = {
    "labrun": "#0072B2",
    "labrun-module": "#56B4E9",
    "runc": "#E69F00",
    "docker": "#009E73",
    "podman": "#CC79A7",
}
_PHASES = {"create": "#0072B2", "start": "#E69F00", "wait": "#999999", "delete": "#009E73"}
_OTHER = "#555555"
_INK = "#1d2733"
# (inches wide, points of text): for a projector, and for a phone of 360 pixels
WIDE = (10.0, 13.0)
NARROW = (4.2, 11.0)


def distribution(case: Case, size: tuple[float, float]) -> str:
    """Every sample as a dot and a box over the middle half, an engine a line, the fastest on top."""
    figure, axes = _figure(len(case.rows), size)
    jitter = random.Random(1)
    for place, row in enumerate(case.rows):
        colour = COLOURS.get(row.name, _OTHER)
        heights = [place + jitter.uniform(-0.24, 0.24) for _sample in row.samples]
        hollow = row.kind == "library"
        axes.scatter(row.samples, heights, s=22, facecolors="none" if hollow else colour, edgecolors=colour, alpha=0.55)
        box = {"facecolor": "none", "edgecolor": _INK, "linewidth": 1.3, "linestyle": "--" if hollow else "-"}
        axes.boxplot(
            [row.samples],
            positions=[place],
            orientation="horizontal",
            widths=0.56,
            showfliers=False,
            patch_artist=True,
            boxprops=box,
            medianprops={"color": _INK, "linewidth": 2.4},
            whiskerprops={"color": _INK},
            capprops={"color": _INK},
            manage_ticks=False,
        )
        axes.annotate(
            f"{row.median:.3g} ms",
            (row.worst, place),
            xytext=(8, 0),
            textcoords="offset points",
            va="center",
            color=_INK,
        )
    values = [sample for row in case.rows for sample in row.samples]
    if max(values) > 8 * min(values):
        axes.set_xscale("log")
        from matplotlib import ticker

        axes.xaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _place: f"{value:g}"))
        axes.xaxis.set_major_locator(ticker.LogLocator(base=10, subs=(1, 2, 5) if size == WIDE else (1,)))
        axes.xaxis.set_minor_locator(ticker.NullLocator())
        axes.set_xlim(min(values) * 0.8, max(values) * (2.4 if size == WIDE else 4.5))
    else:
        axes.set_xlim(0, max(values) * (1.2 if size == WIDE else 1.5))
    _label(axes, [row.name for row in case.rows])
    return _svg(figure)


def phases(case: Case, size: tuple[float, float]) -> str:
    """The medians of the phases of a life, one after the other."""
    rows = [row for row in case.rows if row.phases]
    figure, axes = _figure(len(rows), size)
    for place, row in enumerate(rows):
        start = 0.0
        for phase, duration in row.phases.items():
            axes.barh(place, duration, left=start, height=0.56, color=_PHASES.get(phase, _OTHER), edgecolor="white")
            start += duration
        axes.annotate(
            f"{start:.3g} ms", (start, place), xytext=(6, 0), textcoords="offset points", va="center", color=_INK
        )
    totals = [sum(row.phases.values()) for row in rows]
    axes.set_xlim(0, max(totals) * (1.2 if size == WIDE else 1.4))
    _label(axes, [row.name for row in rows])
    return _svg(figure)


def phase_colours() -> dict[str, str]:
    """The legend of phases()."""
    return dict(_PHASES)


def _figure(rows: int, size: tuple[float, float]):
    # Late: only a report pays for the library's 0.3 s, and only the controller needs to have it.
    import matplotlib
    from matplotlib.figure import Figure

    width, points = size
    matplotlib.rcParams.update(_STYLE, **{"font.size": points})
    figure = Figure(figsize=(width, 0.62 * rows + 0.8), layout="constrained")
    axes = figure.add_subplot()
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(colors=_INK)
    axes.grid(axis="x", color="#d8dee6", linewidth=0.8)
    axes.set_axisbelow(True)
    return figure, axes


def _label(axes, names: list[str]) -> None:
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.45, -0.55)
    axes.set_xlabel("ms")


def _svg(figure) -> str:
    output = io.StringIO()
    figure.savefig(output, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = output.getvalue()
    return text[text.index("<svg") :]
