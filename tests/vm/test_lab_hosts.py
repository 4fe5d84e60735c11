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
from ansible_collections.ocilab.hosts.plugins.module_utils.machines import virtual

# Started by a caller that is killed in the midst.
START = (
    "import sys; from ansible_collections.ocilab.hosts.plugins.module_utils.machines import virtual;"
    "virtual.VirtualMachine(*sys.argv[1:]).start(lambda line: print(line, flush=True))"
)


def machine_processes(folder):
    """The process ids of what was started for the host in that folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cwd"):
        try:
            if Path(os.readlink(path)) == folder:
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


@pytest.mark.parametrize("name", ["", "../other", "a b", "-a", "a-", "A", "a.b", "a" * 64])
def test_a_name_that_is_no_host_name_is_refused(tmp_path, name):
    with pytest.raises(InvalidInput):
        virtual.VirtualMachine(name, str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_host_that_was_never_made_is_absent_and_removed_without_a_word(tmp_path):
    host = virtual.VirtualMachine("none", str(tmp_path))
    assert host.state() == {
        "name": "none",
        "backend": "vm",
        "release": "",
        "status": "absent",
        "address": "",
        "vars": {},
    }
    host.stop()
    host.remove()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.root
@pytest.mark.vm
def test_killed_callers_and_machines_are_mended(lab, host, progress):
    """A second host beside the first: its caller is killed, then its QEMU; its disk outlives both."""
    folder = lab / "second"
    caller = subprocess.Popen(
        [sys.executable, "-c", START, "second", str(lab)], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert any("booting" in line for line in caller.stdout), "it does not boot"
    while not machine_processes(folder):
        time.sleep(0.01)
    caller.kill()
    caller.wait()
    caller.stdout.close()
    second = virtual.VirtualMachine("second", str(lab))
    try:
        before = machine_processes(folder)
        assert second.state()["status"] == "starting"
        second.start(progress)  # takes the same one over
        assert machine_processes(folder) == before
        first, state = host.state(), second.state()
        assert (first["status"], state["status"]) == ("running", "running")
        assert first["vars"]["ansible_port"] != state["vars"]["ansible_port"]
        names = [made.machine().run("hostname; cat /etc/machine-id").stdout.split() for made in (host, second)]
        assert (names[0][0], names[1][0]) == (b"checks", b"second")
        assert names[0][1] != names[1][1]
        assert second.machine().run("echo kept >/root/file; sync").returncode == 0

        os.kill(before[0], signal.SIGKILL)
        while second.machine().is_running():
            time.sleep(0.05)
        assert (second.state()["status"], second.state()["vars"]) == ("stopped", {})
        second.start(progress)
        second.start(progress)  # nothing to do
        assert second.machine().run("cat /root/file").stdout == b"kept\n"
        begun = time.monotonic()
        second.stop()
        progress(f"machine: shut down after {time.monotonic() - begun:.0f} s")
        assert "ower down" in second.machine().console()
        assert second.state()["status"] == "stopped"
        assert machine_processes(folder) == []
    finally:
        second.remove()
    assert not folder.exists()
    assert second.state()["status"] == "absent"
    assert host.state()["status"] == "running"


@pytest.mark.root
@pytest.mark.vm
def test_a_host_is_removed_at_whatever_moment_its_caller_was_killed(lab, host):
    """Before QEMU's monitor is there, and with a QEMU that does not answer, the process is ended all the same."""
    folder = lab / "third"
    wanted = {"made": "vm.json", "executed": "qemu.log", "stopped": "monitor"}
    for moment, name in wanted.items():
        caller = subprocess.Popen(
            [sys.executable, "-c", START, "third", str(lab)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        while not (folder / name).exists():
            assert caller.poll() is None
            time.sleep(0.001)
        caller.kill()
        caller.wait()
        third = virtual.VirtualMachine("third", str(lab))
        if moment == "stopped":
            for pid in machine_processes(folder):
                os.kill(pid, signal.SIGSTOP)
        third.remove()
        assert machine_processes(folder) == [], moment
        assert sorted(path.name for path in lab.iterdir()) == ["checks"], moment


@pytest.mark.root
@pytest.mark.vm
def test_what_a_killed_removal_left_goes_with_the_next_one(tmp_path):
    (tmp_path / ".gone-host" / "image").mkdir(parents=True)
    host = virtual.VirtualMachine("host", str(tmp_path))
    host.remove()
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="session")
def inventory(host, tmp_path_factory):
    """An inventory with the host, as its state tells it: the user is not root, and becomes root."""
    path = tmp_path_factory.mktemp("inventory") / "hosts.json"
    variables = dict(host.state()["vars"], ansible_become=True)
    path.write_text(json.dumps({"all": {"hosts": {"checks": variables}}}))
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
        timeout=600,
        env=dict(os.environ, ANSIBLE_SSH_PIPELINING="1", ANSIBLE_LOCALHOST_WARNING="0", ANSIBLE_HOME=str(tmp_path)),
    )
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-1000:]
