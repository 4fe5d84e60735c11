# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""Step 5 of a start: from root in the container to the process that config.json describes.

prepare() does all that looks anything up, on the host; what runs in the container after pivot_root only calls (R22).
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from _signal import SIG_DFL, SIG_IGN, getsignal
from _signal import signal as set_signal  # the signal module itself imports enum: 3 ms of a start

from ..linux import capabilities, seccomp, syscalls, trace
from ..linux.errors import CommandNotExecutable, CommandNotFound, InvalidInput, KernelRefused, Unsupported
from ..spec.runtime import PATH

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

# asm-generic/resource.h, in the kernel's own order
_RLIMITS = [
    "CPU",
    "FSIZE",
    "DATA",
    "STACK",
    "CORE",
    "RSS",
    "NPROC",
    "NOFILE",
    "MEMLOCK",
    "AS",
    "LOCKS",
    "SIGPENDING",
    "MSGQUEUE",
    "NICE",
    "RTPRIO",
    "RTTIME",
]
_IDS_HINT = "map the id in linux.uidMappings and linux.gidMappings"


class _Rlimit(ctypes.Structure):
    _fields_ = [("soft", ctypes.c_uint64), ("hard", ctypes.c_uint64)]


_prlimit = ctypes.CDLL(None, use_errno=True).prlimit64
_prlimit.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.POINTER(_Rlimit), ctypes.c_void_p]


class Prepared:
    """A process object of config.json, ready to be applied without any look-up."""

    def __init__(
        self,
        process: dict[str, Any],
        profile: dict[str, Any] | None,
        debug: Callable[[str], None],
        warn: Callable[[str], None],
    ) -> None:
        user = process.get("user") or {}
        self.args = [os.fsencode(item) for item in process["args"]]
        self.environment = _environment(process.get("env") or [])
        self.search = [part or b"." for part in self.environment.get(b"PATH", PATH.encode()).split(b":")]
        self.cwd = os.fsencode(process["cwd"])
        self.uid = user.get("uid", 0)
        self.gid = user.get("gid", 0)
        self.groups = user.get("additionalGids") or []
        self.umask = 0o022 if user.get("umask") is None else user["umask"]
        self.rlimits = [
            (item["type"], _RLIMITS.index(item["type"][7:]), _Rlimit(item["soft"], item["hard"]))
            for item in process.get("rlimits") or []
        ]
        self.no_new_privileges = bool(process.get("noNewPrivileges"))
        self.capabilities = capabilities.prepare(process.get("capabilities") or {}, warn)
        self.seccomp = seccomp.prepare(profile, debug) if profile else None


def _environment(entries: list[str]) -> dict[bytes, bytes]:
    """The env array as a dict: of a name that stands twice the last value counts, as in runc."""
    pairs = [os.fsencode(entry).split(b"=", 1) for entry in entries]
    return {pair[0]: pair[1] for pair in pairs}


def become_process(prepared: Prepared, before_wait: Callable[[], None]) -> None:
    """Take on the process's limits, ids, capabilities and filter; before_wait reports and waits; then execve.

    The order is runc's (security-relevant): a filter that needs privilege goes first, one that does not goes last.
    Does not return; raises CommandNotFound, CommandNotExecutable, InvalidInput, Unsupported and KernelRefused.
    """
    _join_keyring()
    _set_rlimits(prepared)
    os.umask(prepared.umask)
    if prepared.no_new_privileges:
        syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1, "PR_SET_NO_NEW_PRIVS")
    elif prepared.seccomp:
        seccomp.load(prepared.seccomp)
    syscalls.mark_close_on_exec(3)
    capabilities.drop_bounding(prepared.capabilities)
    _set_ids(prepared)
    _enter_cwd(prepared.cwd)
    capabilities.apply(prepared.capabilities)
    path = _find_program(prepared)
    _reset_signals()
    if prepared.no_new_privileges and prepared.seccomp:
        seccomp.load(prepared.seccomp)
    before_wait()
    _execute(path, prepared)


def _join_keyring() -> None:
    try:
        syscalls.join_session_keyring()
    except OSError as error:
        if error.errno not in (errno.ENOSYS, errno.EPERM, errno.EDQUOT):  # no keyrings here: nothing to shield either
            raise KernelRefused("keyctl", "a new session keyring", error.errno) from None


def _set_rlimits(prepared: Prepared) -> None:
    for name, number, limit in prepared.rlimits:
        trace.call("prlimit64", (name, limit.soft, limit.hard), _set_rlimit, name, number, limit)


def _set_rlimit(name: str, number: int, limit: _Rlimit) -> None:
    if _prlimit(0, number, ctypes.byref(limit), None) != 0:
        hint = "a hard limit can only be raised with CAP_SYS_RESOURCE; ask for at most the caller's own"
        raise KernelRefused("prlimit64", "%s %d:%d" % (name, limit.soft, limit.hard), ctypes.get_errno(), hint)


def _set_ids(prepared: Prepared) -> None:
    """Groups, gid and uid, in that order, and keep the capabilities over the change."""
    syscalls.prctl(syscalls.PR_SET_KEEPCAPS, 1, "PR_SET_KEEPCAPS")
    try:
        _set_groups(prepared.groups)
        trace.call("setresgid", (prepared.gid,), os.setresgid, prepared.gid, prepared.gid, prepared.gid)
        trace.call("setresuid", (prepared.uid,), os.setresuid, prepared.uid, prepared.uid, prepared.uid)
    except OSError as error:
        target = "uid %d, gid %d, groups %s" % (prepared.uid, prepared.gid, prepared.groups)
        raise KernelRefused("setresuid", target, error.errno, _IDS_HINT) from None


def _set_groups(groups: list[int]) -> None:
    trace.call("setgroups", (groups,), os.setgroups, groups)


def _enter_cwd(cwd: bytes) -> None:
    """chdir as the container's user, and prove that it led nowhere outside the root (case R02)."""
    try:
        trace.call("chdir", (cwd.decode("utf-8", "replace"),), os.chdir, cwd)
        inside = os.getcwdb().startswith(b"/")
    except FileNotFoundError:
        inside = False
    except OSError as error:
        raise KernelRefused("chdir", cwd.decode("utf-8", "replace"), error.errno) from None
    if not inside:
        raise InvalidInput("process.cwd: %s is not in the container" % cwd.decode("utf-8", "replace"))


def _find_program(prepared: Prepared) -> bytes:
    """The path of args[0], searched for in the container's PATH as a shell does."""
    name = prepared.args[0]
    shown = name.decode("utf-8", "replace")
    candidates = [name] if b"/" in name else [directory + b"/" + name for directory in prepared.search]
    found = False
    for path in candidates:
        try:
            status = os.stat(path)
        except OSError as error:
            found = found or error.errno == errno.EACCES
            continue
        found = True
        if stat.S_ISREG(status.st_mode) and os.access(path, os.X_OK):
            return path
    if found:
        raise CommandNotExecutable('exec: "%s": permission denied: it is not an executable file' % shown)
    if b"/" in name:
        raise CommandNotFound('exec: "%s": no such file or directory in the container' % shown)
    raise CommandNotFound('exec: "%s": executable file not found in $PATH of the container' % shown)


def _reset_signals() -> None:
    """The Python interpreter ignores some signals (SIGPIPE); ignored signals are inherited over execve(2)."""
    for number in range(1, 65):
        try:
            if getsignal(number) == SIG_IGN:
                set_signal(number, SIG_DFL)
        except (OSError, ValueError):
            continue  # SIGKILL, SIGSTOP and those that the C library keeps to itself


def _execute(path: bytes, prepared: Prepared) -> None:
    try:
        os.execve(path, prepared.args, prepared.environment)
    except OSError as error:
        shown = path.decode("utf-8", "replace")
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            raise CommandNotFound('exec: "%s": its interpreter does not exist in the container' % shown) from None
        if error.errno in (errno.ENOEXEC, errno.EACCES):
            reason = "exec format error" if error.errno == errno.ENOEXEC else "permission denied"
            raise CommandNotExecutable('exec: "%s": %s' % (shown, reason)) from None
        if error.errno == errno.E2BIG:
            raise Unsupported('exec: "%s": args and env are too long for the kernel (E2BIG)' % shown) from None
        raise KernelRefused("execve", shown, error.errno) from None
