# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""The config.json to start from that `spec` writes: a shell on a terminal, with few rights. As runc's, key by key."""

from __future__ import annotations

from . import runtime

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_CAPABILITIES = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]


def config(with_cgroup_namespace: bool) -> dict[str, Any]:
    """The document. with_cgroup_namespace: on a host with cgroup v2 alone, as runc has it."""
    kinds = ["pid", "network", "ipc", "uts", "mount"] + (["cgroup"] if with_cgroup_namespace else [])
    return {
        "ociVersion": runtime.VERSION,
        "process": {
            "terminal": True,
            "user": {"uid": 0, "gid": 0},
            "args": ["sh"],
            "env": ["PATH=" + runtime.PATH, "TERM=xterm"],
            "cwd": "/",
            "capabilities": {name: list(_CAPABILITIES) for name in ("bounding", "effective", "permitted")},
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs", "readonly": True},
        "hostname": "labrun",
        "mounts": [_plain(item) if item["destination"] == "/proc" else item for item in runtime.mounts()],
        "linux": {
            "resources": {"devices": [{"allow": False, "access": "rwm"}]},
            "namespaces": [{"type": kind} for kind in kinds],
            "maskedPaths": list(runtime.MASKED_PATHS),
            "readonlyPaths": list(runtime.READONLY_PATHS),
        },
    }


def _plain(item: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in item.items() if key != "options"}


def make_rootless(document: dict[str, Any], uid: int, gid: int) -> None:
    """Change it for a user who is not root: uid and gid are root inside, and all is left out that only root may do."""
    linux = document["linux"]
    kinds = [item for item in linux["namespaces"] if item["type"] not in ("network", "user")]
    linux["namespaces"] = [*kinds, {"type": "user"}]
    linux["uidMappings"] = [{"containerID": 0, "hostID": uid, "size": 1}]
    linux["gidMappings"] = [{"containerID": 0, "hostID": gid, "size": 1}]
    del linux["resources"]
    for item in document["mounts"]:
        if item["destination"] == "/sys":  # without a network namespace of its own nobody may mount sysfs
            item.update(type="none", source="/sys", options=["rbind", "nosuid", "noexec", "nodev", "ro"])
        elif "options" in item:
            item["options"] = [word for word in item["options"] if not word.startswith(("gid=", "uid="))]
