# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""linux.seccomp of runtime-spec as classic BPF: libseccomp's program, with what goes before it.

Only imported where the program is not kept from an earlier start (seccomp_cache.py): compiling takes 4 ms, and 30 ms
for the three architectures of Docker's profile.
"""

from __future__ import annotations

import ctypes
import os

from . import launcher
from .errors import InvalidInput, OcilabError, Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# seccomp.h of libseccomp
ACTIONS = {
    "SCMP_ACT_KILL": 0x00000000,
    "SCMP_ACT_KILL_THREAD": 0x00000000,
    "SCMP_ACT_KILL_PROCESS": 0x80000000,
    "SCMP_ACT_TRAP": 0x00030000,
    "SCMP_ACT_ERRNO": 0x00050000,
    "SCMP_ACT_NOTIFY": 0x7FC00000,
    "SCMP_ACT_TRACE": 0x7FF00000,
    "SCMP_ACT_LOG": 0x7FFC0000,
    "SCMP_ACT_ALLOW": 0x7FFF0000,
}
_WITH_NUMBER = ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE")
_PERMISSIVE = ("SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_TRACE")
_EPERM = 1
_ENOSYS = 38
OPERATORS = {
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
ARCHITECTURES = [
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
_UNKNOWN_SYSCALL = -1  # __NR_SCMP_ERROR
_OPTIMIZE = 8  # SCMP_FLTATR_CTL_OPTIMIZE, libseccomp 2.5
_BINARY_TREE = 2
_TREE_FROM_CALLS = 32  # as runc: libseccomp up to 2.5.4 fails with a tree of no rule
_X86_64 = 0xC000003E  # AUDIT_ARCH_X86_64
_X32 = 0x4000003E  # SCMP_ARCH_X32: libseccomp's own number, for the kernel it is x86_64 with this bit in the call
_X32_BIT = 0x40000000
_S390 = (0x00000016, 0x80000016)


class _Comparison(ctypes.Structure):
    _fields_ = [("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64)]


def compile_profile(profile: dict[str, Any]) -> tuple[bytes, list[str]]:
    """The profile as classic BPF, eight bytes an instruction, and the system calls that libseccomp does not know.

    Raises InvalidInput for an unknown action, operator or architecture, and Unsupported without libseccomp.
    """
    default = _action(profile, "defaultAction", "defaultErrnoRet", "")
    if profile["defaultAction"] == "SCMP_ACT_NOTIFY":
        message = "linux.seccomp.defaultAction: SCMP_ACT_NOTIFY cannot be the default, for the start itself would wait"
        raise InvalidInput(message + " for the listener; name the system calls")
    library = _library()
    context = library.seccomp_init(default)
    if not context:
        raise OcilabError("linux.seccomp: libseccomp refused the default action")
    try:
        tokens = _add_architectures(library, context, profile)
        if sum(len(rule.get("names") or []) for rule in profile.get("syscalls") or []) > _TREE_FROM_CALLS:
            library.seccomp_attr_set(context, _OPTIMIZE, _BINARY_TREE)  # an older library has lists only
        skipped: list[str] = []
        for index, rule in enumerate(profile.get("syscalls") or []):
            _add_rule(library, context, rule, "syscalls[%d]" % index, default, skipped)
        code = _export(library, context)
    finally:
        library.seccomp_release(context)
    return _launcher_rules(library, profile) + _unknown_calls(library, profile, tokens) + code, skipped


def _lookup(table: dict[str, int], name: Any, where: str, what: str) -> int:
    if name not in table:
        message = "linux.seccomp.%s: %r is not a %s; use one of %s"
        raise InvalidInput(message % (where, name, what, ", ".join(sorted(table))))
    return table[name]


def _action(rule: dict[str, Any], key: str, number_key: str, where: str) -> int:
    name = rule.get(key)
    path = where + "." if where else ""
    value = _lookup(ACTIONS, name, path + key, "seccomp action")
    number = rule.get(number_key)
    if name in _WITH_NUMBER:
        number = _EPERM if number is None else number
        if number > 0xFFFF:
            raise InvalidInput("linux.seccomp.%s: %d is above 65535" % (path + number_key, number))
        return value | int(number)
    if number is not None:
        raise InvalidInput("linux.seccomp.%s: the action %s returns no errno; remove it" % (path + number_key, name))
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
    library.seccomp_arch_native.restype = ctypes.c_uint32
    library.seccomp_syscall_resolve_name_arch.argtypes = [ctypes.c_uint32, ctypes.c_char_p]
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


def _add_architectures(library: Any, context: Any, profile: dict[str, Any]) -> list[int]:
    """Add the architectures; libseccomp's numbers for them and for the native one, which is there from the start."""
    tokens = [library.seccomp_arch_native()]
    for index, name in enumerate(profile.get("architectures") or []):
        path = "linux.seccomp.architectures[%d]" % index
        if not name.startswith("SCMP_ARCH_") or name[10:] not in ARCHITECTURES:
            choices = ", ".join("SCMP_ARCH_" + item for item in ARCHITECTURES)
            raise InvalidInput("%s: %r is not an architecture; use one of %s" % (path, name, choices))
        token = library.seccomp_arch_resolve_name(name[10:].lower().encode())
        if not token:
            raise Unsupported("%s: this host's libseccomp does not know %s; remove it" % (path, name))
        result = library.seccomp_arch_add(context, token)
        if result not in (0, -17):  # EEXIST
            raise Unsupported("%s: libseccomp cannot add %s: %s" % (path, name, os.strerror(-result).lower()))
        if token not in tokens:
            tokens.append(token)
    return tokens


def _add_rule(library: Any, context: Any, rule: dict[str, Any], where: str, default: int, skipped: list[str]) -> None:
    action = _action(rule, "action", "errnoRet", where)
    names = rule.get("names") or []
    if not names:
        raise InvalidInput("linux.seccomp.%s.names: empty; it needs at least one system call" % where)
    if rule["action"] == "SCMP_ACT_NOTIFY" and "write" in names:
        message = (
            "linux.seccomp.%s: SCMP_ACT_NOTIFY cannot be used for the write syscall, which hands the listener over"
        )
        raise InvalidInput(message % where)
    conditions = _conditions(rule, where)
    if action == default:
        return  # libseccomp refuses what changes nothing; runc leaves it out too
    # Two conditions on one argument cannot stand in one rule of libseccomp: each becomes its own, as in runc.
    repeated = len({item.arg for item in conditions}) < len(conditions)
    alternatives = [[item] for item in conditions] if repeated else [conditions]
    for name in names:
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


def _conditions(rule: dict[str, Any], where: str) -> list[_Comparison]:
    conditions = []
    for index, item in enumerate(rule.get("args") or []):
        operator = _lookup(OPERATORS, item.get("op"), "%s.args[%d].op" % (where, index), "comparison operator")
        if not 0 <= item.get("index", -1) <= 5:
            raise InvalidInput("linux.seccomp.%s.args[%d].index: a number from 0 to 5 is expected" % (where, index))
        conditions.append(_Comparison(item["index"], operator, item.get("value") or 0, item.get("valueTwo") or 0))
    return conditions


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


def _instruction(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    """struct sock_filter (linux/filter.h)."""
    return code.to_bytes(2, "little") + bytes((if_true, if_false)) + value.to_bytes(4, "little")


_LOAD = 0x20  # of struct seccomp_data: 0 the call's number, 4 the architecture, 16 + 8 * n the argument n
_JUMP = 0x05
_IF_EQUAL = 0x15
_IF_GREATER = 0x25
_IF_BIT = 0x45
_RETURN = 0x06


def _allows_plainly(profile: dict[str, Any], name: str) -> bool:
    actions = [rule for rule in profile.get("syscalls") or [] if name in (rule.get("names") or [])]
    if not actions:
        return profile["defaultAction"] in ("SCMP_ACT_ALLOW", "SCMP_ACT_LOG")
    return all(rule["action"] in ("SCMP_ACT_ALLOW", "SCMP_ACT_LOG") and not rule.get("args") for rule in actions)


def _launcher_rules(library: Any, profile: dict[str, Any]) -> bytes:
    """Let the calls of launcher.py pass where the profile does not: each one only as the launcher needs it.

    They give the program nothing: whoever may execve(2) can reach a descriptor's file by /proc/self/fd, and has no more
    capabilities than its permitted ones.
    """
    # Alternatives, each of (argument's number, value): AT_EMPTY_PATH; F_SETFD; PR_CAP_AMBIENT, or PR_SET_DUMPABLE 0, by
    # which a process only hides itself
    needed = {"execveat": [[(4, 0x1000)]], "fcntl": [[(1, 2)]], "prctl": [[(0, 47)], [(0, 4), (1, 0)]]}
    code = b""
    for name in launcher.CALLS:
        if _allows_plainly(profile, name):
            continue
        allow = b"".join([_allow_where(arguments) for arguments in needed.get(name, [[]])])
        length = len(allow) // 8
        code += _instruction(_LOAD, 4)
        code += _instruction(_IF_EQUAL, library.seccomp_arch_native(), 0, 2 + length)
        code += _instruction(_LOAD, 0)
        code += _instruction(_IF_EQUAL, library.seccomp_syscall_resolve_name(name.encode()), 0, length)
        code += allow
    return code


def _allow_where(arguments: list[tuple[int, int]]) -> bytes:
    """Instructions that let a call pass where its arguments (number, value) are these, and else go on behind them."""
    code = _instruction(_RETURN, ACTIONS["SCMP_ACT_ALLOW"])
    for argument, value in reversed(arguments):
        code = _instruction(_LOAD, 16 + 8 * argument) + _instruction(_IF_EQUAL, value, 0, len(code) // 8) + code
    return code


def _unknown_calls(library: Any, profile: dict[str, Any], tokens: list[int]) -> bytes:
    """ENOSYS for system calls newer than the newest that the profile names, as from a kernel without them.

    A program that meets EPERM gives up, where with ENOSYS it would take the older call. As in runc, "newer" means a
    higher number, and it is done where the default action refuses.
    """
    no_error = ACTIONS["SCMP_ACT_ERRNO"] | _ENOSYS
    if profile["defaultAction"] in _PERMISSIVE or profile.get("defaultErrnoRet") == _ENOSYS:
        return b""
    names = [name.encode() for rule in profile.get("syscalls") or [] for name in rule["names"]]
    resolve = library.seccomp_syscall_resolve_name_arch
    newest = {token: max([resolve(token, name) for name in names], default=0) for token in tokens}
    code = b""
    for token in tokens:
        if newest[token] <= 0 or token == _X32:
            continue
        checks = []
        if token == _X86_64 and newest.get(_X32, 0) > 0:
            checks = [_instruction(_IF_BIT, _X32_BIT, 1, 0), _instruction(_IF_GREATER, newest[token], 1, 2)]
            checks.append(_instruction(_IF_GREATER, newest[_X32], 0, 1))
        elif token == _X86_64:
            checks = [_instruction(_IF_BIT, _X32_BIT, 2, 0), _instruction(_IF_GREATER, newest[token], 0, 1)]
        else:
            if token in _S390:  # call 0 there stands for every number that the kernel does not know
                checks = [_instruction(_IF_EQUAL, 0, 1, 0)]
            checks.append(_instruction(_IF_GREATER, newest[token], 0, 1))
        section = [_instruction(_LOAD, 0), *checks, _instruction(_RETURN, no_error)]
        section.append(_instruction(_JUMP, len(code) // 8))
        head = [_instruction(_LOAD, 4), _instruction(_IF_EQUAL, token, 0, len(section))]
        code = b"".join(head + section) + code
    return code
