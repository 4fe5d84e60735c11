# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""The commands that act on a running container as a whole: pause, resume, update."""

from __future__ import annotations

import os

from ..linux import trace
from ..linux.cgroups import limits
from ..linux.errors import InvalidInput, OcilabError, Unsupported, WrongState
from ..spec import document, fields, validate
from ..spec.resources import resources as check_resources
from . import container as life
from .commands_inspect import cgroup_of
from .options import Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, TextIO

    from .log import Log
    from .options import Parsed

_MAX_INT64 = (1 << 63) - 1
_MAX_UINT64 = (1 << 64) - 1
_SUFFIXES = "bkmgtp"
# What runc's update forgets unless it is told again: an old value would stand in a new one's way.
_FORGOTTEN = (
    ("cpu", "burst"),
    ("cpu", "cpus"),
    ("cpu", "idle"),
    ("cpu", "mems"),
    ("memory", "checkBeforeUpdate"),
    ("pids", "limit"),
)
_WHOLE = ("hugepageLimits", "network", "rdma", "unified")


def pause(parsed: Parsed, _log: Log, _output: TextIO) -> int:
    """pause: freeze all processes of a container. Raises NotFound, WrongState, Unsupported, KernelRefused.

    Not of one that waits for its start, which runc does: its start would wait in turn until it is resumed.
    """
    found, status = _existing(parsed)
    if status != "running":
        raise WrongState("container not running: %s cannot be paused, it is %s" % (found.id, status))
    trace.step("pause")
    _cgroup(found, "paused").freeze()
    return 0


def resume(parsed: Parsed, _log: Log, _output: TextIO) -> int:
    """resume: let the processes of a paused container go on. Raises NotFound, WrongState, KernelRefused."""
    found, status = _existing(parsed)
    if status != "paused":
        raise WrongState("container not paused: %s cannot be resumed, it is %s" % (found.id, status))
    trace.step("resume")
    _cgroup(found, "resumed").thaw()
    return 0


def _existing(parsed: Parsed) -> tuple[life.Container, str]:
    found = life.Container(parsed.words[0], parsed.root)
    return found, found.state()["status"]


def _cgroup(found: life.Container, done: str) -> Any:
    cgroup = cgroup_of(found)
    if not cgroup:
        message = "container %s: cannot be %s: it has no cgroup (rootless, without delegation)"
        raise Unsupported(message % (found.id, done))
    return cgroup


def update(parsed: Parsed, log: Log, _output: TextIO) -> int:
    """update: change the limits of a container.

    Raises NotFound, WrongState, InvalidInput, Unsupported, KernelRefused; the limits are as before then.
    """
    for option in ("--l3-cache-schema", "--mem-bw-schema"):
        if option in parsed.options:
            raise Unsupported("%s: labrun does not support Intel RDT; remove the option" % option)
    source = parsed.options.get("--resources", "")
    asked = _read(source) if source else from_flags(parsed.options)
    check_resources(asked, source or "update", log.debug)
    memory = asked.get("memory") or {}
    if memory.get("kernel") is not None or memory.get("kernelTCP") is not None:
        log.warn("Kernel memory settings are ignored and will be removed")
        memory = {key: value for key, value in memory.items() if key not in ("kernel", "kernelTCP")}
        asked["memory"] = memory
    found, status = _existing(parsed)
    if status not in ("created", "running", "paused"):
        raise WrongState("container not running: %s cannot be updated, it is %s" % (found.id, status))
    cgroup = _cgroup(found, "updated")
    lock = found.folder.lock()  # what another update changes meanwhile would be lost
    try:
        _change(found, cgroup, asked, log)
    finally:
        os.close(lock)
    return 0


def _change(found: life.Container, cgroup: Any, asked: dict[str, Any], log: Log) -> None:
    kept = found.folder.load()
    before = kept.get("resources")
    if before is None:
        before = (found.folder.config().get("linux") or {}).get("resources") or {}
    after = merge(before, asked)
    try:
        trace.step("update")
        cgroup.update(after)
    except OcilabError:
        try:
            cgroup.update(_without_forgotten(before))
        except OcilabError as error:
            log.warn("the limits from before cannot be restored: %s" % error)
        raise
    found.folder.save(dict(kept, resources=after))


def _read(source: str) -> dict[str, Any]:
    """The resources object of a file, or of standard input for '-'. Raises NotFound and InvalidInput."""
    if source != "-":
        asked = document.read(source)
    else:
        data = b""
        while len(data) <= document.MAX_BYTES:
            chunk = os.read(0, 1 << 20)
            if not chunk:
                break
            data += chunk
        asked = document.parse(data, "standard input")
    validate.shape(asked, fields.RESOURCES, "resources", source, lambda _text: None)
    return asked


def merge(before: dict[str, Any], asked: dict[str, Any]) -> dict[str, Any]:
    """The resources after an update: what was asked for over what was there, as runc keeps it.

    A value that asks for nothing (null, mostly 0 too) leaves what was there. Devices are never updated.
    """
    result = _without_forgotten(before)
    for group, value in asked.items():
        if group == "devices" or not value:
            continue
        if group in _WHOLE:
            result[group] = value
            continue
        merged = dict(result.get(group) or {})
        for key, item in value.items():
            if isinstance(item, list):
                merged[key] = _merge_devices(merged.get(key) or [], item)
            elif limits.is_set(group, key, item):
                merged[key] = item
        result[group] = merged
    _mend(result, asked)
    return {group: value for group, value in result.items() if value}


def _mend(result: dict[str, Any], asked: dict[str, Any]) -> None:
    """Pairs of values of which the kernel refuses a new one beside an old one."""
    memory, cpu = asked.get("memory") or {}, asked.get("cpu") or {}
    if memory.get("limit") == -1 and not memory.get("swap") and "swap" in result["memory"]:
        result["memory"]["swap"] = -1  # no limit of memory and swap together, where memory alone has none
    if cpu.get("idle") is not None and not cpu.get("shares"):
        result["cpu"].pop("shares", None)  # an idle cgroup has no weight


def _merge_devices(before: list[dict[str, Any]], asked: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A list of limits by device: those of a device that is there already are replaced."""
    result = [dict(item) for item in before]
    for item in asked:
        for present in reversed(result):
            if (present.get("major"), present.get("minor")) == (item.get("major"), item.get("minor")):
                present.update({key: value for key, value in item.items() if value is not None})
                break
        else:
            result.append(dict(item))
    return result


def _without_forgotten(resources: dict[str, Any]) -> dict[str, Any]:
    result = {group: value for group, value in resources.items() if group not in ("devices", "unified")}
    for group, key in _FORGOTTEN:
        if key in (result.get(group) or {}):
            result[group] = {name: value for name, value in result[group].items() if name != key}
    return result


def from_flags(options: dict[str, str]) -> dict[str, Any]:
    """The resources object that the single flags ask for. Raises InvalidInput."""
    result: dict[str, Any] = {}
    for option, (group, key, convert, _help) in _FLAGS.items():
        text = options.get(option, "")
        if text:
            result.setdefault(group, {})[key] = convert(text, option)
    return result


def _unsigned(text: str, option: str) -> int:
    if not (text.isascii() and text.isdigit()) or int(text) > _MAX_UINT64:
        raise InvalidInput("invalid value for %s: %r is not a number from 0 to 2^64-1" % (option[2:], text))
    return int(text)


def _signed(text: str, option: str) -> int:
    digits = text[1:] if text[:1] in ("-", "+") else text
    if not (digits.isascii() and digits.isdigit()) or abs(int(digits)) > _MAX_INT64:
        raise InvalidInput("invalid value for %s: %r is not an integer" % (option[2:], text))
    return int(text)


def _text(text: str, _option: str) -> str:
    return text


def size(text: str, option: str) -> int:
    """Bytes of '64m', '1.5GiB', '512 kB' or '4096', in binary units as in runc; -1 for '-1'. Raises InvalidInput."""
    if text == "-1":
        return -1
    lowered = text.lower()
    number = lowered.rstrip("bkmgtpi")
    suffix = lowered[len(number) :]
    number = number[:-1] if number.endswith(" ") else number
    fits = suffix[:1] in ("", *_SUFFIXES) and suffix[1:] in (("",) if suffix[:1] in ("", "b") else ("", "b", "ib"))
    if not fits or number.count(".") > 1 or not number.replace(".", "", 1).isdigit() or not number.isascii():
        message = "invalid value for %s: invalid size: '%s'; give bytes, or a number with k, m or g"
        raise InvalidInput(message % (option[2:], text))
    factor = 1024 ** _SUFFIXES.index(suffix[0]) if suffix else 1
    result = int(float(number) * factor) if "." in number else int(number) * factor
    if result > _MAX_INT64:
        raise InvalidInput("invalid value for %s: %s is more than 2^63-1 bytes" % (option[2:], text))
    return result


_FLAGS: dict[str, tuple[str, str, Callable[[str, str], Any], str]] = {
    "--blkio-weight": ("blockIO", "weight", _unsigned, "N  the weight of block I/O, from 10 to 1000"),
    "--cpu-period": ("cpu", "period", _unsigned, "US  the period of the CPU limit, in microseconds"),
    "--cpu-quota": ("cpu", "quota", _signed, "US  the CPU time allowed in each period, in microseconds"),
    "--cpu-burst": ("cpu", "burst", _unsigned, "US  the CPU time that may be saved up for a burst, in microseconds"),
    "--cpu-share": ("cpu", "shares", _unsigned, "N  the weight of CPU time, beside other containers"),
    "--cpu-rt-period": ("cpu", "realtimePeriod", _unsigned, "US  the period of the realtime limit, in microseconds"),
    "--cpu-rt-runtime": ("cpu", "realtimeRuntime", _signed, "US  the realtime CPU time allowed in each period"),
    "--cpuset-cpus": ("cpu", "cpus", _text, "LIST  the processors to run on, as 0-2,4"),
    "--cpuset-mems": ("cpu", "mems", _text, "LIST  the memory nodes to use"),
    "--cpu-idle": ("cpu", "idle", _signed, "0|1  1: run only where nothing else wants to (SCHED_IDLE)"),
    "--memory": ("memory", "limit", size, "SIZE  the limit of memory (-1: none)"),
    "--memory-reservation": ("memory", "reservation", size, "SIZE  the memory to keep when others want some"),
    "--memory-swap": ("memory", "swap", size, "SIZE  the limit of memory and swap together (-1: none)"),
    "--kernel-memory": ("memory", "kernel", size, "SIZE  ignored, as in runc"),
    "--kernel-memory-tcp": ("memory", "kernelTCP", size, "SIZE  ignored, as in runc"),
    "--pids-limit": ("pids", "limit", _signed, "N  how many processes and threads there may be"),
}


COMMANDS = {
    "pause": (Command("pause", "ID", "stop all processes of a container", {}, {}), pause),
    "resume": (Command("resume", "ID", "let the processes of a paused container go on", {}, {}), resume),
    "update": (
        Command(
            "update",
            "ID",
            "change a container's limits",
            dict(
                {"--resources": "FILE  a resources object in JSON (-: standard input); other options are then ignored"},
                **{option: entry[3] for option, entry in _FLAGS.items()},
                **{
                    "--l3-cache-schema": "TEXT  refused: Intel RDT is not supported",
                    "--mem-bw-schema": "TEXT  refused: Intel RDT is not supported",
                },
            ),
            {"-r": "--resources"},
        ),
        update,
    ),
}
