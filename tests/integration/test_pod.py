# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pods: their containers share namespaces, come and go, and go with the pod."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from ansible_collections.ocilab.hosts.plugins.module_utils.images import rootfs as importing
from ansible_collections.ocilab.hosts.plugins.module_utils.images.store import Store
from test_modules import module

pytestmark = pytest.mark.root


@pytest.fixture
def pod(tmp_path, rootfs):
    """The arguments of a pod that is not there yet, and those of a container in it."""
    importing.import_rootfs(Store(str(tmp_path / "images")), str(rootfs), "lab/busybox:1", {"Cmd": ["/bin/true"]})
    name = f"pod-{os.getpid()}"
    places = {"root": str(tmp_path / "state"), "data_root": str(tmp_path / "data"), "stop_timeout": 1}
    image = {"image": "lab/busybox:1", "store": str(tmp_path / "images"), "layers": str(tmp_path / "layers")}
    yield dict(places, name=name), dict(places, **image, pod=name)
    module("labrun_pod", state="absent", **dict(places, name=name))


def four_steps(folder, **arguments):
    """Check, run, run again, check again; what the run returned. The host's mounts are others' as well."""

    def files():
        return sorted(str(path) for path in folder.rglob("*"))

    before = files()
    predicted = module("labrun_pod", check=True, **arguments)
    assert predicted["changed"] is True, predicted
    assert files() == before
    done = module("labrun_pod", **arguments)
    assert (done["changed"], done["actions"]) == (True, predicted["actions"]), done
    assert module("labrun_pod", **arguments)["changed"] is False
    assert module("labrun_pod", check=True, **arguments)["changed"] is False
    return done


def namespaces(result):
    pid = (result.get("pod") or result.get("container"))["pid"]
    return {kind: os.readlink(f"/proc/{pid}/ns/{kind}") for kind in ("net", "ipc", "uts", "pid", "mnt", "cgroup")}


def test_containers_share_a_network_and_go_with_the_pod(pod, tmp_path):
    own, member = pod
    before = four_steps(tmp_path, **own)
    assert before["pod"]["status"] == "running" and before["members"] == []
    server = dict(member, name=own["name"] + "-a", command=["/bin/busybox", "httpd", "-f", "-p", "7000", "-h", "/etc"])
    made = module("labrun_container", **server)
    assert made["container"]["status"] == "running", made
    client = module("labrun_container", **dict(member, name=own["name"] + "-b", command=["/bin/sleep", "1000"]))
    shared = [namespaces(result) for result in (before, made, client)]
    for kind in ("net", "ipc", "uts"):
        assert len({each[kind] for each in shared}) == 1
    for kind in ("pid", "mnt", "cgroup"):
        assert len({each[kind] for each in shared}) == 3

    ask = ["/bin/busybox", "wget", "-q", "-O", "-", "http://127.0.0.1:7000/group"]
    asked = {"name": own["name"] + "-b", "root": own["root"], "command": ask}
    assert "lab:x:2000:student" in module("labrun_exec", **asked)["stdout"]

    again = module("labrun_container", **dict(server, env={"ANEW": "1"}))  # the pod outlives its container
    assert again["actions"] == ["delete", "create", "start"]
    assert namespaces(again)["net"] == shared[0]["net"]
    assert "lab:x:2000:student" in module("labrun_exec", **asked)["stdout"]
    assert module("labrun_container", **dict(server, env={"ANEW": "1"}))["changed"] is False

    removed = four_steps(tmp_path / "state", state="absent", **own)
    assert removed["member_actions"] == {own["name"] + letter: ["delete"] for letter in ("-a", "-b")}
    assert not [path for path in (tmp_path / "state").iterdir() if not path.name.startswith("@")]
    assert str(tmp_path) not in Path("/proc/self/mounts").read_text()


def test_a_pod_that_is_started_again_has_its_containers_made_anew(pod):
    own, member = pod
    module("labrun_pod", **own)
    sleeper = dict(member, name=own["name"] + "-a", command=["/bin/sleep", "1000"])
    module("labrun_container", **sleeper)
    stopped = module("labrun_pod", state="stopped", **own)
    assert stopped["pod"]["status"] == "stopped" and stopped["members"][0]["status"] == "stopped"
    assert stopped["pod"]["exit_code"] == 0  # by SIGTERM, at once
    refused = module("labrun_container", **dict(sleeper, env={"ANEW": "1"}))
    assert "is stopped; start it with labrun_pod" in refused["msg"]
    started = module("labrun_pod", **own)
    assert started["actions"] == ["delete", "create", "start"]
    made = module("labrun_container", **sleeper)
    assert namespaces(made)["net"] == namespaces(started)["net"]


def test_shared_processes_are_seen_and_reaped(pod):
    own, member = pod
    made = module("labrun_pod", share_processes=True, **own)
    script = "(/bin/sleep 0.1 &); exec /bin/sleep 1000"
    container = module("labrun_container", **dict(member, name=own["name"] + "-a", command=["/bin/sh", "-c", script]))
    assert namespaces(container)["pid"] == namespaces(made)["pid"]
    pid = made["pod"]["pid"]
    deadline = time.monotonic() + 10
    while Path(f"/proc/{pid}/task/{pid}/children").read_text().strip() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert Path(f"/proc/{pid}/task/{pid}/children").read_text().strip() == ""


def test_what_is_the_pods_and_what_is_none(pod):
    own, member = pod
    wanted = dict(member, name=own["name"] + "-a", command=["/bin/sleep", "1000"])
    assert "make it with labrun_pod" in module("labrun_container", **wanted)["msg"]
    assert "is the pod's" in module("labrun_container", **dict(wanted, hostname="other"))["msg"]
    plain = {key: value for key, value in wanted.items() if key != "pod"}
    try:
        module("labrun_container", **plain)
        assert "is a container" in module("labrun_pod", **dict(own, name=plain["name"]))["msg"]
        assert "no pod" in module("labrun_container", **dict(wanted, name=own["name"] + "-b", pod=plain["name"]))["msg"]
    finally:
        places = {key: plain[key] for key in ("name", "root", "data_root", "stop_timeout")}
        module("labrun_container", state="absent", **places)
    module("labrun_pod", **own)
    assert "use the module labrun_pod" in module("labrun_container", **dict(plain, name=own["name"]))["msg"]
