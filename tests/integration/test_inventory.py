# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The inventory plugin: containers as hosts, their groups and variables, and what a label can do."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import connections
import pytest
from ansible_collections.ocilab.hosts.plugins.module_utils.labrun import container as life

pytestmark = pytest.mark.root

LABEL = "ocilab.hosts.label."


@pytest.fixture
def three(bundle):
    """Three containers: two that run, with labels, and one that has stopped."""
    bundle.config["process"]["args"] = ["/bin/sleep", "1000"]
    made = {}
    for name, notes in (
        (
            "web",
            {LABEL + "course": "containers", LABEL + "role": "front", "ocilab.hosts.image": "lab/busybox:1@sha256:0"},
        ),
        ("db", {LABEL + "course": "other"}),
        ("gone", {}),
    ):
        bundle.config["annotations"] = notes
        bundle.write()
        made[name] = life.create(name, str(bundle.path), str(bundle.state))
        made[name].start()
    made["gone"].kill(9)
    made["gone"].wait()
    (bundle.state / "@networks").mkdir()  # what is no container's
    return bundle


def listed(folder, state, options="", name="my.labrun.yml"):
    path = folder / name
    path.write_text(f"plugin: ocilab.hosts.labrun\nroot: {state}\n{options}")
    words = [sys.executable, "-m", "ansible", "inventory", "-i", str(path), "--list"]
    result = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout), result.stderr


def test_containers_are_hosts_with_their_groups(three, tmp_path):
    found, _told = listed(tmp_path, three.state)
    variables = found["_meta"]["hostvars"]
    assert set(variables) == {"web", "db"}
    web = variables["web"]
    assert (web["ansible_connection"], web["ansible_host"]) == (connections.NAME, "web")
    assert web["labrun_pid"] == life.Container("web", str(three.state)).pid
    assert web["labrun_labels"] == {"course": "containers", "role": "front"}
    assert web["labrun_networks"] == []
    members = {group: entry["hosts"] for group, entry in found.items() if "hosts" in entry}
    assert members == {
        "status_running": ["web", "db"] if members["status_running"][0] == "web" else ["db", "web"],
        "image_lab_busybox_1": ["web"],
        "label_course_containers": ["web"],
        "label_course_other": ["db"],
        "label_role_front": ["web"],
    }


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ("labels: {course: containers}", {"web"}),
        ("labels: {course: ''}", {"web", "db"}),
        ("labels: {course: containers, role: back}", set()),
        ("statuses: [stopped]", {"gone"}),
        ("statuses: [running, stopped]", {"web", "db", "gone"}),
    ],
)
def test_only_what_is_asked_for(three, tmp_path, options, names):
    found, _told = listed(tmp_path, three.state, options)
    assert set(found["_meta"].get("hostvars", {})) == names


def test_groups_and_variables_can_be_made_of_them(three, tmp_path):
    options = """
keyed_groups: [{key: labrun_labels.role | default('none'), prefix: role}]
groups: {fronts: labrun_labels.role | default('') == 'front'}
compose: {first_label: labrun_labels.keys() | sort | first}
"""
    found, _told = listed(tmp_path, three.state, options, "labrun.yaml")
    assert (found["role_front"]["hosts"], found["role_none"]["hosts"]) == (["web"], ["db"])
    assert found["fronts"]["hosts"] == ["web"]
    assert found["_meta"]["hostvars"]["db"]["first_label"] == "course"


def test_other_files_are_not_taken(three, tmp_path):
    found, told = listed(tmp_path, three.state, name="other.yml")
    assert not found["_meta"].get("hostvars"), told


def test_a_label_is_never_run_as_a_template(bundle, tmp_path):
    """Case A05: what a container says of itself is data, to Ansible and to the task that shows it."""
    marker = tmp_path / "ran"
    label = "{{ lookup('ansible.builtin.pipe', 'touch %s') }}" % marker
    bundle.config["annotations"] = {LABEL + "evil": label}
    connections.running(bundle)
    found, _told = listed(tmp_path, bundle.state)
    assert found["_meta"]["hostvars"][bundle.name]["labrun_labels"]["evil"] == {"__ansible_unsafe": label}
    words = [sys.executable, "-m", "ansible", "adhoc", "-i", str(tmp_path / "my.labrun.yml"), "all", "-c", "local"]
    words += ["-m", "ansible.builtin.debug", "-a", "var=labrun_labels"]
    shown = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert bundle.name in shown.stdout
    assert not marker.exists()
    control = tmp_path / "control"
    words[-1] = "msg={{ lookup('ansible.builtin.pipe', 'touch %s') }}" % control
    subprocess.run(words, capture_output=True, timeout=120, check=False)
    assert control.exists()


def test_a_playbook_runs_on_what_it_lists(bundle, tmp_path):
    connections.running(bundle)
    (tmp_path / "labrun.yml").write_text(f"plugin: ocilab.hosts.labrun\nroot: {bundle.state}\n")
    words = [sys.executable, "-m", "ansible", "adhoc", "-i", str(tmp_path / "labrun.yml"), "status_running"]
    words += ["-m", "ansible.builtin.raw", "-a", "echo in $(ls /proc | grep -c self)"]
    environment = dict(os.environ, ANSIBLE_NOCOLOR="1")
    result = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert "in " in result.stdout and result.returncode == 0, result.stdout + result.stderr
