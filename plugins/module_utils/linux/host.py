# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""What this host's kernel offers to containers; only read, nothing is tried out."""

from __future__ import annotations

import ctypes
import os

from . import files, namespaces, syscalls
from .cgroups import manager as cgroups
from .errors import OcilabError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

RECURSIVE_SINCE = (5, 12)  # mount_setattr(2), of whole trees and with id mappings


def describe() -> dict[str, Any]:
    """kernel, architecture, boot_id, namespaces, cgroups, lsms, seccomp, overlayfs, idmapped_mounts,
    user_namespaces.
    """
    kernel = os.uname()
    return {
        "kernel": kernel.release,
        "architecture": kernel.machine,
        "boot_id": files.read_text("/proc/sys/kernel/random/boot_id"),
        "labrun_supported": syscalls.is_supported_machine(),
        "namespaces": {kind: bool(namespaces.own(kind)) for kind in namespaces.KINDS},
        "cgroups": _cgroups(),
        "lsms": [name for name in _words("/sys/kernel/security/lsm", ",") if name],
        "seccomp": {
            "actions": _words("/proc/sys/kernel/seccomp/actions_avail", " "),
            "libseccomp": _has_libseccomp(),
        },
        "overlayfs": "overlay" in files.read("/proc/filesystems").decode().split(),
        "idmapped_mounts": kernel_version() >= RECURSIVE_SINCE,
        "user_namespaces": _user_namespaces(),
    }


def _cgroups() -> dict[str, Any]:
    try:
        found = cgroups.detect()
    except OcilabError:
        return {"mode": None, "controllers": []}
    return {"mode": found.mode, "controllers": found.controllers}


def _user_namespaces() -> dict[str, Any]:
    """The limit of user namespaces, and whether users who are not root may make them."""
    limit = _words("/proc/sys/user/max_user_namespaces", " ")
    closed = [
        _words("/proc/sys/kernel/unprivileged_userns_clone", " ") == ["0"],
        _words("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", " ") == ["1"],
    ]
    count = int(limit[0]) if limit else 0
    return {"max": count, "unprivileged": count > 0 and not any(closed)}


def _has_libseccomp() -> bool:
    try:
        ctypes.CDLL("libseccomp.so.2")
    except OSError:
        return False
    return True


def kernel_version() -> tuple[int, ...]:
    """(6, 18) for '6.18.44-generic'."""
    numbers = []
    for part in os.uname().release.split("-", maxsplit=1)[0].split(".")[:2]:
        digits = "".join(character for character in part if character.isdigit())
        numbers.append(int(digits or 0))
    return tuple(numbers)


def _words(path: str, separator: str) -> list[str]:
    try:
        return files.read_text(path).split(separator)
    except OSError:
        return []
