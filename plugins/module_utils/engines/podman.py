# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""Podman: no daemon; the command itself starts a monitor (conmon) and a runtime for each container."""

from __future__ import annotations

import os
import resource

from ..linux import mounts, syscalls
from ..linux.cgroups import manager as cgroups
from . import engine
from .docker import ContainerCommand

_DETECT_TIMEOUT_S = 30.0
_CGROUP = "libpod_parent"
_ENOUGH = 4096  # below what any host grants to root, and plenty for a workload


class Podman(ContainerCommand):
    name = "podman"
    kind = "daemonless"

    def detect(self) -> str:
        self.path = engine.find_command("podman")
        # Not "podman version --format", whose server part asks a socket.
        return engine.run([self.path, "--version"], _DETECT_TIMEOUT_S).strip().replace("podman version ", "")

    def prepare(self, workload: engine.Workload) -> None:
        self.mounts_before = {entry["target"] for entry in mounts.table()}
        self.cgroups_before = set(_cgroup_directories())
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
        for global_options, run_options in (([], []), ([], limits), (["--runtime", "runc"], limits)):
            self.global_options, self.run_options = list(global_options), list(run_options)
            name = self.workload.image.rpartition(":")[2] + "-probe"
            try:
                self.run_true(name)
                break
            except engine.EngineFailed as error:
                failures.append(str(error))
                self.remove(name)
        else:
            raise engine.Unavailable("it cannot run a container on this host: " + failures[0])
        if failures:
            options = " ".join(self.global_options + self.run_options)
            self.notes = "run with %s, for without: %s" % (options, failures[0])

    def clean_up(self) -> None:
        try:
            super().clean_up()
        finally:
            self._undo_first_use()

    def _undo_first_use(self) -> None:
        """Podman's storage mount and its empty cgroups stay after a first use; undone if they are new."""
        for entry in reversed(mounts.table()):
            if entry["target"].startswith("/var/lib/containers/storage/") and entry["target"] not in self.mounts_before:
                syscalls.umount(os.fsencode(entry["target"]))
        for path in _cgroup_directories():
            if path not in self.cgroups_before:
                for directory, _names, _files in os.walk(path, topdown=False):
                    try:
                        os.rmdir(directory)
                    except OSError:
                        pass  # another container of Podman's lives there meanwhile


def _cgroup_directories() -> list[str]:
    paths = [item.mount_point + "/" + _CGROUP for item in cgroups.detect().hierarchies]
    return [path for path in paths if os.path.isdir(path)]
