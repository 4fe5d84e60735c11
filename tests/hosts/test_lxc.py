# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""LXC: the bridge serves addresses, and root of a container is nobody on the host."""

from __future__ import annotations

import engines
import pytest

testinfra_hosts = ["ansible://all?force_ansible=True"]


@pytest.fixture(autouse=True)
def needed(host):
    engines.need(host, "lxc-start")


def test_the_bridge_is_up(host):
    if not engines.enabled_units(host, "lxc-net.service"):
        pytest.skip("lxc-net is not enabled on this host")
    assert host.service("lxc-net").is_running
    bridge = host.check_output("sed -n 's/^LXC_BRIDGE=//p' /etc/default/lxc-net | tr -d '\"'") or "lxcbr0"
    assert "inet " in host.check_output("ip -4 address show %s", bridge)


def test_a_container_runs_with_ids_of_its_own(host):
    words = "lxc-execute --name ocilab-tests --rcfile /etc/lxc/default.conf --define lxc.console.path=none --"
    inside, outside, _count = host.check_output(f"{words} cat /proc/self/uid_map").split()
    assert (inside, outside != "0") == ("0", True)


def test_it_is_hardened(host):
    assert engines.deviations(host, "lxc") == []
