# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""F02: hooks that fail, hang or are missing, and a missing program, by runtime.md (lifecycle) and config.md (hooks)."""

from __future__ import annotations

import json
import os
import subprocess
import time

import pytest
from waiting import assert_clear, wait_for

pytestmark = pytest.mark.root

AT_CREATE = ("prestart", "createRuntime", "createContainer")
KINDS = (*AT_CREATE, "startContainer", "poststart", "poststop")
STATUS = {"poststart": "running", "poststop": "stopped"}
# What executes them: createContainer hooks are the host's programs in the container's namespaces.
IN_CONTAINER = ("createContainer", "startContainer")


class Hooks:
    """The hooks of a victim, each of which writes a line to one log file when it runs."""

    def __init__(self, victim):
        self.victim = victim
        self.file = victim.rootfs / "log"
        victim.config["process"]["args"] = ["/bin/sleep", "1000"]
        victim.config["annotations"] = {"colour": "blue"}
        self.hooks = victim.config["hooks"] = {}

    def add(self, kind, script="", note="", **more):
        """A hook that notes its kind and note, then does the script; {dir} is where the log is, as the hook sees it."""
        folder = "" if kind == "startContainer" else str(self.victim.rootfs)
        line = f"echo {kind}{note} >>{folder}/log; " + script.replace("{dir}", folder)
        hook = {
            "path": "/bin/sh",
            "args": ["sh", "-c", line],
            "env": ["PATH=/usr/bin:/bin", self.victim.token + "=1"],
            **more,
        }
        self.hooks.setdefault(kind, []).append(hook)
        return hook

    def log(self):
        return self.file.read_text().split() if self.file.exists() else []

    def up_to(self, kind):
        """Run the commands up to the one that runs that kind of hook; that command's result."""
        created = self.victim.create()
        if kind in AT_CREATE or created.returncode:
            return created
        started = self.victim.labrun("start", self.victim.name)
        if kind != "poststop" or started.returncode:
            return started
        self.victim.must("kill", self.victim.name, "KILL")
        assert wait_for(lambda: self.victim.status() == "stopped")
        return self.victim.labrun("delete", self.victim.name)


@pytest.fixture
def hooks(victim):
    return Hooks(victim)


def test_f02_hooks_run_in_their_order_at_their_time(hooks, victim):
    for kind in reversed(KINDS):
        for note in ("-1", "-2"):
            hooks.add(kind, note=note)
    assert victim.create().returncode == 0
    created = [kind + note for kind in AT_CREATE for note in ("-1", "-2")]
    assert hooks.log() == created
    victim.must("start", victim.name)
    started = [*created, "startContainer-1", "startContainer-2", "poststart-1", "poststart-2"]
    assert hooks.log() == started
    victim.must("kill", victim.name, "KILL")
    assert wait_for(lambda: victim.status() == "stopped")
    assert hooks.log() == started
    victim.must("delete", victim.name)
    assert hooks.log() == [*started, "poststop-1", "poststop-2"]
    assert victim.left() == []


def test_f02_run_runs_all_hooks_and_returns_the_programs_code(hooks, victim):
    for kind in KINDS:
        hooks.add(kind)
    victim.shell("sleep 0.2; exit 7")
    result = victim.run()
    assert (result.returncode, result.stderr) == (7, "")
    assert hooks.log() == list(KINDS)
    assert victim.left() == []


@pytest.mark.parametrize("kind", KINDS)
def test_f02_a_hook_gets_the_state_its_arguments_and_its_environment_alone(hooks, victim, kind):
    script = "cat >{dir}/state; cat </proc/self/environ >{dir}/environ; cat </proc/self/cmdline >{dir}/cmdline;"
    hook = hooks.add(kind, script + "for space in net mnt uts; do readlink /proc/self/ns/$space; done >{dir}/spaces")
    hook["env"] = ["B=two words", "A=1", "B2="]
    hook["args"][0] = "argument zero" if kind != "startContainer" else "sh"  # a busybox is what it is called
    if kind == "startContainer":
        (victim.rootfs / "bin" / "readlink").symlink_to("busybox")
    else:
        hook["env"].append("PATH=/usr/bin:/bin")
    result = hooks.up_to(kind)
    assert result.returncode == 0, result.stderr
    state = json.loads((victim.rootfs / "state").read_text())
    assert (state["id"], state["bundle"], state["annotations"]) == (victim.name, str(victim.path), {"colour": "blue"})
    assert state["status"] == STATUS.get(kind, "created")
    if kind in IN_CONTAINER:
        assert state["pid"] == 1
    elif kind == "poststop":
        assert state.get("pid", 0) == 0
    else:
        assert state["pid"] == victim.pid() if kind == "poststart" else state["pid"] > 1
    environment = (victim.rootfs / "environ").read_bytes().split(b"\0")[:-1]
    assert environment == [item.encode() for item in hook["env"]]
    assert (victim.rootfs / "cmdline").read_bytes().split(b"\0")[0] == hook["args"][0].encode()
    own = {os.readlink(f"/proc/self/ns/{name}") for name in ("net", "mnt", "uts")}
    seen = set((victim.rootfs / "spaces").read_text().split())
    assert len(seen) == 3
    assert not (seen & own) if kind in IN_CONTAINER else seen == own


def test_f02_the_mounts_are_there_before_pivot_root(hooks, victim):
    """prestart and createRuntime see the namespaces, createContainer the mounts below the root filesystem."""
    hooks.add("createRuntime", "readlink /proc/$(sed 's/.*\"pid\": *\\([0-9]*\\).*/\\1/')/ns/net >{dir}/network")
    hooks.add("createContainer", "grep -c {dir}/proc /proc/self/mountinfo >{dir}/mounted")
    assert victim.create().returncode == 0
    network = (victim.rootfs / "network").read_text().strip()
    assert network == os.readlink(f"/proc/{victim.pid()}/ns/net")
    assert network != os.readlink("/proc/self/ns/net")
    assert int((victim.rootfs / "mounted").read_text()) >= 1


def check_failed(hooks, victim, kind, result, word):
    """By runtime.md, what follows a hook that failed: an error, a stopped container, steps 12 and 13."""
    assert_clear(result)
    assert word in result.stderr
    assert kind in result.stderr
    assert hooks.log()[-1] == "poststop"
    assert victim.status() == "absent"
    assert victim.left() == []
    assert not (victim.rootfs / "second").exists()
    del victim.config["hooks"]  # the positive control, under the same id
    victim.config["process"]["args"] = ["/bin/true"]
    assert victim.run().returncode == 0


@pytest.mark.parametrize("kind", KINDS[:-1])
@pytest.mark.parametrize("command", ["create", "run"])
def test_f02_a_hook_that_fails_ends_the_container(hooks, victim, kind, command):
    hooks.add(kind, "exit 23")
    hooks.add(kind, ": >{dir}/second")
    hooks.add("poststop")
    result = hooks.up_to(kind) if command == "create" else victim.run()
    check_failed(hooks, victim, kind, result, "23")


@pytest.mark.parametrize("kind", KINDS[:-1])
def test_f02_a_hook_that_hangs_is_ended_after_its_timeout(hooks, victim, kind):
    hooks.add(kind, "trap '' TERM INT; exec sleep 1000", timeout=1)
    hooks.add(kind, ": >{dir}/second")
    hooks.add("poststop")
    before = time.monotonic()
    result = hooks.up_to(kind)
    assert 0.9 < time.monotonic() - before < 10
    check_failed(hooks, victim, kind, result, "1 s")


@pytest.mark.parametrize("kind", KINDS[:-1])
@pytest.mark.parametrize("broken", ["missing", "not executable"])
def test_f02_a_hook_that_cannot_be_executed_ends_the_container(hooks, victim, kind, broken):
    path = "/bin/not-there" if broken == "missing" else "/etc/passwd"
    hooks.hooks[kind] = [{"path": path}]
    hooks.add("poststop")
    check_failed(hooks, victim, kind, hooks.up_to(kind), path)


@pytest.mark.parametrize("broken", ["fails", "hangs", "missing"])
def test_f02_a_poststop_hook_that_fails_is_a_warning(hooks, victim, broken):
    if broken == "missing":
        hooks.hooks["poststop"] = [{"path": "/not/there"}]
    else:
        hooks.add("poststop", "exit 23" if broken == "fails" else "sleep 1000", note="-1", timeout=1)
    hooks.add("poststop", note="-2")
    result = hooks.up_to("poststop")
    assert result.returncode == 0
    assert "level=warning" in result.stderr
    assert "poststop" in result.stderr
    assert hooks.log()[-1] == "poststop-2"
    assert victim.left() == []


def test_f02_a_slow_hook_without_a_timeout_is_waited_for(hooks, victim):
    hooks.add("createRuntime", "sleep 2; echo done >>{dir}/log")
    assert victim.create().returncode == 0
    assert hooks.log() == ["createRuntime", "done"]


def test_f02_a_hook_may_leave_its_input_unread(hooks, victim):
    victim.config["annotations"]["long"] = "x" * 300000  # more than a pipe holds
    hooks.add("createRuntime", "exec true")
    hooks.add("createRuntime", "cat >{dir}/state")
    result = victim.create()
    assert result.returncode == 0, result.stderr
    assert len(json.loads((victim.rootfs / "state").read_text())["annotations"]["long"]) == 300000


BAD = [{"path": "bin/sh"}, {"timeout": 0}, {"timeout": -1}, {"args": "sh"}, {"env": [1]}, {"env": "A=1"}]


@pytest.mark.parametrize(("kind", "change"), list(zip(KINDS, BAD)), ids=KINDS)
def test_f02_a_hook_that_is_not_by_the_specification_is_refused_before_anything_is_made(hooks, victim, kind, change):
    hooks.add(kind).update(change)
    result = victim.create()
    assert_clear(result)
    assert f"hooks.{kind}[0]" in result.stderr
    assert hooks.log() == []
    assert victim.left() == []


@pytest.mark.parametrize("command", ["create", "run"])
@pytest.mark.parametrize(("path", "code"), [("/bin/not-there", 127), ("/etc/passwd", 126)])
def test_f02_a_missing_program_leaves_nothing(hooks, victim, command, path, code):
    hooks.add("poststop")
    victim.config["process"]["args"] = [path]
    result = victim.create() if command == "create" else victim.run()
    assert result.returncode in (code, 1)
    assert_clear(result)
    assert path in result.stderr.replace('\\"', '"')
    assert victim.left() == []
    victim.config["process"]["args"] = ["/bin/true"]
    assert victim.run().returncode == 0


def test_f02_a_failing_command_is_told_to_the_log_as_well(hooks, victim):
    hooks.add("createRuntime", "echo what the hook says >&2; exit 23")
    victim.bundle.write()
    log = victim.path / "log.json"
    result = victim.labrun(
        "--log", str(log), "--log-format", "json", "create", "--bundle", str(victim.path), victim.name
    )
    assert result.returncode != 0
    assert "23" in json.loads(log.read_text().splitlines()[-1])["msg"]
    assert "what the hook says" in log.read_text() + result.stderr


@pytest.mark.parametrize("kind", KINDS[:-1])
def test_f02_a_runtime_that_is_killed_while_a_hook_runs_leaves_neither(hooks, victim, kind):
    hooks.add(kind, "exec sleep 1000")
    victim.bundle.write()
    folder = ["--root", str(victim.bundle.state)]
    command = [str(victim.bundle.labrun_path), *folder, "run", "--bundle", str(victim.path), victim.name]
    runtime = subprocess.Popen(command, stdin=subprocess.DEVNULL, env=victim.environment, start_new_session=True)
    try:
        assert wait_for(lambda: hooks.log() == [kind])
        time.sleep(0.1)
        runtime.kill()
    finally:
        runtime.wait()
    victim.must("delete", "--force", victim.name)
    assert victim.left() == []
