# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""When and where a process runs: scheduler, I/O priority, CPU affinity, memory policy, and its personality.

Only imported where a configuration asks for one of them, and before the child is cloned.
"""

from __future__ import annotations

import ctypes
import errno
import os

from . import syscalls, trace
from .errors import InvalidInput, KernelRefused, Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

# linux/sched.h
_POLICIES = {
    "SCHED_OTHER": 0,
    "SCHED_FIFO": 1,
    "SCHED_RR": 2,
    "SCHED_BATCH": 3,
    "SCHED_ISO": 4,
    "SCHED_IDLE": 5,
    "SCHED_DEADLINE": 6,
}
_SCHEDULER_FLAGS = {
    "SCHED_FLAG_RESET_ON_FORK": 0x01,
    "SCHED_FLAG_RECLAIM": 0x02,
    "SCHED_FLAG_DL_OVERRUN": 0x04,
    "SCHED_FLAG_KEEP_POLICY": 0x08,
    "SCHED_FLAG_KEEP_PARAMS": 0x10,
    "SCHED_FLAG_UTIL_CLAMP_MIN": 0x20,
    "SCHED_FLAG_UTIL_CLAMP_MAX": 0x40,
}
# linux/ioprio.h
_IO_CLASSES = {"IOPRIO_CLASS_RT": 1, "IOPRIO_CLASS_BE": 2, "IOPRIO_CLASS_IDLE": 3}
_IOPRIO_WHO_PROCESS = 1
# linux/mempolicy.h
_MEMORY_MODES = {
    "MPOL_DEFAULT": 0,
    "MPOL_PREFERRED": 1,
    "MPOL_BIND": 2,
    "MPOL_INTERLEAVE": 3,
    "MPOL_LOCAL": 4,
    "MPOL_PREFERRED_MANY": 5,
    "MPOL_WEIGHTED_INTERLEAVE": 6,
}
_MEMORY_FLAGS = {
    "MPOL_F_STATIC_NODES": 1 << 15,
    "MPOL_F_RELATIVE_NODES": 1 << 14,
    "MPOL_F_NUMA_BALANCING": 1 << 13,
}
_DOMAINS = {"LINUX": 0, "LINUX32": 8}  # linux/personality.h


def _number(table: dict[str, int], name: Any, where: str) -> int:
    if name not in table:
        raise InvalidInput("%s: %r is not one of %s" % (where, name, ", ".join(table)))
    return table[name]


def _flags(table: dict[str, int], names: list[str] | None, where: str) -> int:
    flags = 0
    for index, name in enumerate(names or []):
        flags |= _number(table, name, "%s[%d]" % (where, index))
    return flags


class Prepared:
    """What is to be set, as the kernel takes it, with the words for its errors; None or [] for what is not."""

    def __init__(self, process: dict[str, Any], linux: dict[str, Any], nodes: list[int]) -> None:
        """nodes: those of linux.memoryPolicy.nodes. Raises InvalidInput for unknown names."""
        self.scheduler = _scheduler(process["scheduler"]) if process.get("scheduler") else None
        self.policy = str((process.get("scheduler") or {}).get("policy"))
        self.io_priority: int | None = None
        if process.get("ioPriority"):
            described = process["ioPriority"]
            io_class = _number(_IO_CLASSES, described["class"], "process.ioPriority.class")
            self.io_priority = io_class << 13 | (described.get("priority") or 0)
        self.personality: int | None = None
        if linux.get("personality"):
            self.personality = _number(_DOMAINS, linux["personality"]["domain"], "linux.personality.domain")
        self.memory_mode: int | None = None
        self.memory_nodes: Any = None
        if linux.get("memoryPolicy"):
            described = linux["memoryPolicy"]
            self.memory_mode = _number(
                _MEMORY_MODES, described["mode"], "invalid memory policy mode: linux.memoryPolicy.mode"
            )
            where = "invalid memory policy flag: linux.memoryPolicy.flags"
            self.memory_mode |= _flags(_MEMORY_FLAGS, described.get("flags"), where)
            self.memory_nodes = _mask(nodes)


def _scheduler(described: dict[str, Any]) -> Any:
    """struct sched_attr (sched_setattr(2)), 56 bytes."""
    policy = _number(_POLICIES, described["policy"], "process.scheduler.policy")
    flags = _flags(_SCHEDULER_FLAGS, described.get("flags"), "process.scheduler.flags")
    data = (56).to_bytes(4, "little") + policy.to_bytes(4, "little") + flags.to_bytes(8, "little")
    data += (described.get("nice") or 0).to_bytes(4, "little", signed=True)
    data += (described.get("priority") or 0).to_bytes(4, "little")
    for key in ("runtime", "deadline", "period"):
        data += (described.get(key) or 0).to_bytes(8, "little")
    return ctypes.create_string_buffer(data + bytes(8), 56)


def _mask(numbers: list[int]) -> Any:
    """A bit mask of whole 64-bit words; None for no numbers."""
    if not numbers:
        return None
    size = (max(numbers) // 64 + 1) * 8
    return ctypes.create_string_buffer(sum(1 << number for number in numbers).to_bytes(size, "little"), size)


def apply(prepared: Prepared) -> None:
    """Set all of it for the calling process. Raises KernelRefused, and Unsupported where the kernel has no NUMA."""
    if prepared.scheduler is not None:
        hint = (
            "a real-time policy needs CAP_SYS_NICE, SCHED_DEADLINE all CPUs, so that such a process scheduler can't be"
        )
        hint += " used together with AllowedCPUs (linux.resources.cpu.cpus), and SCHED_FIFO and SCHED_RR may need"
        hint += " linux.resources.cpu.realtimeRuntime"
        shown = "process.scheduler " + prepared.policy
        _call("sched_setattr", shown, hint, "sched_setattr", 0, prepared.scheduler, 0)
    if prepared.io_priority is not None:
        hint = "IOPRIO_CLASS_RT needs CAP_SYS_ADMIN or CAP_SYS_NICE"
        shown = "process.ioPriority"
        _call("ioprio_set", shown, hint, "ioprio_set", _IOPRIO_WHO_PROCESS, 0, prepared.io_priority)
    if prepared.personality is not None:
        _call("personality", "linux.personality", "", "personality", prepared.personality)
    if prepared.memory_mode is not None:
        nodes = prepared.memory_nodes
        bits = len(nodes) * 8 + 1 if nodes is not None else 0
        hint = "the nodes must exist, and the kernel must know the mode"
        arguments = (prepared.memory_mode, nodes if nodes is not None else 0, bits)
        _call("set_mempolicy", "linux.memoryPolicy", hint, "set_mempolicy", *arguments)


def _call(name: str, shown: str, hint: str, *arguments: Any) -> None:
    function: Callable[..., Any] = syscalls.raw
    try:
        trace.call(name, (shown,), function, *arguments)
    except OSError as error:
        if error.errno == errno.ENOSYS:
            raise Unsupported("%s: this kernel does not have %s" % (shown, name)) from None
        raise KernelRefused(name, shown, error.errno, hint) from None


def set_affinity(cpus: list[int], shown: str) -> None:
    """Run the calling process on these CPUs only (sched_setaffinity(2)). Raises KernelRefused."""
    try:
        trace.call("sched_setaffinity", (shown,), os.sched_setaffinity, 0, cpus)
    except OSError as error:
        hint = "one of them must exist and be in the container's cpuset"
        raise KernelRefused("sched_setaffinity", shown, error.errno, hint) from None
