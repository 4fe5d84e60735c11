# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""verify: engines that work are proven, and leave nothing; each that does not is named; it holds in any order."""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys

import pytest
from fleet import Fleet
from lab_hosts import ANSIBLE, REPOSITORY

pytestmark = [pytest.mark.root, pytest.mark.engines, pytest.mark.slow]
ROLES = ["docker", "podman", "containerd", "lxc", "oci_runtimes"]
ENGINES = ["docker", "podman", "podman-rootless", "containerd", "lxc", "labrun"]
STUDENT = {"podman_users": [{"name": "student"}]}
SEED = 7
# How each is kept from working, and mended again.
STOPPED = {
    "docker": ("systemctl stop docker.socket docker.service", "systemctl start docker.socket docker.service"),
    "podman": ("systemctl stop podman.socket podman.service", "systemctl start podman.socket"),
    # It has no service; a network is a process of the user's.
    "podman-rootless": (
        "mkdir /root/away && mv /usr/bin/slirp4netns /usr/bin/pasta* /root/away 2>/dev/null; ls /root/away | grep .",
        "mv /root/away/* /usr/bin && rmdir /root/away",
    ),
    "containerd": ("systemctl stop containerd", "systemctl start containerd docker.socket docker"),
    "lxc": ("systemctl stop lxc-net", "systemctl start lxc-net"),
    # Nor has it; its networks are the plugins'.
    "labrun": ("mv /usr/lib/cni/bridge /root/bridge", "mv /root/bridge /usr/lib/cni/bridge"),
}


@pytest.fixture(scope="module", params=["bookworm", "trixie"])
def fleet(lab, tmp_path_factory, request):
    """A host with all engines."""
    made = Fleet(lab, tmp_path_factory.mktemp("fleet"), request.param)
    made.playbook("ocilab.hosts.provision", **STUDENT)
    yield made
    lab.bring(state="absent")


def verify(fleet, **variables):
    return fleet.attempt("ocilab.hosts.verify", **dict(STUDENT, **variables))


def test_all_engines_are_proven_and_nothing_is_left(fleet):
    assert verify(fleet, verify_engines=ENGINES)[0] == 0  # what a first use of an engine leaves
    before = fleet.snapshot(), fleet.shell(LEFT)
    code, output = verify(fleet, provision_engines=ROLES)
    assert code == 0, output[-6000:]
    assert "changed=0 " in output
    for engine in ENGINES:
        # Alone, and with the others.
        assert len(re.findall(rf"^ +{engine} .*works: .*\brun network\b.*\bstanding\b", output, re.MULTILINE)) == 2
    assert "FAILED" not in output
    assert (fleet.snapshot(), fleet.shell(LEFT)) == before


LEFT = """
docker ps -aq; docker images -q; docker network ls -q; docker volume ls -q
podman ps -aq; podman images -q; podman network ls -q; podman volume ls -q
ctr -n k8s.io containers list -q; ctr -n k8s.io images list -q; lxc-ls; ls /run/labrun /var/lib/labrun 2>/dev/null
ls /var/tmp /etc/labrun/networks 2>/dev/null; ip -brief link | sed 's/[ @].*//' | sort
"""


@pytest.mark.parametrize("engine", STOPPED)
def test_an_engine_that_does_not_work_is_named(fleet, engine):
    stop, start = STOPPED[engine]
    fleet.shell(stop)
    try:
        code, output = verify(fleet, verify_engines=[engine], verify_together=False)
    finally:
        fleet.shell(start)
    assert code != 0
    assert re.search(rf"\b{engine}: (service|run|network): ", output), output[-3000:]
    assert "Traceback" not in output
    code, output = verify(fleet, verify_engines=[engine], verify_together=False)
    assert code == 0, output[-3000:]


def test_an_engine_that_is_not_there_fails_only_where_it_is_expected(fleet):
    assert verify(fleet, verify_engines=["crio"])[0] != 0
    code, output = verify(fleet, verify_together=False)
    assert code == 0, output[-3000:]
    assert "left out: run (crio is not installed)" in output


def test_the_hardening_is_told_and_can_be_insisted_on(fleet):
    code, output = verify(fleet, verify_engines=["docker"])
    assert code == 0
    assert re.search(r"deviates +docker-userns ", output)
    assert re.search(r"ok +docker-icc ", output)
    fleet.shell("chmod 666 /run/docker.sock")
    try:
        _code, output = verify(fleet, verify_engines=["docker"])
        assert re.search(r"deviates +docker-socket ", output)
        code, output = verify(fleet, verify_engines=["docker"], verify_hardening_strict=True)
        assert code != 0
        assert "docker-socket" in output[output.index("nothing deviates") :]
    finally:
        fleet.shell("chmod 660 /run/docker.sock")


def suites(fleet, *words):
    command = [sys.executable, "-m", "pytest", "-q", str(REPOSITORY / "tests" / "hosts"), *words]
    command.append(f"--ansible-inventory={fleet.inventory}")
    return subprocess.run(command, env=ANSIBLE, capture_output=True, text=True, timeout=900, check=False)


def test_the_suites_of_a_users_own_fleet_pass(fleet):
    result = suites(fleet)
    assert result.returncode == 0, result.stdout[-4000:]
    fleet.shell("systemctl stop lxc-net")
    try:
        result = suites(fleet, "-k", "lxc")
    finally:
        fleet.shell("systemctl start lxc-net")
    assert "test_the_bridge_is_up" in result.stdout and result.returncode == 1, result.stdout[-4000:]


def module(fleet, check, **arguments):
    words = [sys.executable, "-m", "ansible", "adhoc", fleet.name, "-i", str(fleet.inventory)]
    words += ["-m", "ocilab.hosts.engine_verify", "-a", json.dumps(arguments), *(["--check"] if check else [])]
    environment = dict(os.environ, **ANSIBLE, ANSIBLE_STDOUT_CALLBACK="ansible.builtin.minimal")
    result = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=300, check=False)
    return json.loads(result.stdout[result.stdout.index(" => ") + 4 :])


def test_the_module_changes_nothing_in_four_steps(fleet):
    for check in (True, False, False, True):
        result = module(fleet, check, engines=["docker", "lxc"])
        assert result["changed"] is False
        assert {item["engine"] for item in result["hardening"]} == {"docker", "lxc"}
        assert {item["state"] for item in result["hardening"]} <= {"ok", "deviates", "not applicable"}
        assert all(item["reason"] for item in result["hardening"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"outside": "nowhere"}, "outside: 'nowhere': HOST:PORT is expected"),
        ({"image": "no/such:image"}, "image no/such:image: not in the store"),
    ],
)
def test_bad_input_is_one_line(fleet, arguments, said):
    result = module(fleet, False, **arguments)
    assert said in result["msg"]
    assert "\n" not in result["msg"]


def test_each_works_whatever_comes_and_goes(lab, tmp_path):
    """A random order of installs, and another one of removals: what is there works after each step."""
    fleet = Fleet(lab, tmp_path, "trixie", number=1)
    order, removal = (random.Random(SEED + number).sample(ROLES, len(ROLES)) for number in range(2))
    there = []
    try:
        for role in order:
            there.append(role)
            fleet.playbook("ocilab.hosts.provision", provision_engines=[role], **STUDENT)
            code, output = verify(fleet, provision_engines=there, verify_alone=len(there) == 1)
            assert code == 0, f"after {role} came: {output[-3000:]}"
        for role in removal[:-1]:
            there.remove(role)
            fleet.playbook("ocilab.hosts.teardown", provision_engines=[role])
            code, output = verify(fleet, provision_engines=there, verify_alone=len(there) == 1)
            assert code == 0, f"after {role} went: {output[-3000:]}"
    finally:
        lab.bring([fleet.name], state="absent")
