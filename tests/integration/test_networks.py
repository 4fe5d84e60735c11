# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Networks of containers, in a network namespace of the test's own: its interfaces, rules and settings are no other's."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import urllib.request
from pathlib import Path

import pytest
from ansible_collections.ocilab.hosts.plugins.module_utils.linux import syscalls
from test_modules import four_steps, module

pytestmark = pytest.mark.root


def run(*words, check=True):
    return subprocess.run(words, capture_output=True, text=True, timeout=60, check=check).stdout


@pytest.fixture
def outside():
    """This process in a network namespace that has one neighbour, 198.51.100.2, whose pid it gives; forwarding is off."""
    for program in ("ip", "iptables", "nsenter"):
        if not shutil.which(program):
            pytest.skip(f"there is no {program}")
    if not Path("/usr/lib/cni/bridge").exists():
        pytest.skip("there are no CNI plugins; install containernetworking-plugins")
    own = os.open("/proc/self/ns/net", os.O_RDONLY)
    neighbour = None
    try:
        syscalls.unshare(syscalls.CLONE_NEWNET, "CLONE_NEWNET")
        neighbour = subprocess.Popen(["unshare", "--net", "sleep", "600"])
        while os.readlink(f"/proc/{neighbour.pid}/ns/net") == os.readlink("/proc/self/ns/net"):
            pass
        run("ip", "link", "set", "lo", "up")
        run("ip", "link", "add", "up0", "type", "veth", "peer", "name", "up1", "netns", str(neighbour.pid))
        run("ip", "address", "add", "198.51.100.1/24", "dev", "up0")
        run("ip", "link", "set", "up0", "up")
        run("ip", "route", "add", "default", "via", "198.51.100.2")
        for words in ("link set lo up", "address add 198.51.100.2/24 dev up1", "link set up1 up"):
            run("nsenter", f"--net=/proc/{neighbour.pid}/ns/net", "ip", *words.split())
        Path("/proc/sys/net/ipv4/ip_forward").write_text("0")
        yield neighbour.pid
    finally:
        if neighbour:
            neighbour.kill()
            neighbour.wait()
        syscalls.setns(own, syscalls.CLONE_NEWNET, "the test's own namespace")
        os.close(own)


def host():
    """What a network may leave on the host."""
    rules = {table: run("iptables", "-t", table, "-S").splitlines() for table in ("filter", "nat")}
    links = sorted(link["ifname"] for link in json.loads(run("ip", "-json", "link")))
    routes = run("ip", "route").splitlines()
    return rules, links, routes, Path("/proc/sys/net/ipv4/ip_forward").read_text()


class Lab:
    """Networks and containers in places of their own."""

    def __init__(self, path, rootfs):
        self.path = path
        self.root = path / "state"
        self.prefix = f"net{os.getpid()}"
        self.config = {"root": str(self.root), "config_dir": str(path / "networks")}
        self.places = {"root": str(self.root), "data_root": str(path / "data")}
        self.image = {"store": str(path / "images"), "layers": str(path / "layers")}
        made = module("labrun_image", name="lab/net:1", source=str(rootfs), **self.image)
        assert made["changed"], made
        self.started = set()

    def network(self, name, **options):
        return module("labrun_network", name=name, **self.config, **options)

    def options(self, **options):
        defaults = {"image": "lab/net:1", "command": ["/bin/sleep", "600"]}
        where = {"network_config_dir": self.config["config_dir"], **self.places, **self.image}
        return {**defaults, **where, **options}

    def start(self, *names, **options):
        self.started.update(names)
        ids = [f"{self.prefix}-{name}" for name in names]
        return module("labrun_container", name=ids, **self.options(**options))

    def delete(self, *names):
        ids = [f"{self.prefix}-{name}" for name in names]
        done = module("labrun_container", name=ids, state="absent", stop_timeout=0, **self.places)
        assert not done["failed"], done
        self.started.difference_update(names)

    def inside(self, labrun, name, script):
        words = [str(labrun), "--root", str(self.root), "exec", f"{self.prefix}-{name}", "/bin/sh", "-c", script]
        return subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)

    def close(self):
        if self.started:
            self.delete(*self.started)
        for definition in (self.path / "networks").glob("*.conflist"):
            self.network(definition.stem, state="absent")


@pytest.fixture
def lab(outside, tmp_path, rootfs):
    made = Lab(tmp_path, rootfs)
    yield made
    made.close()


SERVE = ["/bin/sh", "-c", "mkdir /www; hostname >/www/index.html; exec /bin/busybox httpd -f -p 80 -h /www"]


def fetch(url):
    with urllib.request.urlopen(url, timeout=5) as answer:
        return answer.read().decode().strip()


def test_members_reach_each_other_by_name_and_the_world(lab, labrun, outside):
    before = host()
    assert lab.network("lab")["network"]["subnet"] == "10.231.0.0/24"
    done = lab.start("a", "b", "c", networks=[{"name": "lab", "aliases": ["shared"]}])
    assert not done["failed"], done
    for name in "abc":
        for other in "abc":
            answer = lab.inside(labrun, name, f"busybox ping -c 1 -W 2 {lab.prefix}-{other}")
            assert answer.returncode == 0, answer.stdout + answer.stderr
    answer = lab.inside(labrun, "a", "busybox ping -c 1 -W 2 198.51.100.2")
    assert answer.returncode == 0, answer.stdout + answer.stderr
    lab.delete("a", "b", "c")
    lab.network("lab", state="absent")
    assert host() == before
    assert not (lab.root / "@networks").exists()


def journal(lab, name):
    lines = (lab.root / f"{lab.prefix}-{name}" / "journal").read_text().splitlines()
    return [json.loads(line) for line in lines]


@pytest.mark.parametrize("policy", ["ACCEPT", "DROP"])
def test_a_published_port_answers_from_everywhere(lab, labrun, outside, policy):
    """With Docker's policy of FORWARD, too."""
    run("iptables", "-P", "FORWARD", policy)
    lab.network("lab")
    lab.network("other")
    started = lab.start("web", networks=["lab"], published_ports=["8080:80"], command=SERVE, hostname="served")
    assert not started["failed"], started
    lab.start("near", networks=["lab"])
    lab.start("far", networks=["other"])
    for address in ("127.0.0.1", "198.51.100.1", "10.231.0.1"):
        assert fetch(f"http://{address}:8080/") == "served"
    neighbour = ["nsenter", f"--net=/proc/{outside}/ns/net", "busybox", "wget", "-qO-", "http://198.51.100.1:8080/"]
    assert run(*neighbour) == "served\n"
    url = {"near": f"http://{lab.prefix}-web/", "far": "http://198.51.100.1:8080/"}
    for name, address in [*url.items(), ("near", "http://198.51.100.1:8080/"), ("web", "http://198.51.100.1:8080/")]:
        answer = lab.inside(labrun, name, f"busybox wget -qO- {address}")
        assert answer.stdout == "served\n", (name, address, answer.stderr)


def test_what_was_killed_leaves_nothing(lab, labrun, outside):
    """A container and its monitor killed at once, and `labrun delete --force` of the plain command."""
    lab.network("lab")
    lab.start("stays", networks=["lab"])
    before = host()
    hosts = (lab.path / "data" / "bundles" / f"{lab.prefix}-stays" / "hosts").read_text()
    leases = sorted(path.name for path in (lab.root / "@networks" / "leases" / "lab").iterdir())
    lab.start("killed", networks=["lab"], published_ports=["8080:80"])
    assert host() != before
    processes = {entry["object"]: entry["pid"] for entry in journal(lab, "killed") if "pid" in entry}
    for pid in (processes["monitor"], processes["process"]):
        os.kill(pid, 9)
    gone = subprocess.run(
        [str(labrun), "--root", str(lab.root), "delete", "--force", f"{lab.prefix}-killed"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert gone.returncode == 0, gone.stderr
    assert not (lab.root / f"{lab.prefix}-killed").exists()
    assert (lab.path / "data" / "bundles" / f"{lab.prefix}-stays" / "hosts").read_text() == hosts
    assert sorted(path.name for path in (lab.root / "@networks" / "leases" / "lab").iterdir()) == leases
    shared = ("CNI-HOSTPORT", "CNI-FORWARD -o lr-lab")  # they go with the network
    rules = {
        table: [rule for rule in lines if not any(word in rule for word in shared)]
        for table, lines in host()[0].items()
    }
    assert (rules, *host()[1:]) == before
