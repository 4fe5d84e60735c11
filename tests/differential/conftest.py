# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One bundle under two runtimes: labrun, and Debian's runc as what labrun is held against."""

from __future__ import annotations

import copy
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Sequence

import known
import observation
import pytest
from ansible_collections.ocilab.hosts.plugins.module_utils.spec import runtime, seccomp
from case import Case


class Pair:
    """Both runtimes over one bundle, one after the other and under one name, so that all paths are equal."""

    def __init__(self, folder: Path, labrun: str, runc: str) -> None:
        self.bundle = observation.Bundle(folder / "bundle")
        self.labrun = observation.Runtime("labrun", labrun, folder)
        self.runc = observation.Runtime("runc", runc, folder)
        self.name = f"differential-{os.getpid()}"  # several runs of the tests may share a host
        self.cgroup = f"/differential-{os.getpid()}"

    def config(self) -> dict:
        """The default container, which runs the probe; its cgroup has a name that both runtimes make alike."""
        made = runtime.config(observation.script(), seccomp.default_profile(os.uname().machine))
        made["linux"]["cgroupsPath"] = self.cgroup
        return made

    def observe(self, side: observation.Runtime, config: dict, execute: list[str] | None = None) -> dict[str, str]:
        return observation.observe(side, self.bundle, config, self.name, execute)

    def run(self, side: observation.Runtime, config: dict) -> dict[str, str]:
        return observation.run(side, self.bundle, config, self.name)

    def compare(self, config: dict, execute: list[str] | None = None, also_known: Sequence[known.Known] = ()) -> dict:
        """labrun's observation, when it is runc's but for the known differences."""
        expected = self.observe(self.runc, copy.deepcopy(config), execute)
        for _attempt in range(5):
            if "error reopening /dev/null inside container" not in expected.get("why", ""):
                break
            # runc 1.1.5 closes the devices cgroup before it opens it for the defaults, while its init goes on.
            expected = self.observe(self.runc, copy.deepcopy(config), execute)
        found = self.observe(self.labrun, copy.deepcopy(config), execute)
        unknown = known.unknown(observation.differences(expected, found), also_known)
        assert not unknown, _told(unknown, expected, found)
        return found


def _told(unknown: dict[str, tuple[str | None, str | None]], expected: dict, found: dict) -> str:
    lines = [f"{field}\n    runc:   {one!r}\n    labrun: {other!r}" for field, (one, other) in unknown.items()]
    for side, seen in (("runc", expected), ("labrun", found)):
        if seen.get("why"):
            lines.append(f"{side} said: {seen['why'].strip()}")
    return "\n".join(["runc and labrun differ", *lines])


@pytest.fixture(scope="session")
def pair(labrun):
    runc = shutil.which("runc")
    if not runc:
        pytest.skip("there is no runc to compare with; install Debian's package runc")
    if not Path("/bin/busybox").exists():
        pytest.skip("there is no /bin/busybox; install busybox-static")
    # Not pytest's own folder, which other users may not pass: the root of a user namespace is one of them.
    folder = Path(tempfile.mkdtemp(prefix="differential-"))
    folder.chmod(0o755)
    yield Pair(folder, str(labrun), runc)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def holder():
    """A process with namespaces of its own, for containers that join them: its pid."""
    kinds = ["--net", "--uts", "--ipc", "--cgroup", "--mount"]
    process = subprocess.Popen(["unshare", *kinds, "sh", "-c", "hostname joined; echo; exec sleep 600"], stdout=-1)
    process.stdout.readline()
    yield process.pid
    process.kill()
    process.wait()


@pytest.fixture
def case_of(pair, holder):
    """A function: the configuration that a change makes of the default one."""

    def made(change, extra=""):
        case = Case("", change, extra, bundle=pair.bundle.path, holder=holder)
        config = pair.config()
        config["process"]["args"][2] += extra
        change(config, case)
        return config

    return made
