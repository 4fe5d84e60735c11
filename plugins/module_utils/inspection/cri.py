# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""containerd and CRI-O by the Container Runtime Interface: what Kubernetes sees of them."""

from __future__ import annotations

import contextlib
import json

from ..engines import cri, engine
from ..engines import cri_messages as messages
from ..linux.errors import Unsupported
from . import shape
from .http import Client
from .inspector import Inspector, command_version, describe_host

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .inspector import Settings
    from .services import Units

_CLIENTS = {"containerd": "ctr", "crio": "crictl"}
_MONITORS = {"containerd": "containerd-shim-runc-v2", "crio": "conmon"}
_STATES = {messages.CREATED: "created", messages.RUNNING: "running", messages.EXITED: "exited"}
_NANOSECONDS = 1_000_000_000


class CriEngine(Inspector):
    kind = "client-server"

    def __init__(self, name: str, settings: Settings) -> None:
        super().__init__(name, settings)
        self.unit = name + ".service"
        self.paths = (cri.SOCKETS[name],)
        self.monitor = _MONITORS[name]

    def fill(self, found: dict[str, Any], units: Units) -> None:
        engine.find_command(self.name)
        found["version"]["client"] = command_version(_CLIENTS[self.name])
        with contextlib.closing(cri.Runtime(self.paths[0], self.settings.timeout_s)) as runtime:
            version = runtime.version()
            details = {"name": version["runtime_name"]}
            found["version"].update(server=version["runtime_version"], api=version["runtime_api_version"])
            found["version"]["details"] = details
            describe_host(found)
            found["system"].update(self._system(runtime))
            _count(found, runtime)
            unmet = {name: reason for name, reason in runtime.conditions().items() if reason}
        found["notes"] += ["%s: %s" % pair for pair in sorted(unmet.items())]

    def _system(self, runtime: cri.Runtime) -> dict[str, Any]:
        status = runtime.call("Status", verbose=True)
        known = self._of_crio() if self.name == "crio" else of_containerd(status["info"])
        handlers = {one["name"] for one in status["runtime_handlers"] if one["name"]}
        known["runtimes"] = sorted(handlers | set(known.get("runtimes", ())))
        with contextlib.suppress(Unsupported):  # of the CRI since Kubernetes 1.28
            linux = runtime.call("RuntimeConfig")["linux"]
            if linux:
                known["cgroup_driver"] = messages.CGROUP_DRIVERS[linux["cgroup_driver"]]
        return known

    def _of_crio(self) -> dict[str, Any]:
        """CRI-O speaks HTTP on the same socket, too, and tells there of its storage, as crio status info shows it."""
        with contextlib.closing(Client("unix://" + self.paths[0], self.settings.timeout_s)) as client:
            info = client.get("/info")
        keys = {"storage_driver": "storage_driver", "storage_root": "root_dir", "cgroup_driver": "cgroup_driver"}
        return {ours: info[theirs] for theirs, ours in keys.items() if info.get(theirs)}


def of_containerd(info: dict[str, str]) -> dict[str, Any]:
    """What the configuration tells that containerd's CRI plugin has in the answer to Status."""
    config = json.loads(info.get("config") or "{}")
    own = config.get("containerd") or {}
    return {
        "storage_driver": own.get("snapshotter") or None,
        "cgroup_driver": "systemd" if cri.is_by_systemd(own) else "cgroupfs",
        "default_runtime": own.get("defaultRuntimeName") or None,
        "runtimes": sorted(own.get("runtimes") or {}),
        "root_dir": config.get("containerdRootDir") or None,
    }


def _count(found: dict[str, Any], runtime: cri.Runtime) -> None:
    images, containers = runtime.images(), runtime.containers()
    used = {item["image_ref"] for item in containers} | {_asked(item) for item in containers}
    written = {item["attributes"]["id"]: _bytes(item["writable_layer"]) for item in _statistics(runtime)}
    on_disk = sum(_bytes(item) for item in runtime.call("ImageFsInfo")["image_filesystems"])
    names = {item["id"]: item["repo_tags"] + item["repo_digests"] for item in images}
    own = [(bool(used & {item["id"], *names[item["id"]]}), item["size"]) for item in images]
    running = [(item["state"] == messages.RUNNING, written.get(item["id"], 0)) for item in containers]
    found["disk_usage"].update(
        # The file system holds more than images, and is counted only from time to time.
        images=shape.usage(own, max(on_disk, sum(size for _used, size in own))),
        containers=shape.usage(running),
    )
    found["objects"]["images"] = [shape.image(one["id"], one["repo_tags"], one["size"]) for one in images]
    found["objects"]["containers"] = [_container(item) for item in containers]


def _statistics(runtime: cri.Runtime) -> list[dict[str, Any]]:
    return [one for one in runtime.call("ListContainerStats")["stats"] if one["attributes"]]


def _asked(item: dict[str, Any]) -> str:
    return str((item["image"] or {"image": ""})["image"])


def _bytes(usage: dict[str, Any] | None) -> int:
    return int(usage["used_bytes"]["value"]) if usage and usage["used_bytes"] else 0


def _container(item: dict[str, Any]) -> dict[str, Any]:
    name = (item["metadata"] or {"name": ""})["name"]
    created = shape.moment(item["created_at"] / _NANOSECONDS)
    return shape.container(item["id"], name, _asked(item), _STATES.get(item["state"], "unknown"), created)
