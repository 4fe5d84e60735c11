# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Podman as root with the runtime under test: conmon creates, Podman starts, kills, pauses, updates."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor

import pytest
from lab import SIZE, remove_cgroup

HOLD = ("sh", "-c", 'trap "exit 5" TERM; trap "echo usr1" USR1; echo started; while :; do sleep 0.05; done')
BOX = "localhost/box:1"


@pytest.fixture
def usual(lab, limits):
    """The options of each container."""
    return (*limits, "--cgroup-parent", f"/{lab.cgroup}")


@pytest.fixture
def run(podman, usual):
    def call(*words, code=0, **keywords):
        return podman("run", "--rm", *usual, *words, code=code, **keywords)

    return call


@pytest.fixture
def start(podman, usual):
    """Start a container in the background; it is removed after the test."""
    names = []

    def call(name, *words, options=usual):
        names.append(name)
        podman("run", "--detach", "--name", name, *options, *words)
        return name

    yield call
    for name in reversed(names):
        podman("rm", "--force", "--time", "0", name)


def test_output_and_exit_code(podman, usual, runtime):
    done = podman.result("run", "--rm", *usual, BOX, "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (done.returncode, done.stdout, done.stderr) == (7, "out\n", "err\n")
    assert podman("info", "--format", "{{.Host.OCIRuntime.Path}}").strip() == runtime


def test_standard_input(run):
    assert run("-i", BOX, "cat", data="typed\n") == "typed\n"


@pytest.mark.parametrize(
    ("program", "code", "text"),
    [
        ("/nonexistent", 127, "no such file or directory"),
        ("nonexistent", 127, "executable file not found in $PATH"),
        ("/etc/passwd", 126, "permission denied"),
    ],
)
def test_a_program_that_cannot_be_run(podman, usual, program, code, text):
    podman.fails("run", "--rm", *usual, BOX, program, code=code, text=text)


def test_exec(podman, start):
    start("exec", BOX, *HOLD)
    options = ("-u", "1000:1001", "-e", "A=b", "-w", "/tmp")
    shown = podman("exec", *options, "exec", "sh", "-c", "id -u; id -g; pwd; echo $A")
    assert shown.split() == ["1000", "1001", "/tmp", "b"]
    podman("exec", "exec", "sh", "-c", "exit 3", code=3)
    podman.fails("exec", "exec", "/nonexistent", code=127, text="no such file or directory")
    podman.fails("exec", "exec", "/etc/passwd", code=126, text="permission denied")
    podman("exec", "--detach", "exec", "touch", "/tmp/by-exec")
    podman.until("/tmp/by-exec", "exec", "exec", "sh", "-c", "ls /tmp/by-exec 2>/dev/null || true")
    assert podman("exec", "exec", "cat", "/proc/1/cgroup") == podman("exec", "exec", "cat", "/proc/self/cgroup")


def test_terminals(podman, usual, start):
    script = "tty; echo ready; read line; echo got $line; " + SIZE + "exit 9"
    output, code = podman.terminal("run", "--rm", *usual, "-it", BOX, "sh", "-c", script, typed="word\n", size=(44, 99))
    assert code == 9, output
    assert "got word" in output
    assert "44 99" in output
    start("tty", BOX, *HOLD)
    output, code = podman.terminal("exec", "-it", "tty", "sh", "-c", script, typed="word\n", size=(33, 111))
    assert code == 9, output
    assert "/dev/pts/" in output
    assert "33 111" in output


def test_life(podman, start):
    start("life", BOX, *HOLD)
    podman.until("started", "logs", "life")
    podman("kill", "--signal", "USR1", "life")
    podman.until("started\nusr1", "logs", "life")
    podman("stop", "--time", "5", "life")
    assert podman("inspect", "--format", "{{.State.ExitCode}}", "life") == "5\n"
    podman("start", "life")
    podman("restart", "--time", "5", "life")
    podman("kill", "life")
    podman.until("137", "inspect", "--format", "{{.State.ExitCode}}", "life")


def test_pause_top_stats_update(podman, start, lab):
    start(
        "busy",
        "--memory",
        "64m",
        BOX,
        "sh",
        "-c",
        "while :; do i=$((i+1)); echo $i >/new; mv /new /now; sleep 0.01; done",
    )
    pid = podman("inspect", "--format", "{{.State.Pid}}", "busy").strip()
    podman("pause", "busy")
    assert podman("inspect", "--format", "{{.State.Status}}", "busy") == "paused\n"
    now = lab.path(f"/proc/{pid}/root/now")
    before = now.read_text()
    lab.run("sleep", "0.2")
    assert now.read_text() == before
    podman("unpause", "busy")
    assert "while" in podman("top", "busy", "pid", "args")
    podman("update", "--memory", "80m", "--memory-swap", "160m", "busy")
    stats = json.loads(podman("stats", "--no-stream", "--format", "json", "busy"))[0]
    assert int(stats["pids"]) >= 1
    read = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || cat /sys/fs/cgroup/memory.max"
    assert podman("exec", "busy", "sh", "-c", read).strip() == str(80 << 20)


def test_limits(podman, usual, run):
    grow = 'x=$(head -c 40000000 /dev/zero | tr "\\0" a); echo ${#x}'
    assert run("--memory", "256m", BOX, "sh", "-c", grow) == "40000000\n"
    run("--memory", "16m", "--memory-swap", "16m", BOX, "sh", "-c", grow, code=137)
    forks = "for i in 1 2 3 4 5 6 7 8; do sleep 0.5 & done; wait"
    run("--pids-limit", "20", BOX, "sh", "-c", forks)
    podman.fails("run", "--rm", *usual, "--pids-limit", "5", BOX, "sh", "-c", forks, code=2, text="fork")


def test_user_and_capabilities(run):
    assert run("--user", "1000", BOX, "id") == "uid=1000(student) gid=1001(student) groups=1001(student),2000(lab)\n"

    def effective(*options):
        return int(run(*options, BOX, "awk", "/CapEff/ {print $2}", "/proc/self/status"), 16)

    usual = effective()
    assert effective("--cap-add", "NET_ADMIN") == usual | 1 << 12
    assert effective("--cap-drop", "ALL") == 0
    assert run(BOX, "grep", "^Seccomp:", "/proc/self/status").split()[1] == "2"


def test_file_systems(run, tmp_path):
    (tmp_path / "file").write_text("from the host\n")
    run("--read-only", "--read-only-tmpfs=false", BOX, "touch", "/tmp/new", code=1)
    run("--read-only", "--tmpfs", "/tmp:size=1m", BOX, "touch", "/tmp/new")
    assert run("-v", f"{tmp_path}:/mnt:ro", BOX, "cat", "/mnt/file") == "from the host\n"
    run("-v", f"{tmp_path}:/mnt:ro", BOX, "touch", "/mnt/new", code=1)


def test_namespaces(run, lab, podman, start):
    def names(kind):
        return lab.run("readlink", f"/proc/1/ns/{kind}").stdout

    shared = ("--network", "host", "--pid", "host", "--ipc", "host", "--uts", "host")
    kinds = ("net", "pid", "ipc", "uts")
    script = "for kind in net pid ipc uts; do readlink /proc/self/ns/$kind; done"
    assert run(*shared, BOX, "sh", "-c", script) == "".join(map(names, kinds))
    assert not set(run(BOX, "sh", "-c", script).split()) & {names(kind).strip() for kind in kinds}
    start("other", BOX, *HOLD)
    others = ("--network", "--pid", "--ipc", "--uts")
    options = [f"{option}=container:other" for option in others]
    assert run(*options, BOX, "sh", "-c", script) == podman("exec", "other", "sh", "-c", script)


@pytest.mark.parametrize("option", ["--uidmap=0:100000:65536", "--userns=auto"])
def test_user_namespaces(run, lab, option):
    ranges = lab.path("/run/lab/subuid"), lab.path("/run/lab/subgid")
    for path in ranges:
        if "containers:" not in path.read_text():
            with open(path, "a") as file:
                file.write("containers:300000:655360\n")
    shown = run(option, BOX, "sh", "-c", "cat /proc/self/uid_map; id -u; touch /root/new && echo wrote").split()
    assert int(shown[1]) >= 100000
    assert shown[-2:] == ["0", "wrote"]


def test_init(run):
    """catatonit, Podman's own, is one of the packages that Debian only recommends."""
    places = ("/usr/libexec/podman/catatonit", "/usr/bin/catatonit", "/usr/bin/docker-init")
    found = [path for path in places if os.path.exists(path)]
    if not found:
        pytest.skip("there is none of " + ", ".join(places))
    shown = run("--init", "--init-path", found[0], BOX, "sh", "-c", "cat /proc/1/comm; echo $$").split()
    assert shown[0] != "sh"
    assert shown[1] != "1"


def test_many_at_once(run):
    def one(number):
        return run(BOX, "sh", "-c", f"echo {number}; exit 3", code=3)

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(one, range(8))) == [f"{number}\n" for number in range(8)]


def test_pod(podman, lab, limits):
    words = ("--network", "none", "--cgroup-parent", f"/{lab.cgroup}", "--infra-image", BOX)
    podman("pod", "create", "--name", "pod", *words)
    try:
        serve = "while :; do echo hello | nc -l -p 80; done"
        podman("run", "--detach", *limits, "--pod", "pod", "--name", "server", BOX, "sh", "-c", serve)
        ask = "for i in 1 2 3 4 5 6 7 8 9; do nc 127.0.0.1 80 </dev/null && exit 0; sleep 0.1; done; exit 1"
        assert podman("run", "--rm", *limits, "--pod", "pod", BOX, "sh", "-c", ask) == "hello\n"
        script = "for kind in net ipc uts; do readlink /proc/self/ns/$kind; done"
        own = podman("exec", "server", "sh", "-c", script)
        assert podman("run", "--rm", *limits, "--pod", "pod", BOX, "sh", "-c", script) == own
        podman("pod", "stop", "--time", "0", "pod")
        podman("pod", "start", "pod")
        podman.until("Running", "pod", "inspect", "--format", "{{.State}}", "pod")
    finally:
        podman("pod", "rm", "--force", "--time", "0", "pod")
        for parent in lab.cgroups():  # Podman leaves the pod's cgroup in hierarchies that have no controller
            for folder in parent.iterdir():
                if folder.is_dir() and folder.name != "conmon":
                    remove_cgroup(folder)
