# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""Validation of config.json: first its shape by the table of fields, then the rules that tie properties together."""

from __future__ import annotations

from ..linux.errors import InvalidInput, Unsupported
from . import fields, process_rules
from .resources import resources

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

    Debug = Callable[[str], None]

MAX_ID = 4294967294  # 2^32-1 is "no id" to the kernel (case R12)
NAMESPACES = ("pid", "network", "mount", "ipc", "uts", "user", "cgroup", "time")
CLOCKS = ("monotonic", "boottime")
RLIMITS = [
    "AS",
    "CORE",
    "CPU",
    "DATA",
    "FSIZE",
    "LOCKS",
    "MEMLOCK",
    "MSGQUEUE",
    "NICE",
    "NOFILE",
    "NPROC",
    "RSS",
    "RTPRIO",
    "RTTIME",
    "SIGPENDING",
    "STACK",
]
DEVICE_TYPES = ("c", "b", "u", "p")


def config(document: dict[str, Any], name: str, debug: Debug) -> None:
    """Check the runtime configuration; name is its path for errors, debug is told of each unknown property.

    Raises InvalidInput for what the specification does not allow and Unsupported for what labrun lacks so far.
    """
    shape(document, fields.CONFIG, "", name, debug)
    _require(document, ("ociVersion", "root"), "", name)
    version = document["ociVersion"].split("-")[0].split("+")[0].split(".")
    if len(version) != 3 or version[0] != "1" or not all(part.isdigit() for part in version):
        raise InvalidInput("%s: ociVersion: %r is not a 1.x version of runtime-spec" % (name, document["ociVersion"]))
    if not document["root"].get("path"):
        raise InvalidInput("%s: root.path: missing; it names the root filesystem's directory" % name)
    if document.get("process") is not None:  # only `start` needs it (config.md, process)
        process(document["process"], name + ": process")
    _linux(document, document.get("linux") or {}, name)
    resources((document.get("linux") or {}).get("resources") or {}, name, debug)
    for index, item in enumerate(document.get("mounts") or []):
        if not item.get("destination"):
            raise InvalidInput("%s: mounts[%d].destination: missing" % (name, index))


def process(document: dict[str, Any], name: str) -> None:
    """The rules of the process object, for config.json and for exec. Raises InvalidInput."""
    if not document.get("args"):
        raise InvalidInput("%s.args: missing; it needs at least the program to run" % name)
    if not str(document.get("cwd") or "").startswith("/"):
        raise InvalidInput("%s.cwd: %r is not an absolute path" % (name, document.get("cwd", "")))
    for index, entry in enumerate(document.get("env") or []):
        if "=" not in entry[1:]:
            raise InvalidInput("%s.env[%d]: %r is not NAME=value" % (name, index, entry))
    for index, limit in enumerate(document.get("rlimits") or []):
        kind = str(limit.get("type", ""))
        if not kind.startswith("RLIMIT_") or kind[7:] not in RLIMITS:
            raise InvalidInput("%s.rlimits[%d].type: %r is not a resource limit" % (name, index, kind))
        _require(limit, ("soft", "hard"), ".rlimits[%d]" % index, name)
        if limit["soft"] > limit["hard"]:
            raise InvalidInput("%s.rlimits[%d]: soft is above hard" % (name, index))
    process_rules.process(document, name)


def _linux(document: dict[str, Any], linux: dict[str, Any], name: str) -> None:
    seen: dict[str, str] = {}
    for index, item in enumerate(linux.get("namespaces") or []):
        kind = item.get("type")
        where = "%s: linux.namespaces[%d]" % (name, index)
        if kind not in NAMESPACES:
            raise InvalidInput("%s.type: %r is not one of %s" % (where, kind, ", ".join(NAMESPACES)))
        if kind in seen:
            raise InvalidInput("%s: a second %s namespace" % (where, kind))
        if item.get("path") and not item["path"].startswith("/"):
            raise InvalidInput("%s.path: %r is not an absolute path" % (where, item["path"]))
        seen[kind] = item.get("path") or ""
    _mappings(linux, seen, name)
    _time_offsets(linux.get("timeOffsets") or {}, seen, name)
    for kind, needs in (("hostname", "uts"), ("domainname", "uts")):
        if document.get(kind) and needs not in seen:
            raise InvalidInput("%s: %s: without a uts namespace it would rename the host; add one" % (name, kind))
    _devices(linux, name)
    _net_devices(linux.get("netDevices") or {}, seen, name)
    process_rules.config(linux, name)
    for kind in ("maskedPaths", "readonlyPaths"):
        for path in linux.get(kind) or []:
            if not path.startswith("/"):
                raise InvalidInput("%s: linux.%s: %r is not an absolute path" % (name, kind, path))


def _mappings(linux: dict[str, Any], seen: dict[str, str], name: str) -> None:
    if "user" in seen and not seen["user"] and not (linux.get("uidMappings") and linux.get("gidMappings")):
        raise InvalidInput("%s: linux: a new user namespace needs uidMappings and gidMappings" % name)
    for kind in ("uidMappings", "gidMappings"):
        if linux.get(kind) and "user" not in seen:
            raise InvalidInput("%s: linux.%s: needs a user namespace; add {type: user}" % (name, kind))
        for index, item in enumerate(linux.get(kind) or []):
            _require(item, ("containerID", "hostID", "size"), "linux.%s[%d]" % (kind, index), name)


def _time_offsets(offsets: dict[str, Any], seen: dict[str, str], name: str) -> None:
    if offsets and seen.get("time") != "":
        raise InvalidInput("%s: linux.timeOffsets: needs a new time namespace; add {type: time}" % name)
    for clock, offset in offsets.items():
        if clock not in CLOCKS:
            raise InvalidInput("%s: linux.timeOffsets: %r is not one of %s" % (name, clock, ", ".join(CLOCKS)))
        if (offset.get("nanosecs") or 0) >= 1000000000:
            raise InvalidInput("%s: linux.timeOffsets.%s.nanosecs: a second has 10^9 of them" % (name, clock))


def _net_devices(devices: dict[str, Any], seen: dict[str, str], name: str) -> None:
    """config-linux.md, network devices; the kernel's rule for names: dev_valid_name()."""
    if devices and "network" not in seen:
        raise InvalidInput("%s: linux.netDevices: needs a network namespace; add {type: network}" % name)
    inside = set()
    for device, item in devices.items():
        for word in (device, (item or {}).get("name") or device):
            if word in ("", ".", "..") or len(word) > 15 or any(letter in "/: \t\n" for letter in word):
                raise InvalidInput("%s: linux.netDevices: %r is not a name of a network device" % (name, word))
        inside.add((item or {}).get("name") or device)
    if len(inside) < len(devices):
        raise InvalidInput("%s: linux.netDevices: two of them would get one name" % name)


def _devices(linux: dict[str, Any], name: str) -> None:
    for index, item in enumerate(linux.get("devices") or []):
        where = "linux.devices[%d]" % index
        _require(item, ("type", "path"), where, name)
        if item["type"] not in DEVICE_TYPES:
            raise InvalidInput("%s: %s.type: %r is not one of c, b, u, p" % (name, where, item["type"]))
        if item["type"] != "p":
            _require(item, ("major", "minor"), where, name)
        for key, limit in (("major", 1 << 12), ("minor", 1 << 20)):
            if not 0 <= item.get(key, 0) < limit:
                raise InvalidInput("%s: %s.%s: a number below %d is expected" % (name, where, key, limit))


def _require(document: dict[str, Any], keys: tuple[str, ...], where: str, name: str) -> None:
    for key in keys:
        if document.get(key) is None:
            raise InvalidInput("%s: %s: missing" % (name, (where + "." if where else "") + key))


def shape(value: Any, field: Any, where: str, name: str, debug: Debug) -> None:
    """Check value against a field of the table; where is its JSON path. null counts as absent, and is taken out."""
    if value is None or field == fields.OTHER_PLATFORM:
        return
    if isinstance(field, dict):
        _shape_object(value, field, where, name, debug)
    elif isinstance(field, list):
        if not isinstance(value, list):
            raise InvalidInput("%s: %s: an array is expected, not %s" % (name, where, _shown(value)))
        if field[0] == fields.STRING and set(map(type, value)) == {str} and "\0" not in "".join(value):
            return  # at once: a filter names hundreds of system calls
        for index, item in enumerate(value):
            if item is None:
                raise InvalidInput("%s: %s[%d]: null" % (name, where, index))
            shape(item, field[0], "%s[%d]" % (where, index), name, debug)
    elif field == fields.LATER:
        if value not in (False, "", 0, [], {}):
            raise Unsupported("%s: %s: labrun does not support this property yet; remove it" % (name, where))
    elif not _has_type(value, field):
        raise InvalidInput("%s: %s: %s is expected, not %s" % (name, where, field, _shown(value)))


def _shape_object(value: Any, field: dict[str, Any], where: str, name: str, debug: Debug) -> None:
    if not isinstance(value, dict):
        raise InvalidInput("%s: %s: an object is expected, not %s" % (name, where, _shown(value)))
    for key in [key for key, item in value.items() if item is None]:
        del value[key]
    for key, item in value.items():
        path = where + "." + key if where else key
        if "*" in field:
            shape(item, field["*"], path, name, debug)
        elif key in field:
            shape(item, field[key], path, name, debug)
        else:
            debug("%s: %s: not a property of runtime-spec, ignored" % (name, path))


def _has_type(value: Any, kind: str) -> bool:
    if kind == fields.STRING:
        return isinstance(value, str) and "\0" not in value
    if kind == fields.BOOLEAN:
        return isinstance(value, bool)
    if isinstance(value, bool) or not isinstance(value, int):
        return False
    if kind == fields.ID:
        return 0 <= value <= MAX_ID
    if kind == fields.COUNT:
        return 0 <= value <= MAX_ID + 1  # as many as there are ids
    if kind == fields.NATURAL:
        return 0 <= value < 1 << 64
    return -(1 << 63) <= value < 1 << 63


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
