# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""The network that lab hosts share: one of labrun's, made for the first of them and removed with the last."""

from __future__ import annotations

import os

from ..linux.errors import WrongState
from ..networks import names, registry
from ..networks.network import Network

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_LABEL = "lab_host"  # on those that the lab has made, and so may remove


class LabNetwork:
    """A network of labrun by its name, with the directory of definitions; root is where containers' state is kept."""

    def __init__(self, name: str, config_dir: str, root: str) -> None:
        self.name = name
        self._config_dir = config_dir
        self._network = Network(name, config_dir, os.path.join(root, registry.FOLDER))

    def make(self) -> None:
        """Make it where there is none; one that somebody else has made is used as it is. Raises OcilabError."""
        if self._network.definition() is None:
            self._network.create(self._network.wanted(labels={_LABEL: "true"}))

    def remove(self) -> None:
        """Remove it, unless it is somebody else's or in use. Raises OcilabError."""
        if _LABEL in self._network.describe().get("labels", {}):
            try:
                self._network.remove()
            except WrongState:
                pass  # its user removes it

    def wish(self, hosts: str) -> dict[str, Any]:
        """What labrun/bundle.py's connect() is given for a lab host with that hosts file."""
        wanted = [names.wanted(self.name)]
        return {"config_dir": self._config_dir, "networks": wanted, "ports": [], "hosts": hosts}

    def address(self, host: str) -> str:
        """The address of the lab host; '' where it has none now."""
        return next((str(entry["address"]) for entry in self._network.attached() if entry["id"] == host), "")
