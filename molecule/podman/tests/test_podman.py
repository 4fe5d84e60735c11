# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Podman as the lab hosts have it: networks of its own, users whose ids do not overlap, and their sockets."""

import json

testinfra_hosts = ["ansible://all?force_ansible=True"]


def info(host, user=None):
    command = "podman info --format json 2>/dev/null"
    if user:
        command = f"runuser -u {user} -- env XDG_RUNTIME_DIR=/run/user/$(id -u {user}) sh -c 'cd / && {command}'"
    return json.loads(host.check_output(command))


def test_networks_are_netavarks_own(host):
    assert info(host)["host"]["networkBackend"] == "netavark"
    network = json.loads(host.check_output("podman network inspect podman 2>/dev/null"))[0]
    assert network["subnets"][0]["subnet"] == "10.88.0.0/16"


def test_the_settings_of_registries_are_read(host):
    assert info(host)["registries"]["search"] == ["registry.example"]


def test_roots_socket_answers(host):
    assert host.check_output("systemctl is-active podman.socket") == "active"
    script = "import socket; s = socket.socket(socket.AF_UNIX); s.connect('/run/podman/podman.sock');"
    script += "s.send(b'GET /_ping HTTP/1.0\\r\\n\\r\\n'); print(s.recv(99).split()[1].decode())"
    assert host.check_output(f'python3 -c "{script}"') == "200"


def test_users_run_without_root(host):
    assert info(host, "student")["host"]["security"]["rootless"] is True
    uid = host.user("student").uid
    assert host.file(f"/run/user/{uid}/podman/podman.sock").is_socket
    assert not host.file(f"/run/user/{host.user('pupil').uid}/podman/podman.sock").exists
    assert host.file("/var/lib/systemd/linger/pupil").exists


def test_ranges_of_ids_do_not_overlap(host):
    for path in ("/etc/subuid", "/etc/subgid"):
        lines = [line.split(":") for line in host.file(path).content_string.split()]
        ranges = sorted((int(start), int(start) + int(count)) for _user, start, count in lines)
        assert {user for user, _start, _count in lines} == {"student", "pupil"}
        assert all(first[1] <= second[0] for first, second in zip(ranges, ranges[1:]))
