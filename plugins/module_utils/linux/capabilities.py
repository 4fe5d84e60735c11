# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""Capabilities (capabilities(7)): their numbers, and giving a process exactly the sets that it is to have."""

from __future__ import annotations

import ctypes
import errno
import os

from . import files, syscalls, trace
from .errors import KernelRefused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable

# In the order of their numbers (linux/capability.h)
NAMES = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
]
_NUMBERS = {"CAP_" + name: number for number, name in enumerate(NAMES)}
_SETS = ("bounding", "effective", "permitted", "inheritable", "ambient")

_PR_CAPBSET_DROP = 24
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_RAISE = 2
_PR_CAP_AMBIENT_CLEAR_ALL = 4
_VERSION_3 = 0x20080522


class _Header(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]


class _Data(ctypes.Structure):
    _fields_ = [("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32)]


_libc = ctypes.CDLL(None, use_errno=True)
_capset = _libc.capset
_capget = _libc.capget
_prctl = _libc.prctl
_prctl.argtypes = [ctypes.c_int, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong]


class Prepared:
    """The five sets as lists of numbers and as what capset(2) takes."""

    def __init__(self, sets: dict[str, list[int]], last: int) -> None:
        self.sets = sets
        self.dropped = [number for number in range(last + 1) if number not in set(sets["bounding"])]
        self.header = _Header(_VERSION_3, 0)
        self.data = (_Data * 2)()
        for word in (0, 1):
            for name in ("effective", "permitted", "inheritable"):
                bits = sum(1 << (number - 32 * word) for number in sets[name] if number // 32 == word)
                setattr(self.data[word], name, bits)


def last() -> int:
    """The highest capability that this kernel knows."""
    return int(files.read_text("/proc/sys/kernel/cap_last_cap"))


def held() -> set[int]:
    """The capabilities in the calling process's permitted set, by number (capget(2))."""
    header, data = _Header(_VERSION_3, 0), (_Data * 2)()
    _check(_capget(ctypes.byref(header), data))
    bits = data[0].permitted | data[1].permitted << 32
    return {number for number in range(64) if bits >> number & 1}


def prepare(configured: dict[str, list[str]], warn: Callable[[str], None], granted: set[int] | None = None) -> Prepared:
    """The sets of process.capabilities; a set that is absent is empty (case R11).

    granted: what the runtime can give, by number; None for all, as in a user namespace. A capability that it cannot
    give, or that this kernel does not know, is left out with a warning, as runtime-spec asks.
    """
    highest = last()
    sets: dict[str, list[int]] = {}
    unknown: set[str] = set()
    for name in _SETS:
        numbers = {_NUMBERS.get(item, -1) for item in configured.get(name) or []}
        unknown.update(item for item in configured.get(name) or [] if not 0 <= _NUMBERS.get(item, -1) <= highest)
        sets[name] = sorted(number for number in numbers if 0 <= number <= highest)
    if unknown:
        warn("capabilities unknown to this kernel are left out: " + ", ".join(sorted(unknown)))
    lacking = set().union(*sets.values()) - granted if granted is not None else set()
    if lacking:
        shown = ", ".join("CAP_" + NAMES[number] for number in sorted(lacking))
        warn("capabilities that labrun does not have itself are left out: " + shown)
        sets = {name: [number for number in numbers if number not in lacking] for name, numbers in sets.items()}
    # The kernel's rule (capabilities(7)); runc leaves such ones out too, and its own `spec` writes them.
    raisable = set(sets["permitted"]) & set(sets["inheritable"])
    for number in sorted(set(sets["ambient"]) - raisable):
        warn("can't raise ambient capability CAP_%s: it is not both permitted and inheritable" % NAMES[number])
    sets["ambient"] = sorted(raisable & set(sets["ambient"]))
    return Prepared(sets, highest)


def drop_bounding(prepared: Prepared) -> None:
    """Take out of the bounding set what is not in it; must come while CAP_SETPCAP is held. Raises KernelRefused."""
    trace.call(
        "prctl", ("PR_CAPBSET_DROP", "%d capabilities" % len(prepared.dropped)), _drop_bounding, prepared.dropped
    )


def _drop_bounding(numbers: list[int]) -> None:
    for number in numbers:
        if _prctl(_PR_CAPBSET_DROP, number, 0, 0, 0) != 0:
            raise KernelRefused("prctl", "PR_CAPBSET_DROP CAP_" + NAMES[number], ctypes.get_errno())


def apply(prepared: Prepared) -> None:
    """Set the effective, permitted, inheritable and ambient sets, exactly. Raises KernelRefused."""
    sets = prepared.sets
    shown = tuple("%s=%d" % (name, len(sets[name])) for name in ("effective", "permitted", "inheritable", "ambient"))
    try:
        trace.call("capset", shown, _set, prepared)
    except OSError as error:
        hint = "the caller lacks one of them, or an ambient one is not in permitted and inheritable too"
        raise KernelRefused("capset", "the process's capabilities", error.errno, hint) from None


def _set(prepared: Prepared) -> None:
    _check(_capset(ctypes.byref(prepared.header), prepared.data))
    result = _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    if result != 0 and ctypes.get_errno() != errno.EINVAL:  # EINVAL: a kernel before ambient capabilities
        _check(result)
    for number in prepared.sets["ambient"]:
        _check(_prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, number, 0, 0))


def over_execve(prepared: Prepared) -> tuple[Prepared, list[tuple[int, int | bytes, int | bytes, int]]] | None:
    """How a process that is not root keeps its permitted set over one execve(2): as ambient ones, for that time.

    The sets to apply() before it, and the system calls (number, three arguments) that restore the configured ones after
    it; None where nothing would be lost. A program with file capabilities under no_new_privs is given no more than the
    permitted set that it is started with (capabilities(7)).
    """
    sets = prepared.sets
    within = set(sets["bounding"]) | set(sets["inheritable"])
    kept = [number for number in sets["permitted"] if number in within]
    if not set(kept) - set(sets["ambient"]):
        return None
    wider = dict(sets, inheritable=sorted(set(sets["inheritable"]) | set(kept)), ambient=kept)
    prctl, capset = syscalls.number("prctl"), syscalls.number("capset")
    calls: list[tuple[int, int | bytes, int | bytes, int]] = [
        (prctl, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0),
        (capset, bytes(prepared.header), bytes(prepared.data), 0),
    ]
    calls += [(prctl, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, number) for number in sets["ambient"]]
    return Prepared(wider, -1), calls


def _check(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
