# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Cases A: what is secret stays so, and what is given is data."""

from __future__ import annotations

import http.server
import json
import os
import shutil
import socket
import socketserver
import subprocess
import sys
import threading
from pathlib import Path

import pytest

SECRET = "sentinel-of-a-password"
KEYRING = Path("/usr/share/keyrings/debian-archive-bookworm-stable.gpg")
FINGERPRINT = "4D64FEC119C2029067D6E791F8D2585B8783D481"


def seen_in_proc():
    """The processes, but for the ones that Ansible was started by, that show the secret to who looks."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        for name in ("cmdline", "environ"):
            try:
                if SECRET.encode() in (process / name).read_bytes():
                    found.add((process.name, name, (process / "comm").read_text()))
            except OSError:
                pass  # it has ended
    return found


@pytest.fixture
def proxy():
    """A proxy that answers nothing, and looks at the host's processes while it is asked."""

    class Proxy(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.server.asked.append(self.headers.get("Proxy-Authorization", ""))
            self.server.shown.update(seen_in_proc())
            self.send_error(404)

        do_CONNECT = do_GET

        def log_message(self, *_words):
            pass

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Proxy) as server:
        server.asked, server.shown = [], set()
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def syslog():
    """What is written to the host's log by those who write there by /dev/log, as Ansible does."""
    log = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    try:
        log.bind("/dev/log")
    except OSError:
        pytest.skip("/dev/log is somebody else's")
    try:
        yield lambda: b"".join(iter(lambda: receive(log), b""))
    finally:
        log.close()
        os.unlink("/dev/log")


def receive(log):
    try:
        return log.recv(1 << 16)
    except BlockingIOError:
        return b""


def play(tmp_path, module, arguments, *words, python=sys.executable, **options):
    """Run one task of a playbook that holds its arguments, with the options of a task."""
    path = tmp_path / "play.yml"
    task = {"name": "Try", module: arguments, **options}
    path.write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": [task]}]))
    return subprocess.run(
        [sys.executable, "-m", "ansible", "playbook", "-i", "localhost,", "-c", "local", str(path), *words],
        env=dict(os.environ, ANSIBLE_NOCOLOR="1", ANSIBLE_PYTHON_INTERPRETER=python),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.root
def test_a01_a_proxys_password_is_seen_nowhere(tmp_path, proxy, syslog):
    if not shutil.which("apt-get") or not KEYRING.exists():
        pytest.skip("there is no apt-get with Debian's keys")
    url = f"http://user:{SECRET}@127.0.0.1:{proxy.server_address[1]}"
    arguments = {"owner": "test", "name": ["tini-that-is-none"], "proxy": {"http": url, "https": url}}
    arguments["repository"] = {"uris": ["http://packages.invalid/debian"], "suites": ["stable"], "components": ["main"]}
    arguments["repository"].update(key_url=f"file://{KEYRING}", key_fingerprint=[FINGERPRINT])
    result = play(tmp_path, "ocilab.hosts.engine_packages", arguments, "--check", "--diff", "-vvvv")
    told = result.stdout + result.stderr
    assert result.returncode != 0
    assert "packages.invalid" in told, "the control: it is told what failed"
    assert any(proxy.asked), "the control: the proxy was given the password"
    assert SECRET not in told
    assert proxy.shown == set()
    logged = syslog().decode()
    assert "tini-that-is-none" in logged, "the control: Ansible logs what a module was given"
    assert SECRET not in logged


MODULES = [
    ("labrun_container", {"name": "lost", "image": "none:1", "state": "started"}),
    ("labrun_network", {"name": "lost"}),
    ("labrun_volume", {"name": "lost"}),
    ("labrun_image", {"name": "none:1", "state": "absent"}),
    ("engine_packages", {"owner": "test", "name": ["tini"]}),
    ("engine_users", {"owner": "test", "users": [{"name": "lost"}]}),
    ("lab_machine", {"name": ["lost"], "state": "created"}),
]


@pytest.mark.root
@pytest.mark.parametrize(("module", "arguments"), MODULES, ids=[name for name, _arguments in MODULES])
def test_a07_another_user_than_root_is_told_so(tmp_path, module, arguments):
    """By the system's interpreter, which everybody may run."""
    temporary = tmp_path / "ansible"
    variables = {"ansible_remote_tmp": str(temporary), "ansible_become_flags": "-s /bin/sh"}
    old = os.umask(0)
    try:
        options = {"become": True, "become_method": "ansible.builtin.su", "become_user": "nobody", "vars": variables}
        result = play(tmp_path, "ocilab.hosts." + module, arguments, python="/usr/bin/python3", **options)
    finally:
        os.umask(old)
    assert result.returncode != 0
    assert "needs root" in result.stdout
    assert "Traceback" not in result.stdout + result.stderr
    assert [path for path in temporary.rglob("*") if path.stat().st_mode & 0o077] == []


HOSTILE = [
    ("labrun_container", {"name": ";id", "image": "none:1", "state": "started"}),
    ("labrun_network", {"name": "$(id)"}),
    ("labrun_volume", {"name": "../outside"}),
    ("engine_packages", {"owner": "test", "name": ["-oAPT::Update::Pre-Invoke::=id"]}),
    ("engine_packages", {"owner": "../test", "name": ["tini"]}),
    ("engine_users", {"owner": "test", "users": [{"name": "a:b"}]}),
    ("engine_traces", {"engine": "../docker", "state": "noted"}),
    ("lab_machine", {"name": ["a b"], "state": "started"}),
]


@pytest.mark.root
@pytest.mark.parametrize(("module", "arguments"), HOSTILE, ids=[name for name, _arguments in HOSTILE])
def test_a06_a08_a_hostile_name_is_one_clear_line(tmp_path, module, arguments):
    result = play(tmp_path, "ocilab.hosts." + module, arguments)
    told = result.stdout + result.stderr
    assert result.returncode != 0
    assert "uid=" not in told
    assert "Traceback" not in told
    assert not Path("/var/lib/ocilab.hosts").exists()
