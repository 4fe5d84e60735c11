# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""What may explain a figure: the host's kernel, processor, memory, storage and load, recorded with the results."""

from __future__ import annotations

import os
import platform
import time

from ..linux import files, mounts
from ..linux.cgroups import manager as cgroups

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def record(work_dir: str) -> dict[str, Any]:
    """The environment (see docs/results.schema.json); work_dir is where the root filesystems lie."""
    kernel = os.uname()
    return {
        "kernel": kernel.release,
        "architecture": kernel.machine,
        "distribution": _distribution(),
        "cgroup_mode": cgroups.detect().mode,
        "cpu_model": _field("/proc/cpuinfo", "model name") or kernel.machine,
        "cpu_count": os.cpu_count() or 1,
        "cpu_governor": _optional("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "memory_bytes": int((_field("/proc/meminfo", "MemTotal") or "0").split()[0]) * 1024,
        "storage": storage(work_dir),
        "load_average": [round(load, 2) for load in os.getloadavg()],
        "python_version": platform.python_version(),
        "virtualization": "hypervisor" if " hypervisor" in files.read("/proc/cpuinfo").decode() else None,
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "boot_id": files.read_text("/proc/sys/kernel/random/boot_id"),
    }


def storage(path: str) -> str:
    """The type of the file system that the path lies on."""
    best = {"target": "", "kind": "unknown"}
    real = os.path.realpath(path)
    for entry in mounts.table():
        inside = real == entry["target"] or real.startswith(entry["target"].rstrip("/") + "/")
        if inside and len(entry["target"]) >= len(best["target"]):
            best = entry
    return best["kind"]


def _distribution() -> str:
    text = _optional("/etc/os-release") or ""
    for line in text.splitlines():
        if line.startswith("PRETTY_NAME="):
            return line.partition("=")[2].strip('"')
    return "unknown"


def _field(path: str, name: str) -> str:
    for line in files.read(path).decode("utf-8", "replace").splitlines():
        key, _colon, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return ""


def _optional(path: str) -> str | None:
    try:
        return files.read_text(path)
    except OSError:
        return None
