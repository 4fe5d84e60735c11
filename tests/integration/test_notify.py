# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""NOTIFY_SOCKET: what a program tells by sd_notify(3) reaches who started the runtime; beside Debian's runc, if any."""

from __future__ import annotations

import array
import json
import os
import shutil
import socket
import subprocess
import threading

import pytest

pytestmark = pytest.mark.root


class Manager:
    """In systemd's place: a socket, the datagrams that came, and an answer to each barrier."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(path)
        self.socket.settimeout(60)
        self.heard = []
        self.thread = threading.Thread(target=self._listen, daemon=True)
        self.thread.start()

    def _listen(self):
        while self.heard[-1:] != [b"BARRIER=1"]:
            try:
                data, control, _flags, _address = self.socket.recvmsg(4096, socket.CMSG_SPACE(4))
            except OSError:  # it takes too long, or the test is over
                return
            if data.startswith(b"MAINPID"):
                self.socket.settimeout(1)  # Debian's runc has no barrier yet
            self.heard.append(data)
            for _level, _kind, fds in control:
                os.close(array.array("i", fds)[0])

    def words(self):
        self.thread.join(timeout=30)
        heard = [item.decode().strip() for item in self.heard]
        return heard[:-1] if heard[-1:] == ["BARRIER=1"] else heard


@pytest.fixture(params=["path", "@abstract"])
def manager(request, tmp_path):
    name = str(tmp_path / "manager")
    made = Manager(name if request.param == "path" else "\0" + name)
    made.address = name if request.param == "path" else "@" + name
    yield made
    made.socket.close()


@pytest.fixture(params=["labrun", "runc"])
def runtime(request, probe):
    probe.config["process"]["args"] = ["/bin/sh", "-c", "sleep 0.5; probe notify STATUS=x READY=1; exec sleep 100"]
    probe.write()
    if request.param == "runc" and not shutil.which("runc"):
        pytest.skip("runc is not installed")
    name = probe.name + ("-runc" if request.param == "runc" else "")
    command = {"labrun": [str(probe.labrun_path), "--root", str(probe.state)], "runc": ["runc", "--root", "NEW"]}
    words = [str(probe.path / "runc") if word == "NEW" else word for word in command[request.param]]

    def call(*arguments, notify="", **keywords):
        environment = dict(os.environ, **({"NOTIFY_SOCKET": notify} if notify else {}))
        quiet = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
        return subprocess.run([*words, *arguments], env=environment, timeout=60, check=False, **{**quiet, **keywords})

    call.name, call.bundle, call.words = name, probe, words
    yield call
    call("delete", "--force", name)


def state(runtime):
    return json.loads(runtime("state", runtime.name, stdout=subprocess.PIPE).stdout)


def test_start_waits_until_the_program_is_ready(runtime, manager):
    arguments = ("create", "--bundle", str(runtime.bundle.path), runtime.name)
    assert runtime(*arguments, notify=manager.address).returncode == 0
    assert manager.heard == []
    assert runtime("start", runtime.name, notify=manager.address).returncode == 0
    assert manager.words() == ["READY=1", f"MAINPID={state(runtime)['pid']}"]


def test_run_detached_waits_until_the_program_is_ready(runtime, manager):
    arguments = ("run", "--detach", "--bundle", str(runtime.bundle.path), runtime.name)
    assert runtime(*arguments, notify=manager.address).returncode == 0
    assert manager.words() == ["READY=1", f"MAINPID={state(runtime)['pid']}"]


def test_run_tells_its_own_pid(runtime, manager):
    arguments = [*runtime.words, "run", "--bundle", str(runtime.bundle.path), runtime.name]
    quiet = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
    running = subprocess.Popen(arguments, env=dict(os.environ, NOTIFY_SOCKET=manager.address), **quiet)
    assert manager.words() == ["READY=1", f"MAINPID={running.pid}"]
    assert manager.heard[-1] == b"BARRIER=1" or runtime.words[0] == "runc"
    runtime("kill", runtime.name, "KILL")
    assert running.wait(timeout=30) == 137


def test_start_ends_with_a_program_that_never_tells(runtime, manager):
    runtime.bundle.config["process"]["args"] = ["/bin/true"]
    runtime.bundle.write()
    arguments = ("create", "--bundle", str(runtime.bundle.path), runtime.name)
    assert runtime(*arguments, notify=manager.address).returncode == 0
    assert runtime("start", runtime.name, notify=manager.address).returncode == 0
    assert manager.heard == []
    assert runtime("delete", "--force", runtime.name).returncode == 0
    assert not (runtime.bundle.state / runtime.name).exists()


def test_without_notify_socket_there_is_none(probe):
    assert "no NOTIFY_SOCKET" in probe.run("/bin/probe", "notify").stdout
    result = probe.labrun(
        "run", "--bundle", str(probe.path), probe.name, env=dict(os.environ, NOTIFY_SOCKET="/nowhere")
    )
    assert result.returncode == 0  # nothing was told
    probe.config["process"]["args"] = ["/bin/probe", "notify", "READY=1"]
    probe.write()
    arguments = ("create", "--bundle", str(probe.path), probe.name)
    environment = dict(os.environ, NOTIFY_SOCKET="/nowhere")
    assert probe.labrun(*arguments, env=environment, stdin=-3).returncode == 0
    result = probe.labrun("start", probe.name, env=environment)
    assert result.returncode == 1
    assert "send to NOTIFY_SOCKET /nowhere: no such file or directory (ENOENT)" in result.stderr
