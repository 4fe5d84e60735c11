# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Containers with a terminal, on a real kernel: the caller's, a pty that the test holds the master of; and sockets."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import termios
import time
from fcntl import ioctl

import pytest
from ansible_collections.ocilab.hosts.plugins.module_utils.linux import terminal
from ansible_collections.ocilab.hosts.plugins.module_utils.linux.errors import InvalidInput, KernelRefused

pytestmark = pytest.mark.root

TIMEOUT_S = 20


def set_size(fd, rows, columns):
    ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


class Screen:
    """A terminal that the test looks at and types on, with a program that has it as its controlling terminal."""

    def __init__(self, command, stdin=None, stdout=None, **keywords):
        self.master, slave = pty.openpty()
        set_size(self.master, 30, 100)
        self.before = termios.tcgetattr(slave)

        def lead():
            os.setsid()
            ioctl(2, termios.TIOCSCTTY, 0)

        self.process = subprocess.Popen(
            command,
            stdin=slave if stdin is None else stdin,
            stdout=slave if stdout is None else stdout,
            stderr=slave,
            preexec_fn=lead,  # noqa: PLW1509
            **keywords,
        )
        self.slave = slave
        self.shown = b""

    def type(self, text):
        os.write(self.master, text.encode())

    def wait_for(self, pattern):
        """Read until the pattern is on the screen, behind what was found before; the match."""
        deadline = time.monotonic() + TIMEOUT_S
        while True:
            found = re.search(pattern.encode(), self.shown)
            if found:
                self.shown = self.shown[found.end() :]
                return found
            left = deadline - time.monotonic()
            assert left > 0, f"{pattern!r} is not in {self.shown!r}"
            if select.select([self.master], [], [], left)[0]:
                self.shown += os.read(self.master, 65536)

    def end(self):
        """The exit code; what the program still shows is read meanwhile."""
        deadline = time.monotonic() + TIMEOUT_S
        while self.process.poll() is None:
            assert time.monotonic() < deadline, self.shown
            if select.select([self.master], [], [], 0.02)[0]:
                self.shown += os.read(self.master, 65536)
        while select.select([self.master], [], [], 0)[0]:
            self.shown += os.read(self.master, 65536)
        return self.process.returncode

    def is_restored(self):
        return termios.tcgetattr(self.slave) == self.before

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.master)
        os.close(self.slave)


@pytest.fixture
def terminal_bundle(bundle):
    for applet in ("stty", "tty", "kill", "head", "wc", "tr", "ps"):
        path = bundle.path / "rootfs" / "bin" / applet
        if not path.exists():
            path.symlink_to("busybox")
    bundle.config["process"]["terminal"] = True
    bundle.config["process"]["args"] = ["/bin/sh"]
    bundle.config["process"]["env"].append("PS1=$ ")
    return bundle


@pytest.fixture
def screens():
    opened = []
    yield opened
    for screen in opened:
        screen.close()


@pytest.fixture
def run(terminal_bundle, screens):
    """Start `labrun run` on a screen."""

    def start(*args, **keywords):
        if args:
            terminal_bundle.config["process"]["args"] = list(args)
        terminal_bundle.write()
        words = ["run", "--bundle", str(terminal_bundle.path), terminal_bundle.name]
        screens.append(
            Screen([str(terminal_bundle.labrun_path), "--root", str(terminal_bundle.state), *words], **keywords)
        )
        return screens[-1]

    return start


def test_a_shell_echoes_runs_and_passes_its_exit_code_on(run, terminal_bundle):
    screen = run()
    screen.wait_for(r"\$ ")
    assert not screen.is_restored()  # raw
    screen.type("echo sum $((20+22))\r")
    screen.wait_for(r"echo sum \$\(\(20\+22\)\)\r+\n")
    screen.wait_for("sum 42\r\n")
    screen.type("tty; exit 7\r")
    screen.wait_for("/dev/pts/0\r\n")
    assert screen.end() == 7
    assert screen.is_restored()
    terminal_bundle.assert_nothing_left()


def test_the_terminal_is_the_containers_own_and_the_console_too(run):
    script = "tty; ls -l /dev/console /dev/ptmx /dev/pts; ls -l /proc/self/fd; ps -o pid,tty; echo here >/dev/console"
    screen = run("/bin/sh", "-c", script + "; echo there >/dev/tty")
    assert screen.end() == 0
    shown = screen.shown.decode()
    assert "/dev/pts/0\r\n" in shown
    assert re.search(r"crw--w---- +1 root +\S+ +136, +0 .* /dev/console", shown)
    assert len(re.findall(r"[012] -> /dev/pts/0", shown)) == 3
    assert "ptmx -> pts/ptmx" in shown
    assert "136,0" in shown
    assert "here\r\nthere\r\n" in shown


def test_the_size_is_there_from_the_start_and_follows(run):
    script = "stty size; trap 'stty size; exit 3' WINCH; echo waiting; while true; do sleep 0.1; done"
    screen = run("/bin/sh", "-c", script)
    screen.wait_for("^30 100\r\n")
    screen.wait_for("waiting")
    set_size(screen.master, 51, 132)
    screen.wait_for("51 132\r\n")
    assert screen.end() == 3


def test_control_c_reaches_the_process_and_not_labrun(run):
    screen = run("/bin/sh", "-c", "trap 'echo caught; exit 5' INT; echo waiting; while true; do sleep 0.1; done")
    screen.wait_for("waiting")
    screen.type("\x03")
    screen.wait_for("caught\r\n")
    assert screen.end() == 5
    assert screen.is_restored()


def test_control_c_ends_a_program_of_the_shell_alone(run):
    screen = run()
    screen.wait_for(r"\$ ")
    screen.type("sleep 100\r")
    screen.wait_for("sleep 100")
    time.sleep(0.3)
    screen.type("\x03")
    screen.wait_for(r"\$ ")
    screen.type("exit 4\r")
    assert screen.end() == 4


def test_control_d_is_the_end_of_the_input(run):
    screen = run("/bin/cat")
    screen.type("word\r")
    screen.wait_for("word\r\nword\r\n")
    screen.type("\x04")
    assert screen.end() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGRTMIN + 3])
def test_signals_to_labrun_go_to_the_process(run, number):
    script = f"trap 'echo got {int(number)}; exit 6' {int(number)}; echo waiting; while true; do sleep 0.1; done"
    screen = run("/bin/sh", "-c", script)
    screen.wait_for("waiting")
    os.kill(screen.process.pid, number)
    screen.wait_for(f"got {int(number)}")
    assert screen.end() == 6
    assert screen.is_restored()


def test_the_terminal_is_restored_after_an_error(run, terminal_bundle):
    screen = run("/bin/missing")
    assert screen.end() == 127
    assert screen.is_restored()
    assert b"no such file" in screen.shown
    terminal_bundle.assert_nothing_left()


def test_a_process_that_is_killed_leaves_the_terminal_restored(run, terminal_bundle):
    screen = run("/bin/sh", "-c", "echo waiting; while true; do sleep 0.1; done")
    screen.wait_for("waiting")
    assert terminal_bundle.labrun("kill", terminal_bundle.name, "KILL").returncode == 0
    assert screen.end() == 137
    assert screen.is_restored()


def test_all_output_arrives_before_the_end(run):
    screen = run("/bin/sh", "-c", "head -c 300000 /dev/zero | tr '\\0' x; echo; echo last; exit 9")
    assert screen.end() == 9
    assert screen.shown.count(b"x") == 300000
    assert screen.shown.endswith(b"last\r\n")


def test_input_waits_for_a_slow_reader(run):
    screen = run("/bin/sh", "-c", "stty raw -echo; echo ready; sleep 0.5; head -c 200000 | wc -c")
    screen.wait_for("ready")
    sent = 0
    while sent < 200000:
        sent += os.write(screen.master, b"y" * min(4000, 200000 - sent))
    screen.wait_for("200000")
    assert screen.end() == 0


def test_a_console_that_is_closed_can_be_opened_again(run):
    """As systemd does with its own; the container does not end for it, nor does labrun spin."""
    script = "exec </dev/null >/dev/null 2>&1; sleep 0.5; echo back >/dev/console; sleep 0.2; exit 8"
    screen = run("/bin/sh", "-c", script)
    screen.wait_for("back")
    used = sum(int(field) for field in stat_fields(screen.process.pid)[11:13]) / os.sysconf("SC_CLK_TCK")
    assert screen.end() == 8
    assert used < 0.4


def stat_fields(pid):
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()


def test_what_outlives_the_process_on_the_terminal_does_not_keep_labrun(run, terminal_bundle):
    namespaces = terminal_bundle.config["linux"]["namespaces"]
    namespaces[:] = [item for item in namespaces if item["type"] != "pid"]
    mounts = terminal_bundle.config["mounts"]
    mounts[:] = [item for item in mounts if item["destination"] != "/proc"]
    mounts.insert(0, {"destination": "/proc", "type": "bind", "source": "/proc", "options": ["rbind"]})
    terminal_bundle.config["linux"]["maskedPaths"] = terminal_bundle.config["linux"]["readonlyPaths"] = []
    screen = run("/bin/sh", "-c", "trap '' HUP; (while true; do echo y; done) & sleep 0.3; exit 2")
    assert screen.end() == 2
    terminal_bundle.assert_nothing_left()


def test_the_terminal_belongs_to_the_user(run, terminal_bundle):
    terminal_bundle.config["process"]["user"] = {"uid": 1000, "gid": 1001}
    screen = run("/bin/sh", "-c", "ls -ln /dev/pts/0; echo again >/dev/pts/0")
    assert screen.end() == 0
    assert re.search(rb"crw--w---- +1 1000 +5 ", screen.shown)
    assert b"again" in screen.shown


def test_in_a_user_namespace_the_terminal_is_the_users(run, terminal_bundle):
    linux = terminal_bundle.config["linux"]
    linux["namespaces"].append({"type": "user"})
    linux["uidMappings"] = linux["gidMappings"] = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    for parent in (terminal_bundle.path, *terminal_bundle.path.parents):
        if str(parent).startswith("/tmp/"):
            os.chmod(parent, 0o755)
    screen = run("/bin/sh", "-c", "tty; ls -ln /dev/pts/0 /dev/console; stty size")
    assert screen.end() == 0, screen.shown
    assert b"/dev/pts/0\r\n" in screen.shown
    assert screen.shown.endswith(b"30 100\r\n")


def test_a_file_as_input_and_a_pipe_as_output_leave_the_terminal_to_stderr(run, terminal_bundle):
    """As runc: the container has its terminal, the caller's is whichever stream is one; no \\r in the pipe."""
    given = terminal_bundle.path / "input"
    given.write_text("first\nsecond\n")
    read, write = os.pipe()
    with open(given) as file:
        screen = run("/bin/sh", "-c", "read a; read b; echo $b $a; stty size; exit 3", stdin=file, stdout=write)
    os.close(write)
    with open(read) as file:
        shown = file.read()
    assert screen.end() == 3
    assert shown.endswith("second first\n30 100\n")
    assert "\r" not in shown
    assert screen.is_restored()


def test_without_any_terminal_it_is_a_clear_error(terminal_bundle):
    terminal_bundle.write()
    words = ["run", "--bundle", str(terminal_bundle.path), terminal_bundle.name]
    result = terminal_bundle.labrun(*words, stdin=subprocess.DEVNULL, start_new_session=True)
    assert result.returncode == 1
    assert "there is no terminal here" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    terminal_bundle.assert_nothing_left()


@pytest.fixture
def listener(tmp_path):
    path = tmp_path / "console.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(str(path))
        server.listen()
        server.settimeout(TIMEOUT_S)
        yield server


def receive(server):
    """(name, master) that come over the socket, as recvtty takes them."""
    connection, _address = server.accept()
    with connection:
        connection.settimeout(TIMEOUT_S)
        name, received, _flags, _sender = socket.recv_fds(connection, 4096, 4)
        assert len(received) == 1
        assert connection.recv(1) == b""  # nothing follows, and the runtime keeps no end of it
        return name.decode(), received[0]


def read_until(master, word):
    shown = b""
    deadline = time.monotonic() + TIMEOUT_S
    while word not in shown:
        left = deadline - time.monotonic()
        assert left > 0 and select.select([master], [], [], left)[0], shown
        shown += os.read(master, 65536)
    return shown


def quietly(bundle, *words):
    return bundle.labrun(*words, stdin=subprocess.DEVNULL)


@pytest.mark.parametrize("command", ["create", "run"])
def test_the_console_socket_takes_the_master(terminal_bundle, listener, command):
    terminal_bundle.config["process"]["consoleSize"] = {"height": 40, "width": 90}
    terminal_bundle.write()
    words = [command, "--bundle", str(terminal_bundle.path), "--console-socket", listener.getsockname()]
    words += ["--detach"] if command == "run" else []
    result = quietly(terminal_bundle, *words, terminal_bundle.name)
    assert (result.returncode, result.stderr) == (0, "")
    name, master = receive(listener)
    assert name == "/dev/ptmx"
    if command == "create":
        assert quietly(terminal_bundle, "start", terminal_bundle.name).returncode == 0
    read_until(master, b"$ ")
    os.write(master, b"stty size\r")
    read_until(master, b"40 90\r\n")
    set_size(master, 20, 60)
    os.write(master, b"stty size; exit\r")
    read_until(master, b"20 60\r\n")
    with pytest.raises(OSError, match="Input/output"):
        while True:
            os.read(master, 65536)
    os.close(master)


def test_the_socket_may_be_abstract_or_have_a_long_path(terminal_bundle, tmp_path):
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)
    here = os.getcwd()
    for address, given in ((f"\0labrun-{os.getpid()}", f"@labrun-{os.getpid()}"), ("short", str(deep / "short"))):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
            os.chdir(deep)
            try:
                server.bind(address)
            finally:
                os.chdir(here)
            server.listen()
            server.settimeout(TIMEOUT_S)
            terminal_bundle.write()
            words = ["create", "--bundle", str(terminal_bundle.path), "--console-socket", given, terminal_bundle.name]
            result = quietly(terminal_bundle, *words)
            assert (result.returncode, result.stderr) == (0, "")
            os.close(receive(server)[1])
        assert quietly(terminal_bundle, "delete", "--force", terminal_bundle.name).returncode == 0


BAD_SOCKETS = [
    (("create",), True, "without setting console socket"),
    (("run", "--detach"), True, "without setting console socket"),
    (("create", "--console-socket", "SOCKET"), False, "cannot use console socket"),
    (("run", "--console-socket", "SOCKET"), True, "cannot use console socket"),
    (("create", "--console-socket", "/nonexistent/socket"), True, "no such file"),
    (("create", "--console-socket", "/dev/null"), True, "/dev/null: connection refused"),
]


@pytest.mark.parametrize(("words", "wanted", "message"), BAD_SOCKETS)
def test_what_does_not_go_together_is_refused(terminal_bundle, listener, words, wanted, message):
    terminal_bundle.config["process"]["terminal"] = wanted
    terminal_bundle.write()
    words = [listener.getsockname() if word == "SOCKET" else word for word in words]
    result = quietly(terminal_bundle, *words, "--bundle", str(terminal_bundle.path), terminal_bundle.name)
    assert result.returncode == 1
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1
    terminal_bundle.assert_nothing_left()


def test_without_a_devpts_it_is_a_clear_error(terminal_bundle, listener):
    mounts = terminal_bundle.config["mounts"]
    mounts[:] = [item for item in mounts if item["destination"] != "/dev/pts"]
    terminal_bundle.write()
    words = [
        "create",
        "--bundle",
        str(terminal_bundle.path),
        "--console-socket",
        listener.getsockname(),
        terminal_bundle.name,
    ]
    result = quietly(terminal_bundle, *words)
    assert result.returncode == 1
    assert "devpts" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    terminal_bundle.assert_nothing_left()


@pytest.mark.parametrize("attack", ["link", "tmpfs", "ptmx"])
def test_nothing_stands_in_for_the_containers_devpts(terminal_bundle, listener, tmp_path_factory, attack):
    """Case R08: a link, another file system, and a mount over ptmx; the runs without them above are the control."""
    outside = tmp_path_factory.mktemp("outside")
    (outside / "ptmx").write_text("untouched")
    mounts = terminal_bundle.config["mounts"]
    position = next(index for index, item in enumerate(mounts) if item["destination"] == "/dev/pts")
    if attack == "link":
        del mounts[position]
        dev = next(index for index, item in enumerate(mounts) if item["destination"] == "/dev")
        del mounts[dev]
        (terminal_bundle.path / "rootfs" / "dev" / "pts").symlink_to("/tmp")
    elif attack == "tmpfs":
        mounts[position] = {"destination": "/dev/pts", "type": "bind", "source": str(outside), "options": ["bind"]}
    else:
        over = {"destination": "/dev/pts/ptmx", "type": "bind", "source": str(outside / "ptmx"), "options": ["bind"]}
        mounts.insert(position + 1, over)
    terminal_bundle.write()
    words = [
        "create",
        "--bundle",
        str(terminal_bundle.path),
        "--console-socket",
        listener.getsockname(),
        terminal_bundle.name,
    ]
    result = quietly(terminal_bundle, *words)
    assert result.returncode == 1, result.stderr
    assert "/dev/pts" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert (outside / "ptmx").read_text() == "untouched"
    assert [path.name for path in outside.iterdir()] == ["ptmx"]
    terminal_bundle.assert_nothing_left()


@pytest.fixture
def sleeping(terminal_bundle):
    terminal_bundle.config["process"].update(terminal=False, args=["/bin/sleep", "300"])
    terminal_bundle.write()
    words = ["run", "--detach", "--bundle", str(terminal_bundle.path), terminal_bundle.name]
    assert quietly(terminal_bundle, *words).returncode == 0
    return terminal_bundle


@pytest.fixture
def execute(sleeping, screens):
    """Start `labrun exec --tty` on a screen."""

    def start(*args, **keywords):
        words = ["exec", "--tty", sleeping.name, *args]
        screens.append(Screen([str(sleeping.labrun_path), "--root", str(sleeping.state), *words], **keywords))
        return screens[-1]

    return start


def test_exec_with_a_terminal_of_its_own(execute):
    screen = execute("/bin/sh", "-c", "tty; stty size; read word; echo got $word; exit 11")
    screen.wait_for("/dev/pts/0\r\n30 100\r\n")
    screen.type("word\r")
    screen.wait_for("got word\r\n")
    assert screen.end() == 11
    assert screen.is_restored()


def test_control_c_and_resize_in_exec(execute):
    script = "trap 'stty size' WINCH; trap 'exit 5' INT; echo waiting; while true; do sleep 0.1; done"
    screen = execute("/bin/sh", "-c", script)
    screen.wait_for("waiting")
    set_size(screen.master, 10, 20)
    screen.wait_for("10 20")
    screen.type("\x03")
    assert screen.end() == 5


def test_exec_that_fails_restores_the_terminal(execute):
    screen = execute("/bin/missing")
    assert screen.end() in (127, 255)
    assert screen.is_restored()


def test_exec_to_a_console_socket(sleeping, listener):
    words = ["exec", "--tty", "--detach", "--console-socket", listener.getsockname(), sleeping.name, "/bin/sh"]
    result = quietly(sleeping, *words)
    assert (result.returncode, result.stderr) == (0, "")
    _name, master = receive(listener)
    read_until(master, b"$ ")
    os.write(master, b"tty\r")
    read_until(master, b"/dev/pts/0\r\n")
    os.close(master)
    refused = quietly(sleeping, "exec", "--tty", "--detach", sleeping.name, "/bin/true")
    assert "without setting console socket" in refused.stderr
    process = sleeping.path / "process.json"
    process.write_text(json.dumps({"terminal": True, "args": ["/bin/tty"], "cwd": "/", "user": {"uid": 0, "gid": 0}}))
    words = ["exec", "--detach", "--process", str(process), "--console-socket", listener.getsockname(), sleeping.name]
    assert quietly(sleeping, *words).returncode == 0
    _name, master = receive(listener)
    read_until(master, b"/dev/pts/")
    os.close(master)


def test_conmon_takes_the_master(terminal_bundle, tmp_path):
    """The receiver of Podman and CRI-O, which starts the runtime itself."""
    if not shutil.which("conmon"):
        pytest.skip("conmon is not installed")
    terminal_bundle.config["process"]["args"] = ["/bin/sh", "-c", "tty; stty size; exit 3"]
    terminal_bundle.write()
    wrapper = tmp_path / "runtime"
    wrapper.write_text(f'#!/bin/sh\nexec {terminal_bundle.labrun_path} --root {terminal_bundle.state} "$@"\n')
    wrapper.chmod(0o755)
    log, exits = tmp_path / "log", tmp_path / "exits"
    exits.mkdir()
    name = terminal_bundle.name
    words = [
        "conmon",
        "--api-version",
        "1",
        "-c",
        name,
        "-u",
        name,
        "-r",
        str(wrapper),
        "-b",
        str(terminal_bundle.path),
    ]
    words += ["-p", str(tmp_path / "pid"), "-n", name, "--exit-dir", str(exits), "-l", f"k8s-file:{log}", "-t"]
    words += ["--socket-dir-path", str(tmp_path), "--sync"]
    monitor = subprocess.Popen(words, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd=tmp_path)
    try:
        deadline = time.monotonic() + TIMEOUT_S
        while not (tmp_path / "pid").exists() or quietly(terminal_bundle, "state", name).returncode != 0:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert quietly(terminal_bundle, "start", name).returncode == 0
        while not (exits / name).exists():
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        assert (exits / name).read_text() == "3"
        assert "/dev/pts/0" in log.read_text()
    finally:
        monitor.kill()
        monitor.communicate()


def test_a_descriptor_and_its_name_cross_a_socket():
    left, right = terminal.socket_pair()
    read, write = os.pipe()
    terminal.send_fd(left, write, "a pipe")
    received = terminal.receive_fd(right)
    assert os.get_inheritable(received) is False
    os.write(received, b"word")
    assert os.read(read, 10) == b"word"
    os.write(left, b"no descriptor")
    with pytest.raises(InvalidInput, match="0 descriptors"):
        terminal.receive_fd(right)
    os.close(right)
    with pytest.raises(KernelRefused, match="console socket closed it"):
        terminal.send_fd(left, write, "nobody listens")
    for fd in (left, read, write, received):
        os.close(fd)


def test_more_descriptors_than_one_are_refused_and_closed():
    left, right = terminal.socket_pair()
    with socket.socket(fileno=os.dup(left)) as sender:
        socket.send_fds(sender, [b"two"], [0, 1])
    before = sorted(os.listdir("/proc/self/fd"))
    with pytest.raises(InvalidInput, match="descriptors"):
        terminal.receive_fd(right)
    assert sorted(os.listdir("/proc/self/fd")) == before
    os.close(left)
    os.close(right)
