# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""Hosts that are unlike the others of the fleet, and what may be the reason: what tells them apart from most hosts."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from ansible_collections.ocilab.hosts.plugins.module_utils.comparison import catalogue

from . import statistics
from .arrays import Floats, np
from .documents import Host
from .fleet import Fleet

_HOST = (3.5, 1.2)  # robust z-score and factor from which a host as a whole is one
_ENGINE = (5.0, 1.5)  # the same of one engine on a host
_FIELDS = (
    "cgroup_mode",
    "storage",
    "cpu_model",
    "cpu_count",
    "cpu_governor",
    "virtualization",
    "kernel",
    "distribution",
)
_BUSY = 0.7  # load by the processor, from which a host counts as busy


@dataclass
class Reason:
    """What a host has, and most others have not; the field is a key of the texts (reason_FIELD)."""

    field: str
    value: str
    usual: str


@dataclass
class Outlier:
    """factor: how many times as much things take on this host; engine: empty where the host as a whole is meant."""

    host: str
    engine: str
    factor: float
    reasons: list[Reason]


@lru_cache(maxsize=1)
def outliers(fleet: Fleet) -> list[Outlier]:
    """The outliers of a fleet, the farthest first; none of fewer than ENOUGH hosts."""
    if len(fleet.hosts) < statistics.ENOUGH or not fleet.cases:
        return []
    by_engine = np.stack([_cost(fleet, engine) for engine in fleet.engines], axis=1)
    whole = np.exp(statistics.nanmedian(np.log(by_engine).T))
    odd = _far(whole[:, None], *_HOST)[:, 0]
    odd_engines = _far(by_engine / whole[:, None], *_ENGINE)
    traits = [_traits(host) for host in fleet.hosts]
    telling = _telling(traits, odd | odd_engines.any(axis=1))
    result = [
        Outlier(fleet.hosts[row].name, "", float(whole[row]), _reasons(traits[row], telling))
        for row in np.nonzero(odd)[0]
    ]
    for row, column in zip(*np.nonzero(odd_engines)):
        name = fleet.engines[column]
        reasons = _engine_reasons(fleet, int(row), name) + _reasons(traits[row], telling)
        result.append(Outlier(fleet.hosts[row].name, name, float(by_engine[row, column]), reasons))
    return sorted(result, key=lambda found: (-abs(math.log(found.factor)), found.host, found.engine))


def _cost(fleet: Fleet, engine: str) -> Floats:
    """For each host the typical factor to the fleet's median, over the cases of an engine; more is worse."""
    columns = []
    for case in fleet.cases:
        medians = fleet.column(fleet.medians, (engine, case, fleet.headline(case)))
        with np.errstate(divide="ignore", invalid="ignore"):
            logs = np.log(np.where(medians > 0, medians, np.nan))
        logs = logs - statistics.nanmedian(logs[:, None])
        columns.append(logs if catalogue.CASES[case].better == "lower" else -logs)
    return np.exp(statistics.nanmedian(np.stack(columns)))


def _far(table: Floats, score: float, factor: float) -> np.ndarray:
    """Which entries are far from the median of their column, by robust z-score and by factor."""
    scores, _spread = statistics.deviations(table)
    off = np.abs(np.log(table) - np.log(statistics.nanmedian(table)))
    with np.errstate(invalid="ignore"):
        return (np.abs(scores) > score) & (off > math.log(factor))


def _traits(host: Host) -> dict[str, str]:
    """What may explain figures, as text."""
    environment = host.environment
    traits = {name: str(environment.get(name) if environment.get(name) is not None else "–") for name in _FIELDS}
    load = environment["load_average"][0] / max(1, environment["cpu_count"])
    traits["load"] = f"{load:.1f}" if load > _BUSY else f"< {_BUSY}"
    traits["memory"] = f"{environment.get('memory_bytes', 0) / (1 << 30):.0f} GiB"
    traits["alone"] = "yes" if host.machine["measured_alone"] else "no"
    return traits


def _telling(traits: list[dict[str, str]], odd: np.ndarray) -> dict[str, tuple[str, dict[str, float]]]:
    """Trait -> (its usual value, unusual value -> what part of its hosts are outliers), where that is half or more."""
    result: dict[str, tuple[str, dict[str, float]]] = {}
    for name in traits[0]:
        counts = Counter(_kind(name, found[name]) for found in traits)
        ill = Counter(_kind(name, found[name]) for found, is_odd in zip(traits, odd) if is_odd)
        usual = counts.most_common(1)[0][0]
        result[name] = (
            usual,
            {value: ill[value] / counts[value] for value in ill if value != usual and ill[value] * 2 >= counts[value]},
        )
    return result


def _kind(name: str, value: str) -> str:
    """Loads differ from host to host: that a host was busy is what counts."""
    return "busy" if name == "load" and not value.startswith("<") else value


def _reasons(traits: dict[str, str], telling: dict[str, tuple[str, dict[str, float]]]) -> list[Reason]:
    """The traits that set a host apart, the most telling first, three at most."""
    found = [
        (-parts[_kind(name, traits[name])], place, Reason(name, traits[name], usual))
        for place, (name, (usual, parts)) in enumerate(telling.items())
        if _kind(name, traits[name]) in parts
    ]
    return [reason for _part, _place, reason in sorted(found, key=lambda entry: entry[:2])][:3]


def _engine_reasons(fleet: Fleet, row: int, name: str) -> list[Reason]:
    """What the engine itself has on this host, and has not on most: its version, its storage or cgroup driver."""
    result = []
    for trait in ("version", "runtime", "storage_driver", "cgroup_driver"):
        values = [_engine_trait(host, name, trait) for host in fleet.hosts]
        usual = Counter(value for value in values if value).most_common(1)
        if usual and values[row] and values[row] != usual[0][0]:
            result.append(Reason(trait, values[row], usual[0][0]))
    return result[:2]


def _engine_trait(host: Host, name: str, trait: str) -> str:
    engine: dict[str, Any] = host.engines.get(name, {})
    if trait in ("version", "runtime"):
        return str(engine.get(trait) or "")
    told = host.info.get(name) or host.info.get(engine.get("engine", name)) or {}
    return str((told.get("system") or {}).get(trait) or "")
