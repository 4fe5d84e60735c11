# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""Which devices a cgroup may use: devices.allow and devices.deny of cgroup v1, an eBPF program on cgroup v2.

A rule is runtime-spec's {"allow": bool, "type": "a"|"b"|"c", "major": int, "minor": int, "access": "rwm"}; they are
applied in their order. All is denied at first, and the default devices (config-linux.md) are allowed at last.
"""

from __future__ import annotations

import errno
import os

from .. import trace
from ..errors import InvalidInput, KernelRefused
from .hierarchy import in_user_namespace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Device = tuple[str, int, int]  # type b or c, major, minor; -1 stands for any number

# (type, major, minor, access): making any node is harmless; using it is what the rules are about. As in runc, tun is
# among them, for engines that cannot ask for it, and the host's console (5:1) is not: a container's own is a pty.
_DEFAULTS = (
    ("c", -1, -1, "m"),
    ("b", -1, -1, "m"),
    ("c", 1, 3, "rwm"),
    ("c", 1, 5, "rwm"),
    ("c", 1, 7, "rwm"),
    ("c", 1, 8, "rwm"),
    ("c", 1, 9, "rwm"),
    ("c", 5, 0, "rwm"),
    ("c", 5, 2, "rwm"),
    ("c", 136, -1, "rwm"),
    ("c", 10, 200, "rwm"),
)


class Policy:
    """What a list of rules comes to, as the kernel's devices controller keeps it (admin-guide/cgroup-v1/devices.rst).

    allows: what holds for a device that no exception names; exceptions: device -> the accesses that are otherwise.
    """

    def __init__(self) -> None:
        self.allows = False
        self.exceptions: dict[Device, str] = {}

    def apply(self, allow: bool, kind: str, major: int, minor: int, access: str) -> None:
        """Add a rule. Raises InvalidInput for one that takes a part out of what an exception with a wildcard names."""
        if kind == "a":
            self.allows = allow
            self.exceptions = {}
            return
        device = (kind, major, minor)
        present = self.exceptions.get(device, "")
        if allow != self.allows:
            self.exceptions[device] = "".join(letter for letter in "rwm" if letter in present or letter in access)
            return
        for wider in ((kind, -1, minor), (kind, major, -1), (kind, -1, -1)):
            if wider != device and set(self.exceptions.get(wider, "")) & set(access):
                text = "linux.resources.devices: %s of %s cannot be taken out of the rule for %s before it"
                raise InvalidInput(text % (access, shown(device), shown(wider)))
        left = "".join(letter for letter in present if letter not in access)
        if left:
            self.exceptions[device] = left
        else:
            self.exceptions.pop(device, None)


def shown(device: Device) -> str:
    """'c 1:*', as the files of the devices controller name it."""
    return "%s %s:%s" % (device[0], *("*" if number < 0 else number for number in device[1:]))


def policy(rules: list[dict[str, Any]]) -> Policy:
    """The rules of linux.resources.devices with the default devices after them. Raises InvalidInput."""
    result = Policy()
    for rule in rules:
        major, minor = rule.get("major"), rule.get("minor")
        numbers = (-1 if major is None else major, -1 if minor is None else minor)
        result.apply(bool(rule.get("allow")), rule.get("type") or "a", *numbers, rule.get("access") or "rwm")
    for item in _DEFAULTS:
        result.apply(True, *item)
    return result


def write_rules(path: str, rules: list[dict[str, Any]]) -> None:
    """Apply the rules to the v1 cgroup directory. In a user namespace, which may not, nothing is done, as in runc.

    One open file takes all exceptions, and each device is written once. Raises InvalidInput, KernelRefused.
    """
    asked = policy(rules)
    try:
        _write(path + "/devices.allow" if asked.allows else path + "/devices.deny", ["a"])
        lines = ["%s %s" % (shown(device), access) for device, access in asked.exceptions.items()]
        _write(path + "/devices.deny" if asked.allows else path + "/devices.allow", lines)
    except KernelRefused as error:
        if error.errno not in (errno.EPERM, errno.EACCES) or not in_user_namespace():
            raise


def _write(name: str, lines: list[str]) -> None:
    line = ""
    try:
        fd = os.open(name, os.O_WRONLY | os.O_CLOEXEC)
        try:
            for line in lines:
                trace.call("write", (name, line), os.write, fd, line.encode())
        finally:
            os.close(fd)
    except OSError as error:
        hint = "device rule %s; a cgroup cannot use what the one above it may not" % line if line else ""
        raise KernelRefused("write", name, error.errno, hint) from None
