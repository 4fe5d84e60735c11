# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""Cgroups that systemd makes: a container is a transient scope of it (org.freedesktop.systemd1(5), systemd.scope(5)).

systemd owns the tree above, so that it does not undo what it does not know of. What it has no property for is written
to the files, as by the other driver. Properties are (name, D-Bus signature, value), those that runc sets.
"""

from __future__ import annotations

import os

from .. import dbus, files
from ..errors import InvalidInput, KernelRefused, OcilabError, Unsupported
from . import control, devices, limits, v1, v2
from .directory import UNLIMITED
from .manager import Cgroup, Cgroups, Entry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Property = tuple[str, str, Any]

_SERVICE = "org.freedesktop.systemd1"
_PATH = "/org/freedesktop/systemd1"
_MANAGER = _SERVICE + ".Manager"
_PRIVATE = "/run/systemd/private"
_SYSTEM_BUS = "unix:path=/run/dbus/system_bus_socket"
_ANNOTATION = "org.systemd.property."
_JOB_TIMEOUT_S = 30.0
_STOP_TURNS = 30
_STOP_TURN_S = 1.0
_DEFAULT_PERIOD_US = 100000
# What older versions do not know is only written to the files.
_SINCE_QUOTA_PERIOD = 242
_SINCE_CPUSET = 244
_SINCE_IDLE = 252
_SINCE_OOM_POLICY = 253
_SINCE_DEVICE_NUMBERS = 240
_UNMANAGED = frozenset(["cpuset", "freezer", "hugetlb", "misc", "net_cls", "net_prio", "perf_event", "rdma"])
_UNIFIED_MEMORY = {
    "memory.high": "MemoryHigh",
    "memory.low": "MemoryLow",
    "memory.min": "MemoryMin",
    "memory.max": "MemoryMax",
    "memory.swap.max": "MemorySwapMax",
}


class Manager:
    """systemd's own interface, of the system or of the user who calls. Raises Unsupported where nobody answers."""

    def __init__(self, of_user: bool) -> None:
        self.of_user = of_user
        self._connection = _connect(of_user)
        self._version = 0
        if self._connection.is_bus:
            rule = "type='signal',interface='%s',member='JobRemoved',path='%s'" % (_MANAGER, _PATH)
            self._connection.call("org.freedesktop.DBus", "/org/freedesktop/DBus", "AddMatch", "s", [rule])

    def close(self) -> None:
        self._connection.close()

    def _call(self, member: str, signature: str = "", arguments: list[Any] | None = None) -> list[Any]:
        return self._connection.call(_SERVICE, _PATH, member, signature, arguments, _MANAGER)

    def get(self, name: str) -> str:
        """A property of the manager itself, as Version or ControlGroup."""
        interface = "org.freedesktop.DBus.Properties"
        answer = self._connection.call(_SERVICE, _PATH, "Get", "ss", [_MANAGER, name], interface)
        return str(answer[0][1])

    @property
    def version(self) -> int:
        """252 for '252.39-1~deb12u1' and 'v252'; 0 where it cannot be told."""
        if not self._version:
            digits = ""
            for character in self.get("Version").lstrip('"v'):
                if not character.isdigit():
                    break
                digits += character
            self._version = int(digits or 0)
        return self._version

    def start(self, unit: str, properties: list[Property]) -> None:
        """StartTransientUnit, until its job is done. A failed unit of that name is forgotten first.

        Raises OcilabError.
        """
        arguments = [unit, "replace", _marshalled(properties), []]
        try:
            job = self._call("StartTransientUnit", "ssa(sv)a(sa(sv))", arguments)[0]
        except dbus.CallFailed as error:
            if not error.name.endswith(".UnitExists"):
                raise OcilabError("systemd unit %s: %s" % (unit, error)) from None
            self.reset(unit)
            job = self._call("StartTransientUnit", "ssa(sv)a(sa(sv))", arguments)[0]
        result = self._await(job)
        if result != "done":
            self.reset(unit)
            raise OcilabError("systemd unit %s: its start ended with %r; see journalctl" % (unit, result))

    def _await(self, job: str) -> str:
        """The result of a job: done, canceled, timeout, failed, dependency or skipped."""
        body = self._connection.wait_signal("JobRemoved", lambda values: values[1] == job, _JOB_TIMEOUT_S)
        return str(body[3])

    def set(self, unit: str, properties: list[Property]) -> None:
        """SetUnitProperties, until the next boot. Raises OcilabError."""
        if properties:
            try:
                self._call("SetUnitProperties", "sba(sv)", [unit, True, _marshalled(properties)])
            except dbus.CallFailed as error:
                raise OcilabError("systemd unit %s: %s" % (unit, error)) from None

    def stop(self, unit: str) -> None:
        """StopUnit, and ResetFailedUnit, so that nothing of it stays; silent where it is gone. Raises OcilabError."""
        if self._is_active(unit):
            try:
                job = self._call("StopUnit", "ss", [unit, "replace"])[0]
                self._await_stop(unit, job)
            except dbus.CallFailed:
                pass  # a scope goes with its last process
        self.reset(unit)

    def _is_active(self, unit: str) -> bool:
        """Whether the unit is neither gone nor at its end."""
        try:
            path = self._call("GetUnit", "s", [unit])[0]
            interface, name = "org.freedesktop.DBus.Properties", [_SERVICE + ".Unit", "ActiveState"]
            state = self._connection.call(_SERVICE, path, "Get", "ss", name, interface)[0][1]
        except dbus.CallFailed:
            return False
        return state not in ("inactive", "failed")

    def _await_stop(self, unit: str, job: str) -> None:
        """Until the job is done; a scope that ends by itself meanwhile takes its job along without a signal."""
        for _turn in range(_STOP_TURNS):
            try:
                self._connection.wait_signal("JobRemoved", lambda values: values[1] == job, _STOP_TURN_S)
                return
            except OcilabError:
                if not self._is_active(unit):
                    return
        raise OcilabError("systemd unit %s: it does not stop; see journalctl" % unit)

    def reset(self, unit: str) -> None:
        """ResetFailedUnit; silent where there is nothing to reset."""
        try:
            self._call("ResetFailedUnit", "s", [unit])
        except dbus.CallFailed:
            pass


def _connect(of_user: bool) -> dbus.Connection:
    """root speaks to systemd itself where it can, a user by the bus of the session."""
    if not of_user and not os.path.isdir("/run/systemd/system"):
        raise Unsupported("systemd does not run on this host (no /run/systemd/system); leave --systemd-cgroup out")
    if not of_user and os.geteuid() == 0 and "DBUS_SYSTEM_BUS_ADDRESS" not in os.environ:
        try:
            return dbus.Connection(_PRIVATE, is_bus=False)
        except Unsupported:
            pass
    if of_user:
        return dbus.Connection(dbus.socket_path(_session_address()), is_bus=True)
    return dbus.Connection(dbus.socket_path(os.environ.get("DBUS_SYSTEM_BUS_ADDRESS", _SYSTEM_BUS)), is_bus=True)


def _session_address() -> str:
    address = os.environ.get("DBUS_SESSION_BUS_ADDRESS")
    if address:
        return address
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if runtime and os.path.exists(runtime + "/bus"):
        return "unix:path=%s/bus" % runtime
    raise Unsupported(
        "the user's systemd cannot be reached: neither DBUS_SESSION_BUS_ADDRESS nor $XDG_RUNTIME_DIR/bus;"
        " install dbus-user-session and log in anew, or leave --systemd-cgroup out"
    )


def _marshalled(properties: list[Property]) -> list[tuple[str, tuple[str, Any]]]:
    return [(name, (kind, value)) for name, kind, value in properties]


class SystemdCgroup(Cgroup):
    """A cgroup that is a unit of systemd."""

    def __init__(self, paths: dict[str, str], host: Cgroups | None, unit: str, of_user: bool) -> None:
        super().__init__(paths, host)
        self.unit = unit
        self.of_user = of_user
        self.slice = ""
        self.name = ""
        self._properties: list[Property] = []
        self._resources: dict[str, Any] = {}

    @staticmethod
    def at(host: Cgroups, path: str, container_id: str, rootless: bool, properties: list[Property]) -> SystemdCgroup:
        """See Cgroups.at(). Raises InvalidInput, Unsupported, OcilabError."""
        slice_name, prefix, name = _taken_apart(path, container_id)
        if rootless and host.mode != "v2":
            raise Unsupported("--systemd-cgroup: a user's systemd has cgroups only on hosts with cgroup v2 alone")
        slice_name = slice_name or ("user.slice" if rootless else "system.slice")
        unit = name if name.endswith(".slice") else "%s-%s.scope" % (prefix, name)
        top = expand_slice(slice_name)
        if rootless:
            manager = Manager(of_user=True)
            top = manager.get("ControlGroup") + top
            manager.close()
        elif not os.path.isdir("/run/systemd/system"):
            Manager(of_user=False)  # which says why not
        paths = {item.name: "%s%s/%s" % (item.mount_point, top.rstrip("/"), unit) for item in host.hierarchies}
        cgroup = SystemdCgroup(paths, host, unit, rootless)
        cgroup.slice = slice_name
        cgroup.name = name
        cgroup._properties = properties
        return cgroup

    @staticmethod
    def from_entry(entry: dict[str, Any]) -> SystemdCgroup:
        cgroup = SystemdCgroup(dict(entry["paths"]), None, entry["unit"], entry["of_user"])
        cgroup._made = list(entry["made"])
        cgroup._is_complete = entry["complete"]
        return cgroup

    def journal_entry(self) -> dict[str, Any]:
        """As Cgroup.journal_entry(), with unit and of_user; it is complete only after adopt()."""
        return dict(super().journal_entry(), unit=self.unit, of_user=self.of_user)

    def create(self, resources: dict[str, Any]) -> None:
        """Only keep what is asked for: systemd makes the cgroup around a process, see adopt()."""
        if resources.get("unified") and self.host.mode != "v2":
            self._apply({"unified": resources["unified"]}, is_update=False)  # which refuses it
        for part in limits.parts(resources):
            self._hierarchy_of(part.controller, part.v2_controller, part.named)
        self._resources = resources

    def entry(self, sub: str | dict[str, str] = "", init_pid: int = 0) -> Entry:
        """As Cgroup.entry(); before adopt() it leads nowhere."""
        return super().entry(sub, init_pid) if self._is_complete else Entry([])

    def adopt(self, pid: int) -> None:
        """Have systemd make the unit around the process, put it into the hierarchies that systemd leaves alone, and set
        the limits.

        Raises Unsupported, InvalidInput, KernelRefused, OcilabError.
        """
        manager = Manager(self.of_user)
        try:
            resources, found = self._converted(manager, self._resources)
            found = self._base(pid) + found + self._properties
            oom_group = (resources.get("unified") or {}).get("memory.oom.group", "").strip()
            if oom_group in ("0", "1") and manager.version >= _SINCE_OOM_POLICY:
                found.append(("OOMPolicy", "s", "kill" if oom_group == "1" else "continue"))
            self._is_complete = True  # whoever is in it from here on is ours
            manager.start(self.unit, found)
        finally:
            manager.close()
        self._join(pid, resources)
        self._apply(resources, is_update=False)
        self._set_devices(resources.get("devices") or [])

    def _is_fresh(self, path: str) -> bool:
        return False  # systemd attaches a program of its own, which knows less than ours

    def _base(self, pid: int) -> list[Property]:
        accounting = ("Memory", "CPU", "IO" if self.host.mode == "v2" else "BlockIO", "Tasks")
        properties: list[Property] = [("Description", "s", "labrun container " + self.name)]
        if self.unit.endswith(".slice"):
            properties.append(("Wants", "as", [self.slice]))
        else:
            properties += [("Slice", "s", self.slice), ("Delegate", "b", True)]
        properties.append(("PIDs", "au", [pid]))
        properties += [(kind + "Accounting", "b", True) for kind in accounting]
        properties.append(("DefaultDependencies", "b", False))
        return properties

    def _join(self, pid: int, resources: dict[str, Any]) -> None:
        """systemd puts the process into the hierarchies that it manages; the others are made and joined by files."""
        for item in self._hierarchies():
            path = self.paths[item.name]
            if item.is_v2:
                if self.host.mode == "v2":
                    self._prepare_v2(item, path, resources)
                continue
            if item.name == "systemd":
                continue
            try:
                os.makedirs(path, exist_ok=True)
                if "cpuset" in item.controllers:
                    v1.inherit_cpuset(path, resources.get("cpu") or {}, False)
                    limits_of_cpuset = resources.get("cpu") or {}
                    for name in ("cpus", "mems"):
                        if limits_of_cpuset.get(name):
                            files.write(path + "/cpuset." + name, limits_of_cpuset[name].encode())
                files.write(path + "/cgroup.procs", b"%d" % pid)
            except OSError as error:
                raise KernelRefused("join", "cgroup " + path, error.errno) from None

    def update(self, resources: dict[str, Any]) -> None:
        """As Cgroup.update(), told to systemd first.

        On v1 the processes are frozen meanwhile, for systemd sets the device rules anew and denies all for a moment.

        Raises Unsupported, InvalidInput, KernelRefused, OcilabError.
        """
        manager = Manager(self.of_user)
        try:
            resources, found = self._converted(manager, dict(resources, devices=None))
            freeze = found and "freezer" in self.paths and not self.is_frozen()
            if freeze:
                self.freeze()
            try:
                manager.set(self.unit, found)
            finally:
                if freeze:
                    self.thaw()
        finally:
            manager.close()
        super().update(resources)

    def _converted(self, manager: Manager, resources: dict[str, Any]) -> tuple[dict[str, Any], list[Property]]:
        """(resources with the quota as systemd rounds it, properties)."""
        is_v2 = self.host.mode == "v2"
        found = device_properties(resources["devices"], manager.version) if resources.get("devices") is not None else []
        memory, cpu = resources.get("memory") or {}, dict(resources.get("cpu") or {})
        found += memory_v2(memory) if is_v2 else memory_v1(memory)
        found += cpu_properties(cpu, manager.version, is_v2)
        weight = (resources.get("blockIO") or {}).get("weight")
        if weight and not is_v2:
            found.append(("BlockIOWeight", "t", weight))
        limit = (resources.get("pids") or {}).get("limit")
        if limit is not None:
            found.append(("TasksMax", "t", UNLIMITED if limit < 0 else max(1, limit)))
        if is_v2:
            found += unified_properties(resources.get("unified") or {}, manager.version)
        return (dict(resources, cpu=cpu) if cpu else resources), found

    def remove(self) -> None:
        """Kill what still runs in it, have systemd forget the unit, and remove what systemd did not.

        Raises KernelRefused, OcilabError.
        """
        if self._is_complete:
            control.destroy(self.paths, 10.0)
            try:
                manager = Manager(self.of_user)
            except OcilabError:
                pass  # without its processes the unit ends by itself
            else:
                try:
                    manager.stop(self.unit)
                finally:
                    manager.close()
        self._made = [path for path in self._made or [] if self._is_ours(path)]
        super().remove()

    def _is_ours(self, made: str) -> bool:
        """The cgroup itself, and slices above it only in the hierarchies that systemd leaves alone."""
        for name, path in self.paths.items():
            if path == made:
                return True
            if path.startswith(made + "/"):
                return bool(name) and _UNMANAGED.issuperset(name.split(","))
        return False


def _taken_apart(path: str, container_id: str) -> tuple[str, str, str]:
    """(slice, prefix, name) of slice:prefix:name, of which the slice may be empty. Raises InvalidInput."""
    if not path:
        return "", "labrun", container_id
    parts = path.split(":")
    if len(parts) != 3 or "/" in path or not parts[2] or "\0" in path:
        raise InvalidInput("cgroupsPath %r: with --systemd-cgroup slice:prefix:name is expected" % path)
    return parts[0], parts[1], parts[2]


def expand_slice(name: str) -> str:
    """'/a.slice/a-b.slice' for 'a-b.slice', '/' for '-.slice' (systemd.slice(5)). Raises InvalidInput."""
    stem = name[: -len(".slice")]
    if stem == "-" and name == "-.slice":
        return "/"
    if not name.endswith(".slice") or "/" in name or "" in stem.split("-"):
        raise InvalidInput("cgroupsPath: %r is not the name of a systemd slice" % name)
    path, prefix = "", ""
    for part in stem.split("-"):
        path += "/%s%s.slice" % (prefix, part)
        prefix += part + "-"
    return path


def annotated(annotations: dict[str, str]) -> list[Property]:
    """The properties that annotations org.systemd.property.NAME ask for, as GVariant's text. Raises InvalidInput."""
    result: list[Property] = []
    for key, text in annotations.items():
        if not key.startswith(_ANNOTATION):
            continue
        name = key[len(_ANNOTATION) :]
        if len(name) < 3 or not (name.isascii() and name.isalpha()):
            raise InvalidInput("annotation %s: a property's name has at least 3 letters, and only letters" % key)
        from . import gvariant

        try:
            kind, value = gvariant.parse(text)
            if name.endswith("Sec") and name[-4:-3].islower():  # the manual's TimeoutStopSec is TimeoutStopUSec here
                name, kind, value = name[:-3] + "USec", "t", _microseconds(kind, value)
        except ValueError as error:
            raise InvalidInput("annotation %s=%s: %s" % (key, text, error)) from None
        result.append((name, kind, value))
    return result


def _microseconds(kind: str, value: Any) -> int:
    if kind not in ("y", "n", "q", "i", "u", "x", "t", "d"):
        raise ValueError("a number of seconds is expected")
    return int(value * 1000000) % (1 << 64)


def memory_v1(memory: dict[str, Any]) -> list[Property]:
    return [("MemoryLimit", "t", memory["limit"] % (1 << 64))] if memory.get("limit") else []


def memory_v2(memory: dict[str, Any]) -> list[Property]:
    """MemoryMax, MemoryLow and MemorySwapMax. Raises InvalidInput."""
    found: list[Property] = []
    for key, name in (("limit", "MemoryMax"), ("reservation", "MemoryLow")):
        if memory.get(key):
            found.append((name, "t", memory[key] % (1 << 64)))
    swap = v2.swap_max(memory.get("swap") or None, memory.get("limit") or None)
    if swap is not None:
        found.append(("MemorySwapMax", "t", swap % (1 << 64)))
    return found


def cpu_properties(cpu: dict[str, Any], version: int, is_v2: bool) -> list[Property]:
    """Weight, quota and processors. cpu["quota"] is changed to what systemd makes of it: whole percents, rounded up."""
    found: list[Property] = []
    idle = is_v2 and cpu.get("idle") == 1 and version >= _SINCE_IDLE
    if idle:
        found.append(("CPUWeight", "t", 0))
    elif cpu.get("shares"):
        name, value = ("CPUWeight", v2.weight(cpu["shares"])) if is_v2 else ("CPUShares", cpu["shares"])
        found.append((name, "t", value))
    quota, period = cpu.get("quota") or 0, cpu.get("period") or 0
    found += quota_properties(quota, period, version)
    if quota > 0:
        cpu["quota"] = rounded_quota(quota, period or _DEFAULT_PERIOD_US)
    for key, name in (("cpus", "AllowedCPUs"), ("mems", "AllowedMemoryNodes")):
        if cpu.get(key) and version >= _SINCE_CPUSET:
            found.append((name, "ay", bits(cpu[key], "cpu." + key)))
    return found


def quota_properties(quota: int, period: int, version: int) -> list[Property]:
    """CPUQuotaPeriodUSec and CPUQuotaPerSecUSec; a quota that is not positive is none, 0 for both asks for nothing."""
    found: list[Property] = []
    if period and version >= _SINCE_QUOTA_PERIOD:
        found.append(("CPUQuotaPeriodUSec", "t", period))
    if quota or period:
        found.append(("CPUQuotaPerSecUSec", "t", _per_second(quota, period or _DEFAULT_PERIOD_US)))
    return found


def _per_second(quota: int, period: int) -> int:
    if quota <= 0:
        return UNLIMITED
    percents = -(-(quota * 1000000 // period) // 10000)
    return percents * 10000


def rounded_quota(quota: int, period: int) -> int:
    """The quota that the unit gets, so that the file of the same name says the same."""
    exact = quota * 1000000 // period
    return quota if exact % 10000 == 0 else _per_second(quota, period) * period // 1000000


def bits(text: str, asked: str) -> bytes:
    """'0-1,3' as the bytes that systemd takes for it: bit 0 of the first byte is number 0. Raises InvalidInput."""
    number = 0
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not part.strip():
            continue
        if not first.isdigit() or (dash and not last.isdigit()) or int(last or first) > 65535:
            raise InvalidInput("linux.resources.%s: %r is not a list as 0-3,7" % (asked, text))
        if int(first) > int(last or first):
            raise InvalidInput("linux.resources.%s: %r is not a list as 0-3,7" % (asked, text))
        for index in range(int(first), int(last or first) + 1):
            number |= 1 << index
    if not number:
        raise InvalidInput("linux.resources.%s: %r names none" % (asked, text))
    return number.to_bytes((number.bit_length() + 7) // 8, "little")


def unified_properties(unified: dict[str, str], version: int) -> list[Property]:
    """The files that systemd has a property for; the others are only written. Raises InvalidInput."""
    found: list[Property] = []
    idle = unified.get("cpu.idle", "").strip() == "1" and version >= _SINCE_IDLE
    for name, text in unified.items():
        words = text.split()
        try:
            if name == "cpu.idle" and idle:
                found.append(("CPUWeight", "t", 0))
            elif name == "cpu.max":
                found += _cpu_max(words, version)
            elif name == "cpu.weight" and not idle:
                found.append(("CPUWeight", "t", int(text)))
            elif name in ("cpuset.cpus", "cpuset.mems") and version >= _SINCE_CPUSET:
                property_name = "AllowedCPUs" if name == "cpuset.cpus" else "AllowedMemoryNodes"
                found.append((property_name, "ay", bits(text, "unified." + name)))
            elif name in _UNIFIED_MEMORY:
                found.append((_UNIFIED_MEMORY[name], "t", UNLIMITED if words == ["max"] else int(text)))
            elif name == "pids.max":
                found.append(("TasksMax", "t", UNLIMITED if words == ["max"] else max(1, int(text))))
        except ValueError:
            raise InvalidInput("linux.resources.unified: %r: %r is not a value of it" % (name, text)) from None
    return found


def _cpu_max(words: list[str], version: int) -> list[Property]:
    if not 1 <= len(words) <= 2:
        raise ValueError
    quota = 0 if words[0] == "max" else int(words[0])
    return quota_properties(quota, int(words[1]) if len(words) == 2 else _DEFAULT_PERIOD_US, version)


def device_properties(rules: list[dict[str, Any]], version: int) -> list[Property]:
    """DevicePolicy and DeviceAllow. What systemd cannot say is left out: the files or the program say all of it."""
    policy = devices.policy(rules)
    # The empty list takes back what an existing unit allows.
    found: list[Property] = [("DeviceAllow", "a(ss)", [])]
    if policy.allows:
        return found + [("DevicePolicy", "s", "strict" if policy.exceptions else "auto")]
    allowed = []
    for device, access in sorted(policy.exceptions.items(), key=lambda item: (item[0][1:], item[0][0])):
        path = _device_path(device, version)
        if path:
            allowed.append((path, access))
    return found + [("DevicePolicy", "s", "strict"), ("DeviceAllow", "a(ss)", allowed)]


def _device_path(device: devices.Device, version: int) -> str:
    """How systemd.resource-control(5) names a device; '' for what it has no name for."""
    kind, major, minor = device
    word = "char" if kind == "c" else "block"
    if major < 0:
        return word + "-*" if minor < 0 else ""
    if minor < 0:
        return "%s-%d" % (word, major) if version >= _SINCE_DEVICE_NUMBERS else _device_group(word, major)
    path = "/dev/%s/%d:%d" % (word, major, minor)
    return path if version >= _SINCE_DEVICE_NUMBERS or os.path.exists(path) else ""


def _device_group(word: str, major: int) -> str:
    """Before systemd 240 a major number is named as in /proc/devices."""
    section = ""
    for line in files.read_text("/proc/devices").splitlines():
        fields = line.split()
        if line.endswith("devices:"):
            section = "char" if line.startswith("Character") else "block"
        elif section == word and fields and fields[0] == str(major):
            return "%s-%s" % (word, fields[1])
    return ""
