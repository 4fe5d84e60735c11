# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The adapters of engines that want a host of their own: all that the playbook provision brings, on one lab host."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import columns
import pytest
from lab_hosts import ANSIBLE

pytestmark = [pytest.mark.root, pytest.mark.engines, pytest.mark.slow]
REPOSITORY = Path(__file__).resolve().parents[2]
COLLECTION = "/srv/collection/ansible_collections/ocilab/hosts"
PACKAGES = {"owner": "test", "name": ["python3-grpcio", "busybox-static"]}
COLUMNS = [
    *("labrun", "labrun-module", "runc", "crun", "runsc"),
    *("docker", "docker+crun", "docker+runsc", "docker+labrun"),
    *("podman", "podman+runc", "podman+crun", "podman+runsc", "podman+labrun", "podman-rootless"),
    *("containerd", "containerd+crun", "containerd+labrun", "lxc"),
]
ABSENT = {"youki": "not installed", "containerd+runsc": "containerd-shim-runsc-v1", "crio": "not installed"}


@pytest.fixture(scope="module")
def found(lab, tmp_path_factory):
    """What was seen of each column there."""
    name = lab.names[2]
    known = dict(lab.bring([name], release="bookworm")[0]["vars"])
    folder = tmp_path_factory.mktemp("adapters")
    inventory, play = folder / "inventory.json", folder / "play.yml"
    inventory.write_text(json.dumps({"all": {"hosts": {name: known}}}))
    play.write_text(json.dumps([{"hosts": "all", "tasks": [{"ocilab.hosts.engine_packages": PACKAGES}]}]))
    words = [sys.executable, "-m", "ansible", "playbook", "-i", str(inventory)]
    for more in (["ocilab.hosts.provision", "-e", json.dumps({"podman_users": [{"name": "student"}]})], [str(play)]):
        done = subprocess.run([*words, *more], env=ANSIBLE, capture_output=True, text=True, timeout=1800, check=False)
        assert done.returncode == 0, done.stdout
    inside = [str(lab.labrun_path), "--root", str(lab.root), "exec", name]
    pack = ["tar", "-C", str(REPOSITORY), "-c", "--exclude=__pycache__", "plugins/module_utils"]
    code = subprocess.run(pack, capture_output=True, check=True).stdout
    lab.shell(name, f"mkdir -p {COLLECTION}")
    subprocess.run([*inside, "tar", "-C", COLLECTION, "-x"], input=code, check=True, timeout=60)
    program = Path(columns.__file__).read_bytes()
    inside += ["python3", "-", "/srv/collection", *COLUMNS, *ABSENT]
    done = subprocess.run(inside, input=program, capture_output=True, timeout=1800, check=False)
    assert done.returncode == 0, done.stderr.decode()
    yield {line["column"]: line["seen"] for line in map(json.loads, done.stdout.splitlines())}
    lab.bring(state="absent")


@pytest.mark.parametrize("column", COLUMNS)
def test_whole_interface(found, column):
    columns.judge(column, found[column])


@pytest.mark.parametrize("column", ABSENT)
def test_what_cannot_be_used_is_told(found, column):
    assert ABSENT[column] in found[column]["unavailable"]


def test_what_is_told_of_a_host(found):
    assert "student" in found["podman-rootless"]["notes"]
    assert "icc" in found["docker"]["notes"]
    units = {part["role"]: part["unit"] for part in found["docker"]["components"]}
    assert (units["daemon"], units["high-level runtime"]) == ("docker.service", "containerd.service")
    paths = {part["role"]: part["path"] for part in found["containerd+crun"]["components"]}
    assert paths["low-level runtime"] == "/usr/bin/crun"
