# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""cgroup v2: runtime-spec's resources, which speak v1, as runc converts them (admin-guide/cgroup-v2.rst).

What v2 cannot do is refused, as config-linux.md wants it ("If the conversion is not possible ..."). Each function gets
the cgroup's Directory and the properties that are set. Raises Unsupported, InvalidInput and KernelRefused.
"""

from __future__ import annotations

import errno

from .. import files
from ..errors import InvalidInput, KernelRefused, Unsupported
from .directory import UNLIMITED, Directory
from .v1 import device, hugepages, pids, rdma

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["block_io", "cpu", "cpuset", "enable", "hugepages", "memory", "pids", "rdma", "set_unified", "weight"]

_DEFAULT_PERIOD_US = 100000


def _refuse(asked: dict[str, Any], group: str, names: tuple[str, ...]) -> None:
    for name in names:
        if asked.get(name):
            message = "linux.resources.%s.%s: cgroup v2 has no such limit; remove it, or use linux.resources.unified"
            raise Unsupported(message % (group, name))


def memory(directory: Directory, asked: dict[str, Any], is_update: bool) -> None:
    """limit, swap (v1 counts memory and swap together, v2 swap alone) and reservation."""
    if asked.get("swappiness") is not None:
        raise Unsupported("linux.resources.memory.swappiness: cgroup v2 has none for a cgroup; remove it")
    _refuse(asked, "memory", ("disableOOMKiller",))
    if asked.get("checkBeforeUpdate"):
        _check_usage(directory, asked)
    limit, swap = asked.get("limit"), asked.get("swap")
    if is_update:
        limit, swap = _with_current(directory, limit, swap)
    value = swap_max(swap, limit)
    if value is not None:
        # Without swap accounting there is no such file, nor any swap to limit.
        tolerated = (errno.ENOENT,) if value in (0, -1) else ()
        directory.try_write("memory.swap.max", amount(value), tolerated, "memory.swap")
    if asked.get("limit") is not None:
        directory.write("memory.max", amount(asked["limit"]), "memory.limit")
    if asked.get("reservation") is not None:
        directory.write("memory.low", amount(asked["reservation"]), "memory.reservation")


def amount(value: int) -> str:
    return "max" if value < 0 else str(value)


def swap_max(swap: int | None, limit: int | None) -> int | None:
    """memory.swap.max (-1: unlimited, None: left alone) for memory.swap and memory.limit of runtime-spec.

    Raises InvalidInput.
    """
    if swap is None:
        return -1 if limit == -1 else None  # as on v1, where memory without limit cannot be below a limit with swap
    if swap == -1 or limit == -1:
        return swap
    if limit is None:
        raise InvalidInput("linux.resources.memory.swap: needs memory.limit, for it counts memory and swap together")
    if swap < limit:
        raise InvalidInput("linux.resources.memory.swap: %d is below memory.limit %d" % (swap, limit))
    return swap - limit


def _with_current(directory: Directory, limit: int | None, swap: int | None) -> tuple[int | None, int | None]:
    """limit and swap where an update names only one of them: the other one is what the cgroup has."""
    if limit is not None and swap is None and limit != -1:
        current, current_swap = directory.number("memory.max"), directory.number("memory.swap.max")
        if current is not None and current_swap is not None and UNLIMITED not in (current, current_swap):
            swap = current + current_swap
    elif limit is None and swap is not None:
        current = directory.number("memory.max")
        limit = -1 if current == UNLIMITED else current
    return limit, swap


def _check_usage(directory: Directory, asked: dict[str, Any]) -> None:
    """checkBeforeUpdate: v1 refuses a limit below what is used, v2 would kill for it. Raises InvalidInput."""
    usage = directory.number("memory.current")
    for name in ("limit", "swap"):
        value = asked.get(name) or 0
        if usage is not None and 0 < value <= usage:
            message = "linux.resources.memory.%s: %d is not above the %d bytes in use (checkBeforeUpdate)"
            raise InvalidInput(message % (name, value, usage))


def cpu(directory: Directory, asked: dict[str, Any], is_update: bool) -> None:
    """idle, or a weight; then burst and quota with its period."""
    _refuse(asked, "cpu", ("realtimeRuntime", "realtimePeriod"))
    if "idle" in asked:
        directory.write("cpu.idle", asked["idle"], "cpu.idle")
    if "shares" in asked and asked.get("idle") != 1:  # the kernel refuses an idle group a weight
        directory.write("cpu.weight", weight(asked["shares"]), "cpu.shares")
    has_max = "quota" in asked or "period" in asked
    is_late = False
    if "burst" in asked:
        tolerated = (errno.EINVAL,) if has_max else ()
        is_late = not directory.try_write("cpu.max.burst", asked["burst"], tolerated, "cpu.burst")
    if has_max:
        directory.write("cpu.max", _cpu_max(directory, asked, is_update), "cpu.quota")
    if is_late:
        directory.write("cpu.max.burst", asked["burst"], "cpu.burst")


def _cpu_max(directory: Directory, asked: dict[str, Any], is_update: bool) -> str:
    """'QUOTA PERIOD'; what an update does not name stays as it is."""
    quota, period = "max", str(_DEFAULT_PERIOD_US)
    current = directory.text("cpu.max").split() if is_update else []
    if len(current) == 2:
        quota, period = current
    if "quota" in asked:
        quota = str(asked["quota"]) if asked["quota"] > 0 else "max"
    return "%s %s" % (quota, asked.get("period", period))


def weight(shares: int) -> int:
    """cpu.weight (1 to 10000) for cpu.shares (2 to 262144), so that the defaults 1024 and 100 meet.

    runc since 1.3.2 and crun since 1.23 map them by this curve; the straight line of older ones made 39 of the default
    and so gave a container less than half of what a process outside of it gets.
    """
    if shares <= 2:
        return 1
    if shares >= 262144:
        return 10000
    import math

    power = math.log2(shares)
    return math.ceil(math.pow(10, (power * power + 125 * power) / 612.0 - 7.0 / 34.0))


def cpuset(directory: Directory, asked: dict[str, Any], is_update: bool) -> None:
    for name in ("cpus", "mems"):
        if name in asked:
            directory.write("cpuset." + name, asked[name], "cpu." + name)


def block_io(directory: Directory, asked: dict[str, Any], is_update: bool) -> None:
    """Weights by BFQ's file with v1's own numbers, or by io.weight; rates by io.max."""
    _refuse(asked, "blockIO", ("leafWeight",))
    weighted = asked.get("weightDevice") or []
    for item in weighted:
        _refuse(item, "blockIO.weightDevice", ("leafWeight",))
    has_bfq = ("weight" in asked or weighted) and directory.has("io.bfq.weight")
    file = "io.bfq.weight" if has_bfq else "io.weight"
    if "weight" in asked:
        value = asked["weight"] if has_bfq else io_weight(asked["weight"])
        directory.write(file, value, "blockIO.weight")
    for item in weighted:
        if item.get("weight"):
            value = item["weight"] if has_bfq else io_weight(item["weight"])
            directory.write(file, device(item, value), "blockIO.weightDevice")
    for name, key in (
        ("throttleReadBpsDevice", "rbps"),
        ("throttleWriteBpsDevice", "wbps"),
        ("throttleReadIOPSDevice", "riops"),
        ("throttleWriteIOPSDevice", "wiops"),
    ):
        for item in asked.get(name) or []:
            rate = item["rate"] or "max"  # v1 takes a limit away by 0, v2 by max
            directory.write("io.max", device(item, "%s=%s" % (key, rate)), "blockIO." + name)


def io_weight(value: int) -> int:
    """io.weight (1 to 10000) for blockIO.weight (10 to 1000), linearly as runc maps them."""
    return 1 + (max(10, min(value, 1000)) - 10) * 9999 // 990


def set_unified(directory: Directory, asked: dict[str, str], controllers: list[str]) -> None:
    """Write each file of linux.resources.unified, line by line. controllers: those of the cgroup.

    Raises InvalidInput for what is no file name, Unsupported for a controller or file that is not there, KernelRefused.
    """
    for name, value in asked.items():
        controller, dot, parameter = name.partition(".")
        where = "linux.resources.unified: %r" % name
        if "/" in name or not (controller and dot and parameter):
            raise InvalidInput("%s is not the name of a file as CONTROLLER.PARAMETER" % where)
        if controller != "cgroup" and controller not in controllers and not directory.has(name):
            message = "%s: the controller %s is not available in %s (it has %s)"
            raise Unsupported(message % (where, controller, directory.path, " ".join(controllers) or "none"))
        for line in value.splitlines() or [""]:
            directory.write(name, line, "unified.%s" % name)


def enable(mount_point: str, path: str, controllers: list[str]) -> str:
    """Pass the controllers down from the mount point to the cgroup at path; what cannot be passed is left out.

    Returns why not all were passed, or "": a limit may need none of what is missing, and then nobody needs to know.
    """
    parts = path[len(mount_point) + 1 :].split("/")[:-1]
    directory = mount_point
    reason = ""
    for part in ["", *parts]:
        directory = directory + "/" + part if part else directory
        file = directory + "/cgroup.subtree_control"
        try:
            missing = set(controllers) - set(files.read_text(file).split())
            if not missing:
                continue
            try:
                files.write(file, " ".join("+" + name for name in sorted(missing)).encode())
                continue
            except OSError:
                if len(missing) == 1:
                    raise
                for name in sorted(missing):
                    reason = _pass_down(file, name) or reason
        except OSError as error:
            reason = _why(file, error.errno)
    return reason


def _pass_down(file: str, controller: str) -> str:
    try:
        files.write(file, b"+" + controller.encode())
    except OSError as error:
        return _why(file, error.errno)
    return ""


def _why(file: str, number: int | None) -> str:
    hint = ""
    if number == errno.EBUSY:
        hint = "processes live in that cgroup itself, which v2 forbids; move them into one below it"
    return str(KernelRefused("write", file, number, hint))
