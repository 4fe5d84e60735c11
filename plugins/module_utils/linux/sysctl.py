# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""Kernel parameters of the container's namespaces (sysctl(8)), written below a verified procfs (procfs.py)."""

from __future__ import annotations

import errno
import os

from . import procfs, trace
from .errors import InvalidInput, KernelRefused

_HINTS = {
    errno.ENOENT: "this kernel has no such parameter in the container's namespaces",
    errno.EINVAL: "the kernel does not take that value",
    errno.EXDEV: "something is mounted over it; start labrun where /proc/sys is the kernel's own",
    errno.EROFS: "/proc/sys is read-only here",
}


def write_all(parameters: list[tuple[str, str]], proc_fd: int) -> None:
    """Write each value to its path below sys/ of the procfs, in the caller's namespaces. Raises KernelRefused."""
    for path, value in parameters:
        try:
            trace.call("write", ("/proc/sys/" + path, value), _write, proc_fd, "sys/" + path, os.fsencode(value))
        except OSError as error:
            hint = _HINTS.get(error.errno or 0, "")
            raise KernelRefused("write", "linux.sysctl %s = %s" % (path, value), error.errno, hint) from None


def _write(proc_fd: int, path: str, value: bytes) -> None:
    fd = procfs.open_at(proc_fd, path, os.O_WRONLY)
    try:
        os.write(fd, value)
    finally:
        os.close(fd)


def refuse_host(parameters: list[tuple[str, str]], joined: dict[str, str]) -> None:
    """Refuse parameters of a namespace that is joined by path and is the caller's own (case R16). Raises InvalidInput.

    joined: namespace file (as in /proc/self/ns) -> path.
    """
    for path, _value in parameters:
        top = path.partition("/")[0]
        kind = {"net": "net", "user": "user"}.get(top, "uts" if path == "kernel/domainname" else "ipc")
        if kind in joined and _same(joined[kind], "/proc/self/ns/" + kind):
            message = "linux.sysctl: %s: the %s namespace %s is the host's own"
            raise InvalidInput(message % (path, kind, joined[kind]))


def _same(first: str, second: str) -> bool:
    try:
        return os.path.samefile(first, second)
    except OSError:
        return False  # joining it will say what is wrong
