# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules through Ansible, in four steps each: check mode, run, run again, check again; removal likewise."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ansible_collections.ocilab.hosts.plugins.module_utils.labrun import container

pytestmark = pytest.mark.root


def module(of_name, check=False, **arguments):
    """Run a module on this machine; its result."""
    command = [sys.executable, "-m", "ansible", "adhoc", "localhost", "-m", f"ocilab.hosts.{of_name}"]
    command += ["-a", json.dumps(arguments)] if arguments else []
    command += ["--check"] if check else []
    environment = dict(os.environ, ANSIBLE_STDOUT_CALLBACK="ansible.builtin.minimal", ANSIBLE_NOCOLOR="1")
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    if result.stdout.strip() == "localhost | SKIPPED":  # all that is shown then
        return {"changed": False, "skipped": True, "failed": False}
    return dict(json.loads(result.stdout.partition(" => ")[2]), failed=result.returncode != 0)


@pytest.fixture
def places(tmp_path):
    return {"store": str(tmp_path / "images"), "layers": str(tmp_path / "layers")}


def snapshot(path):
    """All that a module could have changed: files, mounts, cgroups, state."""
    files = sorted(str(item) for item in path.rglob("*") if "tree" not in item.parts)
    cgroups = sorted(str(item) for item in Path("/sys/fs/cgroup").glob("*/labrun-*"))
    return files, Path("/proc/self/mounts").read_text(), cgroups


def four_steps(watched, of_name, keys=(), **arguments):
    """Check, run, run again, check again; what the run returned."""
    before = snapshot(watched)
    predicted = module(of_name, check=True, **arguments)
    assert predicted["changed"] is True, predicted
    assert snapshot(watched) == before
    done = module(of_name, **arguments)
    assert done["changed"] is True
    for key in keys:
        assert done[key] == predicted[key]
    assert module(of_name, **arguments)["changed"] is False
    assert module(of_name, check=True, **arguments)["changed"] is False
    return done


def test_image_bundle_and_container(tmp_path, rootfs, places):
    image = {
        "name": "lab/busybox:1",
        "source": str(rootfs),
        "config": {"cmd": ["/bin/true"], "user": "student"},
        **places,
    }
    four_steps(tmp_path, "labrun_image", keys=("image",), **image)
    bundle = {"path": str(tmp_path / "bundle"), "image": "lab/busybox:1", "memory": "64M", **places}
    made = four_steps(tmp_path, "labrun_bundle", keys=("config",), **bundle)
    assert made["config"]["process"]["user"] == {"uid": 1000, "gid": 1001, "additionalGids": [2000]}
    four_steps(tmp_path, "labrun_bundle", path=bundle["path"], state="absent")

    container = {"name": "module-test", "root": str(tmp_path / "state"), "data_root": str(tmp_path / "data")}
    script = "echo out; echo problem >&2; trap 'exit 3' TERM; while :; do sleep 0.1; done"
    wanted = dict(container, image="lab/busybox:1", command=["/bin/sh", "-c", script], pids_limit=20, **places)
    try:
        done = four_steps(tmp_path, "labrun_container", keys=("actions",), **wanted)
        assert done["container"]["status"] == "running"
        again = module("labrun_container", **dict(wanted, memory="32M", explain=True))
        assert again["actions"] == ["delete", "create", "start"]
        assert [step["step"] for step in again["explain"]] == [
            "stop",
            "delete",
            "receive_bundle",
            "create_namespaces",
            "create_cgroup",
            "build_rootfs",
            "become_process",
            "start",
        ]
        assert all(step["system_calls"] for step in again["explain"])
        stopped = four_steps(tmp_path, "labrun_container", state="stopped", **container)
        assert stopped["container"]["exit_code"] == 3
        log = Path(stopped["container"]["log_path"]).read_text().splitlines()
        assert [line.split(" ", 1)[1] for line in log] == ["stdout F out", "stderr F problem"]
        shown = module("labrun_container_info", name="module-test", root=container["root"])
        assert shown["containers"][0]["status"] == "stopped"
    finally:
        module("labrun_container", state="absent", stop_timeout=0, **container)
    assert module("labrun_container", state="absent", **container)["changed"] is False
    four_steps(tmp_path, "labrun_image", name="lab/busybox:1", state="absent", **places)
    assert list((tmp_path / "layers").iterdir()) == []


def test_a_monitor_becomes_small_and_stays_at_work(bundle, tmp_path):
    """Some seconds after the start it is a bare interpreter, which has the log and the exit code to keep still."""
    bundle.config["process"]["args"] = ["/bin/sh", "-c", "echo one; sleep 9; echo two; printf end; exit 7"]
    bundle.write()
    places = {"root": str(tmp_path / "monitored"), "data_root": str(tmp_path / "data")}
    try:
        made = module("labrun_container", name=bundle.name, bundle=str(bundle.path), **places)
        journal = (tmp_path / "monitored" / bundle.name / "journal").read_text().splitlines()
        (monitor,) = [json.loads(line)["pid"] for line in journal if '"monitor"' in line]
        deadline = time.monotonic() + 30
        while b"-IS" not in Path(f"/proc/{monitor}/cmdline").read_bytes() and time.monotonic() < deadline:
            time.sleep(0.1)
        time.sleep(0.5)
        assert Path(f"/proc/{monitor}/comm").read_text() == "labrun-monitor\n"
        lines = Path(f"/proc/{monitor}/smaps_rollup").read_text().splitlines()
        assert sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) < 6 << 10
        while Path(f"/proc/{monitor}").exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        (shown,) = module("labrun_container_info", name=bundle.name, root=places["root"])["containers"]
        assert (shown["status"], shown["exit_code"]) == ("stopped", 7)
        log = Path(made["container"]["log_path"]).read_text().splitlines()
        assert [line.split(" ", 1)[1] for line in log] == ["stdout F one", "stdout F two", "stdout P end"]
    finally:
        module("labrun_container", name=bundle.name, state="absent", stop_timeout=0, **places)


def test_several_containers_by_one_call(bundle, tmp_path):
    """Each with a monitor and a log of its own; bad input changes nothing, and check mode tells of it."""
    names = [f"{bundle.name}-{letter}" for letter in "abc"]
    places = {"root": str(tmp_path / "several"), "data_root": str(tmp_path / "data")}
    wanted = dict(places, bundle=str(bundle.path))
    bundle.config["process"]["args"] = []
    bundle.write()
    assert "process.args: missing" in module("labrun_container", check=True, name=names, **wanted)["msg"]
    bundle.config["process"]["args"] = ["/bin/sh", "-c", "echo ran; exec sleep 100"]
    bundle.write()
    try:
        refused = module("labrun_container", name=[*names, "a/b"], **wanted)
        assert "container id" in refused["msg"]
        assert not (tmp_path / "several").exists()
        done = four_steps(tmp_path, "labrun_container", name=names, **wanted)
        assert [entry["name"] for entry in done["containers"]] == names
        assert {entry["container"]["status"] for entry in done["containers"]} == {"running"}
        journals = [(tmp_path / "several" / name / "journal").read_text().splitlines() for name in names]
        monitors = {json.loads(line)["pid"] for lines in journals for line in lines if '"monitor"' in line}
        assert len(monitors) == len(names)
        for entry in done["containers"]:
            assert Path(entry["container"]["log_path"]).read_text().endswith("stdout F ran\n")
        part = module("labrun_container", name=[names[0], names[2]], state="absent", stop_timeout=0, **places)
        assert [entry["actions"] for entry in part["containers"]] == [["delete"], ["delete"]]
        again = module("labrun_container", name=names, **wanted)
        assert [entry["actions"] for entry in again["containers"]] == [["create", "start"], [], ["create", "start"]]
    finally:
        module("labrun_container", name=names, state="absent", stop_timeout=0, **places)


def test_one_of_several_containers_fails(bundle, tmp_path):
    """Those before it and those that were under way run, none is half-made, and of the rest none is begun."""
    bundle.config["process"]["args"] = ["/bin/sleep", "100"]
    bundle.write()
    names = [f"{bundle.name}-{number}" for number in range(len(os.sched_getaffinity(0)) + 4)]
    root = tmp_path / "several"
    root.mkdir()
    places = {"root": str(root), "data_root": str(tmp_path / "data")}
    (root / names[1]).touch()  # seen only when the folder of its state is made
    try:
        failed = module("labrun_container", name=names, bundle=str(bundle.path), **places)
        assert "exists already" in failed["msg"]
        made = {name: container.Container(name, str(root)) for name in names if (root / name).is_dir()}
        assert set(made) == {names[0], *names[2 : len(made) + 1]}
        assert names[-1] not in made
        assert {one.state()["status"] for one in made.values()} == {"running"}
        (root / names[1]).unlink()
        done = module("labrun_container", name=names, bundle=str(bundle.path), **places)
        assert {entry["container"]["status"] for entry in done["containers"]} == {"running"}
        assert [entry["name"] for entry in done["containers"] if not entry["actions"]] == list(made)
    finally:
        module("labrun_container", name=names, state="absent", stop_timeout=0, **places)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("labrun_image", {"name": "../x", "source": "/"}, "not a name by the distribution specification"),
        ("labrun_image", {"name": "lab/x", "source": "/nowhere"}, "no such file"),
        ("labrun_image", {"name": "lab/x"}, "not in the store"),
        ("labrun_bundle", {"path": "/nowhere/b", "image": "lab/none"}, "not in the store"),
        ("labrun_container", {"name": "a/b", "state": "absent"}, "container id"),
        ("labrun_container", {"name": "x", "bundle": "/nowhere"}, "there is no config.json"),
    ],
)
def test_bad_input_is_one_clear_line(tmp_path, places, name, arguments, message):
    extra = places if "image" in name or "bundle" in name else {}
    before = snapshot(tmp_path)
    result = module(name, **arguments, **extra)
    assert result["failed"] is True
    assert message in result["msg"]
    assert len(result["msg"].splitlines()) == 1
    assert snapshot(tmp_path) == before


def test_the_host_is_described():
    found = module("container_host_info")["container_host"]
    assert found["cgroups"]["mode"] in ("v1", "hybrid", "v2")
    assert found["namespaces"]["pid"] is True
    assert found["engines"]["labrun"]["available"] is True
