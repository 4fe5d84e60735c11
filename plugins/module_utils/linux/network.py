# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""Network interfaces of a namespace."""

from __future__ import annotations

import ctypes
import os

from . import syscalls, trace

_AF_INET = 2
_SOCK_DGRAM = 2
_SOCK_CLOEXEC = 0o2000000
_SIOCSIFFLAGS = 0x8914
_IFF_UP_RUNNING = 0x41

_libc = ctypes.CDLL(None, use_errno=True)


class _InterfaceFlags(ctypes.Structure):
    """struct ifreq (netdevice(7)) with its flags."""

    _fields_ = [("name", ctypes.c_char * 16), ("flags", ctypes.c_short), ("rest", ctypes.c_char * 22)]


def bring_up_loopback() -> None:
    """Bring `lo` of the caller's network namespace up; a new one's is down. Raises OSError."""
    trace.call("ioctl", ("lo", "SIOCSIFFLAGS", "IFF_UP"), _bring_up, b"lo")


def _bring_up(name: bytes) -> None:
    fd = syscalls._check(_libc.socket(_AF_INET, _SOCK_DGRAM | _SOCK_CLOEXEC, 0))
    try:
        syscalls._check(_libc.ioctl(fd, _SIOCSIFFLAGS, ctypes.byref(_InterfaceFlags(name, _IFF_UP_RUNNING))))
    finally:
        os.close(fd)
