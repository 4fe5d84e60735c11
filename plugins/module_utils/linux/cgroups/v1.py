# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""cgroup v1: what is written to which file for runtime-spec's resources (Documentation/admin-guide/cgroup-v1).

Each function gets the Directory of its controller's hierarchy and the properties that are set; the order of the writes
matters where the kernel holds one limit against another. Raises Unsupported, InvalidInput and KernelRefused.
"""

from __future__ import annotations

import errno

from .. import files
from ..errors import InvalidInput
from .directory import Directory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_MEMSW = "memory.memsw.limit_in_bytes"


def memory(directory: Directory, asked: dict[str, Any], is_update: bool) -> None:
    """limit and swap (memory and swap together) in the order that keeps limit <= swap at each moment, then the rest."""
    limit, swap = asked.get("limit"), asked.get("swap")
    if limit == -1 and swap is None and directory.has(_MEMSW):
        swap = -1  # memory without a limit below a limit of memory and swap is refused
    order = [("limit", limit), ("swap", swap)]
    if limit is not None and swap is not None and (swap == -1 or (_limit(directory) or 0) < swap):
        order.reverse()
    for name, value in order:
        if value is not None:
            _set_memory(directory, name, value)
    if "reservation" in asked:
        directory.write("memory.soft_limit_in_bytes", asked["reservation"], "memory.reservation")
    if asked.get("disableOOMKiller"):
        directory.write("memory.oom_control", 1, "memory.disableOOMKiller")
    if "swappiness" in asked:
        directory.write("memory.swappiness", asked["swappiness"], "memory.swappiness")
    if asked.get("useHierarchy") and directory.number("memory.use_hierarchy") == 0:  # always 1 since Linux 5.11
        directory.write("memory.use_hierarchy", 1, "memory.useHierarchy")


def _limit(directory: Directory) -> int | None:
    return directory.number("memory.limit_in_bytes")


def _set_memory(directory: Directory, name: str, value: int) -> None:
    file = "memory.limit_in_bytes" if name == "limit" else _MEMSW
    try:
        files.write(directory.path + "/" + file, b"%d" % value)
    except OSError as error:
        hint = ""
        if error.errno == errno.EBUSY:
            used = [directory.number("memory.%s_in_bytes" % kind) for kind in ("usage", "max_usage")]
            hint = "it uses %s bytes now, at most it used %s" % tuple(used)
        elif error.errno == errno.EINVAL:
            hint = "limit must not be above swap, which counts memory and swap together"
        raise directory.refusal(file, value, "memory." + name, error.errno, hint) from None


def cpu(directory: Directory, asked: dict[str, Any], is_update: bool) -> None:
    """shares, then period, burst and quota, then idle and the real-time limits."""
    if "shares" in asked and asked.get("idle") != 1:  # an idle group has no shares
        if not 2 <= asked["shares"] <= 262144:
            raise InvalidInput("linux.resources.cpu.shares: %d is not from 2 to 262144" % asked["shares"])
        directory.write("cpu.shares", asked["shares"], "cpu.shares")
    has_quota = "quota" in asked
    # A period or a burst that does not go with the old quota may go with the new one.
    late = [
        (name, file)
        for name, file in (("period", "cpu.cfs_period_us"), ("burst", "cpu.cfs_burst_us"))
        if name in asked and not _write_early(directory, name, file, asked[name], has_quota)
    ]
    if has_quota:
        directory.write("cpu.cfs_quota_us", asked["quota"], "cpu.quota")
    for name, file in late:
        directory.write(file, asked[name], "cpu." + name)
    if "idle" in asked:
        directory.write("cpu.idle", asked["idle"], "cpu.idle")
    _set_realtime(directory, asked)


def _write_early(directory: Directory, name: str, file: str, value: int, has_quota: bool) -> bool:
    if name == "burst" and value == 0 and not directory.has(file):
        return True  # an old kernel, which cannot do what is not asked for
    return directory.try_write(file, value, (errno.EINVAL,) if has_quota else (), "cpu." + name)


def _set_realtime(directory: Directory, asked: dict[str, Any]) -> None:
    period, runtime = asked.get("realtimePeriod"), asked.get("realtimeRuntime")
    tolerated = () if runtime is None else (errno.EINVAL,)
    is_late = False
    if period is not None:
        is_late = not directory.try_write("cpu.rt_period_us", period, tolerated, "cpu.realtimePeriod")
    if runtime is not None:
        directory.write("cpu.rt_runtime_us", runtime, "cpu.realtimeRuntime")
    if is_late:
        directory.write("cpu.rt_period_us", period, "cpu.realtimePeriod")


def cpuset(directory: Directory, asked: dict[str, Any], is_update: bool) -> None:
    for name in ("cpus", "mems"):
        if name in asked:
            directory.write("cpuset." + name, asked[name], "cpu." + name)


def pids(directory: Directory, asked: dict[str, Any], is_update: bool) -> None:
    directory.write("pids.max", pids_max(asked["limit"]), "pids.limit")


def pids_max(limit: int) -> str:
    """pids.max for pids.limit: below 0 there is no limit; 0 is 1, for the container's own process is there already."""
    return "max" if limit < 0 else str(max(1, limit))


def block_io(directory: Directory, asked: dict[str, Any], is_update: bool) -> None:
    """Weights by CFQ's files or, since Linux 5.0, by BFQ's; rates by the throttle's."""
    weight_file = "blkio.weight"
    if ("weight" in asked or "weightDevice" in asked) and not directory.has(weight_file):
        weight_file = "blkio.bfq.weight"
    if "weight" in asked:
        directory.write(weight_file, asked["weight"], "blockIO.weight")
    if "leafWeight" in asked:
        directory.write("blkio.leaf_weight", asked["leafWeight"], "blockIO.leafWeight")
    for item in asked.get("weightDevice") or []:
        for name, file in (("weight", weight_file + "_device"), ("leafWeight", "blkio.leaf_weight_device")):
            if item.get(name):
                directory.write(file, device(item, item[name]), "blockIO.weightDevice")
    for name, file in (
        ("throttleReadBpsDevice", "blkio.throttle.read_bps_device"),
        ("throttleWriteBpsDevice", "blkio.throttle.write_bps_device"),
        ("throttleReadIOPSDevice", "blkio.throttle.read_iops_device"),
        ("throttleWriteIOPSDevice", "blkio.throttle.write_iops_device"),
    ):
        for item in asked.get(name) or []:
            directory.write(file, device(item, item["rate"]), "blockIO." + name)


def device(item: dict[str, Any], value: object) -> str:
    """'8:0 value' for a device's entry."""
    return "%d:%d %s" % (item["major"], item["minor"], value)


def hugepages(directory: Directory, asked: list[dict[str, Any]], is_update: bool) -> None:
    """The limit of use, and where the kernel has it (5.7) the one of reservations."""
    ending = ".max" if directory.is_v2 else ".limit_in_bytes"
    for item in asked:
        prefix = "hugetlb." + item["pageSize"]
        directory.write(prefix + ending, item["limit"], "hugepageLimits")
        directory.try_write(prefix + ".rsvd" + ending, item["limit"], (errno.ENOENT,), "hugepageLimits")


def network_class(directory: Directory, asked: dict[str, Any], is_update: bool) -> None:
    directory.write("net_cls.classid", asked["classID"], "network.classID")


def network_priorities(directory: Directory, asked: dict[str, Any], is_update: bool) -> None:
    for item in asked["priorities"]:
        directory.write("net_prio.ifpriomap", "%s %d" % (item["name"], item["priority"]), "network.priorities")


def rdma(directory: Directory, asked: dict[str, Any], is_update: bool) -> None:
    """rdma.max, which v1 and v2 share."""
    for name, limits in asked.items():
        words = [name]
        for key, word in (("hcaHandles", "hca_handle"), ("hcaObjects", "hca_object")):
            if limits.get(key) is not None:
                words.append("%s=%d" % (word, limits[key]))
        directory.write("rdma.max", " ".join(words), "rdma.%s" % name)


def inherit_cpuset(path: str, asked: dict[str, Any], is_fresh: bool) -> None:
    """Give a cpuset what its parent has and the configuration does not set: no process can enter an empty one.

    A parent that somebody left empty is filled first. Raises OSError.
    """
    parent = path.rpartition("/")[0]
    for name in ("cpus", "mems"):
        if asked.get(name) or not (is_fresh or _is_empty(path, name)):
            continue
        value = files.read(parent + "/cpuset." + name).strip()
        if not value:
            inherit_cpuset(parent, {}, False)
            value = files.read(parent + "/cpuset." + name).strip()
        files.write(path + "/cpuset." + name, value)


def _is_empty(path: str, name: str) -> bool:
    return not files.read(path + "/cpuset." + name).strip()
