# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""LXC as the lab hosts have it: the bridge, rules that Docker's policy does not overrule, and ids of root's own."""

testinfra_hosts = ["ansible://all?force_ansible=True"]


def test_the_bridge_serves_addresses(host):
    assert "10.0.3.1/24" in host.check_output("ip -4 -brief address show lxcbr0")
    assert "--interface=lxcbr0" in host.check_output("tr '\\0' ' ' </proc/$(cat /run/lxc/dnsmasq.pid)/cmdline")


def test_rules_stand_in_the_chain_whose_policy_docker_sets(host):
    rules = host.check_output("iptables-save")
    assert "-A FORWARD -i lxcbr0 -j ACCEPT" in rules
    assert "-A FORWARD -o lxcbr0 -j ACCEPT" in rules


def test_root_of_a_container_is_nobody_on_the_host(host):
    command = "lxc-execute --name probe --rcfile /etc/lxc/default.conf --define lxc.console.path=none --"
    inside, outside, count = host.check_output(f"{command} cat /proc/self/uid_map").split()
    assert (inside, count) == ("0", "65536")
    assert f"root:{outside}:65536" in host.file("/etc/subuid").content_string
