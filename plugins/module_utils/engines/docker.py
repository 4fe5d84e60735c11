# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""Docker: a client that talks to a daemon. Podman shares its command line (podman.py)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess

from ..linux.errors import OcilabError, Unsupported
from . import components, engine, held

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

_DETECT_TIMEOUT_S = 20.0
_LOAD_TIMEOUT_S = 120.0
_PULL_TIMEOUT_S = 300.0
_BETWEEN = "com.docker.network.bridge.enable_icc"
_SOCKET = "/var/run/docker.sock"
_CONTAINERD_SOCKET = "/run/containerd/containerd.sock"


class ContainerCommand(engine.Engine):
    """An engine with Docker's command line: load, run, create, start, wait, rm."""

    def __init__(self) -> None:
        self.path = ""
        self.before: list[str] = []  # words before the command, as those that make it another user's
        self.global_options: list[str] = []
        self.run_options: list[str] = []
        self.loaded = False

    def _command(self, *words: str) -> list[str]:
        return [*self.before, self.path, *self.global_options, *words]

    def _run(self, *words: str) -> str:
        return engine.run(self._command(*words), self.workload.timeout_s)

    def prepare(self, workload: engine.Workload) -> None:
        self.workload = workload
        self.load(workload.archive)
        held.take(self._store(), workload.image)
        self.loaded = True

    def clean_up(self) -> None:
        if self.loaded:
            self.loaded = False
            if held.give(self._store(), self.workload.image):
                self.forget(self.workload.image)

    def _store(self) -> str:
        return self.engine + "-rootless" if self.rootless else self.engine

    # A container's life

    def _new(self, verb: str, container_id: str, wanted: engine.Wanted, *options: str) -> list[str]:
        # Networking off where it is not asked for: what is compared is the container, not bridges and firewalls.
        words = [verb, *options, "--name", container_id, *self.run_options]
        words += self._network() if wanted.network else ["--network", "none"]
        words += ["--volume", "%s:%s" % (wanted.volume, engine.VOLUME)] if wanted.volume else []
        return [*words, *wanted.options, self.workload.image, *wanted.words]

    def _network(self) -> list[str]:
        return []

    def run_true(self, container_id: str) -> None:
        self.output(container_id, engine.Wanted([engine.PROGRAM]))

    def phases(self, container_id: str) -> list[tuple[str, Callable[[], None]]]:
        def wait() -> None:
            code = self._run("wait", container_id).strip()
            if code != "0":
                raise engine.EngineFailed("the container ended with exit code %s" % code)

        def step(*words: str) -> Callable[[], None]:
            return lambda: _discard(self._run(*words))

        return [
            ("create", step(*self._new("create", container_id, engine.Wanted([engine.PROGRAM])))),
            ("start", step("start", container_id)),
            ("wait", wait),
            ("delete", step("rm", container_id)),
        ]

    def output(self, container_id: str, wanted: engine.Wanted) -> str:
        return self._run(*self._new("run", container_id, wanted, "--rm"))

    def start(self, container_id: str, wanted: engine.Wanted) -> None:
        self._run(*self._new("run", container_id, wanted, "--detach"))

    def execute(self, container_id: str, words: list[str]) -> str:
        return self._run("exec", container_id, *words)

    def stop(self, container_id: str) -> None:
        self._run("stop", container_id)

    def remove(self, container_id: str) -> None:
        try:
            self._run("rm", "--force", "--volumes", container_id)
        except OcilabError:
            pass  # there was nothing of it

    # What stands behind it

    def _told(self, container_id: str, template: str) -> str:
        return self._run("container", "inspect", "--format", template, container_id).strip()

    def process(self, container_id: str) -> int:
        return int(self._told(container_id, "{{.State.Pid}}"))

    def address(self, container_id: str) -> str:
        addresses = self._told(container_id, "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}").split()
        if not addresses:
            raise Unsupported("%s: container %s has no address of its own" % (self.name, container_id))
        return addresses[0]

    # Images

    def pull(self, reference: str) -> None:
        engine.run(self._command("pull", "--quiet", reference), _PULL_TIMEOUT_S)

    def load(self, archive: str) -> None:
        with open(archive, "rb") as file:  # given to it open: a user's engine may not reach the folder
            engine.run(self._command("load", "--quiet"), _LOAD_TIMEOUT_S, file)

    def forget(self, image: str) -> None:
        try:
            engine.run(self._command("rmi", image), _LOAD_TIMEOUT_S)
        except engine.EngineFailed:
            if self._has(image):
                raise

    def _has(self, image: str) -> bool:
        try:
            self.image_bytes(image)
            return True
        except engine.EngineFailed:
            return False

    def image_bytes(self, image: str) -> int:
        words = ("image", "inspect", "--format", "{{.Size}}", image)
        return int(engine.run(self._command(*words), _DETECT_TIMEOUT_S))


def _discard(_output: str) -> None:
    """The output of a step is an id that we know."""


class Docker(ContainerCommand):
    """Docker with its default runtime, or with one that its daemon is configured for."""

    kind = "client-server"

    def __init__(self, runtime: str | None = None) -> None:
        super().__init__()
        self.engine = "docker"
        self.runtime = runtime
        self.name = "docker+" + runtime if runtime else "docker"
        self.run_options = ["--runtime", runtime] if runtime else []
        self.is_closed = False
        self.made_network = ""

    def detect(self) -> str:
        self.path = engine.find_command("docker")
        _refuse_activation()
        try:
            found = self._info()
        except engine.EngineFailed as error:
            raise engine.Unavailable("its daemon is down (%s); start it to compare it" % error) from None
        runtimes = found["Runtimes"]
        if self.runtime and self.runtime not in runtimes:
            known = ", ".join(sorted(runtimes))
            message = "its daemon knows no runtime %s, only %s; name it in daemon.json"
            raise engine.Unavailable(message % (self.runtime, known))
        return str(found["ServerVersion"])

    def _info(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(
            engine.run(self._command("info", "--format", "{{json .}}"), _DETECT_TIMEOUT_S)
        )
        if not found.get("ServerVersion"):
            raise engine.EngineFailed("; ".join(found.get("ServerErrors") or ["it does not answer"]))
        return found

    def prepare(self, workload: engine.Workload) -> None:
        super().prepare(workload)
        words = ("network", "inspect", "--format", "{{json .Options}}", "bridge")
        try:
            options = json.loads(engine.run(self._command(*words), _DETECT_TIMEOUT_S)) or {}
        except engine.EngineFailed:
            return  # the daemon has no such network, and a container that wants one will say so
        self.is_closed = options.get(_BETWEEN) == "false"
        if self.is_closed:
            self.notes = "its default network keeps containers apart (icc), so that those that want one are in another"

    def clean_up(self) -> None:
        try:
            super().clean_up()
        finally:
            if self.made_network:
                self._run("network", "rm", self.made_network)
                self.made_network = ""

    def _network(self) -> list[str]:
        """The default network, or one of our own where that lets nobody talk to anybody."""
        if not self.is_closed:
            return []
        if not self.made_network:
            name = "ocilab-%d" % os.getpid()
            self._run("network", "create", name)
            self.made_network = name
        return ["--network", self.made_network]

    def _processes(self) -> tuple[int, int, str | None]:
        """The pids of dockerd and of its containerd, 0 for what is not on this host, and the latter's socket."""
        socket = _socket()
        daemon = components.listener(socket) if socket else 0
        own = [pid for pid in components.children(daemon) if components.is_of(pid, "containerd")] if daemon else []
        if own:
            return daemon, own[0], components.socket_of(own[0], "containerd.sock")
        return daemon, components.listener(_CONTAINERD_SOCKET) if daemon else 0, _CONTAINERD_SOCKET

    def daemons(self) -> list[int]:
        daemon, containerd, _socket = self._processes()
        return [pid for pid in (daemon, containerd) if pid]

    def components(self, container_id: str) -> list[dict[str, Any]]:
        found = self._info()
        daemon, containerd, containerd_socket = self._processes()
        parts = [components.program("client", self.path, socket=_socket())]
        if daemon:
            parts.append(components.process("daemon", daemon, socket=_socket()))
        else:
            parts.append(components.part("daemon", "dockerd", found["ServerVersion"]))
        if containerd:
            parts.append(components.process("high-level runtime", containerd, socket=containerd_socket))
        runtime = self._runtime(found, container_id)
        if not container_id:
            return [*parts, runtime]
        pid = self.process(container_id)
        return [*parts, *components.monitor(pid), runtime, components.container(pid)]

    def _runtime(self, found: dict[str, Any], container_id: str) -> dict[str, Any]:
        name = self._told(container_id, "{{.HostConfig.Runtime}}") if container_id else self.runtime
        name = name or found["DefaultRuntime"]
        path = shutil.which((found["Runtimes"].get(name) or {}).get("path") or name)
        return components.program("low-level runtime", path) if path else components.part("low-level runtime", name)


def _socket() -> str | None:
    """The path of the daemon's socket; None for one that is reached by a network."""
    host = os.environ.get("DOCKER_HOST") or "unix://" + _SOCKET
    return host[len("unix://") :] if host.startswith("unix://") else None


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
