# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""LXC by its commands: lxc-ls, lxc-config, and what its default configuration says of networks."""

from __future__ import annotations

import os

from ..engines import engine
from ..linux import files
from . import disk, shape
from .inspector import Inspector, describe_host

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .services import Units

_STOPPED = "STOPPED"
_FIELDS = "NAME,STATE,UNPRIVILEGED"


class Lxc(Inspector):
    kind = "daemonless"
    unit = "lxc.service"  # starts containers at boot; no daemon is behind it

    def fill(self, found: dict[str, Any], units: Units) -> None:
        found["version"]["client"] = self._run("lxc-ls", "--version")
        describe_host(found)
        folder = self._run("lxc-config", "lxc.lxcpath")
        known = listed(self._run("lxc-ls", "--fancy", "--fancy-format", _FIELDS))
        found["version"]["details"] = {"default_config": self._run("lxc-config", "lxc.default_config")}
        found["system"].update(
            storage_driver="dir",
            cgroup_driver="cgroupfs",
            default_runtime="lxc",
            runtimes=["lxc"],
            root_dir=folder,
        )
        sizes = [(item["STATE"] != _STOPPED, disk.allocated(os.path.join(folder, item["NAME"]))) for item in known]
        found["disk_usage"]["containers"] = shape.usage(sizes)
        found["objects"]["containers"] = [_container(item) for item in known]
        links = _links(found["version"]["details"]["default_config"])
        found["objects"]["networks"] = [shape.network(link, "bridge", []) for link in links]

    def _run(self, command: str, *words: str) -> str:
        return engine.run([engine.find_command(command), *words], self.settings.timeout_s).strip()


def listed(text: str) -> list[dict[str, str]]:
    """The containers in the table that lxc-ls --fancy prints; none where it prints nothing."""
    lines = [line.split() for line in text.splitlines() if line.strip()]
    return [dict(zip(lines[0], words)) for words in lines[1:]]


def _container(item: dict[str, str]) -> dict[str, Any]:
    return shape.container(item["NAME"], item["NAME"], "", item["STATE"], None)


def _links(path: str) -> list[str]:
    """The bridges that new containers are attached to."""
    try:
        lines = files.read_text(path).splitlines()
    except OSError:
        return []
    pairs = [(line.partition("=")[0].strip(), line.partition("=")[2].strip()) for line in lines]
    return sorted({value for key, value in pairs if key.startswith("lxc.net.") and key.endswith(".link") and value})
