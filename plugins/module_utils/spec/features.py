# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""The features structure (runtime-spec, features.md and features-linux.md): what this runtime knows of config.json.

It tells of the runtime, whatever the host offers; only seccomp's supportedFlags depend on the kernel.
"""

from __future__ import annotations

from . import fields
from .runtime import VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

OLDEST_VERSION = "1.0.0"
# config-linux.md, memory policy
MEMORY_MODES = [
    "MPOL_BIND",
    "MPOL_DEFAULT",
    "MPOL_INTERLEAVE",
    "MPOL_LOCAL",
    "MPOL_PREFERRED",
    "MPOL_PREFERRED_MANY",
    "MPOL_WEIGHTED_INTERLEAVE",
]
MEMORY_FLAGS = ["MPOL_F_NUMA_BALANCING", "MPOL_F_RELATIVE_NODES", "MPOL_F_STATIC_NODES"]


def describe(
    namespaces: list[str],
    mount_options: list[str],
    capabilities: list[str],
    seccomp: dict[str, Any],
    annotations: dict[str, str],
) -> dict[str, Any]:
    """The document. The lists hold what the kernel's side of this package knows, by runtime-spec's names.

    seccomp is the object of that name as it is to stand there.
    """
    config: dict[str, Any] = fields.CONFIG
    linux: dict[str, Any] = {
        "namespaces": sorted(namespaces),
        "capabilities": capabilities,
        "cgroup": {"v1": True, "v2": True, "systemd": True, "systemdUser": True, "rdma": True},
        "seccomp": seccomp,
        "apparmor": {"enabled": True},
        "selinux": {"enabled": True},
        "intelRdt": {"enabled": _is_done("intelRdt")},
        "mountExtensions": {"idmap": {"enabled": "idmap" in mount_options}},
        "netDevices": {"enabled": _is_done("netDevices")},
    }
    if _is_done("memoryPolicy"):
        linux["memoryPolicy"] = {"modes": MEMORY_MODES, "flags": MEMORY_FLAGS}
    return {
        "ociVersionMin": OLDEST_VERSION,
        "ociVersionMax": VERSION,
        "hooks": list(config["hooks"]),
        "mountOptions": sorted(mount_options),
        "linux": linux,
        "annotations": annotations,
    }


def _is_done(name: str) -> bool:
    """Whether labrun knows the property of linux, and does not only refuse it."""
    config: dict[str, Any] = fields.CONFIG
    return bool(config["linux"][name] != fields.LATER)
