# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lab hosts that are virtual machines: their life, what a killed caller leaves, and Ansible's modules in one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ansible_collections.ocilab.hosts.plugins.module_utils.linux.errors import InvalidInput
from ansible_collections.ocilab.hosts.plugins.module_utils.machines import lab as labs
from lab_hosts import bring

# Started by a caller that is killed in the midst.
START = (
    "import sys; from ansible_collections.ocilab.hosts.plugins.module_utils.machines import lab as labs;"
    "lab = labs.Lab(labs.Places(*sys.argv[2:]));"
    "lab.carry_out([labs.Definition(sys.argv[1], 'vm')], 'started', 60, None, lambda line: print(line, flush=True))"
)


def start_and_kill(lab, name, wanted):
    """The start of a lab host, whose caller is killed when the file is there."""
    places = lab.places
    arguments = [os.path.dirname(places.lab), places.root, places.store, places.layers]
    caller = subprocess.Popen(
        [sys.executable, "-c", START, name, *arguments], stdout=subprocess.DEVNULL, start_new_session=True
    )
    while not wanted.exists():
        assert caller.poll() is None
        time.sleep(0.001)
    caller.kill()
    caller.wait()


def machine_processes(folder):
    """The process ids of what was started for the machine in that folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cwd"):
        try:
            if Path(os.readlink(path)) == folder:
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


@pytest.mark.parametrize("options", [{"image": "lab/debian:1"}, {"cpus": 1.5}])
def test_what_a_virtual_machine_cannot_have_is_refused(options):
    labs.Definition("good", **options)
    with pytest.raises(InvalidInput, match="virtual machine"):
        labs.Definition("bad", "vm", **options)


@pytest.mark.root
@pytest.mark.vm
def test_killed_callers_and_machines_are_mended(lab, host):
    """A second host beside the first: its caller is killed, then its QEMU; its disk outlives both."""
    second = labs.Definition("second", "vm", host.definition.release)
    folder = Path(lab.places.lab, "second", "machine")
    start_and_kill(lab, "second", folder / "monitor")
    try:
        before = machine_processes(folder)
        assert len(before) == 1
        assert lab.state("second")["status"] == "starting"
        assert bring(lab, second, "started") == ["stop", "start"]
        assert len(machine_processes(folder)) == 1
        states = [lab.state(name) for name in ("checks", "second")]
        assert [state["status"] for state in states] == ["running", "running"]
        assert len({state["vars"]["ansible_port"] for state in states}) == 2
        machines = [host.machine(), lab.backend(second).machine()]
        names = [machine.run("hostname; cat /etc/machine-id").stdout.split() for machine in machines]
        assert (names[0][0], names[1][0]) == (b"checks", b"second")
        assert names[0][1] != names[1][1]
        assert machines[1].run("echo kept >/root/file; sync").returncode == 0

        os.kill(machine_processes(folder)[0], signal.SIGKILL)
        while machines[1].is_running():
            time.sleep(0.05)
        state = lab.state("second")
        assert state["status"] == "stopped"
        assert "ansible_port" not in state["vars"]
        assert bring(lab, second, "started") == ["start"]
        assert bring(lab, second, "started") == []
        assert machines[1].run("cat /root/file").stdout == b"kept\n"
        assert bring(lab, second, "stopped") == ["stop"]
        assert "ower down" in machines[1].console()
        assert lab.state("second")["status"] == "stopped"
        assert machine_processes(folder) == []
    finally:
        bring(lab, second, "absent")
    assert not folder.parent.exists()
    assert lab.state("checks")["status"] == "running"


@pytest.mark.root
@pytest.mark.vm
@pytest.mark.parametrize(
    "moment",
    ["alive"]
    + [
        pytest.param(name, marks=pytest.mark.slow)
        for name in ("image/vmlinuz", "disk.qcow2", "qemu.log", "monitor", "deaf")
    ],
)
def test_a_host_is_removed_at_whatever_moment_its_caller_was_killed(lab, host, moment):
    """Also before QEMU's monitor is there, and with a QEMU that does not answer: the process is ended all the same."""
    folder = Path(lab.places.lab, "third", "machine")
    start_and_kill(lab, "third", folder / ("monitor" if moment == "deaf" else moment))
    if moment == "deaf":
        for pid in machine_processes(folder):
            os.kill(pid, signal.SIGSTOP)
    bring(lab, labs.Definition("third", "vm"), "absent")
    assert machine_processes(folder) == []
    assert [name for name in os.listdir(lab.places.lab) if not name.startswith("@")] == ["checks"]


@pytest.fixture(scope="session")
def inventory(lab, host, tmp_path_factory):
    """An inventory with the host, as its state tells it."""
    path = tmp_path_factory.mktemp("inventory") / "hosts.json"
    path.write_text(json.dumps({"all": {"hosts": {"checks": lab.state("checks")["vars"]}}}))
    return path


PLAY = Path(__file__).parent / "smoke.yml"


@pytest.mark.root
@pytest.mark.vm
def test_labrun_by_ansible_over_ssh_as_a_user_who_becomes_root(inventory, tmp_path):
    """The smoke test on cgroup v2: an image, a bundle, a container with limits; what they leave is nothing."""
    result = subprocess.run(
        [sys.executable, "-m", "ansible", "playbook", "-i", str(inventory), str(PLAY)],
        capture_output=True,
        text=True,
        check=False,
        timeout=1800,
        env=dict(os.environ, ANSIBLE_SSH_PIPELINING="1", ANSIBLE_LOCALHOST_WARNING="0", ANSIBLE_HOME=str(tmp_path)),
    )
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-1000:]
