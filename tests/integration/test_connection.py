# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The connection plugin on this machine: commands, files, users, become, and what it says where it cannot."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import connections
import pytest
from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.plugins.loader import become_loader
from ansible_collections.ocilab.hosts.plugins.module_utils.labrun import container as life
from ansible_collections.ocilab.hosts.plugins.plugin_utils import attended

pytestmark = pytest.mark.root

ALL_BYTES = bytes(range(256))
ODD_NAMES = [
    b"plain",
    b"with space",
    b"new\nline",
    b"quote'\"`",
    b"-rf",
    b"$(id);*?",
    "\u00fcn\u00ef-\ud55c\uae00".encode(),
    b"not-utf8-\xff",
    b"back\\slash{a,b}~",
]


@pytest.fixture
def lab(bundle):
    """A running container of busybox alone."""
    for applet in ("dd", "su", "tty", "mkfifo"):
        (bundle.path / "rootfs" / "bin" / applet).symlink_to("busybox")
    connections.running(bundle)
    return bundle


@pytest.fixture
def connection(lab):
    made = connections.connect(lab.name, lab.state)
    yield made
    made.close()


def test_exit_codes_and_output_are_exact(connection):
    script = r"printf '\000\377\r\n  out'; printf '\376err' >&2; exit 7"
    assert connection.exec_command(script) == (7, b"\0\xff\r\n  out", b"\xfeerr")
    assert connection.exec_command("kill -9 $$") == (137, b"", b"")
    assert connection.exec_command("true") == (0, b"", b"")
    for code in (1, 126, 127, 255):
        assert connection.exec_command(f"exit {code}")[0] == code


def test_standard_input_is_exact_and_may_be_long(connection):
    given = ALL_BYTES * 20000
    assert connection.exec_command("cat", in_data=given) == (0, given, b"")
    assert connection.exec_command("exec true", in_data=given)[0] == 0  # nobody reads it
    assert connection.exec_command("cat; tty") == (1, b"not a tty\n", b"")


def test_what_runs_is_in_the_container(connection, lab):
    """Its cgroup, namespaces, capabilities and filter are those that the container's own processes have."""
    inside = connection.exec_command("cat /proc/self/status; ls -l /proc/self/ns")[1].decode()
    pid = life.Container(lab.name, str(lab.state)).pid
    own = Path(f"/proc/{pid}/status").read_text()
    for field in ("CapBnd", "CapEff", "NoNewPrivs", "Seccomp"):
        assert f"{field}:" in inside
        assert [line for line in inside.splitlines() if line.startswith(field + ":")] == [
            line for line in own.splitlines() if line.startswith(field + ":")
        ]
    for kind in ("mnt", "pid", "net", "ipc", "uts", "cgroup"):
        assert os.readlink(f"/proc/{pid}/ns/{kind}") in inside


@pytest.mark.parametrize("name", ODD_NAMES, ids=[repr(name) for name in ODD_NAMES])
def test_files_of_any_name_and_content(connection, lab, tmp_path, name):
    own, back = os.path.join(os.fsencode(tmp_path), b"own" + name), os.path.join(os.fsencode(tmp_path), b"back" + name)
    Path(os.fsdecode(own)).write_bytes(ALL_BYTES * 999)
    path = os.fsdecode(b"/tmp/" + name)
    connection.put_file(os.fsdecode(own), path)
    there = Path(os.fsdecode(os.fsencode(lab.path / "rootfs" / "tmp") + b"/" + name))
    assert there.read_bytes() == ALL_BYTES * 999
    assert there.stat().st_mode & 0o777 == 0o644
    connection.fetch_file(path, os.fsdecode(back))
    assert Path(os.fsdecode(back)).read_bytes() == ALL_BYTES * 999
    Path(os.fsdecode(own)).write_bytes(b"")
    connection.put_file(os.fsdecode(own), path)
    assert there.read_bytes() == b""


def test_a_gibibyte_needs_little_memory(lab, tmp_path):
    """Both ways, with the checksum; what passes through is never held as a whole."""
    script = """if True:
        import hashlib, json, resource, sys
        sys.path.insert(0, sys.argv[1])
        import connections
        made = connections.connect(sys.argv[2], sys.argv[3])
        made.exec_command("true")
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        made.put_file(sys.argv[4], "/tmp/big")
        made.fetch_file("/tmp/big", sys.argv[4] + ".back")
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    """
    big = tmp_path / "big"
    with big.open("wb") as file:
        file.truncate(1 << 30)  # mostly a hole here: it is written out in the container
        for at in range(0, 1 << 30, 100 << 20):
            file.seek(at)
            file.write(os.urandom(4096))
    words = [sys.executable, "-c", script, str(Path(connections.__file__).parent), lab.name, str(lab.state), str(big)]
    result = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) < 16 << 10  # KiB
    for copy in (lab.path / "rootfs" / "tmp" / "big", tmp_path / "big.back"):
        assert subprocess.run(["cmp", str(big), str(copy)], check=False).returncode == 0
        copy.unlink()


def test_links_of_the_container_stay_in_it(connection, lab, tmp_path):
    canary = tmp_path / "canary"
    canary.write_text("untouched")
    own = tmp_path / "own"
    own.write_text("new")
    root = lab.path / "rootfs"
    (root / "tmp" / "absolute").symlink_to(canary)
    (root / "tmp" / "up").symlink_to("../../../../../../.." + str(tmp_path))
    with pytest.raises(AnsibleError, match="no such file or directory"):
        connection.put_file(str(own), "/tmp/absolute")
    with pytest.raises(AnsibleError, match="no such file or directory"):
        connection.fetch_file("/tmp/up/canary", str(tmp_path / "fetched"))
    assert canary.read_text() == "untouched"
    (root / "tmp" / "inside").symlink_to("/etc/inside")  # the control: a link that leads somewhere in the container
    connection.put_file(str(own), "/tmp/inside")
    assert (root / "etc" / "inside").read_text() == "new"


def test_only_regular_files_and_nothing_is_waited_for(connection, tmp_path):
    own = tmp_path / "own"
    own.write_text("x")
    assert connection.exec_command("mkfifo /tmp/fifo")[0] == 0
    for path in ("/tmp/fifo", "/dev/zero", "/dev/console"):
        with pytest.raises(AnsibleError, match=r"regular file|such device|no such file"):
            connection.fetch_file(path, str(tmp_path / "back"))
    with pytest.raises(AnsibleError, match="is a directory"):
        connection.put_file(str(own), "/tmp")
    connection.fetch_file("/proc/version", str(tmp_path / "back"))  # of no size, and yet not empty
    assert "Linux" in (tmp_path / "back").read_text()


def test_a_user_by_name_with_its_groups_and_rights(lab, tmp_path):
    made = connections.connect(lab.name, lab.state, ansible_user="student")
    assert made.exec_command("id; echo $HOME")[1] == (b"uid=1000(student) gid=1001 groups=2000(lab)\n/\n")
    (lab.path / "rootfs" / "tmp").chmod(0o1777)
    own = tmp_path / "own"
    own.write_text("x")
    made.put_file(str(own), "/tmp/of-student")
    status = (lab.path / "rootfs" / "tmp" / "of-student").stat()
    assert (status.st_uid, status.st_gid) == (1000, 1001)
    with pytest.raises(AnsibleError, match=r"permission denied \(EACCES\)"):
        made.put_file(str(own), "/etc/of-student")
    assert not (lab.path / "rootfs" / "etc" / "of-student").exists()
    secret = lab.path / "rootfs" / "etc" / "secret"
    secret.write_text("root's")
    secret.chmod(0o600)
    with pytest.raises(AnsibleError, match=r"permission denied \(EACCES\)"):
        made.fetch_file("/etc/secret", str(tmp_path / "secret"))
    made.close()
    unknown = connections.connect(lab.name, lab.state, ansible_user="nobody-of-it")
    with pytest.raises(AnsibleConnectionFailure, match="not in the /etc/passwd of container"):
        unknown.exec_command("true")


def become(made, password=None, user="root"):
    plugin = become_loader.get("su")
    plugin.set_options(direct={"become_user": user, "become_pass": password})
    made.set_become_plugin(plugin)
    return plugin.build_become_command("id -u; cat", made._shell)


def test_become_with_and_without_a_password(lab):
    (lab.path / "rootfs" / "bin" / "su").unlink()
    busybox = (lab.path / "rootfs" / "bin" / "busybox").read_bytes()
    (lab.path / "rootfs" / "bin" / "su").write_bytes(busybox)
    (lab.path / "rootfs" / "bin" / "su").chmod(0o4755)
    made = connections.connect(lab.name, lab.state)
    given = b"  spaces and \0 first"
    assert made.exec_command(become(made, user="student"), in_data=given) == (0, b"1000\n" + given, b"")
    made.close()


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda container: container.delete(force=True), "does not exist in"),
        (lambda container: container.kill(9), "it is stopped"),
        (lambda container: container.cgroup().freeze(), "paused"),
    ],
    ids=["missing", "stopped", "paused"],
)
def test_a_container_that_cannot_be_used_is_one_clear_line(connection, lab, tmp_path, prepare, message):
    assert connection.exec_command("true")[0] == 0
    container = life.Container(lab.name, str(lab.state))
    prepare(container)
    deadline = time.monotonic() + 10
    while message == "it is stopped" and container.state()["status"] != "stopped" and time.monotonic() < deadline:
        time.sleep(0.02)
    with pytest.raises(AnsibleConnectionFailure, match=message) as caught:
        connection.exec_command("true")
    assert len(str(caught.value).splitlines()) == 1
    if message != "paused":
        with pytest.raises(AnsibleConnectionFailure, match=message):
            connection.fetch_file("/etc/passwd", str(tmp_path / "x"))


def test_without_a_shell_it_says_so(connection, lab):
    (lab.path / "rootfs" / "bin" / "sh").unlink()
    with pytest.raises(AnsibleConnectionFailure, match="without a shell Ansible can do nothing"):
        connection.exec_command("true")


def test_a_user_who_is_not_root_is_told_what_to_do(lab):
    """In a child, which the connection's modules are loaded for already."""
    from ansible_collections.ocilab.hosts.plugins.plugin_utils import commanded  # noqa: F401

    read, write = os.pipe()
    if os.fork() == 0:
        try:
            os.setresuid(65534, 65534, 65534)
            connections.connect(lab.name, lab.state).exec_command("true")
        except AnsibleConnectionFailure as error:
            os.write(write, str(error).encode())
        finally:
            os._exit(0)
    os.wait()
    os.close(write)
    with open(read) as told:
        assert "run Ansible as root, or, where sudo asks for no password" in told.read()


@pytest.mark.parametrize("moment", ["before the answer", "at once after it", "later"])
def test_a_command_ends_with_the_task_that_asked_for_it(lab, moment):
    """A connection that is closed while its command runs, as by a worker that is killed."""
    pid = life.Container(lab.name, str(lab.state)).pid
    for _repeat in range(3):
        asked = attended.Attended(os.getpid(), str(lab.state), lab.name, "")
        streams = [os.open("/dev/null", os.O_RDWR) for _number in range(3)]
        command = ["/bin/sh", "-c", "sleep 1234; true"]
        if moment == "before the answer":
            asked._ask({"do": "exec", "args": command}, streams)
            for fd in streams:
                os.close(fd)
        else:
            asked.execute(command, streams)
        if moment == "later":
            assert connections_pids(pid)
            time.sleep(0.1)
        asked.close()
        if moment == "before the answer":
            time.sleep(0.5)  # it is started all the same, and may not be there yet
        deadline = time.monotonic() + 10
        while connections_pids(pid) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not connections_pids(pid)


def connections_pids(pid):
    """The processes in the pid namespace of that one, but itself, and what has ended and is not reaped by it."""
    namespace = os.readlink(f"/proc/{pid}/ns/pid")
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            has_ended = (entry / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
            if os.readlink(entry / "ns" / "pid") == namespace and int(entry.name) != pid and not has_ended:
                found.append(int(entry.name))
        except OSError:
            continue
    return found


@pytest.fixture
def machine(bundle):
    """A running container with this machine's Python."""
    connections.with_python(bundle)
    connections.running(bundle)
    return bundle


TASKS = [
    {"ansible.builtin.ping": {}},
    {"ansible.builtin.setup": {"gather_subset": "!all"}},
    {"ansible.builtin.copy": {"content": "\u00fc\n", "dest": "/tmp/a b'c", "mode": "0600"}},
    {"ansible.builtin.slurp": {"src": "/tmp/a b'c"}, "register": "slurped"},
    {"ansible.builtin.assert": {"that": "slurped.content | b64decode == '\u00fc\n'"}},
    {"ansible.builtin.script": {"cmd": "{{ own }}/script.sh one 'two three'"}, "register": "script"},
    {"ansible.builtin.assert": {"that": "script.stdout == 'one/two three'"}},
    {"ansible.builtin.fetch": {"src": "/tmp/a b'c", "dest": "{{ own }}/fetched", "flat": True}},
    {"ansible.builtin.command": {"cmd": "sleep 1"}, "async": 20, "poll": 1},
    {"ansible.builtin.debug": {"msg": "{{ query('ansible.builtin.pipe', 'ls ' ~ folder) }}"}},
    {"ansible.builtin.meta": "reset_connection"},
    {"ansible.builtin.command": {"cmd": "id -un"}, "register": "who"},
    {"ansible.builtin.assert": {"that": "who.stdout == (ansible_user | default('root'))"}},
]


@pytest.mark.parametrize("variables", [{}, {"ansible_pipelining": False}, {"ansible_user": "student"}], ids=str)
def test_a_playbook_runs_in_it(machine, tmp_path, variables):
    playbook = tmp_path / "playbook.yml"
    playbook.write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": TASKS}]))
    (tmp_path / "script.sh").write_text('#!/bin/sh\nprintf "%s/%s" "$1" "$2"\n')
    inventory = connections.hosts(machine.name, machine.state, own=str(tmp_path), folder=attended.FOLDER, **variables)
    result = connections.ansible(inventory, str(playbook))
    assert result.returncode == 0, result.stdout + result.stderr
    assert (tmp_path / "fetched").read_text() == "\u00fc\n"
    assert f"{result.pid}.socket" in result.stdout  # there while it ran
    left = Path(attended.FOLDER) / f"{result.pid}.socket"
    deadline = time.monotonic() + 30
    while left.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not left.exists()


def test_raw_needs_no_python(lab):
    inventory = connections.hosts(lab.name, lab.state)
    result = connections.ansible(inventory, lab.name, "-m", "raw", "-a", "echo from $0", command="adhoc")
    assert "from /bin/sh" in result.stdout


def test_testinfra_reaches_it_through_ansible(machine, tmp_path, monkeypatch):
    import testinfra

    path = tmp_path / "hosts.json"
    path.write_text(json.dumps(connections.hosts(machine.name, machine.state)))
    for name, of_ansible in (("ansible", "adhoc"), ("ansible-inventory", "inventory")):  # of this very environment
        (tmp_path / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" -m ansible {of_ansible} "$@"\n')
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    host = testinfra.get_host(f"ansible://{machine.name}?ansible_inventory={path}&force_ansible=True")
    assert host.file("/etc/passwd").contains("student")
    assert host.user("student").uid == 1000
    assert host.run("exit 4").rc == 4
