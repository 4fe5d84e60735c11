# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Docker: the daemon runs, containers run within their limits, and it is hardened as the role has it."""

from __future__ import annotations

import engines
import pytest

testinfra_hosts = ["ansible://all?force_ansible=True"]


@pytest.fixture(autouse=True)
def needed(host):
    engines.need(host, "docker")


@pytest.fixture
def image(host):
    yield engines.image(host, "docker")
    host.run(f"docker rmi {engines.NAME}")


def test_the_daemon_runs(host):
    assert host.service("docker").is_running
    assert engines.told(host, "docker version", "{{json .Server.Version}}")


def test_it_starts_with_the_host_or_when_it_is_called(host):
    assert engines.enabled_units(host, "docker.service", "docker.socket")


def test_a_container_runs_within_its_limits(host, image):
    shown = host.check_output(
        "docker run --rm --network none --memory 64m --pids-limit 20 %s /bin/cat /proc/self/status", image
    )
    assert "NoNewPrivs:\t1" in shown


def test_a_container_has_a_network_of_its_own(host, image):
    shown = host.check_output("docker run --rm %s /bin/cat /proc/net/dev", image)
    assert "eth0:" in shown


def test_the_socket_is_for_root_and_its_group(host):
    socket = host.file("/run/docker.sock")
    assert (socket.user, socket.group, socket.mode & 0o007) == ("root", "docker", 0)


def test_it_is_hardened(host):
    assert engines.deviations(host, "docker") == []
