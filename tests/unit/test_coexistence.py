# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which engines collide, and that those of the roles' defaults do not: from plans and hosts that are plain data."""

from __future__ import annotations

from ipaddress import IPv4Network

import pytest
from ansible_collections.ocilab.hosts.plugins.module_utils.coexistence import conflicts
from ansible_collections.ocilab.hosts.plugins.module_utils.coexistence.host import Host
from ansible_collections.ocilab.hosts.plugins.module_utils.coexistence.plan import Engine
from ansible_collections.ocilab.hosts.plugins.module_utils.linux.errors import InvalidInput
from ansible_collections.ocilab.hosts.plugins.module_utils.provisioning.subids import Range

DOCKER = {
    "packages": ["docker.io", "containerd", "runc"],
    "subnets": ["172.30.0.1/24"],
    "pools": ["172.31.0.0/16"],
    "bridges": ["docker0"],
    "sockets": ["/run/docker.sock"],
    "storage": ["/var/lib/docker"],
    "units": ["docker.service", "docker.socket", "containerd.service"],
    "cgroup_driver": "cgroupfs",
}
PODMAN = {
    "packages": ["podman"],
    "subnets": ["10.88.0.0/16"],
    "bridges": ["podman0"],
    "storage": ["/var/lib/containers/storage"],
}
LXC = {"packages": ["lxc"], "subnets": ["10.0.3.0/24"], "bridges": ["lxcbr0"], "subid_users": ["root"]}
CONTAINERD = {
    "packages": ["containerd", "runc"],
    "subnets": ["10.86.0.0/24"],
    "bridges": ["ocilab-cri0"],
    "cni_dirs": ["/etc/containerd/net.d"],
    "units": ["containerd.service"],
    "cgroup_driver": "cgroupfs",
}


def find(host=None, forward=True, **plans):
    """(severity, kind, what, with) of each finding."""
    engines = [Engine(name, plan) for name, plan in plans.items()]
    found = conflicts.find(engines, host or Host(), forward)
    assert all(item["advice"] for item in found)
    return [(item["severity"], item["kind"], item["what"], item["with"]) for item in found]


def test_the_defaults_live_together():
    found = find(docker=DOCKER, podman=PODMAN, lxc=LXC, containerd=CONTAINERD)
    assert [item[:2] for item in found] == [("resolved", "firewall")]
    assert find(docker=DOCKER, lxc=LXC, forward=False)[0][:2] == ("possible", "firewall")
    assert find(podman=PODMAN, lxc=LXC, forward=False) == []


def test_a_provisioned_host_does_not_collide_with_itself():
    host = Host()
    host.installed = host.ours = {*DOCKER["packages"], "podman", "lxc"}
    host.devices = {"docker0": "bridge", "podman0": "bridge", "lxcbr0": "bridge", "eth0": ""}
    host.routes = [
        (IPv4Network("0.0.0.0/0"), "eth0"),
        (IPv4Network("172.30.0.0/24"), "docker0"),
        (IPv4Network("172.31.0.0/24"), "br-0123456789ab"),
        (IPv4Network("10.0.3.0/24"), "lxcbr0"),
    ]
    host.definitions = [(IPv4Network("10.0.3.0/24"), "lxc", "/etc/default/lxc-net")]
    host.cni_files = {"/etc/containerd/net.d": ["10-ocilab.conflist"]}
    assert [item[0] for item in find(host, docker=DOCKER, lxc=LXC, containerd=CONTAINERD)] == ["resolved"]


def test_packages_that_exclude_each_other():
    upstream = dict(DOCKER, packages=["docker-ce", "containerd.io"])
    found = find(docker=upstream, containerd=CONTAINERD)
    assert ("certain", "packages", "containerd.io", "containerd, which containerd is to have") in found
    host = Host()
    host.installed = {"podman-docker"}
    assert find(host, docker=DOCKER)[0] == ("certain", "packages", "docker.io", "podman-docker, which is installed")
    assert find(host, docker=dict(DOCKER, allow_removal=True))[0][0] == "resolved"
    host.ours = {"podman-docker"}
    assert find(host, docker=DOCKER)[0][0] == "resolved"


def test_subnets():
    assert find(podman=PODMAN, lxc=dict(LXC, subnets=["10.88.3.0/24"]))[0] == (
        "certain",
        "subnets",
        "10.88.0.0/16",
        "10.88.3.0/24 of lxc",
    )
    host = Host()
    host.routes = [(IPv4Network("10.0.3.0/24"), "eth0"), (IPv4Network("10.0.0.0/8"), "tun0")]
    host.resolvers = ["10.88.0.53"]
    host.definitions = [(IPv4Network("10.88.1.0/24"), "", "/etc/cni/net.d/strange.conflist")]
    found = find(host, lxc=LXC, podman=PODMAN)
    assert ("certain", "subnets", "10.0.3.0/24", "the route 10.0.3.0/24 on eth0") in found
    assert ("possible", "subnets", "10.0.3.0/24", "the route 10.0.0.0/8 on tun0") in found
    assert ("certain", "subnets", "10.88.0.0/16", "the host's name server 10.88.0.53") in found
    assert [item[0] for item in found if "strange" in item[3]] == ["possible"]
    host = Host()
    host.installed = {"docker.io"}
    assert (
        find(host, lxc=dict(LXC, subnets=["172.17.5.0/24"]))[0][3]
        == "the networks that the host's Docker makes by default"
    )
    with pytest.raises(InvalidInput, match="no subnet of IPv4"):
        find(lxc=dict(LXC, subnets=["10.0.3.0/40"]))


def test_bridges():
    assert ("certain", "bridges", "docker0", "the bridge of lxc") in find(
        docker=DOCKER, lxc=dict(LXC, bridges=["docker0"])
    )
    host = Host()
    host.devices = {"lxcbr0": "dummy"}
    assert find(host, lxc=LXC)[0] == ("certain", "bridges", "lxcbr0", "a device of that name (dummy)")


def test_subordinate_ids():
    host = Host()
    host.subids = {"/etc/subuid": [Range("root", 100000, 65536), Range("student", 165000, 10)]}
    host.users = {"ldap": 100001, "root": 0}
    found = [item for item in find(host, lxc=LXC) if item[1] == "subordinate ids"]
    assert [item[0] for item in found] == ["certain", "possible"]
    assert "165000-165009 of student" in found[0][3]
    assert "the user ldap" in found[1][3]
    shared = find(docker=dict(DOCKER, subid_users=["root"]), lxc=LXC)
    assert ("possible", "subordinate ids", "the subordinate ids of root", "those that containers of lxc have") in shared


def test_folders_sockets_units_ports_and_programs():
    assert ("certain", "storage", "/var/lib/docker", "/var/lib/docker/lxc of lxc") in find(
        docker=DOCKER, lxc=dict(LXC, storage=["/var/lib/docker/lxc"])
    )
    host = Host()
    host.cni_files = {"/etc/containerd/net.d": ["05-flannel.conflist", "10-ocilab.conflist"]}
    assert find(host, containerd=CONTAINERD)[0][3] == "05-flannel.conflist, which is there already"
    host = Host()
    host.links = {"/run/docker.sock": "/run/podman/podman.sock"}
    host.units = {"docker.service": "masked", "docker.socket": "own"}
    host.by_hand = ["/usr/local/bin/dockerd", "/usr/local/bin/crio"]
    host.listeners = [("127.0.0.1", 2376, "nginx"), ("", 5000, "dockerd")]
    api = [{"port": 2376, "address": "0.0.0.0"}]
    found = find(host, docker=dict(DOCKER, ports=api))
    assert [item[:2] for item in found] == [
        ("certain", "ports"),
        ("certain", "sockets"),
        ("certain", "units"),
        ("possible", "units"),
        ("possible", "programs"),
    ]
    host.listeners = [("", 2376, "dockerd")]
    assert "ports" not in [item[1] for item in find(host, docker=dict(DOCKER, ports=api))]
    registry = {"ports": [{"port": 2376, "address": "10.1.1.1"}]}
    assert find(docker=dict(DOCKER, ports=api), registry=registry)[0][1] == "ports"


def test_cgroup_drivers():
    mixed = find(docker=DOCKER, containerd=dict(CONTAINERD, cgroup_driver="systemd"))
    assert ("possible", "cgroup driver", "systemd of containerd", "cgroupfs of docker") in mixed
    host = Host()
    host.has_systemd = False
    assert find(host, containerd=dict(CONTAINERD, cgroup_driver="systemd"))[0][0] == "certain"


def test_firewalls():
    host = Host()
    host.firewall.used = ["iptables-nft", "iptables-legacy"]
    host.firewall.services = ["firewalld", "nftables"]
    kinds = [item[3] for item in find(host, lxc=LXC)]
    assert kinds == ["rules of iptables-legacy", "firewalld", "nftables"]
    host = Host()
    host.firewall.policies = {"iptables-nft": "DROP"}
    assert find(host, lxc=LXC, forward=False)[0][3] == "FORWARD, which drops what no rule accepts"
