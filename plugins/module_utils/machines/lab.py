# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""Lab hosts as a wish: what is to be done to bring them into a state, and doing it (for the module lab_machine).

Each has a folder, <data_root>/lab/<name>, with its definition in host.json, which is written before anything else is
made and removed last: whatever was killed at whatever moment, the next run finds what there is to mend or to remove.
"""

from __future__ import annotations

import fcntl
import json
import os
import time

from ..labrun.state import DEFAULT_ROOT
from ..linux import files
from ..linux.errors import InvalidInput, NotFound, OcilabError
from .base import Bases
from .container_host import ContainerHost
from .lab_network import LabNetwork
from .virtual_host import VirtualHost

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Iterator, Union

    from .building import Progress

    Host = Union[ContainerHost, VirtualHost]

BACKENDS = ("container", "vm")
_BASES = "@base"  # no lab host's name
_NAME = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-")
# What a host was made of, so that another one is made when it changes; the rest takes a restart.
_MADE_OF = ("backend", "release", "packages", "mirror", "image")


def _is_name(text: str) -> bool:
    return 0 < len(text) <= 63 and not set(text) - _NAME and text[0] != "-" != text[-1]


class Places:
    """Folders: data_root of the lab's data, root of containers' state, store and layers of images, networks."""

    def __init__(
        self,
        data_root: str = "/var/lib/labrun",
        root: str = DEFAULT_ROOT,
        store: str = "/var/lib/labrun/images",
        layers: str = "/var/lib/labrun/layers",
        networks: str = "/etc/labrun/networks",
    ) -> None:
        self.lab = os.path.join(data_root, "lab")
        self.root = root
        self.store = store
        self.layers = layers
        self.networks = networks


class Definition:
    """What a lab host is to be like.

    backend: one of BACKENDS; release, packages, mirror: of Debian, or image: one of labrun's store; memory: bytes or 0;
    cpus: processors or 0.0; network: the name of one of labrun's, or ''; source: what it was built on, known once it
    is; complete: whether it was built.
    """

    def __init__(
        self,
        name: str,
        backend: str = "container",
        release: str = "bookworm",
        packages: list[str] | None = None,
        mirror: str = "",
        image: str = "",
        memory: int = 0,
        cpus: float = 0.0,
        network: str = "ocilab",
        source: str = "",
        complete: bool = False,
    ) -> None:
        if not _is_name(name):
            message = "lab host %r: a host name of a-z, 0-9 and '-' within is expected, of 63 characters at most"
            raise InvalidInput(message % name)
        if backend not in BACKENDS:
            raise InvalidInput("lab host %s: backend %r is none of %s" % (name, backend, ", ".join(BACKENDS)))
        if backend == "vm" and (image or cpus != int(cpus)):
            raise InvalidInput("lab host %s: a virtual machine has no image, and whole processors only" % name)
        self.name = name
        self.backend = backend
        self.release = release
        self.packages = sorted(packages or [])
        self.mirror = mirror
        self.image = image
        self.memory = memory
        self.cpus = cpus
        self.network = network if backend == "container" else ""  # a virtual machine's is QEMU's own
        self.source = source
        self.complete = complete

    def asked_for(self) -> dict[str, Any]:
        """What a person can ask for, by name."""
        return {name: value for name, value in vars(self).items() if name not in ("name", "source", "complete")}

    def differences(self, other: Definition) -> list[str]:
        """The names of what is asked for otherwise."""
        mine, theirs = self.asked_for(), other.asked_for()
        return [name for name in mine if mine[name] != theirs[name]]


class Lab:
    """All lab hosts of this machine.

    A backend is a class with source(), create(progress), start(), await_ready(deadline), stop(timeout_s), remove(),
    status(), address() and vars(). create and remove begin anew where they were cut short; start returns at once, so
    that several boot at the same time; status is 'stopped', 'starting' (also where a start was cut short) or 'running'.
    """

    def __init__(self, places: Places) -> None:
        self.places = places
        self.bases = Bases(os.path.join(places.lab, _BASES), self._used)

    def _folder(self, name: str) -> str:
        return os.path.join(self.places.lab, name)

    def names(self) -> list[str]:
        """Of all lab hosts, sorted, those too of which nothing but a folder was made."""
        try:
            return sorted(
                name for name in os.listdir(self.places.lab) if os.path.isdir(self._folder(name)) and _is_name(name)
            )
        except FileNotFoundError:
            return []

    def definitions(self) -> Iterator[Definition]:
        """Of all lab hosts, by name."""
        for name in self.names():
            found = self.definition(name)
            if found:
                yield found

    def definition(self, name: str) -> Definition | None:
        """Of the lab host of that name; None where there is none."""
        try:
            with open(os.path.join(self._folder(name), "host.json"), encoding="utf-8") as file:
                return Definition(name, **json.load(file))
        except (FileNotFoundError, NotADirectoryError):
            return None

    def _used(self) -> list[str]:
        return [definition.source for definition in self.definitions()]

    def backend(self, definition: Definition) -> Host:
        folder = self._folder(definition.name)
        if definition.backend == "vm":
            return VirtualHost(definition, folder)
        return ContainerHost(definition, folder, self.places, self.bases, self._network(definition))

    def _network(self, definition: Definition) -> LabNetwork | None:
        if not definition.network:
            return None
        return LabNetwork(definition.network, self.places.networks, self.places.root)

    def _make_network(self, definition: Definition) -> None:
        network = self._network(definition)
        if network:
            network.make()

    def _remove_network(self, definition: Definition) -> None:
        """Where it was the last one in it; before its definition goes, so that the next run finds what is left."""
        in_it = [other.name for other in self.definitions() if other.network == definition.network]
        network = self._network(definition)
        if network and in_it in ([], [definition.name]):
            network.remove()

    def state(self, name: str) -> dict[str, Any]:
        """{"name", "status", "backend", "release", "address", "vars": what Ansible needs}; status 'absent' alone."""
        definition = self.definition(name)
        if definition is None:
            return {"name": name, "status": "absent"}
        host = self.backend(definition)
        return {
            "name": name,
            "backend": definition.backend,
            "release": definition.release,
            "status": host.status() if definition.complete else "incomplete",
            "address": host.address(),
            "vars": host.vars(),
        }

    def shown(self, name: str) -> dict[str, Any]:
        """What a difference shows: a host's status and, where there is one, what was asked for."""
        definition = self.definition(name)
        return dict(definition.asked_for() if definition else {}, status=self.state(name)["status"])

    def predict(self, wanted: Definition, actions: list[str]) -> dict[str, Any]:
        """What shown() will be after the actions."""
        result = self.shown(wanted.name)
        for action in actions:
            if action == "remove":
                result = {"status": "absent"}
            elif action in ("create", "define"):
                result = dict(wanted.asked_for(), status="stopped" if action == "create" else result["status"])
            else:
                result["status"] = {"start": "running", "stop": "stopped"}[action]
        return result

    def plan(self, wanted: Definition, state: str) -> list[str]:
        """The actions that bring a host into the state created, started, stopped or absent; [] when it is in it.

        Raises NotFound where there is nothing to stop.
        """
        present = self.definition(wanted.name)
        status = self.state(wanted.name)["status"]
        if state == "absent":
            return ["remove"] if os.path.isdir(self._folder(wanted.name)) else []
        if state == "stopped":
            if present is None:
                raise NotFound("lab host %s: does not exist, so that it cannot be stopped" % wanted.name)
            return ["stop"] if status in ("running", "starting") else []
        start = ["start"] if state == "started" else []
        changed = wanted.differences(present) if present else []
        if present is None or not present.complete or set(changed) & set(_MADE_OF):
            self.backend(wanted).source()  # what cannot be made is refused before anything is changed
            return (["remove"] if present and present.complete else []) + ["create", *start]
        if status == "running" and not changed:
            return []
        if state == "created":
            return ["define"] if changed else []
        return (["define"] if changed else []) + (["stop"] if status != "stopped" else []) + start

    def carry_out(
        self,
        hosts: list[Definition],
        state: str,
        stop_timeout_s: float,
        boot_timeout_s: float | None,
        progress: Progress,
    ) -> list[list[str]]:
        """Bring the hosts into the state; all that are started boot at the same time. The actions done, host by host.

        All are planned before anything is changed. Raises OcilabError.
        """
        lock = self._lock()
        try:
            plans = [self.plan(wanted, state) for wanted in hosts]
            started = []
            for wanted, actions in zip(hosts, plans):
                for action in actions:
                    host = self._do(action, wanted, stop_timeout_s, progress)
                    if action == "start":
                        started.append(host)
            _await_ready(started, time.monotonic(), boot_timeout_s, progress)
            if state == "absent":
                self.bases.clean()
        finally:
            os.close(lock)
        return plans

    def _lock(self) -> int:
        """One at a time changes the lab; whoever comes meanwhile waits."""
        os.makedirs(self.places.lab, 0o700, exist_ok=True)
        lock = os.open(os.path.join(self.places.lab, "@lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        return lock

    def _do(self, action: str, wanted: Definition, stop_timeout_s: float, progress: Progress) -> Host:
        present = self.definition(wanted.name)
        host = self.backend(present or wanted)
        progress("%s: %s" % (wanted.name, action))
        if action == "create":
            host = self.backend(wanted)
            wanted.source = host.source()
            self._keep(wanted, complete=False)
            try:
                host.create(progress)
            except OcilabError:
                host.remove()
                self._forget(wanted.name)
                raise
            self._keep(wanted, complete=True)
        elif action == "define" and present:
            wanted.source = present.source
            self._keep(wanted, complete=True)
        elif action == "start":
            self._make_network(host.definition)
            host.start()
        elif action == "stop":
            host.stop(stop_timeout_s)
        elif action == "remove":
            if present:
                self._keep(present, complete=False)
            host.remove()
            self._remove_network(host.definition)
            self._forget(wanted.name)
        return host

    def _keep(self, definition: Definition, complete: bool) -> None:
        definition.complete = complete
        path = os.path.join(self._folder(definition.name), "host.json")
        os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
        kept = {name: value for name, value in vars(definition).items() if name != "name"}
        files.replace(path, (json.dumps(kept, indent=2, sort_keys=True) + "\n").encode())

    def _forget(self, name: str) -> None:
        """The definition last of all."""
        folder = self._folder(name)
        left = [entry for entry in os.listdir(folder) if entry.startswith("host.json")]  # also what a killed write left
        for entry in sorted(left, key=len, reverse=True):
            os.unlink(os.path.join(folder, entry))
        os.rmdir(folder)


def _await_ready(hosts: list[Host], begun: float, timeout_s: float | None, progress: Progress) -> None:
    """Wait for all of them, and tell of the first that fails then: what boots meanwhile is known to have booted."""
    errors = []
    for host in hosts:
        try:
            host.await_ready(begun + (host.BOOT_TIMEOUT_S if timeout_s is None else timeout_s))
            progress("%s: has booted" % host.definition.name)
        except OcilabError as error:
            errors.append(error)
    if errors:
        raise errors[0]
