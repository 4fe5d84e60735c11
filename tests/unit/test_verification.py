# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How an outcome is judged and told: files of hardening, what containers print, and a table for people."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

import pytest
from ansible_collections.ocilab.hosts.plugins.module_utils.engines import engine
from ansible_collections.ocilab.hosts.plugins.module_utils.linux.errors import OcilabError, Unsupported
from ansible_collections.ocilab.hosts.plugins.module_utils.verification import checks, items, scripts, verification
from ansible_collections.ocilab.hosts.plugins.module_utils.verification.listener import Listener
from ansible_collections.ocilab.hosts.plugins.module_utils.verification.subjects import PIDS, Subject

TOKEN = "a-word"


class Recorded(engine.Engine):
    """An engine whose containers print what was recorded; what is started is noted."""

    name = "recorded"

    def __init__(self, *answers):
        self.answers = list(answers)
        self.started = []

    def start(self, container_id, wanted):
        self.started.append((container_id, wanted))

    def execute(self, container_id, words):
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def address(self, container_id):
        return "192.0.2.7"

    def pull(self, reference):
        raise Unsupported("recorded: has no client")


def scene(*answers, folder="/nonexistent", outside=None, cache="", **keywords):
    subject = Subject(Recorded(*answers), "true", **keywords)
    return checks.Scene(subject, "test", TOKEN, 7000, str(folder), checks.Wishes("localhost", cache, outside))


def outcome(check, *answers, **keywords):
    """The failure's text, or '' where the check passes."""
    try:
        check(scene(*answers, **keywords))
    except OcilabError as error:
        return str(error)
    return ""


RESOLVED = "Server: x\n\nName:\tlocalhost\nAddress: 127.0.0.1"
LINES = "\n".join(str(number) for number in range(1, PIDS + 1))


@pytest.mark.parametrize(
    ("check", "good", "bad", "said"),
    [
        (checks.run, TOKEN + "\n", "another", "instead of"),
        (checks.network, TOKEN + "\nreached\n", "no answer from 10.0.0.1", "does not reach its target"),
        (checks.network, TOKEN + "\nreached\n", "reached", "does not reach its target"),
        (checks.neighbour, TOKEN, "no answer from 192.0.2.7", "another container"),
        (
            checks.names,
            "Server: x\n\nName:\tlocalhost\nAddress: 127.0.0.1",
            ";; connection timed out",
            "does not resolve",
        ),
        (checks.memory, "little 0\nmuch 137", "little 0\nmuch 0", "went on"),
        (checks.memory, "little 0\nmuch 137", "little 137\nmuch 137", "takes little memory"),
        (checks.memory, "little 0\nmuch 137", "little 0\nmuch 1", "was not killed"),
        (checks.pids, LINES + "\nsh: can't fork", "\n".join(map(str, range(1, 2 * PIDS + 1))), "in spite of the limit"),
        (checks.pids, LINES + "\nsh: can't fork", "1\nsh: can't fork", "no more than 1 processes"),
        (checks.standing, "12 0", "12 3", "of its 12 calls 3 failed"),
        (checks.standing, "12 0", "0 0", "of its 0 calls"),
    ],
)
def test_an_outcome_is_judged(check, good, bad, said):
    assert outcome(check, good) == ""
    assert said in outcome(check, bad)


def test_a_volume_is_seen_from_both_sides(tmp_path):
    assert "the host does not see" in outcome(checks.volume, TOKEN, folder=tmp_path)
    assert (tmp_path / "told").read_text() == TOKEN + "\n"
    assert "where the host has written" in outcome(checks.volume, "cat: no such file", folder=tmp_path)


def test_what_an_engine_has_not_is_left_out_with_its_reason():
    run = verification.Verification(expected=True)
    run.ready = [scene(TOKEN, folder="/tmp", cache="an/image", left_out={"pids": "no such limit"})]
    run.ready[0].subject.adapter.remove = lambda _id: None
    run.ready[0].subject.adapter.answers += [engine.EngineFailed("no network")] * 9
    run.check()
    told = {result["check"]: (result["passed"], result["left_out"], result["reason"]) for result in run.results}
    assert told["run"] == (True, False, "")
    assert told["network"] == (False, False, "no network")
    assert told["pids"] == (False, True, "no such limit")
    assert told["cache"] == (False, True, "recorded: has no client")
    assert verification.line(run.results[1]) == "recorded: network: no network"
    (line,) = verification.table(run.results)
    assert "works: run" in line
    assert "FAILED: network neighbour" in line
    assert "left out: pids (no such limit)" in line


def test_an_engine_that_cannot_run_a_container_has_failed():
    run = verification.Verification(expected=True)
    run.ready = [scene(folder="/tmp")]
    run.ready[0].subject.adapter.remove = lambda _id: None
    run.ready[0].subject.adapter.answers += [Unsupported("recorded: there is no plugin bridge")] * 2
    run.check()
    assert [result["check"] for result in run.results if verification.failed(result)] == ["run"]
    assert len(run.results) == 2


@pytest.mark.parametrize(("expected", "left_out"), [(True, False), (False, True)])
def test_an_engine_that_is_not_there(expected, left_out):
    subject = Subject(Recorded(), "no-such-program-anywhere")
    run = verification.Verification(expected)
    run.begin(checks.Scene(subject, "test", TOKEN, 1, "/", checks.Wishes("", "", None)), None)
    (result,) = run.results
    assert (result["left_out"], result["passed"]) == (left_out, False)
    assert result["reason"] == "no-such-program-anywhere is not installed"
    assert run.end() == []


def busybox(words):
    if not Path("/bin/busybox").exists():
        pytest.skip("there is no /bin/busybox; install busybox-static")
    return subprocess.run(words, capture_output=True, text=True, timeout=60, check=True).stdout


def test_the_scripts_are_those_of_a_host_without_limits():
    """The control: where nothing limits, both checks fail."""
    assert "went on" in outcome(checks.memory, busybox(scripts.TAKE_MEMORY))
    assert "in spite of the limit" in outcome(checks.pids, busybox(scripts.fork(2 * PIDS)))


def test_the_listener_answers_and_goes():
    with Listener(TOKEN) as listener:
        for _time in range(3):
            with socket.create_connection(("127.0.0.1", listener.port), timeout=5) as connection:
                assert connection.makefile().read() == TOKEN + "\n"
        answer = busybox(scripts.call_target(listener.port, ("127.0.0.1", listener.port)))
        assert answer == TOKEN + "\nreached\n"
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", listener.port), timeout=5)


@pytest.mark.root
@pytest.mark.parametrize(("mode", "owner", "state"), [(0o600, 0, "ok"), (0o644, 0, "deviates"), (0o600, 1, "deviates")])
def test_files_are_held_to_their_modes_and_owners(tmp_path, mode, owner, state):
    path = tmp_path / "key"
    path.write_text("")
    path.chmod(mode)
    os.chown(path, owner, 0)
    item = items.path("a-key", "the key is root's", str(path), 0o600, "why")
    assert item["state"] == state
    assert f"{mode:04o} " in item["found"]
    assert items.path("a-key", "", str(path) + "-not", 0o600, "why")["state"] == "not applicable"


def test_a_daemon_that_listens_is_noticed():
    name = Path("/proc/self/comm").read_text().strip()
    with socket.create_server(("0.0.0.0", 0)) as listening:
        port = listening.getsockname()[1]
        item = items.listening("x-tcp", [name], False, "why")
        assert item["state"] == "deviates"
        assert f"*:{port}" in item["found"]
        assert items.listening("x-tcp", [name], True, "why")["state"] == "ok"
    with socket.create_server(("127.0.0.1", 0)) as listening:
        assert f":{listening.getsockname()[1]}" not in items.listening("x-tcp", [name], False, "why")["found"]
