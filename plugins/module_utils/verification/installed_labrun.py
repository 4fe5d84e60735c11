# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""labrun as it is used on a host: containers by what the module labrun_container calls, on a network of labrun's.

What is executed in them is executed by the installed command, so that this is seen to work, too.
"""

from __future__ import annotations

import os

from ..engines import engine
from ..images.store import Store
from ..labrun import managed
from ..networks import names
from ..networks.network import Network
from ..volumes import volume

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_STOP_TIMEOUT_S = 5.0


class InstalledLabrun(engine.Engine):
    """image_name, store, layers_root: the image as labrun has it; an archive is no use to it."""

    name = "labrun"
    kind = "runtime"

    def __init__(self, image_name: str, store: Store, layers_root: str) -> None:
        self.image_name = image_name
        self.store = store
        self.layers_root = layers_root
        self.network: Network | None = None

    def detect(self) -> str:
        self.path = engine.find_command("labrun")
        return engine.run([self.path, "--version"], 20).splitlines()[0]

    def prepare(self, workload: engine.Workload) -> None:
        self.workload = workload
        self.data_root = os.path.join(workload.work_dir, "labrun-data")
        self.root = os.path.join(workload.work_dir, "labrun-state")
        # Its own name, for networks of labrun's are known to the whole host; not longer than a name may be.
        network = Network("verify-%d" % os.getpid(), os.path.join(workload.work_dir, "labrun-networks"))
        network.create(network.wanted())
        self.network = network

    def clean_up(self) -> None:
        if self.network:
            self.network.remove()
            self.network = None

    def start(self, container_id: str, wanted: engine.Wanted) -> None:
        """options: of labrun/bundle.py, as NAME=NUMBER."""
        container = self._container(container_id)
        options: dict[str, Any] = {"command": wanted.words}
        if wanted.volume:
            options["volumes"] = [volume.parse("%s:%s" % (wanted.volume, engine.VOLUME))]
        if wanted.network and self.network:
            wish = [names.wanted(self.network.name)]
            options["networks"] = {"config_dir": self.network.config_dir, "networks": wish, "ports": []}
        for word in wanted.options:
            name, _equals, value = word.partition("=")
            options[name] = int(value)
        container.describe_image(self.image_name, self.store, self.layers_root, options)
        list(managed.carry_out([(container, managed.plan(container, "started"))], False))

    def _container(self, container_id: str) -> managed.Wanted:
        return managed.Wanted(container_id, self.root, self.data_root, None, _STOP_TIMEOUT_S)

    def execute(self, container_id: str, words: list[str]) -> str:
        return engine.run([self.path, "--root", self.root, "exec", container_id, *words], self.workload.timeout_s)

    def remove(self, container_id: str) -> None:
        container = self._container(container_id)
        list(managed.carry_out([(container, managed.plan(container, "absent"))], False))

    def address(self, container_id: str) -> str:
        found = {one["id"]: str(one["address"]) for one in self.network.attached()} if self.network else {}
        return found.get(container_id, "")
