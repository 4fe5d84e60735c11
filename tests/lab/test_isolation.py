# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The isolation of all engines that the playbook provision brings, on one lab host, by the module."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from ansible_collections.ocilab.hosts.plugins.module_utils.isolation import calls
from lab_hosts import ANSIBLE

pytestmark = [pytest.mark.root, pytest.mark.engines, pytest.mark.slow]
COLUMNS = [
    *("labrun", "labrun-module", "runc", "crun", "runsc"),
    *("docker", "docker+crun", "docker+runsc", "docker+labrun"),
    *("podman", "podman+runc", "podman+crun", "podman+labrun", "podman-rootless"),
    *("containerd", "containerd+crun", "containerd+labrun", "lxc"),
]
TOPICS = {"capability", "seccomp", "process", "namespace", "id_map", "device", "mount", "lsm", "environment", "host"}
PLACES = {"store": "{{ work.path }}/images", "layers": "{{ work.path }}/layers"}
TASKS = [
    {"ocilab.hosts.engine_packages": {"owner": "test", "name": ["python3-grpcio", "busybox-static"]}},
    {"ansible.builtin.tempfile": {"state": "directory"}, "register": "work"},
    {"ansible.builtin.include_role": {"name": "ocilab.hosts.busybox"}, "vars": {"busybox_dir": "{{ work.path }}"}},
    {"ocilab.hosts.labrun_image": {"name": "lab/b:1", "source": "{{ work.path }}/rootfs", **PLACES}},
    {"ocilab.hosts.engine_isolation": {"image": "lab/b:1", **PLACES}, "register": "found"},
    {"ansible.builtin.copy": {"content": "{{ found | to_json }}", "dest": "{{ told }}"}, "delegate_to": "localhost"},
]


@pytest.fixture(scope="module")
def isolation(lab, tmp_path_factory):
    """The rows of all columns there."""
    name = lab.names[3]
    known = dict(lab.bring([name], release="bookworm")[0]["vars"])
    folder = tmp_path_factory.mktemp("isolation")
    inventory, play, told = folder / "inventory.json", folder / "play.yml", folder / "told.json"
    inventory.write_text(json.dumps({"all": {"hosts": {name: known}}}))
    play.write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": TASKS}]))
    words = [sys.executable, "-m", "ansible", "playbook", "-i", str(inventory)]
    users = json.dumps({"podman_users": [{"name": "student"}]})
    for more in (["ocilab.hosts.provision", "-e", users], [str(play), "-e", f"told={told}"]):
        done = subprocess.run([*words, *more], env=ANSIBLE, capture_output=True, text=True, timeout=900, check=False)
        assert done.returncode == 0, done.stdout
    yield json.loads(told.read_text())["isolation"]
    lab.bring(state="absent")


@pytest.mark.parametrize("column", COLUMNS)
def test_each_tells_of_itself(isolation, column):
    row = isolation[column]
    assert row["failure"] is None
    assert set(row["findings"]) >= TOPICS
    assert set(row["findings"]["syscall"]) == {call.name for call in calls.of("x86_64")}
    assert row["findings"]["namespace"]["pid"] == "own"
    assert row["findings"]["syscall"]["mount"] != "allowed" or row["findings"]["namespace"]["user"] == "own"


def test_what_sets_engines_apart(isolation):
    found = {name: row["findings"] for name, row in isolation.items()}
    assert found["docker"]["host"]["uid"] == found["podman"]["host"]["uid"] == "0"
    assert found["podman-rootless"]["host"]["uid"] != "0"
    assert found["podman-rootless"]["namespace"]["user"] == "own"
    assert found["docker"]["seccomp"] == found["podman"]["seccomp"] == {"mode": "filter"}
    assert found["runsc"]["host"]["command"] != "sleep"  # the sandbox is what the host sees
    assert "containerd" in found["docker"]["host"]["parent"]
    assert found["podman"]["host"]["parent"] == "conmon"
