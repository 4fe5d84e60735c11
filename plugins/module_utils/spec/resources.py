# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""The rules of linux.resources (config-linux.md, control groups) that its shape does not tell; for config and update.

Some values are written to files of the kernel together with others, so that a blank or a line break in one of them
would be read as something else.
"""

from __future__ import annotations

from ..linux.errors import InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

_MAX_32 = (1 << 32) - 1
_THROTTLES = ("throttleReadBpsDevice", "throttleWriteBpsDevice", "throttleReadIOPSDevice", "throttleWriteIOPSDevice")


def resources(document: dict[str, Any], name: str, debug: Callable[[str], None]) -> None:
    """Check linux.resources, of which shape() has seen the types; name stands before each error, as config.json's path.

    Raises InvalidInput.
    """
    where = name + ": linux.resources."
    _memory(document.get("memory") or {}, where + "memory", debug)
    _cpu(document.get("cpu") or {}, where + "cpu")
    _block_io(document.get("blockIO") or {}, where + "blockIO")
    for index, item in enumerate(document.get("hugepageLimits") or []):
        _hugepages(item, "%shugepageLimits[%d]" % (where, index))
    _network(document.get("network") or {}, where + "network")
    for device, item in (document.get("rdma") or {}).items():
        _rdma(device, item or {}, "%srdma.%s" % (where, device))
    for key in document.get("unified") or {}:
        controller, _dot, parameter = key.partition(".")
        if "/" in key or not (controller and parameter):
            raise InvalidInput("%sunified: %r is not the name of a file as CONTROLLER.PARAMETER" % (where, key))
    for index, item in enumerate(document.get("devices") or []):
        _device(item, "%sdevices[%d]" % (where, index))


def _require(item: dict[str, Any], keys: tuple[str, ...], where: str) -> None:
    for key in keys:
        if item.get(key) is None:
            raise InvalidInput("%s.%s: missing" % (where, key))


def _range(item: dict[str, Any], key: str, low: int, high: int, where: str) -> None:
    """A value, where there is one, within low to high; 0 stands for none."""
    value = item.get(key)
    if value and not low <= value <= high:
        raise InvalidInput("%s.%s: %d is not from %d to %d" % (where, key, value, low, high))


def _memory(memory: dict[str, Any], where: str, debug: Callable[[str], None]) -> None:
    for key in ("limit", "reservation", "swap"):
        if (memory.get(key) or 0) < -1:
            raise InvalidInput("%s.%s: %d is no size; -1 stands for unlimited" % (where, key, memory[key]))
    limit, swap = memory.get("limit") or 0, memory.get("swap") or 0
    if swap > 0 and limit > swap:
        raise InvalidInput("%s.swap: %d is below limit %d, but counts memory and swap together" % (where, swap, limit))
    _range(memory, "swappiness", 0, 100, where)
    for key in ("kernel", "kernelTCP"):
        if memory.get(key):
            debug("%s.%s: current kernels have no such limit, ignored as in runc" % (where, key))


def _cpu(cpu: dict[str, Any], where: str) -> None:
    if cpu.get("idle") not in (None, 0, 1):
        raise InvalidInput("%s.idle: %d is neither 0 nor 1" % (where, cpu["idle"]))
    quota, burst = cpu.get("quota") or 0, cpu.get("burst") or 0
    if 0 < quota < burst:
        raise InvalidInput("%s.burst: %d is above quota %d" % (where, burst, quota))
    for key in ("cpus", "mems"):
        if set(cpu.get(key) or "") - set("0123456789,- "):
            raise InvalidInput("%s.%s: %r is not a list as 0-3,7" % (where, key, cpu[key]))


def _block_io(block_io: dict[str, Any], where: str) -> None:
    for key in ("weight", "leafWeight"):
        _range(block_io, key, 10, 1000, where)
    for index, item in enumerate(block_io.get("weightDevice") or []):
        here = "%s.weightDevice[%d]" % (where, index)
        _require(item, ("major", "minor"), here)
        if item.get("weight") is None and item.get("leafWeight") is None:
            raise InvalidInput("%s: needs weight or leafWeight" % here)
        for key in ("weight", "leafWeight"):
            _range(item, key, 10, 1000, here)
    for kind in _THROTTLES:
        for index, item in enumerate(block_io.get(kind) or []):
            _require(item, ("major", "minor", "rate"), "%s.%s[%d]" % (where, kind, index))


def _hugepages(item: dict[str, Any], where: str) -> None:
    _require(item, ("pageSize", "limit"), where)
    size = item["pageSize"]
    if size[-2:] not in ("KB", "MB", "GB") or not (size[:-2].isascii() and size[:-2].isdigit()):
        raise InvalidInput("%s.pageSize: %r is no size as 64KB, 2MB, 1GB" % (where, size))


def _network(network: dict[str, Any], where: str) -> None:
    _range(network, "classID", 0, _MAX_32, where)
    for index, item in enumerate(network.get("priorities") or []):
        here = "%s.priorities[%d]" % (where, index)
        _require(item, ("name", "priority"), here)
        _one_word(item["name"], here + ".name")
        _range(item, "priority", 0, _MAX_32, here)


def _rdma(device: str, item: dict[str, Any], where: str) -> None:
    _one_word(device, where)
    if item.get("hcaHandles") is None and item.get("hcaObjects") is None:
        raise InvalidInput("%s: needs hcaHandles or hcaObjects" % where)
    for key in ("hcaHandles", "hcaObjects"):
        _range(item, key, 0, _MAX_32, where)


def _one_word(text: str, where: str) -> None:
    if not text or text.split() != [text]:
        raise InvalidInput("%s: %r is not a name without blanks" % (where, text))


def _device(item: dict[str, Any], where: str) -> None:
    _require(item, ("allow",), where)
    if (item.get("type") or "a") not in ("a", "b", "c"):
        raise InvalidInput("%s.type: %r is not one of a, b, c" % (where, item["type"]))
    if set(item.get("access") or "") - set("rwm"):
        raise InvalidInput("%s.access: %r is not composed of r, w, m" % (where, item["access"]))
    for key in ("major", "minor"):
        if not -1 <= (item.get(key) or 0) <= _MAX_32:
            raise InvalidInput("%s.%s: %d is no device number" % (where, key, item[key]))
