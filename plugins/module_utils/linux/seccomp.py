# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""Seccomp filters (seccomp(2)): a profile's program, its flags, loading it, and handing a listener over."""

from __future__ import annotations

import ctypes
import errno
import os

from . import syscalls, trace
from .errors import InvalidInput, KernelRefused, Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

# linux/seccomp.h
_SET_MODE_FILTER = 1
_NEW_LISTENER = 8
_SPEC_ALLOW = 4
FLAGS = {
    "SECCOMP_FILTER_FLAG_TSYNC": 0,  # for all threads: there is one, and with a listener the kernel refuses the flag
    "SECCOMP_FILTER_FLAG_LOG": 2,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": _SPEC_ALLOW,
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV": 32,
}
_NOTIFY = "SCMP_ACT_NOTIFY"
_MAX_INSTRUCTIONS = 4096  # linux/bpf_common.h


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]


class Prepared:
    """A compiled filter as seccomp(2) takes it; the buffer is kept alive with it.

    listener_path and metadata are those of the profile, and matter where the flags ask for a listener.
    """

    def __init__(self, code: bytes, flags: int, listener_path: str = "", metadata: str = "") -> None:
        if len(code) // 8 > _MAX_INSTRUCTIONS:
            message = (
                "linux.seccomp: %d instructions; the kernel takes %d: allow or refuse fewer system calls one by one"
            )
            raise InvalidInput(message % (len(code) // 8, _MAX_INSTRUCTIONS))
        self.code = ctypes.create_string_buffer(code, len(code))
        self.program = _Program(len(code) // 8, ctypes.addressof(self.code))
        self.flags = flags
        self.listener_path = listener_path
        self.metadata = metadata

    @property
    def has_listener(self) -> bool:
        return bool(self.flags & _NEW_LISTENER)


# A process that starts many containers mostly does so with one profile.
_compiled: list[tuple[dict[str, Any], Prepared]] = []


def prepare(profile: dict[str, Any], debug: Callable[[str], None], kept: str = "") -> Prepared | None:
    """Compile the profile (linux.seccomp); None for one that says nothing, which runc takes for no filter too.

    kept: the folder in which programs are kept from one start to the next, or an empty string. Raises InvalidInput for
    an unknown action, operator, architecture or flag, Unsupported for what this kernel or libseccomp lacks. A system
    call that libseccomp does not know is skipped with a debug line, as runc does.
    """
    if not profile.get("defaultAction") and not profile.get("syscalls"):
        return None
    if _compiled and _compiled[0][0] == profile:
        return _compiled[0][1]
    flags = _flags(profile)
    debug("seccomp filter flags: %d" % flags)
    found = None
    if kept:
        from . import seccomp_kept

        found = seccomp_kept.find(kept, profile)
    if found is None:
        from . import seccomp_compile

        found = seccomp_compile.compile_profile(profile)
        if kept:
            seccomp_kept.keep(kept, profile, *found)
    code, skipped = found
    if skipped:
        debug("linux.seccomp: system calls that libseccomp does not know are skipped: " + ", ".join(skipped))
    prepared = Prepared(code, flags, profile.get("listenerPath") or "", profile.get("listenerMetadata") or "")
    _compiled[:] = [(profile, prepared)]
    return prepared


def _flags(profile: dict[str, Any]) -> int:
    """The flags of seccomp(2); without a list runc's own: SPEC_ALLOW where the kernel has it."""
    flags = 0
    if any(rule.get("action") == _NOTIFY for rule in profile.get("syscalls") or []):
        flags = _NEW_LISTENER
        if not profile.get("listenerPath"):
            raise InvalidInput("linux.seccomp.listenerPath: missing; SCMP_ACT_NOTIFY needs a listener")
        _require(_NEW_LISTENER, "SCMP_ACT_NOTIFY")
    if profile.get("listenerMetadata") and not profile.get("listenerPath"):
        raise InvalidInput("linux.seccomp.listenerMetadata: is for the listener, and listenerPath is missing")
    if profile.get("flags") is None:
        return flags | (_SPEC_ALLOW if _has(_SPEC_ALLOW) else 0)
    for index, name in enumerate(profile["flags"]):
        if name not in FLAGS:
            message = "linux.seccomp.flags[%d]: %r is not a seccomp flag; use one of %s"
            raise InvalidInput(message % (index, name, ", ".join(sorted(FLAGS))))
        _require(FLAGS[name], "linux.seccomp.flags[%d]: %s" % (index, name))
        flags |= FLAGS[name]
    if flags & 32 and not flags & _NEW_LISTENER:
        message = "linux.seccomp.flags: SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV is for a listener; use SCMP_ACT_NOTIFY"
        raise InvalidInput(message)
    return flags


def _has(flag: int) -> bool:
    """Whether the kernel knows the flag: it looks at flags first, and at the program (none here) after that."""
    try:
        syscalls.raw("seccomp", _SET_MODE_FILTER, flag | (_NEW_LISTENER if flag == 32 else 0), 0)
    except OSError as error:
        return error.errno == errno.EFAULT
    return False


def _require(flag: int, what: str) -> None:
    if flag and not _has(flag):
        raise Unsupported("%s: this kernel does not have it" % what)


def supported_flags() -> list[str]:
    """The flags of linux.seccomp that this kernel has, by name."""
    return [name for name, flag in FLAGS.items() if not flag or _has(flag)]


def load(prepared: Prepared) -> int:
    """Put the calling process under the filter, for good (seccomp(2)). Raises KernelRefused.

    Returns the descriptor of the listener, close-on-exec, or -1 for a filter that notifies nobody.
    """
    shown = ("SECCOMP_SET_MODE_FILTER", "%d instructions" % prepared.program.length)
    result = trace.call("seccomp", shown, _load, prepared)
    return result if prepared.has_listener else -1


def _load(prepared: Prepared) -> int:
    try:
        return syscalls.raw("seccomp", _SET_MODE_FILTER, prepared.flags, ctypes.byref(prepared.program))
    except OSError as error:
        hint = "without noNewPrivileges CAP_SYS_ADMIN is needed"
        if error.errno == errno.EBUSY:
            hint = "a process can have one listener, and labrun's caller has one already"
        raise KernelRefused("seccomp", "the filter of linux.seccomp", error.errno, hint) from None


def take_listener(pidfd: int, fd: int) -> int:
    """A copy of the listener that the process of the pidfd holds as fd; the caller closes it. Raises KernelRefused."""
    try:
        return syscalls.pidfd_getfd(pidfd, fd)
    except OSError as error:
        raise KernelRefused("pidfd_getfd", "the seccomp listener", error.errno, "Linux 5.6 has it") from None


def send_listener(fd: int, prepared: Prepared, state: bytes) -> None:
    """Send the listener to linux.seccomp.listenerPath: state (a container process state, JSON) and fd, by SCM_RIGHTS.

    One connection, which is closed then (config-linux.md, seccomp). Raises KernelRefused.
    """
    import _socket

    path = prepared.listener_path
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    try:
        connection.connect(os.fsencode(path))
        rights = (_socket.SOL_SOCKET, _socket.SCM_RIGHTS, fd.to_bytes(4, "little"))
        sent = connection.sendmsg([state], [rights])
        if sent < len(state):
            connection.sendall(state[sent:])
    except OSError as error:
        hint = "failed to connect with seccomp agent; linux.seccomp.listenerPath must be the socket of one that runs"
        raise KernelRefused("connect", path, error.errno, hint) from None
    finally:
        connection.close()
