# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""Podman: no daemon; the command itself starts a monitor (conmon) and a runtime for each container."""

from __future__ import annotations

import json
import os
import resource
import shutil

from ..labrun import command
from . import components, engine
from .docker import ContainerCommand
from .first_use import FirstUse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_DETECT_TIMEOUT_S = 30.0
_BRIDGES = {"podman0", "cni-podman0"}
_CGROUP = "libpod_parent"
_STORAGE = "/var/lib/containers/storage/overlay"
_ENOUGH = 4096  # below what any host grants to root, and plenty for a workload


class Podman(ContainerCommand):
    """Podman of root, with its default runtime or another one."""

    kind = "daemonless"

    def __init__(self, runtime: str | None = None) -> None:
        super().__init__()
        self.engine = "podman"
        self.runtime = runtime
        self.name = "podman+" + runtime if runtime else "podman"
        self.first_use: FirstUse | None = None

    def detect(self) -> str:
        self.path = engine.find_command("podman")
        if self.runtime and self.runtime != "labrun":
            self.global_options = ["--runtime", _runtime_path(self.runtime)]
        # Not "podman version --format", whose server part asks a socket.
        return engine.run([self.path, "--version"], _DETECT_TIMEOUT_S).strip().replace("podman version ", "")

    def prepare(self, workload: engine.Workload) -> None:
        self.begin()
        if self.runtime == "labrun":
            path = os.path.join(workload.work_dir, "podman-labrun")
            command.write_executable(path)
            self.global_options = ["--runtime", path]
        super().prepare(workload)
        self._settle()

    def _settle(self) -> None:
        """Find options with which it runs here: some hosts refuse its default limits, or its runtime the cgroups."""
        limits = []
        for name, number in (("nofile", resource.RLIMIT_NOFILE), ("nproc", resource.RLIMIT_NPROC)):
            hard = resource.getrlimit(number)[1]
            limit = _ENOUGH if hard == resource.RLIM_INFINITY else min(hard, _ENOUGH)
            limits += ["--ulimit", "%s=%d:%d" % (name, limit, limit)]
        failures = []
        chosen = self.global_options
        tried = [(chosen, []), (chosen, limits)]
        if not self.runtime:
            tried.append((["--runtime", "runc"], limits))
        for global_options, run_options in tried:
            self.global_options, self.run_options = list(global_options), list(run_options)
            name = self.workload.image.rpartition(":")[2] + "-probe"
            try:
                self.run_true(name)
                break
            except engine.EngineFailed as error:
                failures.append(str(error))
                self.remove(name)
        else:
            raise engine.Unavailable("it cannot run a container on this host: " + failures[-1])
        if failures:
            options = " ".join(self.global_options[len(chosen) :] + self.run_options)
            self.notes = "run with %s, for without: %s" % (options, failures[0])

    def clean_up(self) -> None:
        try:
            super().clean_up()
        finally:
            self.end()

    def begin(self) -> None:
        """Note what is there before Podman is used."""
        self.first_use = FirstUse.begin(_BRIDGES, _CGROUP, _STORAGE)

    def end(self) -> None:
        """Take away what its first use has left."""
        if self.first_use:
            self.first_use.end()
            self.first_use = None

    # What stands behind it

    def daemons(self) -> list[int]:
        return []

    def components(self, container_id: str) -> list[dict[str, Any]]:
        info = json.loads(engine.run(self._command("info", "--format", "json"), _DETECT_TIMEOUT_S))["host"]
        parts = [components.program("client", self.path)]
        path = info["ociRuntime"]["path"]
        if container_id:
            name = self._told(container_id, "{{.OCIRuntime}}")
            path = path if name == info["ociRuntime"]["name"] else shutil.which(name) or path
        runtime = components.program("low-level runtime", path, self.runtime or "")
        if not container_id:
            return [*parts, components.program("monitor", info["conmon"]["path"]), runtime]
        pid = self.process(container_id)
        return [*parts, *components.monitor(pid), runtime, components.container(pid)]


def _runtime_path(name: str) -> str:
    """gVisor by the wrapper, where there is one, that tells it to use the network of the container's namespace."""
    return shutil.which("ocilab-" + name, path="/usr/local/bin") or engine.find_command(name)
