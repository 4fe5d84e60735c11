# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""The one shape in which every engine is told of, whatever its own words for it are."""

from __future__ import annotations

import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any


def new(kind: str) -> dict[str, Any]:
    """The shape of an engine of which nothing is known yet. notes: sentences of what a reader must know of it."""
    return {
        "available": False,
        "unavailable_reason": None,
        "kind": kind,
        "notes": [],
        "version": {"client": None, "server": None, "api": None, "details": {}},
        "system": {
            "storage_driver": None,
            "cgroup_driver": None,
            "cgroup_version": None,
            "default_runtime": None,
            "runtimes": [],
            "root_dir": None,
            "rootless": False,
            "security_options": [],
            "kernel": None,
            "os": None,
            "desktop": False,
        },
        "disk_usage": {"images": None, "containers": None, "volumes": None, "build_cache": None},
        "service": None,
        "sockets": [],
        "components": [],
        "objects": {"containers": [], "images": [], "networks": [], "volumes": []},
    }


def usage(items: Iterable[tuple[bool, int]], size_bytes: int | None = None) -> dict[str, Any]:
    """What things of one kind take on the disk: (whether it is active, its bytes) of each.

    What is not active can be reclaimed. size_bytes: of all together, where they share bytes; else the sum.
    """
    known = list(items)
    in_use = sum(size for active, size in known if active)
    total = sum(size for _active, size in known) if size_bytes is None else size_bytes
    return {
        "count": len(known),
        "active": sum(1 for active, _size in known if active),
        "size_bytes": total,
        "reclaimable_bytes": max(0, total - in_use),
    }


def counted(states: Iterable[bool]) -> dict[str, Any]:
    """usage() for an engine that keeps no account of bytes: whether each thing is active."""
    known = list(states)
    return {"count": len(known), "active": sum(known), "size_bytes": None, "reclaimable_bytes": None}


def container(id: str, name: str, image: str, status: str, created: str | None) -> dict[str, Any]:
    """status: in the engine's own word, in small letters; created: as moment() gives it."""
    return {"id": id, "name": name, "image": image, "status": status.lower(), "created": created}


def image(id: str, names: list[str], size_bytes: int) -> dict[str, Any]:
    return {"id": id, "names": names, "size_bytes": size_bytes}


def network(name: str, driver: str, subnets: list[str]) -> dict[str, Any]:
    return {"name": name, "driver": driver, "subnets": subnets}


def volume(name: str, driver: str, path: str) -> dict[str, Any]:
    return {"name": name, "driver": driver, "path": path}


def moment(seconds: float) -> str | None:
    """Seconds of Unix time as text, in UTC; None for 0, which is how engines write that there was none."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds)) if seconds > 0 else None
