# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""cgroup v2: runtime-spec's resources, which speak v1, as runc converts them (admin-guide/cgroup-v2.rst)."""

from __future__ import annotations

import errno

from .. import files
from ..errors import InvalidInput, KernelRefused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Iterator


def settings(resources: dict[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    """(controller, file, value, resource) for each limit that is set. Raises InvalidInput."""
    memory = resources.get("memory") or {}
    limit, swap = memory.get("limit"), memory.get("swap")
    if limit is not None:
        yield "memory", "memory.max", _amount(limit), "memory.limit"
    if memory.get("reservation") is not None:
        yield "memory", "memory.low", _amount(memory["reservation"]), "memory.reservation"
    if swap is not None:
        yield "memory", "memory.swap.max", _swap(swap, limit), "memory.swap"
    cpu = resources.get("cpu") or {}
    if cpu.get("shares"):
        yield "cpu", "cpu.weight", str(weight(cpu["shares"])), "cpu.shares"
    if cpu.get("quota") is not None or cpu.get("period") is not None:
        quota = cpu.get("quota")
        value = "%s %d" % (quota if quota and quota > 0 else "max", cpu.get("period") or 100000)
        yield "cpu", "cpu.max", value, "cpu.quota"
    for key in ("cpus", "mems"):
        if cpu.get(key):
            yield "cpuset", "cpuset." + key, cpu[key], "cpu." + key
    pids = (resources.get("pids") or {}).get("limit")
    if pids is not None:
        yield "pids", "pids.max", "max" if pids <= 0 else str(pids), "pids.limit"


def _amount(value: int) -> str:
    return "max" if value < 0 else str(value)


def _swap(swap: int, limit: int | None) -> str:
    """v1 limits memory and swap together, v2 swap alone."""
    if swap < 0:
        return "max"
    if limit is None or limit < 0:
        raise InvalidInput("linux.resources.memory.swap: needs memory.limit, for it counts memory and swap together")
    if swap < limit:
        raise InvalidInput("linux.resources.memory.swap: %d is below memory.limit %d" % (swap, limit))
    return str(swap - limit)


def weight(shares: int) -> int:
    """cpu.weight (1 to 10000) for cpu.shares (2 to 262144), linearly as runc maps them."""
    return 1 + (max(2, min(shares, 262144)) - 2) * 9999 // 262142


def enable_controllers(mount_point: str, path: str, controllers: list[str]) -> None:
    """Pass the controllers down from the root to the cgroup at path. Raises KernelRefused."""
    words = " ".join("+" + name for name in controllers).encode()
    parts = path[len(mount_point) + 1 :].split("/")[:-1]
    directory = mount_point
    for part in ["", *parts]:
        directory = directory + "/" + part if part else directory
        present = files.read_text(directory + "/cgroup.subtree_control").split()
        if set(controllers) <= set(present):
            continue
        try:
            files.write(directory + "/cgroup.subtree_control", words)
        except OSError as error:
            hint = ""
            if error.errno == errno.EBUSY:
                hint = "processes live in that cgroup itself, which v2 forbids; move them into one below it"
            raise KernelRefused("write", directory + "/cgroup.subtree_control", error.errno, hint) from None
