# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""labrun on what most hosts have and this one may lack: pure cgroup v2 with systemd and AppArmor, in a virtual machine.

One machine is booted for all tests; guest_checks.py runs in it, once under each runtime, and each of its checks is a
test here. Debian's runc is the control: a check that runc fails, too, measures something else than labrun. VM_RELEASE
chooses the guest's Debian (bookworm or trixie).
"""

from __future__ import annotations

import io
import json
import os
import sys
import tarfile
import time
from pathlib import Path

import guest_checks
import pytest
from ansible_collections.ocilab.hosts.plugins.module_utils.linux.errors import Unsupported
from ansible_collections.ocilab.hosts.plugins.module_utils.machines import image, qemu
from ansible_collections.ocilab.hosts.plugins.module_utils.spec import runtime, seccomp

pytestmark = [pytest.mark.root, pytest.mark.vm]
REPOSITORY = Path(__file__).resolve().parents[2]
RUNTIMES = {"labrun": "/usr/local/bin/labrun", "runc": "/usr/sbin/runc"}


def progress(line):
    """Straight to the terminal: a build takes minutes, and pytest would keep its lines to itself."""
    sys.__stderr__.write(time.strftime("%H:%M:%S ") + line + "\n")
    sys.__stderr__.flush()


def payload():
    """A tar archive of what the guest gets below /opt/ocilab: the sources, the checks, a configuration."""
    config = runtime.config(["/bin/true"], seccomp.default_profile(os.uname().machine))
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name in ("plugins/module_utils", "scripts/build_labrun.py", "tests/vm/guest_checks.py"):
            archive.add(REPOSITORY / name, name, filter=lambda item: None if "__pycache__" in item.name else item)
        data = json.dumps(config).encode()
        member = tarfile.TarInfo("config.json")
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


@pytest.fixture(scope="session")
def machine(tmp_path_factory):
    """A booted machine with the labrun command, built there for its own Python."""
    begun = time.monotonic()
    try:
        recipe = image.Recipe(os.environ.get("VM_RELEASE", "bookworm"))
        made = qemu.Machine(image.get(recipe, progress), str(tmp_path_factory.mktemp("machine")))
        made.start(progress)
    except Unsupported as reason:
        pytest.skip(str(reason))
    try:
        result = made.run(
            "set -e; mkdir -p /opt/ocilab; cd /opt/ocilab; tar -xzof -;"
            " python3 -BI scripts/build_labrun.py /usr/local/bin/labrun",
            payload(),
        )
        assert result.returncode == 0, result.stderr.decode()
        progress(f"machine: ready for the tests {time.monotonic() - begun:.0f} s after their begin")
        yield made
    finally:
        made.destroy()


class Results:
    """What the checks found, by runtime; each runtime's run once, when first asked for."""

    def __init__(self, machine):
        self.machine = machine
        self.seen = {}

    def of(self, name):
        if name not in self.seen:
            begun = time.monotonic()
            result = self.machine.run(
                f"python3 -BI /opt/ocilab/tests/vm/guest_checks.py {RUNTIMES[name]} {name} /opt/ocilab/config.json"
            )
            assert result.returncode == 0, result.stderr.decode()
            self.seen[name] = json.loads(result.stdout)
            progress(f"machine: {len(self.seen[name])} checks of {name} in {time.monotonic() - begun:.0f} s")
        return self.seen[name]


@pytest.fixture(scope="session")
def results(machine):
    return Results(machine)


@pytest.mark.parametrize("check", guest_checks.CHECKS)
@pytest.mark.parametrize("name", RUNTIMES)
def test_runtime(results, name, check):
    found = results.of(name)[check]
    if found["outcome"] == "skipped":
        pytest.skip(found["text"])
    assert found["outcome"] == "passed", found["text"]
