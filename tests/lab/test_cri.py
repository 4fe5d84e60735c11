# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The CRI adapter with a real containerd, on lab hosts that ask no registry, and the modules that are made of it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from lab_hosts import ANSIBLE

pytestmark = [pytest.mark.root, pytest.mark.engines, pytest.mark.slow]
PLUGINS = Path(__file__).resolve().parents[2] / "plugins"
COLLECTION = "/srv/collection/ansible_collections/ocilab/hosts"
PLAY = """
- hosts: all
  gather_facts: false
  tasks:
    - ansible.builtin.include_role: {name: ocilab.hosts.containerd}
    - ocilab.hosts.engine_packages: {owner: test, name: [python3-grpcio, busybox-static]}
"""
SOCKET = "/run/containerd/containerd.sock"


@pytest.fixture(scope="module", params=["bookworm", "trixie"])
def host(request, lab, tmp_path_factory):
    """A lab host with containerd by its role; its name, and how Ansible reaches it."""
    name = lab.names[1]
    lab.bring([name], release=request.param)
    folder = tmp_path_factory.mktemp("cri")
    known = dict(lab.bring([name], "created")[0]["vars"])
    inventory = folder / "inventory.json"
    inventory.write_text(json.dumps({"all": {"hosts": {name: known}}}))
    (folder / "play.yml").write_text(PLAY)
    words = [sys.executable, "-m", "ansible", "playbook", "-i", str(inventory), str(folder / "play.yml")]
    for changes in (True, False):
        done = subprocess.run(words, env=ANSIBLE, capture_output=True, text=True, timeout=600, check=False)
        assert done.returncode == 0, done.stdout
        assert (re.search(r"changed=(\d+)", done.stdout).group(1) != "0") is changes, done.stdout
    yield name, inventory
    lab.bring(state="absent")


@pytest.fixture
def module(host):
    """Run a module on the host; its result."""
    name, inventory = host

    def run(module, check=False, **arguments):
        words = [sys.executable, "-m", "ansible", "adhoc", name, "-i", str(inventory), "-m", f"ocilab.hosts.{module}"]
        words += ["-a", json.dumps(arguments)] + (["--check"] if check else [])
        environment = dict(ANSIBLE, ANSIBLE_STDOUT_CALLBACK="ansible.builtin.minimal")
        done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=120, check=False)
        return dict(json.loads(done.stdout[done.stdout.index(" => ") + 4 :]), failed=done.returncode != 0)

    return run


def test_a_pods_life(lab, host):
    name, _inventory = host
    words = [str(lab.labrun_path), "--root", str(lab.root), "exec", name]
    code = subprocess.run(
        ["tar", "-C", str(PLUGINS.parent), "-c", "--exclude=__pycache__", "plugins/module_utils"],
        capture_output=True,
        check=True,
    ).stdout
    lab.shell(name, f"mkdir -p {COLLECTION}")
    subprocess.run([*words, "tar", "-C", COLLECTION, "-x"], input=code, check=True, timeout=60)
    script = Path(__file__).with_name("cri_on_host.py").read_bytes()
    words += ["python3", "-", "/srv/collection", "containerd"]
    done = subprocess.run(words, input=script, capture_output=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr.decode()
    seen = json.loads(done.stdout)
    assert seen["version"]["runtime_name"] == "containerd"
    assert {key: seen["conditions"][key] for key in ("RuntimeReady", "NetworkReady")} == {
        "RuntimeReady": "",
        "NetworkReady": "",
    }
    assert seen["image"] == ["localhost/test/busybox:1"]
    life = seen["life"]
    assert life["address"].startswith("10.86.0.")
    assert life["ready"]
    code, output, errors = life["exec"]
    lines = output.splitlines()
    assert code == 3
    assert lines[:3] == ["from the host", "hello", "seen"]
    assert life["address"] in lines[3]
    assert lines[4:] == [str(64 << 20), "read only"]
    assert "Read-only file system" in errors
    assert 0 < life["memory"] < 64 << 20
    assert life["listed"] == [1, 0, 1]
    assert life["stopped"] == [137, True]
    assert life["log"].endswith("stdout F begun\n")
    assert life["exit"] == 7
    assert "not found" in life["gone"]
    assert seen["engine"]["first"] == "create"
    assert seen["left"] == [0, 0, None]
    print("pod with /bin/true, from nothing to nothing: %.2f s" % seen["engine"]["seconds"])
    assert lab.exec(name, "ls -A /var/lib/cni/results /run/netns; ip -o link | grep veth; ctr -n k8s.io task ls -q")[
        1
    ] in (
        "/run/netns:\n\n/var/lib/cni/results:\n",
        "/var/lib/cni/results:\n\n/run/netns:\n",
    )


def test_the_image_of_pods_own_process(lab, host, module):
    image = {"engine": "containerd", "name": "localhost/test/pause:2"}
    for state, names in (("present", ["localhost/test/pause:2"]), ("absent", [])):
        for check, changed in ((True, True), (False, True), (True, False), (False, False)):
            assert module("engine_pause_image", check, state=state, **image)["changed"] is changed
        listed = lab.shell(host[0], "ctr -n k8s.io images list --quiet").split()
        assert [name for name in listed if name.startswith("localhost/test/pause")] == names


def test_pods_are_listed_and_removed(lab, host, module):
    lab.shell(host[0], "test -d /srv/collection")
    script = (
        "import sys; sys.path.insert(0, '/srv/collection')\n"
        "from ansible_collections.ocilab.hosts.plugins.module_utils.engines import cri\n"
        f"runtime = cri.Runtime('{SOCKET}')\n"
        "runtime.run_pod(cri.pod_config('left'))\n"
    )
    lab.shell(host[0], f'python3 -c "{script}"')
    told = module("engine_pods", socket=SOCKET)
    assert (told["changed"], [pod["name"] for pod in told["pods"]]) == (False, ["left"])
    for check, changed in ((True, True), (False, True), (True, False), (False, False)):
        assert module("engine_pods", check, socket=SOCKET, state="absent")["changed"] is changed
    lab.shell(host[0], "systemctl stop containerd")
    refused = module("engine_pods", socket=SOCKET)
    lab.shell(host[0], "systemctl start containerd")
    assert refused["failed"]
    assert SOCKET in refused["msg"]
