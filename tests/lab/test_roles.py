# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Cases A that want an engine which its role has installed: Docker, containerd and Podman on one lab host."""

from __future__ import annotations

import pytest
from role_host import RoleHost

pytestmark = [pytest.mark.root, pytest.mark.engines, pytest.mark.slow]
RUNTIME_FOLDERS = (
    "/run/docker /run/containerd /run/containers/storage /run/crun /run/user/* /var/lib/docker /var/lib/containerd"
)


@pytest.fixture(scope="module")
def host(lab, tmp_path_factory):
    made = RoleHost(lab, lab.names[0], "bookworm", tmp_path_factory.mktemp("host"))
    made.shell("useradd --create-home student")
    for role, variables in (
        ("docker", {"config": {"userns-remap": "default"}}),
        ("containerd", {}),
        ("podman", {"users": [{"name": "student"}]}),
        ("lxc", {}),
    ):
        failed, _changed, output = made.role(role, **variables)
        assert not failed, output
    yield made
    lab.bring(state="absent")


BAD = {
    "docker": ({"config": {"no-such-key": True}}, "/etc/docker/daemon.json", "docker", "no-such-key"),
    "containerd": ({"config": {"grpc": {"uid": "none"}}}, "/etc/containerd/config.toml", "containerd", "none(string)"),
    "podman": ({"config": {"engine": {"num_locks": "many"}}}, "/etc/containers/containers.conf", "", "num_locks"),
    "lxc": ({"config": {"lxc.no.such.key": "1"}}, "/etc/lxc/default.conf", "lxc-net", "lxc.no.such.key"),
}


@pytest.mark.parametrize("role", BAD)
def test_a12_what_an_engine_does_not_take_is_not_written_and_it_runs_on(host, role):
    variables, path, unit, word = BAD[role]
    given = {"users": [{"name": "student"}]} if role == "podman" else {}

    def state():
        started = f"systemctl show --property MainPID,ActiveEnterTimestampMonotonic {unit}" if unit else "true"
        return host.shell(f"sha256sum {path}; {started}; ls {path.rpartition('/')[0]}")

    before = state()
    failed, _changed, output = host.role(role, **dict(given, **variables))
    assert failed, output
    assert word in output, output
    assert "Traceback" not in output
    assert state() == before


def test_a13_root_of_a_container_is_nobody_on_the_host(host):
    # The host's own C library and a program of it are image enough.
    host.shell("tar -C / -c --dereference bin/cat lib64 lib/x86_64-linux-gnu/libc.so.6 | docker import - probe")
    shown = host.shell("docker run --rm --network none probe /bin/cat /proc/self/uid_map").split()
    assert shown[0] == "0"
    assert int(shown[1]) >= 100000
    ranges = [line.split(":") for line in host.shell("cat /etc/subuid").split()]
    taken = sorted((int(start), int(start) + int(count)) for _user, start, count in ranges)
    assert len(taken) >= 2
    assert all(one[1] <= other[0] for one, other in zip(taken, taken[1:]))


def test_a14_runtime_directories_are_nobody_elses_to_read(host):
    modes = dict(
        line.split()[::-1]
        for line in host.shell(f"stat --format '%a %n' {RUNTIME_FOLDERS} 2>/dev/null || :").splitlines()
    )
    assert {"/run/docker", "/run/containerd", "/var/lib/docker"} <= set(modes)
    assert {path: mode for path, mode in modes.items() if mode not in ("700", "710", "711")} == {}
