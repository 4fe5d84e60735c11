# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""labrun on what most hosts have and this one may lack: pure cgroup v2 with systemd and AppArmor, in a virtual machine.

One lab host of the vm backend is booted for all tests (conftest.py); guest_checks.py runs in it, once under each
runtime, and each of its checks is a test here. Debian's runc is the control: a check that runc fails, too, measures
something else than labrun.
"""

from __future__ import annotations

import io
import json
import os
import tarfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import guest_checks
import pytest
from ansible_collections.ocilab.hosts.plugins.module_utils.spec import runtime, seccomp
from lab_hosts import tell

pytestmark = [pytest.mark.root, pytest.mark.vm]
REPOSITORY = Path(__file__).resolve().parents[2]
RUNTIMES = {"labrun": "/usr/local/bin/labrun", "runc": "/usr/sbin/runc"}


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
def machine(host):
    """The lab host's machine with the labrun command, built there for its own Python."""
    made = host.machine()
    result = made.run(
        "set -e; mkdir -p /opt/ocilab; cd /opt/ocilab; tar -xzof -;"
        " python3 -BI scripts/build_labrun.py /usr/local/bin/labrun",
        payload(),
    )
    assert result.returncode == 0, result.stderr.decode()
    return made


def run_checks(machine, name):
    begun = time.monotonic()
    result = machine.run(
        f"python3 -BI /opt/ocilab/tests/vm/guest_checks.py {RUNTIMES[name]} {name} /opt/ocilab/config.json"
    )
    assert result.returncode == 0, result.stderr.decode()
    found = json.loads(result.stdout)
    slowest = max(found, key=lambda check: found[check]["seconds"])
    tell(f"machine: {len(found)} checks of {name} in {time.monotonic() - begun:.0f} s, the slowest {slowest}")
    return found


@pytest.fixture(scope="session")
def results(machine):
    """What the checks found, by runtime. Both run at the same time, on the machine's two processors."""
    with ThreadPoolExecutor(len(RUNTIMES)) as pool:
        return dict(zip(RUNTIMES, pool.map(lambda name: run_checks(machine, name), RUNTIMES)))


def test_the_machine_is_what_the_checks_need(machine):
    script = (
        "stat -fc %T /sys/fs/cgroup; cat /sys/module/apparmor/parameters/enabled; systemctl is-system-running;"
        " systemctl --failed --plain --no-legend; grep -c ' cgroup2 ' /proc/mounts; grep -c ' cgroup ' /proc/mounts"
    )
    assert machine.run(script).stdout.decode().split() == ["cgroup2fs", "Y", "running", "1", "0"]


@pytest.mark.parametrize("check", guest_checks.CHECKS)
@pytest.mark.parametrize("name", RUNTIMES)
def test_runtime(results, name, check):
    found = results[name][check]
    if found["outcome"] == "skipped":
        pytest.skip(found["text"])
    assert found["outcome"] == "passed", found["text"]


# What differs from Debian's runc, and why.
DIFFERENCES = {
    "cpu.weight": "runc since 1.3.2 and crun since 1.23 convert cpu.shares by another curve, and so does labrun",
    "cpu.weight.nice": "follows cpu.weight",
    "CPUWeight": "follows cpu.weight",
    "hugetlb.2MB.rsvd.max": "runc since 1.2 limits reservations, too, and so does labrun",
    "Description": "names the runtime",
    "DeviceAllow": "/dev/net/tun is a default device of current runc and of labrun; the pts are named by their number",
}


@pytest.mark.parametrize(
    ("check", "value"), [("limits", "settings"), ("systemd_scope", "settings"), ("systemd_scope", "scope")]
)
def test_same_as_runc(results, check, value):
    ours, theirs = (results[name][check]["values"].get(value) for name in ("labrun", "runc"))
    assert theirs, "runc's values are missing"
    assert ours, "labrun's values are missing"
    names = (set(ours) | set(theirs)) - set(DIFFERENCES)
    assert {name: ours.get(name) for name in names} == {name: theirs.get(name) for name in names}


def test_the_image_is_not_changed_by_the_machine(machine, results):
    """The guest wrote a lot; the image that the next machine boots from stays as it was built."""
    made = machine.image
    assert os.stat(made.disk).st_mtime < os.stat(os.path.join(machine.folder, "known_hosts")).st_mtime
    assert os.path.getsize(os.path.join(machine.folder, "disk.qcow2")) > 1 << 20
