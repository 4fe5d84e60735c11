# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""Device rules on cgroup v2: an eBPF program that the kernel asks about each access (bpf(2), cgroup-v2.rst)."""

from __future__ import annotations

import ctypes
import errno
import os

from .. import syscalls, trace
from ..errors import KernelRefused, Unsupported
from . import devices
from .hierarchy import in_user_namespace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_PROG_LOAD = 5
_PROG_ATTACH = 8
_PROG_DETACH = 9
_PROG_GET_FD_BY_ID = 13
_PROG_QUERY = 16
_PROG_TYPE_CGROUP_DEVICE = 15
_CGROUP_DEVICE = 6
_ALLOW_MULTI = 2
_REPLACE = 4
_MAX_PROGRAMS = 64  # the kernel attaches no more to one cgroup
_ACCESS = {"m": 1, "r": 2, "w": 4}
_TYPE = {"b": 1, "c": 2}
_ALL = 7


def attach_program(path: str, rules: list[dict[str, Any]], is_fresh: bool) -> None:
    """Load the rules and attach them to the v2 cgroup directory in place of a program that is attached already.

    is_fresh: it was made just now, so that nothing is. Where the kernel refuses, it is an error only if the rules keep
    something back and the caller is not in a user namespace. Raises Unsupported, InvalidInput, KernelRefused.
    """
    policy = devices.policy(rules)
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        old = [] if is_fresh else _attached(directory)
        try:
            _attach(path, directory, _load(program(policy)), old)
        finally:
            for fd in old:
                os.close(fd)
    except OSError as error:
        if (policy.allows and not policy.exceptions) or in_user_namespace():
            return
        if error.errno in (errno.EINVAL, errno.ENOSYS):
            raise Unsupported(
                "device rules: this kernel has no eBPF programs for cgroups (CONFIG_CGROUP_BPF)"
            ) from None
        raise KernelRefused("bpf", "the device rules of " + path, error.errno, "CAP_BPF or root is needed") from None
    finally:
        os.close(directory)


def _load(instructions: bytes) -> int:
    code = ctypes.create_string_buffer(instructions)
    license_name = ctypes.create_string_buffer(b"GPL")
    count = len(instructions) // 8
    attributes = _words(_PROG_TYPE_CGROUP_DEVICE, count) + _pointer(code) + _pointer(license_name) + bytes(24)
    try:
        return trace.call("bpf", ("BPF_PROG_LOAD", "device rules"), _bpf, _PROG_LOAD, attributes)
    except PermissionError:
        # Before Linux 5.11 programs counted as locked memory; the limit is the container's too, so it is put back.
        import resource

        limits = resource.getrlimit(resource.RLIMIT_MEMLOCK)
        if limits[0] == resource.RLIM_INFINITY:
            raise
        try:
            resource.setrlimit(resource.RLIMIT_MEMLOCK, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        except ValueError:
            raise PermissionError(errno.EPERM, "") from None
        try:
            return trace.call("bpf", ("BPF_PROG_LOAD", "device rules"), _bpf, _PROG_LOAD, attributes)
        finally:
            resource.setrlimit(resource.RLIMIT_MEMLOCK, limits)


def _attach(path: str, directory: int, program_fd: int, old: list[int]) -> None:
    """Attach beside what is attached, then detach that; a single one is replaced in one step (Linux 5.6)."""
    try:
        if len(old) == 1:
            try:
                flags = _ALLOW_MULTI | _REPLACE
                attributes = _words(directory, program_fd, _CGROUP_DEVICE, flags, old[0])
                trace.call("bpf", ("BPF_PROG_ATTACH", path, "BPF_F_REPLACE"), _bpf, _PROG_ATTACH, attributes)
                return
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise
        attributes = _words(directory, program_fd, _CGROUP_DEVICE, _ALLOW_MULTI)
        trace.call("bpf", ("BPF_PROG_ATTACH", path), _bpf, _PROG_ATTACH, attributes)
        for fd in old:
            detach = _words(directory, fd, _CGROUP_DEVICE, 0)
            trace.call("bpf", ("BPF_PROG_DETACH", path), _bpf, _PROG_DETACH, detach)
    finally:
        os.close(program_fd)


def _attached(directory: int) -> list[int]:
    """Descriptors of the device programs that are attached to the cgroup itself; those that one may not have are left.

    Another program can only take more away, so that one left in place makes nothing unsafe.
    """
    identifiers = ctypes.create_string_buffer(4 * _MAX_PROGRAMS)
    query = ctypes.create_string_buffer(
        _words(directory, _CGROUP_DEVICE, 0, 0) + _pointer(identifiers) + _words(_MAX_PROGRAMS), 128
    )
    syscalls.raw("bpf", _PROG_QUERY, query, len(query))
    count = int.from_bytes(query.raw[24:28], "little")
    result = []
    for index in range(count):
        identifier = int.from_bytes(identifiers.raw[4 * index : 4 * index + 4], "little")
        try:
            result.append(_bpf(_PROG_GET_FD_BY_ID, _words(identifier)))
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.EACCES, errno.ENOENT):
                raise
    return result


def program(policy: devices.Policy) -> bytes:
    """The policy as eBPF instructions (linux/bpf.h, struct bpf_cgroup_dev_ctx).

    An exception that allows must cover all of the access, one that denies only a part of it, as in the v1 controller.
    """
    # r2 = device type, r3 = access, r4 = major, r5 = minor
    code = [
        _instruction(0x61, 2, 1, 0),
        _instruction(0xBC, 3, 2),
        _instruction(0x54, 2, immediate=0xFFFF),
        _instruction(0x74, 3, immediate=16),
        _instruction(0x61, 4, 1, 4),
        _instruction(0x61, 5, 1, 8),
    ]
    for device, access in policy.exceptions.items():
        code += _exception(device, access, not policy.allows)
    code += [_instruction(0xB7, 0, immediate=int(policy.allows)), _instruction(0x95)]
    return b"".join(code)


def _exception(device: devices.Device, access: str, allow: bool) -> list[bytes]:
    kind, major, minor = device
    # each test is (instructions, then a jump over the rest when it does not match: opcode, left, right, immediate)
    tests: list[tuple[list[bytes], int, int, int, int]] = [([], 0x56, 2, 0, _TYPE[kind])]
    mask = sum(_ACCESS[letter] for letter in set(access))
    if mask != _ALL:
        before = [_instruction(0xBC, 1, 3), _instruction(0x54, 1, immediate=mask)]
        tests.append((before, 0x5E, 1, 3, 0) if allow else (before, 0x16, 1, 0, 0))
    if major >= 0:
        tests.append(([], 0x56, 4, 0, major))
    if minor >= 0:
        tests.append(([], 0x56, 5, 0, minor))
    result = [_instruction(0xB7, 0, immediate=int(allow)), _instruction(0x95)]
    for before, opcode, left, right, immediate in reversed(tests):
        result = before + [_instruction(opcode, left, right, len(result), immediate)] + result
    return result


def _instruction(opcode: int, target: int = 0, source: int = 0, offset: int = 0, immediate: int = 0) -> bytes:
    return bytes([opcode, source << 4 | target]) + offset.to_bytes(2, "little") + immediate.to_bytes(4, "little")


def _words(*numbers: int) -> bytes:
    """The numbers as 32 bits each; both machines that labrun knows are little-endian."""
    return b"".join(number.to_bytes(4, "little") for number in numbers)


def _pointer(buffer: Any) -> bytes:
    return ctypes.addressof(buffer).to_bytes(8, "little")


def _bpf(command: int, attributes: bytes) -> int:
    buffer = ctypes.create_string_buffer(attributes, max(len(attributes), 128))
    return syscalls.raw("bpf", command, buffer, len(buffer))
