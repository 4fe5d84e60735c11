# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""What the host sees of a container's first process (proc(5))."""

from __future__ import annotations

import os
import time

from ..linux import files
from . import answer
from .script import NAMESPACES


def namespaces(pid: str = "self") -> dict[str, str]:
    """The links below /proc/PID/ns, by kind; without those that the kernel lacks."""
    result = {}
    for kind in NAMESPACES:
        try:
            result[kind] = os.readlink("/proc/%s/ns/%s" % (pid, kind))
        except OSError:
            pass
    return result


def view(pid: int, container_id: str) -> dict[str, str]:
    """Item -> value, as seen by a process of the host. Raises OSError when the process is gone."""
    status = answer.fields(_read(pid, "status"))
    parent = answer.fields(_read(int(status["PPid"]), "status")) if status["PPid"] != "0" else {}
    return {
        "uid": status["Uid"].split()[1],
        "gid": status["Gid"].split()[1],
        "command": status["Name"],
        "parent": parent.get("Name", "none"),
        "cgroup": answer.cgroup_path(_read(pid, "cgroup"), container_id),
        "oom_score_adj": _read(pid, "oom_score_adj"),
        "seccomp": answer.MODES.get(status.get("Seccomp", ""), "unknown"),
        "no_new_privs": answer.yes(status.get("NoNewPrivs")),
        "lsm": answer.label(_optional(pid, "attr/current")),
    }


def wait_for(pid: int, command: str, timeout_s: float) -> None:
    """Wait until the process is of that name, or has another one still after timeout_s seconds, as in a sandbox.

    A runtime may return from the start before its process has become the container's. Raises OSError.
    """
    deadline = time.monotonic() + timeout_s
    while _read(pid, "comm") != command and time.monotonic() < deadline:
        time.sleep(0.005)


def _read(pid: int, name: str) -> str:
    return files.read_text("/proc/%d/%s" % (pid, name))


def _optional(pid: int, name: str) -> str:
    try:
        return _read(pid, name)
    except OSError:
        return ""
