# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Engines beside each other: the firewall lets the networks of all pass, and no two share one."""

from __future__ import annotations

import ipaddress
import json

import pytest

testinfra_hosts = ["ansible://all?force_ansible=True"]
BRIDGES = ("docker0", "podman0", "lxcbr0", "ocilab-cri0", "ocilab-crio0", "cni0", "cni-podman0")


def networks(host):
    found = {}
    for link in json.loads(host.check_output("ip -json -4 address show")):
        if link.get("ifname", "") in BRIDGES or link.get("ifname", "").startswith(("br-", "lr-")):
            for address in link["addr_info"]:
                text = "%s/%d" % (address["local"], address["prefixlen"])
                found[link["ifname"]] = ipaddress.ip_interface(text).network
    return found


def test_no_two_bridges_have_the_same_network(host):
    found = list(networks(host).items())
    for number, (name, network) in enumerate(found):
        for other, overlapping in found[number + 1 :]:
            assert not network.overlaps(overlapping), (name, other)


def test_forward_passes_to_the_chain(host):
    if host.run("systemctl is-enabled --quiet ocilab-forward.service").rc != 0:
        pytest.skip("the role coexistence has not prepared this host")
    assert host.run("iptables -w -C FORWARD -j OCILAB-FORWARD").rc == 0
