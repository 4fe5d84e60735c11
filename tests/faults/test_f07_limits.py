# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""F07: a container at its limits: out of memory (137, and `events` tells of it), too many processes (EAGAIN)."""

from __future__ import annotations

import json
import subprocess

import pytest
from waiting import wait_for

pytestmark = pytest.mark.root

EAT = "busybox dd if=/dev/zero of=/dev/null bs=100M count=1"


@pytest.fixture
def limited(victim):
    """32 MiB of memory, without swap where the kernel can account it."""
    victim.config["linux"]["resources"]["memory"] = {"limit": 32 << 20}
    result = victim.run() if victim.config["process"].update(args=["/bin/true"]) is None else None
    if "controller" in result.stderr:
        pytest.skip("this host has no memory controller")
    assert result.returncode == 0, result.stderr
    return victim


def test_f07_out_of_memory_is_137(limited):
    limited.config["process"]["args"] = ["/bin/busybox", *EAT.split()[1:]]
    assert limited.run().returncode == 137
    assert limited.left() == []
    limited.config["linux"]["resources"]["memory"]["limit"] = 256 << 20  # the positive control
    result = limited.run()
    assert (result.returncode, result.stderr.count("records")) == (0, 2)


def test_f07_events_tells_of_it(limited):
    limited.shell(f"while [ ! -e /go ]; do sleep 0.05; done; {EAT}; echo $? >/code; sleep 1000")
    limited.begin()
    command = [str(limited.bundle.labrun_path), "--root", str(limited.bundle.state), "events", limited.name]
    output = limited.path / "events"
    with open(output, "w") as file:
        events = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=limited.environment)
    try:
        # The first statistics come at once or after an interval; what comes before the fault is no report of it.
        wait_for(lambda: output.stat().st_size or events.poll() is not None, 6)
        assert events.poll() is None, output.read_text()
        assert '"oom"' not in output.read_text()
        (limited.rootfs / "go").touch()
        assert wait_for(lambda: (limited.rootfs / "code").exists() and (limited.rootfs / "code").read_text())
        assert (limited.rootfs / "code").read_text().strip() == "137"
        assert wait_for(lambda: '"oom"' in output.read_text()), output.read_text()
        told = [json.loads(line) for line in output.read_text().splitlines()]
        assert {event["id"] for event in told} == {limited.name}
        assert "oom" in {event["type"] for event in told}
        assert limited.status() == "running"
        limited.must("delete", "--force", limited.name)
        assert events.wait(timeout=10) == 0  # the container's end is the stream's
    finally:
        if events.poll() is None:
            events.kill()
            events.wait()
    assert limited.left() == []


def test_f07_exec_that_runs_out_of_memory_is_137(limited):
    limited.config["process"]["args"] = ["/bin/sleep", "1000"]
    limited.begin()
    assert limited.labrun("exec", limited.name, "/bin/busybox", *EAT.split()[1:]).returncode == 137
    assert limited.status() == "running"
    limited.must("delete", "--force", limited.name)
    assert limited.left() == []


def test_f07_too_many_processes_is_eagain_inside_and_no_fault_outside(victim):
    victim.config["linux"]["resources"]["pids"] = {"limit": 6}
    victim.shell("for i in 1 2 3 4 5 6 7 8; do sleep 1000 & done; echo all")
    refused = victim.run()
    if "controller" in refused.stderr:
        pytest.skip("this host has no pids controller")
    assert refused.returncode != 0
    assert "Resource temporarily unavailable" in refused.stderr
    assert victim.left() == []
    victim.config["linux"]["resources"]["pids"]["limit"] = 20  # the positive control
    assert victim.run().stdout == "all\n"
    assert victim.left() == []


def test_f07_exec_into_a_full_container(victim):
    """The kernel lets a process into a full cgroup that moves there (v1), and refuses to clone one into it (v2)."""
    victim.config["linux"]["resources"]["pids"] = {"limit": 3}
    victim.shell("sleep 1000 & sleep 1000 & echo full >/full; wait")
    victim.begin()
    assert wait_for((victim.rootfs / "full").exists)
    result = victim.labrun("exec", victim.name, "/bin/sh", "-c", "echo fits; sleep 0 & wait")
    assert "Traceback" not in result.stderr
    assert len(result.stderr.splitlines()) == 1, result.stderr
    assert result.returncode != 0
    assert "temporarily unavailable" in result.stderr
    victim.must("delete", "--force", victim.name)
    assert victim.left() == []
