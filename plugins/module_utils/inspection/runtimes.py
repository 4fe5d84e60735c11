# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""Bare OCI runtimes: what each says of itself, by the command features where it has one, and its own containers.

Containers that an engine runs by it are the engine's: they are kept in another folder of states.
"""

from __future__ import annotations

import json
import os

from ..engines import components, engine
from . import shape
from .inspector import Inspector, describe_host

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .services import Units

NAMES = ("runc", "crun", "runsc", "youki", "kata-runtime")
# Where the state of containers is by default; Kata Containers has the commands of a runtime no longer.
_ROOTS = {"runc": "/run/runc", "crun": "/run/crun", "runsc": "/var/run/runsc", "youki": "/run/youki"}
_LISTS = {"runc": ["list", "--format", "json"], "crun": ["list", "--format", "json"], "runsc": ["list", "-format=json"]}
_ACTIVE = ("created", "running", "paused")


class Runtime(Inspector):
    kind = "runtime"

    def fill(self, found: dict[str, Any], units: Units) -> None:
        path = engine.find_command(self.name)
        text = engine.run([path, "--version"], self.settings.timeout_s)
        known = self._features(path)
        found["version"].update(client=components.version_in(text), details={**said(text), **_specification(known)})
        describe_host(found)
        found["system"].update(
            cgroup_driver="cgroupfs",  # unless an option asks for systemd
            default_runtime=self.name,
            runtimes=[self.name],
            root_dir=self._root(),
            security_options=_security(known, text),
        )
        if not known:
            found["notes"].append("it has no command features: what is told of it is what --version says")
        if self.name not in _LISTS:
            found["notes"].append("it lists its containers in no form that is made to be read by a program")
        containers = self._containers(path)
        found["disk_usage"]["containers"] = shape.counted(item["status"] in _ACTIVE for item in containers)
        found["objects"]["containers"] = [_container(item) for item in containers]

    def _features(self, path: str) -> dict[str, Any]:
        """The document (runtime-spec, features.md), or {} of a runtime that has no such command."""
        try:
            known = json.loads(engine.run([path, "features"], self.settings.timeout_s))
        except (engine.EngineFailed, ValueError):
            return {}
        return known if isinstance(known, dict) else {}

    def _root(self) -> str | None:
        root = _ROOTS.get(self.name)
        runtime_dir = os.environ.get("XDG_RUNTIME_DIR", "")
        return os.path.join(runtime_dir, os.path.basename(root)) if root and os.geteuid() and runtime_dir else root

    def _containers(self, path: str) -> list[dict[str, Any]]:
        root = self._root() or ""
        # A runtime that is asked for its list makes the folder where there is none. A user may not look into root's.
        if self.name not in _LISTS or not os.access(root, os.R_OK) or not os.listdir(root):
            return []
        return json.loads(engine.run([path, *_LISTS[self.name]], self.settings.timeout_s)) or []


def said(text: str) -> dict[str, str]:
    """What --version says beside the version: {"commit": ..., "spec": ...}."""
    # Not crun's line of what it was built with, which begins with +SYSTEMD.
    pairs = [line.split(":", 1) for line in text.splitlines() if ":" in line and not line.startswith((" ", "+"))]
    return {name.strip(): value.strip() for name, value in pairs if value.strip()}


def _specification(known: dict[str, Any]) -> dict[str, str]:
    return {key: str(known[key]) for key in ("ociVersionMin", "ociVersionMax") if known.get(key)}


def _security(known: dict[str, Any], text: str) -> list[str]:
    """What it can put on a container: by its features, or by what it says it was built with, as crun's +SECCOMP."""
    names = ("seccomp", "apparmor", "selinux")
    if not known:
        return [name for name in names if "+" + name.upper() in text.split()]
    linux = known.get("linux") or {}
    return [name for name in names if (linux.get(name) or {}).get("enabled")]


def _container(item: dict[str, Any]) -> dict[str, Any]:
    created = str(item.get("created") or "").partition(".")[0].rstrip("Z")
    return shape.container(item["id"], item["id"], "", item["status"], created + "Z" if created else None)
