# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""The report as one HTML file that needs no network, in English and Korean. Without scripts it is readable, too."""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path
from typing import Any

from ansible_collections.ocilab.hosts.plugins.module_utils.comparison import catalogue
from markupsafe import Markup, escape

from . import answers, charts, embedded, inventory, isolation, outliers, pages, runs, statistics, units, views
from .fleet import Fleet

_FAMILIES = ("labrun", "runc", "crun", "docker", "podman", "containerd", "crio", "lxc")
_DOORS = {
    "capability": "#0072B2",
    "syscall": "#E69F00",
    "namespace": "#009E73",
    "path": "#CC79A7",
    "seccomp": "#56B4E9",
    "process": "#D55E00",
    "id_map": "#8c7ae6",
    "lsm": "#9aa5b0",
    "cgroup": "#b5a642",
}
_SECTIONS = [
    "overview",
    "start",
    "density",
    "isolation",
    "layers",
    "cases",
    "hosts",
    "runs",
    "matrix",
    "engines",
    "method",
]
_SCRIPT_TEXTS = [
    "shown",
    "heat_about",
    "engine",
    "median",
    "ratio",
    "interval",
    "lower",
    "higher",
    "log_axis",
    "dots_samples",
    "host_choose",
    "host_page",
    "engines",
    "failures",
    "no_failures",
    "left_out",
    "machines_shared",
]


def html(fleets: list[Fleet], results_href: str, markdown_href: str) -> str:
    """The report of the last of the fleets, which are runs in order of time; the same results give the same text."""
    texts = pages.texts("texts.yml")
    environment = pages.environment(texts)
    fleet = fleets[-1]
    script = (Path(__file__).parent / "templates" / "report.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
    environment.globals.update(_helpers(environment.globals))
    environment.filters["groupby_kept"] = _groupby_kept
    spoken = {
        key: found
        for key, found in texts.items()
        if key in _SCRIPT_TEXTS or key.startswith(("case_", "reason_", "environment_"))
    }
    return environment.get_template("report.html.j2").render(
        fleet=fleet,
        script=Markup(script),
        script_hash="sha256-" + digest,
        data=Markup(embedded.deflated(fleet, spoken)),
        results_href=results_href,
        markdown_href=markdown_href,
        **_content(fleets, environment.globals["say"]),
        **_over_time(fleets),
    )


def _content(fleets: list[Fleet], say: Any) -> dict[str, Any]:
    """What the sections show."""
    fleet = fleets[-1]
    matrix, chains = isolation.matrix(fleet), inventory.layers(fleet)
    cases = [views.case(fleet, name) for name in fleet.cases]
    odd = outliers.outliers(fleet)
    have = {"cases": bool(cases), "matrix": bool(matrix.rows), "runs": len(fleets) > 1}
    return {
        "answers": answers.answers(fleet, matrix, chains),
        "cases": cases,
        "several": len(fleet.hosts) > 1,
        "measured_engines": len(fleet.available),
        "date": fleet.run.time[:10],
        "isolation": matrix,
        "doors": {
            topic: colour for topic, colour in _DOORS.items() if any(topic in score.topics for score in matrix.scores)
        },
        "most_doors": max([score.tried for score in matrix.scores], default=1) or 1,
        "why": pages.texts_if_any("isolation.yml"),
        "few_samples": _few_samples(fleet),
        "layers": chains,
        "roles": inventory.ROLES,
        "infos": inventory.infos(fleet),
        "machines": inventory.machines(fleet),
        "outliers": odd,
        "odd_hosts": {found.host for found in odd},
        "heat_rows": _heat_rows(fleet, {found.host for found in odd}) if cases else "",
        "first_case_name": say("case_" + fleet.cases[0]) if fleet.cases else "",
        "failures": [(host.name, *failure) for host in fleet.hosts for failure in host.failures],
        "profiles": sorted({host.plan["profile"] for host in fleet.hosts}),
        "sections": [name for name in _SECTIONS if have.get(name, True)],
    }


def _few_samples(fleet: Fleet) -> int:
    """How many samples there are of a whole life, where neither they nor the hosts are enough for an interval."""
    counts = [int(row.counts.max()) for row in fleet.measured.get("run_true", [])]
    few = counts and max(counts) < statistics.ENOUGH and len(fleet.hosts) < statistics.ENOUGH
    return max(counts) if few else 0


def _over_time(fleets: list[Fleet]) -> dict[str, Any]:
    if len(fleets) < 2:
        return {"runs": {}, "run_list": []}
    described = [{"date": found.run.time, "path": found.run.path, "hosts": len(found.hosts)} for found in fleets]
    last = fleets[-1]
    return {
        "runs": runs.changes(fleets),
        "run_list": described,
        "run_units": {case: last.units[case, last.headline(case)] for case in last.cases},
    }


def _helpers(globals_: Any) -> dict[str, Any]:
    """What templates call."""

    def sized(name: str, size: str) -> Markup:
        return globals_["say"]("measure_sized", part=globals_["called"]("measure", name), size=size)

    def spoken(text: dict[str, str]) -> Markup:
        return Markup("").join(
            Markup('<span lang="{}">{}</span>').format(lang, words.strip()) for lang, words in text.items()
        )

    return {
        "family": _family,
        "figure": units.figure,
        "link": lambda address: Markup('<a href="{}"><code>{}</code></a>').format(address, address),
        "number": units.number,
        "ratio": units.ratio,
        "sized": sized,
        "spoken": spoken,
        "zip": zip,
        "dict": dict,
    }


def _family(engine: str) -> str:
    """The class that gives an engine its colour."""
    return "e-" + next((name for name in _FAMILIES if engine.startswith(name)), "other")


def _groupby_kept(rows: Iterable[Any], name: str) -> list[tuple[Any, list[Any]]]:
    """Groups of neighbours; Jinja2's own groupby would sort them."""
    return [(key, list(group)) for key, group in groupby(rows, key=lambda row: getattr(row, name))]


def _heat_rows(fleet: Fleet, odd: set[str]) -> Markup:
    """The heat map's rows, in the first case. Written here: a thousand hosts are tens of thousands of cells."""
    case = fleet.cases[0]
    better = catalogue.CASES[case].better
    found = {row.engine: row.ratios.tolist() for row in fleet.measured[case]}
    columns = [found.get(engine, [float("nan")] * len(fleet.hosts)) for engine in fleet.engines]
    lines = []
    for host, ratios in zip(fleet.hosts, zip(*columns)):
        cells = "".join(_heat_cell(ratio, better) for ratio in ratios)
        name, mark = escape(host.name), ' class="odd"' if host.name in odd else ""
        link = Markup('<a href="#host-page&amp;host={}">{}</a>').format(pages.quoted(host.name), name)
        lines.append(f'<tr><th scope="row"{mark}>{link}</th>{cells}</tr>')
    return Markup("\n".join(lines))


def _heat_cell(ratio: float, better: str) -> str:
    if math.isnan(ratio):
        return "<td></td>"
    shade = charts.heat(ratio, better)
    return f'<td class="s{"m" if shade < 0 else ""}{abs(shade)}">{units.ratio(ratio)}</td>'
