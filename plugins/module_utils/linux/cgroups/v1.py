# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""cgroup v1: which file takes which resource of runtime-spec (Documentation/admin-guide/cgroup-v1)."""

from __future__ import annotations

from .. import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Iterator

CONTROLLERS = frozenset(
    [
        "blkio",
        "cpu",
        "cpuacct",
        "cpuset",
        "devices",
        "freezer",
        "hugetlb",
        "memory",
        "misc",
        "net_cls",
        "net_prio",
        "perf_event",
        "pids",
        "rdma",
    ]
)
# resource -> (controller, file), in the order of writing: a quota is checked against the period that is set
_FILES = (
    ("memory.limit", "memory", "memory.limit_in_bytes"),
    ("memory.reservation", "memory", "memory.soft_limit_in_bytes"),
    ("memory.swap", "memory", "memory.memsw.limit_in_bytes"),
    ("cpu.shares", "cpu", "cpu.shares"),
    ("cpu.period", "cpu", "cpu.cfs_period_us"),
    ("cpu.quota", "cpu", "cpu.cfs_quota_us"),
    ("cpu.cpus", "cpuset", "cpuset.cpus"),
    ("cpu.mems", "cpuset", "cpuset.mems"),
    ("pids.limit", "pids", "pids.max"),
)


def settings(resources: dict[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    """(controller, file, value, resource) for each limit that is set; 0 means unlimited pids, as in runc."""
    for resource, controller, name in _FILES:
        group, _dot, key = resource.partition(".")
        value = (resources.get(group) or {}).get(key)
        if value is None or value == "":
            continue
        if resource == "pids.limit" and value <= 0:
            value = "max"
        yield controller, name, str(value), resource


def inherit_cpuset(path: str) -> None:
    """A new cpuset is empty, and a process cannot enter it until it has processors and memory nodes. Raises OSError."""
    parent = path.rpartition("/")[0]
    for name in ("/cpuset.cpus", "/cpuset.mems"):
        if not files.read(path + name).strip():
            files.write(path + name, files.read(parent + name).strip())
