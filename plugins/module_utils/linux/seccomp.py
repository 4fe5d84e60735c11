# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""Seccomp filters: linux.seccomp of runtime-spec, compiled by libseccomp and loaded by seccomp(2)."""

from __future__ import annotations

import ctypes
import os

from . import syscalls, trace
from .errors import InvalidInput, KernelRefused, OcilabError, Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

# seccomp.h of libseccomp
_ACTIONS = {
    "SCMP_ACT_KILL": 0x00000000,
    "SCMP_ACT_KILL_THREAD": 0x00000000,
    "SCMP_ACT_KILL_PROCESS": 0x80000000,
    "SCMP_ACT_TRAP": 0x00030000,
    "SCMP_ACT_ERRNO": 0x00050000,
    "SCMP_ACT_TRACE": 0x7FF00000,
    "SCMP_ACT_LOG": 0x7FFC0000,
    "SCMP_ACT_ALLOW": 0x7FFF0000,
}
_WITH_NUMBER = ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE")
_EPERM = 1
_OPERATORS = {
    name: number
    for number, name in enumerate(
        [
            "SCMP_CMP_NE",
            "SCMP_CMP_LT",
            "SCMP_CMP_LE",
            "SCMP_CMP_EQ",
            "SCMP_CMP_GE",
            "SCMP_CMP_GT",
            "SCMP_CMP_MASKED_EQ",
        ],
        1,
    )
}
_ARCHITECTURES = [
    "X86",
    "X86_64",
    "X32",
    "ARM",
    "AARCH64",
    "MIPS",
    "MIPS64",
    "MIPS64N32",
    "MIPSEL",
    "MIPSEL64",
    "MIPSEL64N32",
    "PPC",
    "PPC64",
    "PPC64LE",
    "S390",
    "S390X",
    "PARISC",
    "PARISC64",
    "RISCV64",
    "LOONGARCH64",
    "M68K",
    "SH",
    "SHEB",
]
_FLAGS = {
    "SECCOMP_FILTER_FLAG_TSYNC": 1,
    "SECCOMP_FILTER_FLAG_LOG": 2,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": 4,
}
_SECCOMP_SET_MODE_FILTER = 1
_UNKNOWN_SYSCALL = -1  # __NR_SCMP_ERROR


class _Comparison(ctypes.Structure):
    _fields_ = [("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64)]


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]


class Prepared:
    """A compiled filter as seccomp(2) takes it; the buffer is kept alive with it."""

    def __init__(self, code: bytes, flags: int) -> None:
        self.code = ctypes.create_string_buffer(code, len(code))
        self.program = _Program(len(code) // 8, ctypes.addressof(self.code))
        self.flags = flags


# Compiling takes 2 ms; a process that starts many containers mostly does so with one profile.
_compiled: list[tuple[dict[str, Any], Prepared]] = []


def prepare(profile: dict[str, Any], warn: Callable[[str], None]) -> Prepared:
    """Compile the profile. Raises InvalidInput for an unknown action, operator, architecture or flag.

    A system call that libseccomp does not know is skipped with a warning, as runc does.
    """
    if _compiled and _compiled[0][0] == profile:
        return _compiled[0][1]
    flags = 0
    for index, name in enumerate(profile.get("flags") or []):
        flags |= _lookup(_FLAGS, name, "flags[%d]" % index, "seccomp flag")
    prepared = Prepared(compile_profile(profile, warn), flags)
    _compiled[:] = [(profile, prepared)]
    return prepared


def load(prepared: Prepared) -> None:
    """Put the calling process under the filter, for good (seccomp(2)). Raises KernelRefused."""
    trace.call("seccomp", ("SECCOMP_SET_MODE_FILTER", "%d instructions" % prepared.program.length), _load, prepared)


def _load(prepared: Prepared) -> None:
    try:
        syscalls.raw("seccomp", _SECCOMP_SET_MODE_FILTER, prepared.flags, ctypes.byref(prepared.program))
    except OSError as error:
        hint = "without noNewPrivileges CAP_SYS_ADMIN is needed"
        raise KernelRefused("seccomp", "the filter of linux.seccomp", error.errno, hint) from None


def _lookup(table: dict[str, int], name: Any, where: str, what: str) -> int:
    if name not in table:
        message = "linux.seccomp.%s: %r is not a %s; use one of %s"
        raise InvalidInput(message % (where, name, what, ", ".join(sorted(table))))
    return table[name]


def _action(rule: dict[str, Any], key: str, number_key: str, where: str) -> int:
    name = rule.get(key)
    path = (where + "." if where else "") + key
    if name == "SCMP_ACT_NOTIFY":
        raise Unsupported("linux.seccomp.%s: labrun does not support SCMP_ACT_NOTIFY yet" % path)
    value = _lookup(_ACTIONS, name, path, "seccomp action")
    if name in _WITH_NUMBER:
        number = rule.get(number_key)
        value |= (_EPERM if number is None else number) & 0xFFFF
    return value


def _library() -> Any:
    try:
        library = ctypes.CDLL("libseccomp.so.2")
    except OSError:
        raise Unsupported("linux.seccomp: libseccomp.so.2 is not installed; install libseccomp2") from None
    library.seccomp_init.restype = ctypes.c_void_p
    library.seccomp_init.argtypes = [ctypes.c_uint32]
    library.seccomp_release.argtypes = [ctypes.c_void_p]
    library.seccomp_arch_add.argtypes = [ctypes.c_void_p, ctypes.c_uint32]
    library.seccomp_arch_resolve_name.restype = ctypes.c_uint32
    library.seccomp_export_bpf.argtypes = [ctypes.c_void_p, ctypes.c_int]
    library.seccomp_attr_set.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_uint32]
    library.seccomp_rule_add_array.argtypes = [
        ctypes.c_void_p,
        ctypes.c_uint32,
        ctypes.c_int,
        ctypes.c_uint,
        ctypes.POINTER(_Comparison),
    ]
    return library


def compile_profile(profile: dict[str, Any], warn: Callable[[str], None]) -> bytes:
    """The profile as classic BPF, eight bytes an instruction. Raises as prepare() does."""
    default = _action(profile, "defaultAction", "defaultErrnoRet", "")
    library = _library()
    context = library.seccomp_init(default)
    if not context:
        raise OcilabError("linux.seccomp: libseccomp refused the default action")
    try:
        _add_architectures(library, context, profile)
        skipped: list[str] = []
        for index, rule in enumerate(profile.get("syscalls") or []):
            _add_rule(library, context, rule, "syscalls[%d]" % index, default, skipped)
        if skipped:
            warn("linux.seccomp: system calls that libseccomp does not know are skipped: " + ", ".join(skipped))
        return _export(library, context)
    finally:
        library.seccomp_release(context)


def _add_architectures(library: Any, context: Any, profile: dict[str, Any]) -> None:
    for index, name in enumerate(profile.get("architectures") or []):
        known = name.startswith("SCMP_ARCH_") and name[10:] in _ARCHITECTURES
        token = library.seccomp_arch_resolve_name(name[10:].lower().encode()) if known else 0
        if not token:
            path = "linux.seccomp.architectures[%d]" % index
            choices = ", ".join("SCMP_ARCH_" + item for item in _ARCHITECTURES)
            raise InvalidInput("%s: %r is not an architecture; use one of %s" % (path, name, choices))
        result = library.seccomp_arch_add(context, token)
        if result not in (0, -17):  # EEXIST: the native architecture is there from the start
            raise OcilabError("linux.seccomp: libseccomp cannot add %s: %s" % (name, os.strerror(-result)))


def _add_rule(library: Any, context: Any, rule: dict[str, Any], where: str, default: int, skipped: list[str]) -> None:
    action = _action(rule, "action", "errnoRet", where)
    conditions = []
    for index, item in enumerate(rule.get("args") or []):
        operator = _lookup(_OPERATORS, item.get("op"), "%s.args[%d].op" % (where, index), "comparison operator")
        if not 0 <= item.get("index", -1) <= 5:
            raise InvalidInput("linux.seccomp.%s.args[%d].index: a number from 0 to 5 is expected" % (where, index))
        conditions.append(_Comparison(item["index"], operator, item.get("value") or 0, item.get("valueTwo") or 0))
    if action == default:
        return  # libseccomp refuses what changes nothing; runc leaves it out too
    # Two conditions on one argument cannot stand in one rule of libseccomp: each becomes its own, as in runc.
    repeated = len({item.arg for item in conditions}) < len(conditions)
    alternatives = [[item] for item in conditions] if repeated else [conditions]
    for name in rule.get("names") or []:
        number = library.seccomp_syscall_resolve_name(name.encode())
        if number == _UNKNOWN_SYSCALL:
            skipped.append(name)
            continue
        for group in alternatives:
            array = (_Comparison * len(group))(*group)
            result = library.seccomp_rule_add_array(context, action, number, len(group), array)
            if result != 0:
                message = "linux.seccomp.%s: libseccomp cannot add a rule for %s: %s"
                raise InvalidInput(message % (where, name, os.strerror(-result).lower()))


def _export(library: Any, context: Any) -> bytes:
    fd = os.memfd_create("seccomp", os.MFD_CLOEXEC)
    try:
        result = library.seccomp_export_bpf(context, fd)
        if result != 0:
            raise OcilabError("linux.seccomp: libseccomp cannot compile the profile: %s" % os.strerror(-result).lower())
        size = os.lseek(fd, 0, os.SEEK_CUR)
        return os.pread(fd, size, 0)
    finally:
        os.close(fd)
