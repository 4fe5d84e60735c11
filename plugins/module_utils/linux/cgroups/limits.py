# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""linux.resources of runtime-spec taken apart by controller: which properties are set, and who writes them.

A property that is absent, and of most of them one that is 0, false or empty, says nothing, as in runc.
"""

from __future__ import annotations

from . import v1

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Iterator

# (controller, its name in v2 or None, group of linux.resources, properties; () for a group that is one value)
_PARTS: tuple[tuple[str, str | None, str, tuple[str, ...]], ...] = (
    ("cpuset", "cpuset", "cpu", ("cpus", "mems")),
    (
        "memory",
        "memory",
        "memory",
        ("limit", "swap", "reservation", "swappiness", "disableOOMKiller", "useHierarchy", "checkBeforeUpdate"),
    ),
    ("cpu", "cpu", "cpu", ("shares", "quota", "period", "burst", "idle", "realtimePeriod", "realtimeRuntime")),
    ("pids", "pids", "pids", ("limit",)),
    (
        "blkio",
        "io",
        "blockIO",
        ("weight", "leafWeight", "weightDevice")
        + ("throttleReadBpsDevice", "throttleWriteBpsDevice", "throttleReadIOPSDevice", "throttleWriteIOPSDevice"),
    ),
    ("hugetlb", "hugetlb", "hugepageLimits", ()),
    ("net_cls", None, "network", ("classID",)),
    ("net_prio", None, "network", ("priorities",)),
    ("rdma", "rdma", "rdma", ()),
)
_ZERO_COUNTS = frozenset(["memory.swappiness", "cpu.burst", "cpu.idle", "pids.limit"])
# They change how a limit is set, or are always so by now: alone they need no controller.
_ALONE_NOTHING = frozenset(["useHierarchy", "checkBeforeUpdate"])
_WRITERS_V1: dict[str, Any] = {
    "cpuset": v1.cpuset,
    "memory": v1.memory,
    "cpu": v1.cpu,
    "pids": v1.pids,
    "blkio": v1.block_io,
    "hugetlb": v1.hugepages,
    "net_cls": v1.network_class,
    "net_prio": v1.network_priorities,
    "rdma": v1.rdma,
}


class Part:
    """What one controller is asked for. named: the first property, for errors; values: as the writers take them."""

    def __init__(self, controller: str, v2_controller: str | None, named: str, values: Any) -> None:
        self.controller = controller
        self.v2_controller = v2_controller
        self.named = named
        self.values = values


def parts(resources: dict[str, Any]) -> Iterator[Part]:
    """The parts of linux.resources that ask for something, in the order of writing; devices and unified are no part."""
    for controller, v2_controller, group, names in _PARTS:
        asked = resources.get(group)
        if not asked:
            continue
        if not names:
            yield Part(controller, v2_controller, group, asked)
            continue
        values = {name: asked[name] for name in names if is_set(group, name, asked.get(name))}
        if not values.keys() <= _ALONE_NOTHING:
            yield Part(controller, v2_controller, group + "." + min(values), values)


def is_set(group: str, name: str, value: Any) -> bool:
    return value is not None and (bool(value) or "%s.%s" % (group, name) in _ZERO_COUNTS)


def write(part: Part, directory: Any, is_update: bool) -> None:
    """Write a part to the Directory that has its controller. Raises Unsupported, InvalidInput, KernelRefused."""
    if directory.is_v2:
        from . import v2

        writers: dict[str, Any] = {
            "cpuset": v2.cpuset,
            "memory": v2.memory,
            "cpu": v2.cpu,
            "pids": v2.pids,
            "blkio": v2.block_io,
            "hugetlb": v2.hugepages,
            "rdma": v2.rdma,
        }
        writers[part.controller](directory, part.values, is_update)
    else:
        _WRITERS_V1[part.controller](directory, part.values, is_update)
