# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""The figures of single hosts, as the page's script reads them: JSON, deflated, in base64."""

from __future__ import annotations

import base64
import json
import zlib
from typing import Any

from ansible_collections.ocilab.hosts.plugins.module_utils.comparison import catalogue

from . import units
from .arrays import Floats, np
from .fleet import Fleet

_SAMPLES = 60_000  # in the page, beyond which it holds medians alone
_FAILURES = 20  # of a host


def deflated(fleet: Fleet, texts: dict[str, Any]) -> str:
    """All of it; texts are those that the script speaks."""
    data = dict(_described(fleet), texts=texts)
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return base64.b64encode(zlib.compress(text.encode("utf-8"), 5)).decode("ascii")


def _described(fleet: Fleet) -> dict[str, Any]:
    columns = [(case, measure) for case in fleet.cases for measure in fleet.measures(case)]
    scales = [_scale(fleet, case, measure) for case, measure in columns]
    heads = {case: columns.index((case, fleet.headline(case))) for case in fleet.cases}
    medians = _table(fleet, columns, scales)
    cases = [
        {
            "name": case,
            "head": heads[case],
            "reference": fleet.references[case],
            "better": catalogue.CASES[case].better,
            "columns": [place for place, column in enumerate(columns) if column[0] == case],
        }
        for case in fleet.cases
    ]
    return {
        "engines": [{"name": name, "kind": fleet.engine(name)["kind"]} for name in fleet.engines],
        "columns": [{"measure": measure, "sign": sign} for (_case, measure), (_factor, sign) in zip(columns, scales)],
        "cases": cases,
        "hosts": _hosts(fleet, medians, _ratios(fleet), [scales[heads[case]][0] for case in fleet.cases]),
    }


def _scale(fleet: Fleet, case: str, measure: str) -> tuple[float, str]:
    tables = [fleet.column(fleet.medians, (engine, case, measure)) for engine in fleet.engines]
    known = np.concatenate(tables)
    known = known[~np.isnan(known)]
    return units.scale(fleet.units[case, measure], float(np.median(known)) if len(known) else 0)


def _rounded(table: Floats) -> list[Any]:
    """To three digits; None for NaN."""
    with np.errstate(divide="ignore", invalid="ignore"):
        power = np.where(table > 0, 2 - np.floor(np.log10(np.where(table > 0, table, 1))), 0)
    factor = 10.0 ** np.clip(power, -300, 300)
    # Division by a power of ten gives the nearest number to the decimal; multiplication by its inverse does not.
    inverse = 10.0 ** np.clip(-power, 0, 300)
    rounded = np.where(power >= 0, np.round(table * factor) / factor, np.round(table / inverse) * inverse)
    return np.where(np.isnan(rounded), None, rounded.astype(object)).tolist()


def _table(fleet: Fleet, columns: list[tuple[str, str]], scales: list[tuple[float, str]]) -> list[Any]:
    """Medians by host, engine and column, in the column's unit."""
    if not columns:
        return [[[] for _engine in fleet.engines] for _host in fleet.hosts]
    stacked = np.stack(
        [
            np.stack(
                [
                    fleet.column(fleet.medians, (engine, case, measure)) / scale[0]
                    for (case, measure), scale in zip(columns, scales)
                ],
                axis=1,
            )
            for engine in fleet.engines
        ],
        axis=1,
    )
    return _rounded(stacked)


def _ratios(fleet: Fleet) -> list[Any]:
    """Ratio and the ends of its interval, by host, engine and case."""
    if not fleet.cases:
        return [[[] for _engine in fleet.engines] for _host in fleet.hosts]
    empty = np.full((len(fleet.hosts), 3), np.nan)
    by_case = []
    for case in fleet.cases:
        found = {row.engine: np.stack([row.ratios, row.lows, row.highs], axis=1) for row in fleet.measured[case]}
        by_case.append(np.stack([found.get(engine, empty) for engine in fleet.engines], axis=1))
    return _rounded(np.stack(by_case, axis=2))


def _hosts(fleet: Fleet, medians: list[Any], ratios: list[Any], factors: list[float]) -> list[dict[str, Any]]:
    with_samples = sum(len(host.values) for host in fleet.hosts) <= _SAMPLES
    result = []
    for row, host in enumerate(fleet.hosts):
        environment = {name: value for name, value in host.environment.items() if name != "boot_id"}
        engines = [host.engines.get(name) for name in fleet.engines]
        described = {
            "name": host.name,
            "environment": environment,
            "shared": host.machine["shared_with"],
            "alone": host.machine["measured_alone"],
            "versions": [engine and engine["version"] for engine in engines],
            "reasons": [engine and engine["unavailable_reason"] for engine in engines],
            "notes": [engine and engine["notes"] for engine in engines],
            "medians": [values if any(value is not None for value in values) else None for values in medians[row]],
            "ratios": [values if any(value[0] is not None for value in values) else None for values in ratios[row]],
            "failures": host.failures[:_FAILURES],
            "failed": len(host.failures),
        }
        if with_samples:
            described["samples"] = [
                [
                    _rounded(fleet.samples(row, (engine, case, fleet.headline(case))) / factor)
                    for case, factor in zip(fleet.cases, factors)
                ]
                for engine in fleet.engines
            ]
        result.append(described)
    return result
