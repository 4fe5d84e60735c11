# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""What the documents tell of engines beside figures: their layers, versions, use of the disk, and shared machines."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import Any

from .arrays import np
from .fleet import Fleet

ROLES = ("client", "daemon", "high-level runtime", "monitor", "low-level runtime", "container")


@dataclass
class Layers:
    """What lies between the command and the process: parts by role, as one host saw them; most hosts have the same."""

    engine: str
    host: str
    hosts: int
    others: int
    parts: dict[str, list[dict[str, Any]]]

    @property
    def between(self) -> int:
        """How many programs, the command itself among them and the container's own not."""
        return sum(len(parts) for role, parts in self.parts.items() if role != "container")


def layers(fleet: Fleet) -> list[Layers]:
    """The layers of each engine that was seen with a container."""
    result = []
    for engine in fleet.engines:
        seen = [(host.name, host.engines[engine]["components"]) for host in fleet.hosts if engine in host.engines]
        shapes = Counter(_shape(parts) for _host, parts in seen if parts)
        if not shapes:
            continue
        shape, hosts = shapes.most_common(1)[0]
        host, parts = next(entry for entry in seen if _shape(entry[1]) == shape)
        by_role = {role: [_readable(part) for part in parts if part["role"] == role] for role in ROLES}
        result.append(Layers(engine, host, hosts, sum(shapes.values()) - hosts, by_role))
    return result


def _readable(part: dict[str, Any]) -> dict[str, Any]:
    """A container's id in the name of a unit by its beginning, as engines show it."""
    return dict(part, unit=re.sub("([0-9a-f]{12})[0-9a-f]{52}", r"\1…", part["unit"]) if part["unit"] else None)


def _shape(parts: list[dict[str, Any]]) -> tuple[tuple[str, str], ...]:
    return tuple((part["role"], part["name"]) for part in parts)


@dataclass
class Info:
    """An engine over the hosts; sizes are medians of the hosts, in bytes; None where no host told."""

    engine: str
    kind: str
    hosts: int  # on which it was measured
    of: int
    versions: list[tuple[str, int]]
    runtimes: list[tuple[str, int]]
    drivers: list[tuple[str, int]]
    active: int  # hosts on which its service runs
    services: int
    disk: dict[str, tuple[float, float, float]]  # kind -> (count, size, reclaimable)
    reasons: list[tuple[str, int]]  # why it was left out
    notes: list[tuple[str, int]]


def infos(fleet: Fleet) -> list[Info]:
    """What is known of each engine."""
    return [_info(fleet, engine) for engine in fleet.engines]


def _info(fleet: Fleet, name: str) -> Info:
    here = [(host, host.engines[name]) for host in fleet.hosts if name in host.engines]
    measured = [engine for _host, engine in here if engine["available"]]
    told = [
        host.info.get(name) or host.info.get(engine["engine"]) or {} for host, engine in here if engine["available"]
    ]
    services = [found["service"] for found in told if found.get("service")]
    return Info(
        name,
        here[0][1]["kind"],
        len(measured),
        len(here),
        _common(engine["version"] for engine in measured),
        _common(engine["runtime"] for engine in measured),
        _common((found.get("system") or {}).get("storage_driver") for found in told),
        sum(service.get("active") == "active" for service in services),
        len(services),
        _disk([found.get("disk_usage") or {} for found in told]),
        _common(engine["unavailable_reason"] for _host, engine in here if not engine["available"]),
        _common(engine["notes"] for engine in measured),
    )


def _common(values: Any) -> list[tuple[str, int]]:
    return Counter(str(value) for value in values if value).most_common(4)


def _disk(usages: list[dict[str, Any]]) -> dict[str, tuple[float, float, float]]:
    result = {}
    for kind in ("images", "containers", "volumes", "build_cache"):
        found = [usage[kind] for usage in usages if usage.get(kind)]
        if found:
            fields = ("count", "size_bytes", "reclaimable_bytes")
            count, size, reclaimable = (float(np.median([part.get(field) or 0 for part in found])) for field in fields)
            result[kind] = (count, size, reclaimable)
    return result


@dataclass
class Machines:
    """Hosts that share machines, as groups; and hosts at whose time another host of their machine was measured."""

    groups: list[list[str]]
    single: int
    disturbed: list[str]


def machines(fleet: Fleet) -> Machines:
    """Which hosts share a machine."""
    groups = {
        tuple(sorted({host.name, *host.machine["shared_with"]})) for host in fleet.hosts if host.machine["shared_with"]
    }
    disturbed = [host.name for host in fleet.hosts if not host.machine["measured_alone"]]
    single = sum(not host.machine["shared_with"] for host in fleet.hosts)
    return Machines([list(group) for group in sorted(groups)], single, disturbed)
