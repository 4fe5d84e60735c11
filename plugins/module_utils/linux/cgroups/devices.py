# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""Which devices a cgroup may use: devices.allow and devices.deny of cgroup v1, an eBPF program on cgroup v2.

A rule is runtime-spec's {"allow": bool, "type": "a"|"b"|"c", "major": int, "minor": int, "access": "rwm"}; of several
that match the last one counts. All is denied at first, and the default devices (config-linux.md) are allowed at last.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct

from .. import files, syscalls, trace
from ..errors import KernelRefused, Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_DENY_ALL = {"allow": False, "access": "rwm"}
# (type, major, minor, access): making any node is harmless; using it is what the rules are about
_DEFAULTS = (
    ("c", -1, -1, "m"),
    ("b", -1, -1, "m"),
    ("c", 1, 3, "rwm"),
    ("c", 1, 5, "rwm"),
    ("c", 1, 7, "rwm"),
    ("c", 1, 8, "rwm"),
    ("c", 1, 9, "rwm"),
    ("c", 5, 0, "rwm"),
    ("c", 5, 1, "rwm"),
    ("c", 5, 2, "rwm"),
    ("c", 136, -1, "rwm"),
)

_BPF_PROG_LOAD = 5
_BPF_PROG_ATTACH = 8
_BPF_PROG_TYPE_CGROUP_DEVICE = 15
_BPF_CGROUP_DEVICE = 6
_ACCESS = {"m": 1, "r": 2, "w": 4}
_TYPE = {"b": 1, "c": 2}


def complete(rules: list[dict[str, Any]]) -> list[tuple[bool, str, int, int, str]]:
    """(allow, type, major, minor, access) from first to last, with the default rules; -1 stands for any number."""
    result: list[tuple[bool, str, int, int, str]] = []
    for rule in [_DENY_ALL, *rules]:
        major, minor = rule.get("major"), rule.get("minor")
        item = (bool(rule.get("allow")), rule.get("type") or "a", -1 if major is None else major)
        item_full = (*item, -1 if minor is None else minor, rule.get("access") or "rwm")
        if not result or result[-1] != item_full:
            result.append(item_full)
    return result + [(True, *item) for item in _DEFAULTS]


def write_rules(path: str, rules: list[dict[str, Any]]) -> None:
    """Apply the rules to the v1 cgroup directory. Raises KernelRefused."""
    for allow, kind, major, minor, access in complete(rules):
        name = path + ("/devices.allow" if allow else "/devices.deny")
        numbers = ":".join("*" if number < 0 else str(number) for number in (major, minor))
        text = "a" if kind == "a" else "%s %s %s" % (kind, numbers, access)
        try:
            files.write(name, text.encode())
        except OSError as error:
            raise KernelRefused("write", name, error.errno, "device rule " + text) from None


def attach_program(path: str, rules: list[dict[str, Any]]) -> None:
    """Load the rules as an eBPF program and attach it to the v2 cgroup directory. Raises Unsupported, KernelRefused."""
    instructions = program(rules)
    code = ctypes.create_string_buffer(instructions)
    license_name = ctypes.create_string_buffer(b"GPL")
    load = struct.pack(
        "=IIQQIIQII",
        _BPF_PROG_TYPE_CGROUP_DEVICE,
        len(instructions) // 8,
        ctypes.addressof(code),
        ctypes.addressof(license_name),
        *(0, 0, 0, 0, 0),
    )
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        program_fd = trace.call("bpf", ("BPF_PROG_LOAD", "device rules"), _bpf, _BPF_PROG_LOAD, load)
        attach = struct.pack("=IIII", directory, program_fd, _BPF_CGROUP_DEVICE, 0)
        trace.call("bpf", ("BPF_PROG_ATTACH", path), _bpf, _BPF_PROG_ATTACH, attach)
        os.close(program_fd)
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.ENOSYS):
            raise Unsupported(
                "device rules: this kernel has no eBPF programs for cgroups (CONFIG_CGROUP_BPF)"
            ) from None
        raise KernelRefused("bpf", "the device rules of " + path, error.errno, "CAP_BPF or root is needed") from None
    finally:
        os.close(directory)


def program(rules: list[dict[str, Any]]) -> bytes:
    """The rules as eBPF instructions, the last rule tested first (linux/bpf.h, struct bpf_cgroup_dev_ctx)."""
    # r2 = device type, r3 = access, r4 = major, r5 = minor
    code = [
        _instruction(0x61, 2, 1, 0),
        _instruction(0xBC, 3, 2),
        _instruction(0x54, 2, immediate=0xFFFF),
        _instruction(0x74, 3, immediate=16),
        _instruction(0x61, 4, 1, 4),
        _instruction(0x61, 5, 1, 8),
    ]
    for allow, kind, major, minor, access in reversed(complete(rules)):
        code += _rule(allow, kind, major, minor, access)
    return b"".join(code)


def _rule(allow: bool, kind: str, major: int, minor: int, access: str) -> list[bytes]:
    tests: list[
        tuple[list[bytes], int, int, int, int]
    ] = []  # each is (instructions, jump over the rest when it does not match)
    if kind in _TYPE:
        tests.append(([], 0x56, 2, 0, _TYPE[kind]))
    mask = sum(_ACCESS[letter] for letter in set(access) if letter in _ACCESS)
    if mask != 7:
        tests.append(([_instruction(0xBC, 1, 3), _instruction(0x54, 1, immediate=mask)], 0x5E, 1, 3, 0))
    if major >= 0:
        tests.append(([], 0x56, 4, 0, major))
    if minor >= 0:
        tests.append(([], 0x56, 5, 0, minor))
    result = [_instruction(0xB7, 0, immediate=int(allow)), _instruction(0x95)]
    for before, opcode, left, right, immediate in reversed(tests):
        result = before + [_instruction(opcode, left, right, len(result), immediate)] + result
    return result


def _instruction(opcode: int, target: int = 0, source: int = 0, offset: int = 0, immediate: int = 0) -> bytes:
    return struct.pack("=BBhi", opcode, source << 4 | target, offset, immediate)


def _bpf(command: int, attributes: bytes) -> int:
    buffer = ctypes.create_string_buffer(attributes, max(len(attributes), 128))
    return syscalls.raw("bpf", command, buffer, len(buffer))
