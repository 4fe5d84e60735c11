# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""Lab hosts as containers: a systemd machine, an ordinary container of labrun with a monitor, over a shared base."""

from __future__ import annotations

import os
import shutil
import socket
import time

from ..images import layers
from ..images.store import Store
from ..labrun import bundle as bundles
from ..labrun import container as life
from ..labrun import monitor
from ..linux.errors import AlreadyExists, NotFound, OcilabError
from . import guest, system
from .base import Bases, Recipe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .building import Progress
    from .lab import Definition, Places
    from .lab_network import LabNetwork

_MESSAGE_BYTES = 4096


class ContainerHost:
    """The backend "container" of lab.Lab, which tells what the methods are for."""

    BOOT_TIMEOUT_S = 120.0  # 2 s on an idle host

    def __init__(
        self, definition: Definition, folder: str, places: Places, bases: Bases, network: LabNetwork | None
    ) -> None:
        self.definition = definition
        self.network = network
        self.places = places
        self.bases = bases
        self.container = life.Container(definition.name, places.root)
        self.bundle = bundles.Bundle(os.path.join(folder, "bundle"))
        self.own = os.path.join(folder, "own")
        self.log = os.path.join(folder, "log")
        self._ready = os.path.join(folder, "ready")
        self._notify = os.path.join(folder, "notify")
        self._socket: socket.socket | None = None
        self._start: monitor.Start | None = None

    def source(self) -> str:
        """The base's name; '' for an image, which has to be there. Raises NotFound, InvalidInput."""
        if self.definition.image:
            Store(self.places.store).get(self.definition.image)
            return ""
        return self._recipe().name()

    def _recipe(self) -> Recipe:
        return Recipe(self.definition.release, self.definition.packages, self.definition.mirror)

    def create(self, progress: Progress) -> None:
        if not self.definition.image:
            self.bases.get(self._recipe(), progress)
        self.remove()  # what a creation that was cut short has left
        before = os.umask(0o022)
        try:
            guest.configure_container(os.path.join(self.bundle.path, "upper"), self.definition.name)
            for path in system.OWN_FOLDERS:
                os.makedirs(os.path.join(self.own, os.path.basename(path)), 0o711)
        finally:
            os.umask(before)

    def _lower(self) -> list[str]:
        if not self.definition.image:
            return [self.bases.root(self.definition.source)]
        store = Store(self.places.store)
        return layers.unpack(store, store.get(self.definition.image), self.places.layers)

    def start(self) -> None:
        if not self._is_ours():
            message = (
                "lab host %s: there is another container of that name; delete it, or give the lab host another name"
            )
            raise AlreadyExists(message % self.definition.name)
        self.container.delete(force=True)  # what a run before has left; nothing where there is none
        self._listen()
        config = system.config(self.definition.name, self._notify, self.own, self._resources())
        config["annotations"][bundles.LABEL_ANNOTATION + "lab_host"] = self.definition.name
        if self.network:
            networks = self.network.wish(os.path.join(self.bundle.path, "hosts"))
            bundles.connect(config, networks)
        self.bundle.put(config, self._lower)
        name, root = self.definition.name, self.places.root
        self._start = monitor.Start(name, self.bundle.path, root, self.log, run=True, explain=False)

    def _resources(self) -> dict[str, Any]:
        result: dict[str, Any] = {}
        if self.definition.memory:
            result["memory"] = {"limit": self.definition.memory}
        if self.definition.cpus:
            result["cpu"] = {"period": 100000, "quota": int(self.definition.cpus * 100000)}
        return result

    def _listen(self) -> None:
        for path in (self._notify, self._ready):
            if os.path.lexists(path):
                os.unlink(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        folder = os.open(os.path.dirname(self._notify), os.O_PATH | os.O_DIRECTORY)
        try:  # by way of the descriptor: the address of a socket holds 107 bytes
            self._socket.bind("/proc/self/fd/%d/%s" % (folder, os.path.basename(self._notify)))
        finally:
            os.close(folder)

    def await_ready(self, deadline: float) -> None:
        """systemd says so itself, to the socket (sd_notify(3)): of its messages only READY=1 counts."""
        if self._socket is None or self._start is None:
            return
        with self._socket as notified:
            self._start.finish()
            lines: list[bytes] = []
            while b"READY=1" not in lines:
                notified.settimeout(max(0.001, deadline - time.monotonic()))
                try:
                    lines = notified.recv(_MESSAGE_BYTES).split(b"\n")
                except OSError:
                    raise self._not_ready() from None
        self._socket = None
        with open(self._ready, "w", encoding="ascii") as file:
            file.write("%d %d" % self.container.folder.process())

    def _not_ready(self) -> OcilabError:
        name = self.definition.name
        if self.status() == "stopped":
            return OcilabError("lab host %s: systemd ended while it booted; see %s" % (name, self.log))
        message = (
            "lab host %s: systemd has not booted in time; see what it waits for: labrun exec %s systemctl list-jobs"
        )
        return OcilabError(message % (name, name))

    def _is_ours(self) -> bool:
        """Whether the container of that name, if there is one, is the lab host: a person may have made another."""
        try:
            bundle = self.container.folder.load()["bundle"]
        except NotFound:
            return True
        return not bundle or os.path.realpath(bundle) == os.path.realpath(self.bundle.path)

    def status(self) -> str:
        try:
            status: str = self.container.state()["status"]
        except NotFound:
            return "stopped"
        if not self._is_ours():
            return "stopped"
        if status in ("creating", "created"):
            return "starting"
        if status == "stopped":
            return status
        try:
            with open(self._ready, encoding="ascii") as file:
                booted = file.read() == "%d %d" % self.container.folder.process()
        except FileNotFoundError:
            booted = False
        return "running" if booted else "starting"

    def stop(self, timeout_s: float) -> None:
        try:
            if self._is_ours():
                self.container.stop(timeout_s)
        except NotFound:
            pass

    def remove(self) -> None:
        if self._is_ours():
            self.container.delete(force=True)
        self.bundle.remove()
        for path in (self._notify, self._ready, self.log):
            if os.path.lexists(path):
                os.unlink(path)
        if os.path.isdir(self.own):
            shutil.rmtree(self.own)

    def address(self) -> str:
        return self.network.address(self.definition.name) if self.network else ""

    def vars(self) -> dict[str, Any]:
        found = {
            "ansible_connection": "ocilab.hosts.labrun",
            "ansible_host": self.definition.name,
            "ansible_python_interpreter": "/usr/bin/python3",
        }
        if self.places.root != life.DEFAULT_ROOT:
            found["ansible_labrun_root"] = self.places.root
        return found
