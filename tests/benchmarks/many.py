# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A hundred containers by one call of labrun_container, against a hundred times `docker run -d`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import memory
from ansible_collections.ocilab.hosts.plugins.module_utils.labrun import container

COUNT = 100
_MODULE = "ansible_collections.ocilab.hosts.plugins.modules.labrun_container"
# Ansible hands a module its arguments this way too, so that its own work on the controller is left out
_RUNNER = """
import sys
from ansible.module_utils import basic
basic._ANSIBLE_ARGS = sys.argv.pop().encode()
basic._ANSIBLE_PROFILE = "legacy"
from {module} import main
main()
"""


class Module:
    """Calls of labrun_container, each in a process of its own."""

    def __init__(self, base: Path, bundle: Path) -> None:
        self.root = base / "many"
        self.options = {"root": str(self.root), "data_root": str(base / "data"), "stop_timeout": 0}
        self.bundle = str(bundle)
        self.names = [f"bench-{os.getpid()}-{number}" for number in range(COUNT)]

    def _call(self, **options: object) -> int:
        arguments = json.dumps({"ANSIBLE_MODULE_ARGS": dict(self.options, name=self.names, **options)})
        started = time.perf_counter_ns()
        command = [sys.executable, "-c", _RUNNER.format(module=_MODULE), arguments]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        return time.perf_counter_ns() - started

    def start(self) -> tuple[int, list[dict[str, int]]]:
        """Nanoseconds of a call that starts all; and what each monitor holds then, before all are deleted."""
        try:
            took = self._call(bundle=self.bundle)
            made = [container.Container(name, str(self.root)) for name in self.names]
            if any(one.state()["status"] != "running" for one in made):
                raise RuntimeError("not all containers run")
            time.sleep(12)  # until the monitors have become what they stay
            return took, [memory.of_process(one.noted("monitor")["pid"]) for one in made]
        finally:
            self._call(state="absent")


class Docker:
    """A daemon's client, which starts one container after the other, without a network as the others."""

    def __init__(self, address: str, rootfs: Path) -> None:
        self.client = ["docker", "--host", address]
        self.made = 0
        with subprocess.Popen(
            [*self.client, "import", "-", "bench"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
        ) as load:
            with tarfile.open(fileobj=load.stdin, mode="w|") as archive:
                archive.add(rootfs, ".")
        if load.returncode:
            raise RuntimeError("docker import failed")

    def start(self, count: int) -> int:
        """Nanoseconds of count times `docker run -d`."""
        started = time.perf_counter_ns()
        for _number in range(count):
            self.made += 1
            command = [
                *self.client,
                "run",
                "-d",
                "--network",
                "none",
                "-m",
                "256m",
                "--pids-limit",
                "100",
                "--cpus",
                "1",
            ]
            command += ["--name", f"bench-{self.made}", "bench", "/bin/sleep", "600"]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return time.perf_counter_ns() - started

    def remove(self) -> None:
        names = [f"bench-{number + 1}" for number in range(self.made)]
        subprocess.run([*self.client, "rm", "--force", *names], check=False, stdout=subprocess.DEVNULL)
