# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""The report as one HTML file that needs no network and no script, in English and Korean."""

from __future__ import annotations

import itertools

from markupsafe import Markup, escape

from . import charts, pages
from .data import Case, Host


def html(hosts: list[Host]) -> str:
    """The report of the hosts; the same results give the same text."""
    texts = pages.texts("texts.yml")
    environment = pages.environment(texts)
    drawings = itertools.count()

    def chart(case: Case, kind: str) -> Markup:
        draw = charts.phases if kind == "phases" else charts.distribution
        label = escape(texts[f"{kind}_{case.name}" if kind == "distribution" else "phases"]["en"])
        wide, narrow = draw(case, charts.WIDE), draw(case, charts.NARROW)
        return Markup(
            f'<div class="chart wide" role="img" aria-label="{label}">{_own_ids(wide, f"d{next(drawings)}")}</div>'
            f'<div class="chart narrow" role="img" aria-label="{label}">{_own_ids(narrow, f"d{next(drawings)}")}</div>'
        )

    environment.globals.update(chart=chart, phase_colours=charts.phase_colours())
    return environment.get_template("report.html.j2").render(hosts=hosts)


def _own_ids(svg: str, prefix: str) -> str:
    """The ids of a drawing, made its own: several drawings stand in one page."""
    return (
        svg.replace('id="', f'id="{prefix}-')
        .replace('href="#', f'href="#{prefix}-')
        .replace("url(#", f"url(#{prefix}-")
    )
