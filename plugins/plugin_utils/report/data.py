# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""Results as the report shows them: read, checked, and with the statistics worked out."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.ocilab.hosts.plugins.module_utils.comparison import statistics

MS = 1e6
PHASES = ("create", "start", "wait", "delete")
_TOP = {"schema_version": int, "host": str, "environment": dict, "plan": dict, "engines": dict, "order": list}


class BadResults(Exception):
    """A file of results cannot be used; the text is one line."""


@dataclass
class Row:
    """An engine in one case; times in milliseconds."""

    name: str
    kind: str
    version: str
    samples: list[float]
    median: float
    low: float
    high: float
    p95: float
    best: float
    worst: float
    ratio: tuple[float, float, float] | None
    failures: list[dict[str, Any]]
    phases: dict[str, float] = field(default_factory=dict)


@dataclass
class Case:
    """One case of a host: its rows, fastest first, and the engine that ratios are to."""

    name: str
    reference: str
    rows: list[Row]


@dataclass
class Host:
    name: str
    environment: dict[str, Any]
    plan: dict[str, Any]
    engines: dict[str, dict[str, Any]]
    cases: list[Case]
    order: list[dict[str, Any]]

    @property
    def failures(self) -> list[tuple[str, str, dict[str, Any]]]:
        """(engine, case, failure) of all samples that failed."""
        return [
            (name, case, failure)
            for name, engine in self.engines.items()
            for case, result in engine["benchmarks"].items()
            for failure in result["failures"]
        ]


def load(results_dir: str) -> list[Host]:
    """The hosts whose results lie in the folder, by name. Raises BadResults."""
    paths = sorted(Path(results_dir).glob("*.json"))
    if not paths:
        raise BadResults(f"{results_dir}: there is no HOST.json in it; run the playbook ocilab.hosts.compare first")
    return [_host(path) for path in paths]


def _host(path: Path) -> Host:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadResults(f"{path}: not a JSON document: {error}; remove it or measure again") from None
    if not isinstance(document, dict) or document.get("schema_version") != 1:
        raise BadResults(f"{path}: not results of schema version 1; remove it or measure again")
    try:
        for name, kind in _TOP.items():
            if not isinstance(document[name], kind):
                raise TypeError(name)
        cases = [_case(name, document["engines"]) for name in document["plan"]["cases"]]
        engines = document["engines"]
        return Host(document["host"], document["environment"], document["plan"], engines, cases, document["order"])
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise BadResults(
            f"{path}: {error} is missing or malformed; docs/results.schema.json says what it must hold"
        ) from None


def _case(name: str, engines: dict[str, Any]) -> Case:
    measured = {
        engine: described["benchmarks"][name]
        for engine, described in engines.items()
        if described["benchmarks"].get(name, {}).get("samples_ns")
    }
    reference = next((engine for engine in ("runc", "labrun") if engine in measured), "")
    base = measured.get(reference, {}).get("samples_ns", [])
    rows = [_row(engine, engines[engine], result, base) for engine, result in measured.items()]
    return Case(name, reference, sorted(rows, key=lambda row: row.median))


def _row(name: str, engine: dict[str, Any], result: dict[str, Any], base: list[int]) -> Row:
    samples = result["samples_ns"]
    times = result.get("phases_ns", {})
    low, high = statistics.median_interval(samples)
    return Row(
        name=name,
        kind=engine["kind"],
        version=engine["version"] or "",
        samples=[sample / MS for sample in samples],
        median=statistics.median(samples) / MS,
        low=low / MS,
        high=high / MS,
        p95=statistics.percentile(samples, 95) / MS,
        best=min(samples) / MS,
        worst=max(samples) / MS,
        ratio=statistics.ratio_interval(samples, base) if base else None,
        failures=result["failures"],
        phases={phase: statistics.median(times[phase]) / MS for phase in PHASES if times.get(phase)},
    )


def summary(hosts: list[Host]) -> list[dict[str, Any]]:
    """A row for each host and engine: medians in ms by case, the ratio in run_true, failures, or why it is left out."""
    rows = []
    for host in hosts:
        for name, engine in host.engines.items():
            found = {case.name: row for case in host.cases for row in case.rows if row.name == name}
            first = found.get(host.cases[0].name) if host.cases else None
            failures = [failure for result in engine["benchmarks"].values() for failure in result["failures"]]
            rows.append(
                {
                    "host": host.name,
                    "engine": name,
                    "version": engine["version"] or "",
                    "medians_ms": {case: round(row.median, 2) for case, row in found.items()},
                    "p95_ms": round(first.p95, 2) if first else None,
                    "ratio": round(first.ratio[0], 2) if first and first.ratio else None,
                    "reference": host.cases[0].reference if host.cases else "",
                    "failures": len(failures),
                    "first_failure": failures[0]["message"] if failures else "",
                    "unavailable_reason": engine["unavailable_reason"] or "",
                }
            )
    return rows


def table(hosts: list[Host]) -> list[str]:
    """The summary as lines of aligned text."""
    lines = []
    for host in hosts:
        rows = summary([host])
        reference = rows[0]["reference"] or "-"
        head = ["engine", "version", "run ms", "p95 ms", f"to {reference}", "lifecycle ms", "failures"]
        cells = [head] + [_cells(row) for row in rows if not row["unavailable_reason"]]
        widths = [max(len(line[column]) for line in cells) for column in range(len(head))]
        lines.append(f"{host.name}: {host.environment.get('distribution')}, kernel {host.environment.get('kernel')}")
        lines += ["  " + "  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in cells]
        lines += [f"  {row['engine']} failed, first by: {row['first_failure']}" for row in rows if row["failures"]]
        left_out = [row for row in rows if row["unavailable_reason"]]
        lines += [f"  {row['engine']} left out: {row['unavailable_reason']}" for row in left_out]
    return lines


def _cells(row: dict[str, Any]) -> list[str]:
    medians = row["medians_ms"]
    numbers = [medians.get("run_true"), row["p95_ms"], row["ratio"], medians.get("lifecycle")]
    return [
        row["engine"],
        row["version"],
        *["-" if number is None else f"{number:g}" for number in numbers],
        str(row["failures"]),
    ]
