# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The connection plugin where the container's host is itself reached over ssh: here, by a server of the test's own."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from pathlib import Path

import connections
import pytest
from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible_collections.ocilab.hosts.plugins.module_utils.labrun import container as life

pytestmark = pytest.mark.root

SERVER = "/usr/sbin/sshd"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The variables of an ssh server on this machine, which takes root with a key of its own."""
    if not os.path.exists(SERVER):
        pytest.skip("there is no sshd; install openssh-server")
    folder = tmp_path_factory.mktemp("sshd")
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    lines = [f"ListenAddress 127.0.0.1:{port}", f"HostKey {folder}/host", f"AuthorizedKeysFile {folder}/user.pub"]
    lines += [f"PidFile {folder}/pid", "PermitRootLogin yes", "StrictModes no", "UsePAM no", "MaxSessions 50"]
    (folder / "config").write_text("\n".join(lines) + "\n")
    key = (folder / "host.pub").read_text().split()
    (folder / "known").write_text(f"[127.0.0.1]:{port} {key[0]} {key[1]}\n")
    os.makedirs("/run/sshd", mode=0o755, exist_ok=True)  # which Debian's service makes otherwise
    process = subprocess.Popen([SERVER, "-D", "-e", "-f", str(folder / "config")], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 20
    while not (folder / "pid").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    common = f"-o UserKnownHostsFile={folder}/known -o ControlPath={folder}/c"
    yield {
        "ansible_labrun_ssh_host": "127.0.0.1",
        "ansible_ssh_port": port,
        "ansible_ssh_user": "root",
        "ansible_ssh_private_key_file": str(folder / "user"),
        "ansible_ssh_common_args": common,
    }
    subprocess.run(
        ["ssh", "-o", f"ControlPath={folder}/c", "-O", "exit", "127.0.0.1"], capture_output=True, check=False
    )
    process.terminate()
    process.wait()


@pytest.fixture
def variables(server, labrun):
    return dict(server, ansible_labrun_command=str(labrun))


@pytest.fixture
def lab(bundle):
    for applet in ("dd",):
        (bundle.path / "rootfs" / "bin" / applet).symlink_to("busybox")
    connections.running(bundle)
    return bundle


@pytest.fixture
def connection(lab, variables):
    made = connections.connect(lab.name, lab.state, **variables)
    yield made
    made.close()


def test_commands_with_exact_bytes(connection):
    script = r"printf '\000\377\r\n  out'; printf '\376err' >&2; exit 7"
    assert connection.exec_command(script) == (7, b"\0\xff\r\n  out", b"\xfeerr")
    given = bytes(range(256)) * 9999
    assert connection.exec_command("cat", in_data=given) == (0, given, b"")
    for code in (1, 126, 127):
        assert connection.exec_command(f"exit {code}")[0] == code
    assert connection.exec_command('echo "$0 \'$HOME\' \\"`id -u`\\""')[1] == b"/bin/sh '/' \"0\"\n"


@pytest.mark.parametrize("size", [0, 1, (8 << 20) - 1, 8 << 20, 20 << 20])
def test_files_in_parts(connection, lab, tmp_path, size):
    own, back = tmp_path / "own", tmp_path / "back"
    own.write_bytes(os.urandom(size))
    path = "/tmp/-a b'c\n\u00fc$(id)"
    (lab.path / "rootfs" / path[1:]).write_bytes(b"what was there" * 1000)
    connection.put_file(str(own), path)
    assert (lab.path / "rootfs" / path[1:]).read_bytes() == own.read_bytes()
    connection.fetch_file(path, str(back))
    assert back.read_bytes() == own.read_bytes()


def test_files_that_cannot_be_had(connection, tmp_path):
    (tmp_path / "own").write_text("x")
    with pytest.raises(AnsibleError, match=r"(?i)no such file"):
        connection.fetch_file("/tmp/none", str(tmp_path / "back"))
    with pytest.raises(AnsibleError, match=r"(?i)no such file|nonexistent directory"):
        connection.put_file(str(tmp_path / "own"), "/none/x")


def test_a_user_by_name(lab, variables):
    for applet in ("id",):
        assert (lab.path / "rootfs" / "bin" / applet).is_symlink()
    made = connections.connect(lab.name, lab.state, ansible_user="student", **variables)
    assert made.exec_command("id")[1] == b"uid=1000(student) gid=1001 groups=2000(lab)\n"
    with pytest.raises(AnsibleConnectionFailure, match=r"unknown user|no such user"):
        connections.connect(lab.name, lab.state, ansible_user="nobody-of-it", **variables).exec_command("true")


def test_without_a_shell_it_says_so(connection, lab):
    (lab.path / "rootfs" / "bin" / "sh").unlink()
    with pytest.raises(AnsibleConnectionFailure, match="without a shell Ansible can do nothing"):
        connection.exec_command("true")


def test_what_cannot_be_used_is_one_clear_line(connection, lab, variables):
    assert connection.exec_command("true")[0] == 0
    life.Container(lab.name, str(lab.state)).delete(force=True)
    with pytest.raises(AnsibleConnectionFailure, match="does not exist in") as caught:
        connection.exec_command("true")
    assert len(str(caught.value).splitlines()) == 1
    without = connections.connect(lab.name, lab.state, **dict(variables, ansible_labrun_command="/none/labrun"))
    with pytest.raises(AnsibleConnectionFailure, match="build it by make labrun"):
        without.exec_command("true")


def test_a_playbook_over_ssh(bundle, variables, tmp_path):
    connections.with_python(bundle)
    connections.running(bundle)
    tasks = [
        {"ansible.builtin.ping": {}},
        {"ansible.builtin.copy": {"content": "\u00fc\n", "dest": "/tmp/a b'c"}},
        {"ansible.builtin.fetch": {"src": "/tmp/a b'c", "dest": str(tmp_path / "fetched"), "flat": True}},
        {"ansible.builtin.command": "readlink /proc/self/ns/pid", "register": "where"},
        {"ansible.builtin.debug": {"var": "where.stdout"}},
    ]
    (tmp_path / "playbook.yml").write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": tasks}]))
    result = connections.ansible(
        connections.hosts(bundle.name, bundle.state, **variables), str(tmp_path / "playbook.yml")
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert (tmp_path / "fetched").read_text() == "\u00fc\n"
    pid = life.Container(bundle.name, str(bundle.state)).pid
    assert os.readlink(Path("/proc") / str(pid) / "ns" / "pid") in result.stdout
