# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""What a cgroup uses, as `runc events --stats` tells it (runc's types/events.go), which leaves many a 0 out.

Times are nanoseconds, sizes bytes.
"""

from __future__ import annotations

import os

from .directory import UNLIMITED, Directory
from .hierarchy import Hierarchy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_TICK_NS = 10000000  # the kernel tells times in hundredths of a second to user space, whatever CONFIG_HZ is
_CPUSET_V1 = {
    "cpu_exclusive": "cpu_exclusive",
    "mem_hardwall": "mem_hardwall",
    "mem_exclusive": "mem_exclusive",
    "memory_migrate": "memory_migrate",
    "memory_spread_page": "memory_spread_page",
    "memory_spread_slab": "memory_spread_slab",
    "memory_pressure": "memory_pressure",
    "sched_load_balance": "sched_load_balance",
}
_BLKIO = (
    ("sectorsRecursive", "sectors_recursive"),
    ("ioServiceTimeRecursive", "io_service_time_recursive"),
    ("ioWaitTimeRecursive", "io_wait_time_recursive"),
    ("ioMergedRecursive", "io_merged_recursive"),
    ("ioQueueRecursive", "io_queued_recursive"),
    ("ioTimeRecursive", "time_recursive"),
    ("ioServicedRecursive", "io_serviced_recursive"),
    ("ioServiceBytesRecursive", "io_service_bytes_recursive"),
)
# The first family of files that is complete counts: BFQ with and without debugging, CFQ, and the throttle's own.
_BLKIO_FAMILIES = (
    ("blkio.bfq.", _BLKIO),
    ("blkio.bfq.", _BLKIO[-2:]),
    ("blkio.", _BLKIO),
    ("blkio.throttle.", _BLKIO[-2:]),
    ("blkio.throttle.", (("ioServicedRecursive", "io_serviced"), ("ioServiceBytesRecursive", "io_service_bytes"))),
)
_IO_STAT = {
    "rbytes": ("ioServiceBytesRecursive", "Read"),
    "wbytes": ("ioServiceBytesRecursive", "Write"),
    "rios": ("ioServicedRecursive", "Read"),
    "wios": ("ioServicedRecursive", "Write"),
}


def collect(hierarchies: list[Hierarchy], paths: dict[str, str]) -> dict[str, Any]:
    """The statistics of the cgroup: cpu, cpuset, memory, pids, blkio, hugetlb, intel_rdt, network_interfaces.

    Raises KernelRefused.
    """
    directories = {}
    for item in hierarchies:
        for controller in item.controllers:
            directories[controller] = Directory(paths[item.name], item.is_v2)
    result: dict[str, Any] = {
        "cpu": {"usage": {"kernel": 0, "user": 0}, "throttling": {}},
        "cpuset": dict.fromkeys(_CPUSET_V1, 0),
        "memory": {key: {"limit": 0, "failcnt": 0} for key in ("usage", "swap", "kernel", "kernelTCP")},
        "pids": {},
        "blkio": {},
        "hugetlb": {},
        "intel_rdt": {},
        "network_interfaces": None,
    }
    result["cpuset"]["sched_relax_domain_level"] = 0
    if "" in paths:
        _collect_v2(Directory(paths[""], True), result)
    else:
        _collect_v1(directories, result)
    if "hugetlb" in directories:
        result["hugetlb"] = _hugetlb(directories["hugetlb"])
    return result


def _collect_v1(directories: dict[str, Directory], result: dict[str, Any]) -> None:
    if "cpu" in directories:
        result["cpu"]["throttling"] = _throttling(_pairs(directories["cpu"], "cpu.stat"), 1)
    if "cpuacct" in directories:
        result["cpu"]["usage"] = _cpu_usage_v1(directories["cpuacct"])
    if "cpuset" in directories:
        result["cpuset"] = _cpuset_v1(directories["cpuset"])
    if "memory" in directories:
        result["memory"] = _memory_v1(directories["memory"])
    if "pids" in directories:
        result["pids"] = _pids(directories["pids"])
    if "blkio" in directories:
        result["blkio"] = _blkio_v1(directories["blkio"])


def _collect_v2(directory: Directory, result: dict[str, Any]) -> None:
    stat = _pairs(directory, "cpu.stat")
    usage = {"total": stat.get("usage_usec", 0) * 1000}
    result["cpu"] = {
        "usage": dict(_present(usage), kernel=stat.get("system_usec", 0) * 1000, user=stat.get("user_usec", 0) * 1000),
        "throttling": _throttling(stat, 1000),
    }
    result["memory"] = _memory_v2(directory)
    result["pids"] = _pids(directory)
    result["blkio"] = _blkio_v2(directory)
    for group, file in (("cpu", "cpu.pressure"), ("memory", "memory.pressure"), ("blkio", "io.pressure")):
        pressure = _pressure(directory, file)
        if pressure:
            result[group]["psi"] = pressure


def _present(values: dict[str, Any]) -> dict[str, Any]:
    """What is not 0 and not empty."""
    return {key: value for key, value in values.items() if value}


def _pairs(directory: Directory, file: str) -> dict[str, int]:
    """The lines `name number` of a file."""
    result = {}
    for line in directory.text(file).splitlines():
        name, _blank, value = line.partition(" ")
        if value.isdigit():
            result[name] = int(value)
    return result


def _throttling(stat: dict[str, int], factor: int) -> dict[str, int]:
    throttled = stat.get("throttled_time", stat.get("throttled_usec", 0)) * factor
    values = {"periods": stat.get("nr_periods"), "throttledPeriods": stat.get("nr_throttled")}
    return _present(dict(values, throttledTime=throttled))


def _cpu_usage_v1(directory: Directory) -> dict[str, Any]:
    stat = _pairs(directory, "cpuacct.stat")
    by_mode = [line.split() for line in directory.text("cpuacct.usage_all").splitlines()[1:]]
    usage = {
        "total": directory.number("cpuacct.usage"),
        "percpu": [int(value) for value in directory.text("cpuacct.usage_percpu").split()],
        "percpu_kernel": [int(fields[2]) for fields in by_mode],
        "percpu_user": [int(fields[1]) for fields in by_mode],
    }
    modes = {"kernel": stat.get("system", 0) * _TICK_NS, "user": stat.get("user", 0) * _TICK_NS}
    return dict(_present(usage), **modes)


def _cpuset_v1(directory: Directory) -> dict[str, Any]:
    result: dict[str, Any] = {key: directory.number("cpuset." + file) or 0 for key, file in _CPUSET_V1.items()}
    level = directory.text("cpuset.sched_relax_domain_level")
    result["sched_relax_domain_level"] = int(level or 0)
    for key in ("cpus", "mems"):
        members = _members(directory.text("cpuset." + key))
        if members:
            result[key] = members
    return result


def _members(text: str) -> list[int]:
    """[0, 1, 3] for '0-1,3'."""
    result: list[int] = []
    for part in text.split(","):
        first, _dash, last = part.partition("-")
        if first:
            result += range(int(first), int(last or first) + 1)
    return result


def _memory_v1(directory: Directory) -> dict[str, Any]:
    raw = _pairs(directory, "memory.stat")
    result = _present({"cache": raw.get("cache"), "raw": raw})
    for key, prefix in (("usage", ""), ("swap", "memsw."), ("kernel", "kmem."), ("kernelTCP", "kmem.tcp.")):
        number = {
            name: directory.number("memory.%s%s" % (prefix, file)) or 0
            for name, file in (
                ("limit", "limit_in_bytes"),
                ("usage", "usage_in_bytes"),
                ("max", "max_usage_in_bytes"),
                ("failcnt", "failcnt"),
            )
        }
        result[key] = _memory_entry(number["limit"], number["usage"], number["max"], number["failcnt"])
    return result


def _memory_entry(limit: int, usage: int = 0, peak: int = 0, failcnt: int = 0) -> dict[str, int]:
    return dict({"limit": limit, "failcnt": failcnt}, **_present({"usage": usage, "max": peak}))


def _memory_v2(directory: Directory) -> dict[str, Any]:
    """v2 counts swap alone; runc adds memory to it, as v1 did. Of kernel memory v2 has no limit."""
    raw = _pairs(directory, "memory.stat")
    result = _present({"cache": raw.get("file"), "raw": raw})
    usage, limit = directory.number("memory.current") or 0, directory.number("memory.max") or 0
    swap = directory.number("memory.swap.current")
    swap_limit = directory.number("memory.swap.max") or 0
    result["usage"] = _memory_entry(limit, usage, directory.number("memory.peak") or 0)
    if swap is None:
        result["swap"] = _memory_entry(limit, usage)
    else:
        both = UNLIMITED if swap_limit == UNLIMITED else (swap_limit + limit) % (1 << 64)
        result["swap"] = _memory_entry(both, swap + usage)
    result["kernel"] = result["kernelTCP"] = _memory_entry(0)
    return result


def _pids(directory: Directory) -> dict[str, int]:
    current, limit = directory.number("pids.current"), directory.number("pids.max")
    if current is None:  # v2 without the controller: counted by hand
        current = len(directory.text("cgroup.procs").split())
    return _present({"current": current, "limit": 0 if limit == UNLIMITED else limit})


def _blkio_v1(directory: Directory) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for prefix, family in _BLKIO_FAMILIES:
        for index, (key, name) in enumerate(family):
            entries = _blkio_file(directory, prefix + name)
            if not entries:
                if index == 0:
                    break
                return result
            result[key] = entries
        else:
            return result
    return result


def _blkio_file(directory: Directory, file: str) -> list[dict[str, Any]]:
    """The lines `8:0 Read 4096` of a file, without the sum at its end."""
    result = []
    for line in directory.text(file).splitlines():
        words = line.replace(":", " ").split()
        if len(words) >= 3:
            operation = words[2] if len(words) == 4 else ""
            result.append(_blkio_entry(words[0], words[1], operation, words[-1]))
    return result


def _blkio_entry(major: str, minor: str, operation: str, value: str) -> dict[str, Any]:
    return _present({"major": int(major), "minor": int(minor), "op": operation, "value": int(value)})


def _blkio_v2(directory: Directory) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for line in directory.text("io.stat").splitlines():
        device, *words = line.split()
        major, colon, minor = device.partition(":")
        for word in words:
            name, _equals, value = word.partition("=")
            if colon and name in _IO_STAT:
                key, operation = _IO_STAT[name]
                result.setdefault(key, []).append(_blkio_entry(major, minor, operation, value))
    return result


def _pressure(directory: Directory, file: str) -> dict[str, Any]:
    """{"some": {"avg10": 0.0, "avg60": ..., "avg300": ..., "total": microseconds}, "full": {...}}, {} without PSI."""
    result: dict[str, Any] = {}
    for line in directory.text(file).splitlines():
        kind, *words = line.split()
        pairs = dict(word.partition("=")[::2] for word in words)
        result[kind] = {key: int(value) if key == "total" else float(value) for key, value in pairs.items()}
    if result and "full" not in result:
        result["full"] = {"avg10": 0.0, "avg60": 0.0, "avg300": 0.0, "total": 0}
    return result


def _hugetlb(directory: Directory) -> dict[str, Any]:
    """By page size: usage, max (v1) and failcnt; of reservations where the kernel counts them."""
    result = {}
    for size in page_sizes():
        prefix = "hugetlb.%s." % size
        use = "current" if directory.is_v2 else "usage_in_bytes"
        reserved = prefix + "rsvd." if directory.has(prefix + "rsvd." + use) else prefix
        usage = directory.number(reserved + use)
        if usage is None:
            continue
        if directory.is_v2:
            failed = _pairs(directory, prefix + "events").get("max", 0)
        else:
            failed = directory.number(reserved + "failcnt") or 0
        peak = directory.number(reserved + "max_usage_in_bytes") or 0
        result[size] = dict(_present({"usage": usage, "max": peak}), failcnt=failed)
    return result


def page_sizes() -> list[str]:
    """The sizes of huge pages that this kernel has, as the files name them: 2MB, 1GB."""
    try:
        names = os.listdir("/sys/kernel/mm/hugepages")
    except OSError:
        return []
    result = []
    for name in sorted(names):
        size_kb = name[len("hugepages-") : -len("kB")]
        if size_kb.isdigit():
            kb = int(size_kb)
            result.append("%dGB" % (kb >> 20) if kb >> 20 else "%dMB" % (kb >> 10) if kb >> 10 else "%dKB" % kb)
    return result
