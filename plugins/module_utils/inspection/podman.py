# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""Podman by its command, root's own or a user's: it has no daemon that could be asked."""

from __future__ import annotations

import json
import os

from ..engines import engine
from ..engines import podman as adapters
from ..engines.rootless_podman import RootlessPodman
from . import shape, sockets
from .inspector import Inspector

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .inspector import Settings
    from .services import Units

_KINDS = {"Images": "images", "Containers": "containers", "Local Volumes": "volumes"}
_SECURITY = {"seccompEnabled": "seccomp", "apparmorEnabled": "apparmor", "selinuxEnabled": "selinux"}
_NEEDS_ROOT = "its containers are root's, and we are not root; use become"


class Podman(Inspector):
    """podman, which is root's, or podman-rootless."""

    kind = "daemonless"

    def __init__(self, name: str, settings: Settings) -> None:
        super().__init__(name, settings)
        self.adapter = RootlessPodman(settings.rootless_user) if name == "podman-rootless" else adapters.Podman()
        if not self.adapter.rootless:
            self.unit = "podman.service"  # serves the API for whoever wants it; Podman itself needs it not

    def fill(self, found: dict[str, Any], units: Units) -> None:
        if not self.adapter.rootless and os.geteuid() != 0:
            raise engine.Unavailable(_NEEDS_ROOT)
        self.adapter.detect()
        self.adapter.begin()
        try:
            self._ask(found)
            self.parts = self.adapter.components("")
        finally:
            self.adapter.end()

    def components(self) -> list[dict[str, Any]]:
        return self.parts

    def _ask(self, found: dict[str, Any]) -> None:
        info = self._json("info")
        describe(found, info)
        path = (info["host"].get("remoteSocket") or {}).get("path") or ""
        found["sockets"] = [one for one in [sockets.describe(path.replace("unix://", ""))] if one]
        found["disk_usage"].update(disk_usage(self._run("system", "df", "--format", "{{json .}}")))
        found["objects"] = {
            "containers": [_container(item) for item in self._json("ps", "--all")],
            "images": [shape.image(item["Id"], item.get("Names") or [], item["Size"]) for item in self._json("images")],
            "networks": [_network(item) for item in self._json("network", "ls")],
            "volumes": [_volume(item) for item in self._json("volume", "ls")],
        }

    def _run(self, *words: str) -> str:
        return engine.run([*self.adapter.before, self.adapter.path, *words], self.settings.timeout_s)

    def _json(self, *words: str) -> Any:
        """The answer; an empty list where there is nothing, which some releases write as no text at all."""
        return json.loads(self._run(*words, "--format", "json") or "[]") or []


def describe(found: dict[str, Any], info: dict[str, Any]) -> None:
    """Fill in version and system of the answer to podman info."""
    host, store, version = info["host"], info["store"], info["version"]
    runtime, security = host["ociRuntime"], host["security"]
    parts = {"conmon": host["conmon"]["version"], runtime["name"]: runtime["version"]}
    details = {name: text.splitlines()[0] for name, text in parts.items() if text}
    found["version"].update(client=version["Version"], api=version["APIVersion"], details=details)
    system = host["distribution"]
    found["system"].update(
        storage_driver=store["graphDriverName"],
        cgroup_driver=host["cgroupManager"],
        cgroup_version=host["cgroupVersion"],
        default_runtime=runtime["name"],
        runtimes=[runtime["name"]],
        root_dir=store["graphRoot"],
        rootless=security["rootless"],
        security_options=[name for key, name in _SECURITY.items() if security.get(key)],
        kernel=host["kernel"],
        os="%s %s" % (system["distribution"], system["version"]),
    )


def disk_usage(text: str) -> dict[str, Any]:
    """Of the answer to podman system df, a JSON document a line; newer releases keep bytes apart from text."""
    result = {}
    for line in text.splitlines():
        item = json.loads(line)
        sizes = [item["RawSize"], item["RawReclaimable"]] if "RawSize" in item else [item["Size"], item["Reclaimable"]]
        result[_KINDS[item["Type"]]] = {
            "count": item["Total"],
            "active": item["Active"],
            "size_bytes": int(sizes[0]),
            "reclaimable_bytes": int(sizes[1]),
        }
    return result


def _container(item: dict[str, Any]) -> dict[str, Any]:
    created = item["Created"]
    moment = shape.moment(created) if isinstance(created, int) else str(created)
    return shape.container(item["Id"], (item["Names"] or [""])[0], item["Image"], item["State"], moment)


def _network(item: dict[str, Any]) -> dict[str, Any]:
    return shape.network(item["name"], item["driver"], [one["subnet"] for one in item.get("subnets") or []])


def _volume(item: dict[str, Any]) -> dict[str, Any]:
    return shape.volume(item["Name"], item["Driver"], item["Mountpoint"])
