# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""F03 to F06 and F09: concurrent commands, processes that do not end, and those that are no longer who they were."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time

import leaks
import pytest
from ansible_collections.ocilab.hosts.plugins.module_utils.labrun import container
from waiting import assert_clear, wait_for

pytestmark = pytest.mark.root


def begin(victim, *words):
    """The command in the background; its error output is in the returned process's `errors` file."""
    errors = open(victim.path / f"errors-{len(list(victim.path.iterdir()))}", "w+")
    command = [str(victim.bundle.labrun_path), "--root", str(victim.bundle.state), *words]
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors, env=victim.environment
    )
    process.errors = errors
    return process


def end(process):
    """(exit code, error output) of what begin() began."""
    code = process.wait(timeout=60)
    process.errors.seek(0)
    text = process.errors.read()
    process.errors.close()
    return code, text


def test_f03_one_of_eight_concurrent_creates_wins_and_its_container_works(victim):
    victim.shell("echo it works; sleep 1000")
    victim.bundle.write()
    words = ["create", "--bundle", str(victim.path), victim.name]
    results = [end(process) for process in [begin(victim, *words) for _index in range(8)]]
    assert sorted(code for code, _text in results) == [0] + [1] * 7
    for code, text in results:
        assert code == 0 or ("exists" in text and len(text.splitlines()) == 1)
    assert victim.status() == "created"
    victim.must("start", victim.name)
    assert victim.status() == "running"
    assert victim.must("exec", victim.name, "/bin/echo", "inside").stdout == "inside\n"
    victim.must("delete", "--force", victim.name)
    assert victim.left() == []


def test_f04_create_against_delete_force_at_random_moments(victim):
    """40 rounds, 200 by FAULTS=all; FAULTS_SEED repeats a run."""
    rounds = 200 if os.environ.get("FAULTS") == "all" else 40
    seed = int(os.environ.get("FAULTS_SEED", random.randrange(10**6)))
    print(f"F04: {rounds} rounds, FAULTS_SEED={seed}")
    moments = random.Random(seed)
    victim.config["process"]["args"] = ["/bin/sleep", "1000"]
    victim.bundle.write()
    codes = set()
    for number in range(rounds):
        create = begin(victim, "create", "--bundle", str(victim.path), victim.name)
        time.sleep(moments.uniform(0, 0.09))
        deleted, said = end(begin(victim, "delete", "--force", victim.name))
        created, error = end(create)
        codes.add(created)
        told = f"round {number}: create {created} {error!r}, delete {deleted} {said!r}"
        assert deleted == 0, told
        assert created in (0, 1), told
        assert "Traceback" not in error and "a bug of labrun" not in error, told
        assert len(error.splitlines()) == (created != 0), told
        victim.must("delete", "--force", victim.name)
        assert victim.left() == [], told
    assert 0 in codes  # not every create was stopped: the moments did cover its end


def test_f05_a_process_that_ignores_sigterm(victim):
    victim.shell("trap '' TERM; echo ready >/ready; while :; do sleep 1; done")
    victim.begin()
    assert wait_for((victim.rootfs / "ready").exists)
    victim.must("kill", victim.name, "TERM")
    time.sleep(0.3)
    assert victim.status() == "running"
    refused = victim.labrun("delete", victim.name)
    assert_clear(refused)
    assert "running" in refused.stderr
    assert victim.status() == "running"
    victim.must("kill", victim.name, "KILL")
    assert wait_for(lambda: victim.status() == "stopped")
    victim.must("delete", victim.name)
    again = victim.labrun("delete", victim.name)
    assert_clear(again)
    assert "does not exist" in again.stderr
    victim.must("delete", "--force", victim.name)
    assert victim.left() == []


SURVIVORS = {
    "in a session of its own": "busybox setsid sleep 1000 &",
    "stopped": "sleep 1000 & kill -STOP $!",
    "one that ignores signals": "(trap '' TERM INT HUP; while :; do sleep 1; done) &",
    "one that forks all the time": "(while :; do sleep 0.01 & wait $!; sleep 1000 & done) &",
    "in a cgroup of its own": (
        "for d in /sys/fs/cgroup/*/; do mkdir $d/below 2>/dev/null; done; sleep 1000 & p=$!;"
        " for d in /sys/fs/cgroup/*/below; do echo $p >$d/cgroup.procs; done"
    ),
}


@pytest.fixture
def shared_pids(victim):
    """Without a pid namespace nothing but the cgroup holds the container's processes together."""
    linux = victim.config["linux"]
    linux["namespaces"] = [item for item in linux["namespaces"] if item["type"] != "pid"]
    for applet in ("mkdir", "kill", "setsid"):
        (victim.rootfs / "bin" / applet).symlink_to("busybox")
    (victim.rootfs / "bin" / "busybox").chmod(0o755)
    for item in victim.config["mounts"]:
        if item["destination"] == "/sys/fs/cgroup":
            item["options"].remove("ro")
    victim.config["linux"]["resources"]["pids"] = {"limit": 500}
    return victim


@pytest.mark.parametrize("script", list(SURVIVORS.values()), ids=list(SURVIVORS))
@pytest.mark.parametrize("command", ["delete", "delete --force", "run"])
def test_f06_no_process_survives_the_end_of_init_without_a_pid_namespace(shared_pids, script, command):
    victim = shared_pids
    victim.shell(script + " sleep 0.1" if script.endswith("&") else script + "; sleep 0.1")
    if command == "run":
        assert victim.run().returncode == 0
    else:
        victim.begin()
        assert wait_for(lambda: victim.status() == "stopped")
        assert len(leaks.processes(victim.token)) >= 1  # the positive control: there was one to survive
        victim.must(*command.split(), victim.name)
    assert victim.left(grace_s=1.0) == []


def test_f06_delete_force_of_a_running_container_kills_the_whole_cgroup(shared_pids):
    victim = shared_pids
    victim.shell("sleep 1000 & busybox setsid sleep 1000 & sleep 1000")
    victim.begin()
    assert wait_for(lambda: len(leaks.processes(victim.token)) >= 3)
    victim.must("delete", "--force", victim.name)
    assert victim.left(grace_s=1.0) == []


def test_f09_a_zombie_is_a_stopped_container(victim):
    """Its parent has not waited for it yet: it is there, and runs no more."""
    victim.config["process"]["args"] = ["/bin/sleep", "1000"]
    victim.bundle.write()
    made = container.create(victim.name, str(victim.path), str(victim.bundle.state))
    made.start()
    pid = made.pid
    try:
        assert victim.status() == "running"
        os.kill(pid, signal.SIGKILL)
        assert wait_for(lambda: f"{pid} (sleep) Z" in open(f"/proc/{pid}/stat").read())
        assert victim.status() == "stopped"
        assert_clear(victim.labrun("kill", victim.name, "KILL"))
        assert_clear(victim.labrun("exec", victim.name, "/bin/true"))
        victim.must("delete", victim.name)
    finally:
        os.waitpid(pid, 0)
    assert victim.left() == []


_CLONE_WITH_PID = """
import ctypes, os, sys
pid = ctypes.c_int(int(sys.argv[1]))
arguments = (ctypes.c_uint64 * 11)(0, 0, 0, 0, 17, 0, 0, 0, ctypes.addressof(pid), 1, 0)
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
made = libc.syscall(ctypes.c_long(435), arguments, ctypes.c_long(88))
if made == 0:
    os.execv("/bin/sleep", ["sleep", "1000"])
if made < 0:
    sys.exit(os.strerror(ctypes.get_errno()))
print(made, flush=True)
os.waitpid(made, 0)
"""


def take_pid(pid):
    """A bystander with that very pid (clone3's set_tid), and the process that is its parent."""
    parent = subprocess.Popen(
        [sys.executable, "-c", _CLONE_WITH_PID, str(pid)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    answer = parent.stdout.readline()
    if not answer:
        pytest.skip("this kernel does not let us choose a pid: " + parent.stderr.read().strip())
    assert int(answer) == pid
    return parent


@pytest.mark.parametrize("phase", ["created", "running"])
def test_f09_a_process_that_got_the_pid_is_never_signalled(victim, phase):
    victim.config["process"]["args"] = ["/bin/sleep", "1000"]
    victim.bundle.write()
    made = container.create(victim.name, str(victim.path), str(victim.bundle.state))
    if phase == "running":
        made.start()
    pid = made.pid
    assert victim.status() == phase
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    time.sleep(0.05)  # start times are counted in hundredths of a second
    parent = take_pid(pid)
    try:
        assert wait_for(lambda: open(f"/proc/{pid}/cmdline").read() == "sleep\0" + "1000\0")
        assert victim.status() == "stopped"
        state = json.loads(victim.must("state", victim.name).stdout)
        assert state.get("pid", 0) == 0
        assert_clear(victim.labrun("kill", victim.name, "KILL"))
        assert_clear(victim.labrun("start", victim.name))
        assert_clear(victim.labrun("exec", victim.name, "/bin/true"))
        victim.must("delete", "--force", victim.name)
        made.stop(0.1) if made.folder.exists() else None
        with open(f"/proc/{pid}/stat") as file:
            assert file.read().split()[2] == "S"  # alive, and nobody stopped it
        assert victim.left() == []
    finally:
        os.kill(pid, signal.SIGKILL)
        parent.communicate(timeout=10)


def test_f09_orphans_of_exec_are_no_zombies_for_long(victim):
    """A process that exec left behind is reaped when the container goes, whoever its parent is."""
    victim.config["process"]["args"] = ["/bin/sleep", "1000"]
    victim.begin()
    for _index in range(5):
        victim.must("exec", "--detach", victim.name, "/bin/true")
    victim.must("delete", "--force", victim.name)
    assert victim.left() == []


def test_f09_start_times_are_read_from_the_kernel_whatever_the_process_is_called(victim):
    """A name with spaces and parentheses must not shift the fields of /proc/PID/stat."""
    name = b") S 1 1 1 (x"
    victim.config["process"]["args"] = ["/bin/sh", "-c", "echo $0 >/proc/self/comm; sleep 1000; true", name.decode()]
    victim.begin()
    assert wait_for(lambda: open(f"/proc/{victim.pid()}/comm", "rb").read().startswith(b") S"))
    assert victim.status() == "running"
    victim.must("kill", victim.name, "KILL")
    assert wait_for(lambda: victim.status() == "stopped")
