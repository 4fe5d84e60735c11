# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""What an engine's part of this floor offers: a small class that fills in the shape (shape.py)."""

from __future__ import annotations

import os

from ..engines import components, engine, registry
from ..linux import files, host
from . import sockets
from .http import Certificates
from .services import Units

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Settings:
    """How engines are reached where it is not as usual, and where labrun keeps what is its own.

    docker_host: Docker's address, empty for the one that its command uses; timeout_s: for each question;
    rootless_user: whose Podman podman-rootless is, empty for the caller's, or, for root, that of the first who can.
    """

    def __init__(
        self,
        docker_host: str = "",
        certificates: Certificates | None = None,
        timeout_s: float = 60.0,
        labrun: dict[str, str] | None = None,
        rootless_user: str = "",
    ) -> None:
        self.docker_host = docker_host
        self.certificates = certificates or Certificates()
        self.timeout_s = timeout_s
        self.labrun = labrun or {}
        self.rootless_user = rootless_user


class Inspector:
    """Of one engine. paths: where its sockets are to be found; unit: its service; both empty for none."""

    kind = ""  # client-server, daemonless, runtime or library
    unit = ""
    paths: tuple[str, ...] = ()
    monitor = ""  # the program that watches each of its containers, where its adapter tells of it by a container only

    def __init__(self, name: str, settings: Settings) -> None:
        self.name = name
        self.settings = settings

    def sockets(self) -> list[dict[str, Any]]:
        """Its sockets on this host, as sockets.py describes them."""
        found = (sockets.describe(path) for path in self.paths)
        return [one for one in found if one]

    def fill(self, found: dict[str, Any], units: Units) -> None:
        """Fill in all but service, sockets and components. Raises OcilabError, and what broken answers raise."""
        raise NotImplementedError

    def components(self) -> list[dict[str, Any]]:
        """Its lasting parts, as Engine.components() tells of them. Raises OcilabError."""
        adapter = registry.all_engines([self.name])[0]
        adapter.detect()
        parts = adapter.components("")
        if self.monitor:
            parts[-1:-1] = _installed("monitor", self.monitor)  # it starts the low-level runtime, which comes last
        return parts


def _installed(role: str, name: str) -> list[dict[str, Any]]:
    try:
        return [components.program(role, engine.find_command(name))]
    except engine.Unavailable:
        return []


def describe_host(found: dict[str, Any]) -> None:
    """The part of system that is the host's, for an engine that runs on this very kernel."""
    known = host.describe()
    modules = [name for name in known["lsms"] if name in ("apparmor", "selinux")]
    found["system"].update(
        kernel=known["kernel"],
        os=_system_name(),
        cgroup_version=known["cgroups"]["mode"],
        rootless=os.geteuid() != 0,
        security_options=(["seccomp"] if known["seccomp"]["actions"] else []) + modules,
    )


def _system_name() -> str | None:
    try:
        lines = files.read_text("/etc/os-release").splitlines()
    except OSError:
        return None
    names = [line.partition("=")[2].strip("\"'") for line in lines if line.startswith("PRETTY_NAME=")]
    return names[0] if names else None


def command_version(name: str) -> str | None:
    """The version of a command; None where the host has none of that name."""
    try:
        return components.version_of(engine.find_command(name))
    except engine.Unavailable:
        return None
