# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""labrun from its own library: its store, its containers, networks and volumes."""

from __future__ import annotations

import os
import sys

from ..engines import components, engine
from ..images.store import Store
from ..labrun import container as life
from ..labrun.about import about
from ..labrun.cli import VERSION
from ..labrun.filled_volumes import users
from ..linux.errors import NotFound
from ..networks import network as networks
from ..spec import features, runtime
from ..volumes.volume import Volume
from . import disk, shape
from .inspector import Inspector, describe_host

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .inspector import Settings
    from .services import Units

_ACTIVE = ("creating", "created", "running", "paused")


class Labrun(Inspector):
    kind = "runtime"

    def __init__(self, name: str, settings: Settings) -> None:
        super().__init__(name, settings)
        given = settings.labrun
        self.root = given.get("root") or life.DEFAULT_ROOT
        self.data_root = given.get("data_root") or "/var/lib/labrun"
        self.network_config_dir = given.get("network_config_dir") or networks.DEFAULT_CONFIG_DIR
        self.store = Store(os.path.join(self.data_root, "images"))
        self.layers = os.path.join(self.data_root, "layers")

    def fill(self, found: dict[str, Any], units: Units) -> None:
        python = "%d.%d.%d" % sys.version_info[:3]
        details = {"python": python, "ociVersionMin": features.OLDEST_VERSION, "ociVersionMax": runtime.VERSION}
        found["version"].update(client=VERSION, details=details)
        describe_host(found)
        found["system"].update(
            storage_driver="overlay",
            cgroup_driver="cgroupfs",  # unless a container asks for systemd
            default_runtime="labrun",
            runtimes=["labrun"],
            root_dir=self.data_root,
        )
        containers = self._containers()
        self._add_images(found, {item["image"] for item in containers})
        self._add_volumes(found)
        sizes = [(item["status"] in _ACTIVE, disk.allocated(self._own_bundle(item["id"]))) for item in containers]
        found["disk_usage"]["containers"] = shape.usage(sizes)
        found["objects"]["containers"] = [_container(item) for item in containers]
        described = [one.describe() for one in networks.networks(self.network_config_dir)]
        found["objects"]["networks"] = [
            shape.network(one["name"], "bridge", [one["subnet"]]) for one in described if one
        ]

    def components(self) -> list[dict[str, Any]]:
        """The command, where it is installed, and the library, which came along with whoever asks."""
        parts = []
        try:
            parts = [components.program("client", engine.find_command("labrun"))]
        except engine.Unavailable:
            pass  # modules need no command
        parts.append(components.part("monitor", "labrun-monitor", VERSION))
        return [*parts, components.part("low-level runtime", "labrun", VERSION)]

    def _containers(self) -> list[dict[str, Any]]:
        result = []
        for one in life.containers(self.root):
            try:
                result.append(about(one))
            except NotFound:
                continue  # deleted while we looked
        return result

    def _own_bundle(self, container_id: str) -> str:
        """The folder of a container that a module made; another one's bundle is its caller's."""
        return os.path.join(self.data_root, "bundles", container_id)

    def _add_images(self, found: dict[str, Any], used: set[str]) -> None:
        images = self.store.images()
        active = [image for image in images if "%s@%s" % (image.name, image.digest) in used]
        total = disk.allocated(self.store.path, self.layers)
        needed = [self.store.blob_path(layer["digest"]) for image in active for layer in image.layers]
        needed += [os.path.join(self.layers, layer["chain_id"]) for image in active for layer in image.layers]
        usage = shape.usage(((image in active, 0) for image in images), total)
        usage["reclaimable_bytes"] = total - disk.allocated(*dict.fromkeys(needed)) if images else 0
        found["disk_usage"]["images"] = usage
        found["objects"]["images"] = [shape.image(image.id, [image.name], image.size) for image in images]

    def _add_volumes(self, found: dict[str, Any]) -> None:
        root = os.path.join(self.data_root, "volumes")
        known = [Volume(name, root).describe() for name in sorted(os.listdir(root))] if os.path.isdir(root) else []
        volumes = [one for one in known if one]
        # A directory of the host's is no bytes of ours, and a tmpfs none of the disk.
        sizes = [disk.allocated(one["mountpoint"]) if one["type"] == "named" else 0 for one in volumes]
        in_use = [bool(users(one["name"], self.root)) for one in volumes]
        found["disk_usage"]["volumes"] = shape.usage(zip(in_use, sizes))
        found["objects"]["volumes"] = [shape.volume(one["name"], one["type"], one["mountpoint"]) for one in volumes]


def _container(item: dict[str, Any]) -> dict[str, Any]:
    return shape.container(item["id"], item["id"], item["image"].partition("@")[0], item["status"], None)
