# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""What engines keep in memory: beside idle containers, by the container, and while there is none."""

from __future__ import annotations

import os
import time

from ...engines import components
from ...engines.engine import Wanted
from ...linux import files
from ...linux.cgroups import hierarchy
from ...linux.cgroups.directory import Directory
from ...linux.errors import Unsupported
from . import seat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


def footprint(at: seat.Seat) -> Iterator[seat.Measured]:
    """The proportional set size of what runs for the engine while no container does; nothing where nothing does."""
    yield "daemons", "bytes", pss(at.engine.daemons())


def density(at: seat.Seat) -> Iterator[seat.Measured]:
    """Of N idle containers, by the container: their monitors, the growth of the daemons, and their cgroups."""
    strangers = set(components.pids())
    daemons = at.engine.daemons()
    before = pss(daemons)
    started: list[str] = []
    for count in at.sizes["density"]:
        at.budget.check_containers(count)
        while len(started) < count:
            at.budget.check()
            started.append(at.start(Wanted(seat.IDLE)))
        time.sleep(at.engine.settle_s)
        pids = [at.engine.process(container_id) for container_id in started]
        parts = {
            "monitors": pss(monitors(pids, strangers)),
            "daemons": max(0, pss(daemons) - before),
            "cgroup": cgroup_bytes(pids),
        }
        for name, value in parts.items():
            yield "%s_%d" % (name, count), "bytes", value / count
        yield "total_%d" % count, "bytes", sum(parts.values()) / count


def pss(pids: Iterable[int]) -> int:
    """The bytes of processes, each with its part of what it shares (proc(5), smaps_rollup); 0 of one that is gone."""
    return sum(_pss(pid) for pid in pids)


def _pss(pid: int) -> int:
    try:
        lines = files.read_text("/proc/%d/smaps_rollup" % pid).splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) << 10


def monitors(pids: Iterable[int], strangers: set[int]) -> set[int]:
    """The ancestors of containers' processes that came with them: none of the strangers, who were there before."""
    found: set[int] = set()
    for pid in pids:
        parent = components.parent(pid)
        while parent and parent not in strangers and parent not in found:
            found.add(parent)
            parent = components.parent(parent)
    return found


def cgroup_bytes(pids: Iterable[int]) -> int:
    """What the kernel has charged to containers' cgroups. Raises Unsupported where they have none of their own."""
    for item in hierarchy.mounted():
        if "memory" in item.controllers:
            own = hierarchy.own_directories([item])[item.name]
            found = {hierarchy.own_directories([item], pid)[item.name] for pid in pids}
            return sum(_charged(path, own, item) for path in found)
    raise Unsupported("this host has no memory controller to tell what its containers' cgroups hold")


def _charged(path: str, own: str, item: hierarchy.Hierarchy) -> int:
    """Of the cgroup, or of the nearest above it that counts: engines make further ones below, without controllers."""
    while path.startswith(item.mount_point + "/") and not (own + "/").startswith(path + "/"):
        value = Directory(path, item.is_v2).number("memory.current" if item.is_v2 else "memory.usage_in_bytes")
        if value is not None:
            return value
        path = os.path.dirname(path)
    raise Unsupported("its containers have no cgroup of their own for memory")
