# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The main job, end to end: the playbook compare with every engine that this machine has, and with none."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

pytestmark = pytest.mark.root
REPOSITORY = Path(__file__).resolve().parent.parent.parent
SCHEMA = json.loads((REPOSITORY / "docs" / "results.schema.json").read_text())


def compare(output, given, *words, **environment):
    """Run the playbook as `make compare` does, with variables and further words; the document of results."""
    command = [sys.executable, "-m", "ansible", "playbook", "ocilab.hosts.compare", *words, "-e"]
    command.append(json.dumps({"compare_base_dir": str(output), **given}))
    variables = dict(os.environ, ANSIBLE_CONFIG=str(REPOSITORY / "playbooks" / "ansible.cfg"), **environment)
    result = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=600, check=False)
    assert result.returncode == 0, result.stdout[-3000:]
    assert "Report: " in result.stdout
    assert (output / "build/compare/report.html").exists()
    return json.loads((output / "build/compare/results/localhost.json").read_text())


@pytest.mark.parametrize("playbook", ["compare", "anatomy"])
def test_check_mode_leaves_nothing(tmp_path, playbook):
    before = host_state()
    words = [sys.executable, "-m", "ansible", "playbook", f"ocilab.hosts.{playbook}", "--check"]
    variables = dict(os.environ, ANSIBLE_CONFIG=str(REPOSITORY / "playbooks" / "ansible.cfg"), PWD=str(tmp_path))
    result = subprocess.run(words, env=variables, capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 0, result.stdout[-3000:]
    assert (list(tmp_path.iterdir()), host_state()) == ([], before)


def host_state():
    mounts = sorted(Path("/proc/self/mounts").read_text().splitlines())
    # Podman makes plain directories for controllers that are not mounted; they are no cgroups.
    cgroups = sorted(
        str(path)
        for path in Path("/sys/fs/cgroup").glob("*/*")
        if (path / "cgroup.procs").exists() and path.name != "docker"
    )
    listed = subprocess.run(
        ["lsns", "--noheadings", "--type", "net", "--output", "NS"], capture_output=True, text=True, check=True
    )
    networks = (sorted(listed.stdout.split()), os.listdir("/run/netns") if os.path.exists("/run/netns") else [])
    temporary = sorted(str(path) for path in Path("/tmp").glob("ocilab-*"))
    return mounts, cgroups, networks, temporary, os.listdir("/run/labrun") if os.path.exists("/run/labrun") else []


@pytest.mark.engines
def test_every_engine(tmp_path, dockerd):
    before = host_state()
    found = compare(tmp_path / "a space", {"compare_plan": {"samples": 8, "blocks": 4}}, DOCKER_HOST=dockerd)
    assert host_state() == before
    Draft202012Validator(SCHEMA).validate(found)
    for name in ("labrun", "labrun-module", "runc", "docker", "podman"):
        engine = found["engines"][name]
        assert engine["available"], engine["unavailable_reason"]
        for case in ("run_true", "lifecycle"):
            measured = engine["benchmarks"][case]
            assert measured["failures"] == [] and measured["left_out"] is None
            assert {len(measure["values"]) for measure in measured["measures"].values()} == {8}
        assert engine["isolation"]["failure"] is None
        assert engine["isolation"]["findings"]["capability"]["CAP_SYS_MODULE"] == "absent"
    assert found["info"]["docker"]["available"]
    assert found["machine"] == {"shared_with": [], "measured_alone": True}
    assert len(found["order"]) == 8 * 2 * 5


def test_labrun_alone_beside_a_host_that_is_not_reached(tmp_path):
    inventory = tmp_path / "inventory.yml"
    hosts = {
        "localhost": {"ansible_connection": "local", "ansible_python_interpreter": "/usr/bin/python3"},
        "away": {"ansible_host": "127.0.0.1", "ansible_port": 9},  # where nobody listens
    }
    # The inventory's variables count as those of a command line do.
    plan = {"samples": 3, "blocks": 1, "engines": ["labrun", "labrun-module", "docker"]}
    inventory.write_text(json.dumps({"all": {"hosts": hosts, "vars": {"compare_plan": plan}}}))
    words = ["-i", str(inventory), "-e", "compare_hosts=all"]
    before = host_state()
    found = compare(tmp_path, {}, *words, DOCKER_HOST=f"unix://{tmp_path}/none.sock")
    assert host_state() == before
    assert found["engines"]["docker"]["available"] is False
    assert found["engines"]["docker"]["unavailable_reason"]
    assert len(found["engines"]["labrun"]["benchmarks"]["run_true"]["measures"]["run"]["values"]) == 3
    away = json.loads((tmp_path / "build/compare/results/away.json").read_text())
    Draft202012Validator(SCHEMA).validate(away)
    assert "Connection refused" in away["unreachable"]
    assert "away" in (tmp_path / "build/compare/report.html").read_text()
