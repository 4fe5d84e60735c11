# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Podman: its API answers, containers run, and users have ids of their own."""

from __future__ import annotations

import engines
import pytest

testinfra_hosts = ["ansible://all?force_ansible=True"]


@pytest.fixture(autouse=True)
def needed(host):
    engines.need(host, "podman")


@pytest.fixture
def image(host):
    yield engines.image(host, "podman")
    host.run(f"podman rmi {engines.NAME}")


def test_the_socket_listens_if_it_is_enabled(host):
    if not engines.enabled_units(host, "podman.socket"):
        pytest.skip("podman.socket is not enabled on this host")
    assert host.service("podman.socket").is_running
    assert host.file("/run/podman/podman.sock").mode & 0o007 == 0


def test_a_container_runs_within_its_limits(host, image):
    shown = host.check_output(
        "podman run --rm --network none --memory 64m --pids-limit 20 %s /bin/cat /proc/self/cgroup", image
    )
    assert shown


def test_a_container_has_a_network_of_its_own(host, image):
    assert "eth0:" in host.check_output("podman run --rm %s /bin/cat /proc/net/dev", image)


def test_no_two_users_share_ids(host):
    for path in ("/etc/subuid", "/etc/subgid"):
        lines = [line.split(":") for line in host.file(path).content_string.split()]
        taken = sorted((int(start), int(start) + int(count)) for _user, start, count in lines)
        assert all(one[1] <= other[0] for one, other in zip(taken, taken[1:])), path


def test_it_is_hardened(host):
    assert engines.deviations(host, "podman") == []
