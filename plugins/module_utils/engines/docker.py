# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""Docker: a client that talks to a daemon. Podman shares its command line (podman.py)."""

from __future__ import annotations

import os
import subprocess

from ..linux.errors import OcilabError
from . import engine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable

_DETECT_TIMEOUT_S = 20.0
_LOAD_TIMEOUT_S = 120.0


class ContainerCommand(engine.Engine):
    """An engine with Docker's command line: load, run, create, start, wait, rm."""

    def __init__(self) -> None:
        self.path = ""
        self.global_options: list[str] = []
        self.run_options: list[str] = []
        self.loaded = False

    def _command(self, *words: str) -> list[str]:
        return [self.path, *self.global_options, *words]

    def prepare(self, workload: engine.Workload) -> None:
        self.workload = workload
        engine.run(self._command("load", "--input", workload.archive), _LOAD_TIMEOUT_S)
        self.loaded = True

    def _new(self, verb: str, container_id: str, *options: str) -> list[str]:
        # Networking off: what is compared is the container, not bridges and firewalls.
        common = ["--name", container_id, "--network", "none", *self.run_options]
        return self._command(verb, *options, *common, self.workload.image, engine.PROGRAM)

    def run_true(self, container_id: str) -> None:
        engine.run(self._new("run", container_id, "--rm"), self.workload.timeout_s)

    def phases(self, container_id: str) -> list[tuple[str, Callable[[], None]]]:
        timeout_s = self.workload.timeout_s

        def wait() -> None:
            code = engine.run(self._command("wait", container_id), timeout_s).strip()
            if code != "0":
                raise engine.EngineFailed("the container ended with exit code %s" % code)

        def step(*words: str) -> Callable[[], None]:
            return lambda: _discard(engine.run(self._command(*words), timeout_s))

        return [
            ("create", lambda: _discard(engine.run(self._new("create", container_id), timeout_s))),
            ("start", step("start", container_id)),
            ("wait", wait),
            ("delete", step("rm", container_id)),
        ]

    def remove(self, container_id: str) -> None:
        try:
            engine.run(self._command("rm", "--force", container_id), self.workload.timeout_s)
        except OcilabError:
            pass  # there was nothing of it

    def clean_up(self) -> None:
        if self.loaded:
            engine.run(self._command("rmi", self.workload.image), _LOAD_TIMEOUT_S)
            self.loaded = False


def _discard(_output: str) -> None:
    """The output of a step is an id that we know."""


class Docker(ContainerCommand):
    name = "docker"
    kind = "client-server"

    def detect(self) -> str:
        self.path = engine.find_command("docker")
        _refuse_activation()
        try:
            version = engine.run(self._command("version", "--format", "{{.Server.Version}}"), _DETECT_TIMEOUT_S)
        except engine.EngineFailed as error:
            raise engine.Unavailable("its daemon is down (%s); start it to compare it" % error) from None
        return version.strip()


def _refuse_activation() -> None:
    """Under systemd a look at the socket would start a daemon that is down; that is not ours to do."""
    if os.environ.get("DOCKER_HOST") or not os.path.isdir("/run/systemd/system"):
        return
    states = {}
    for unit in ("docker.service", "docker.socket"):
        result = subprocess.run(["systemctl", "is-active", unit], stdout=subprocess.PIPE, check=False)
        states[unit] = result.stdout.decode().strip()
    if states["docker.socket"] == "active" and states["docker.service"] != "active":
        raise engine.Unavailable("its daemon is down (docker.service is %s); start it" % states["docker.service"])
