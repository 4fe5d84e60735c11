# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Docker with the runtime under test beside its own, and as its default."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor

import pytest
from daemons import start_docker
from lab import SIZE

HOLD = ("sh", "-c", 'trap "exit 5" TERM; trap "echo usr1" USR1; echo started; while :; do sleep 0.05; done')


@pytest.fixture
def run(docker):
    """docker run --rm with the runtime under test; a network takes Docker a while, so only where one is asked."""

    def call(*words, code=0):
        network = () if "--network" in words else ("--network", "none")
        return docker("run", "--runtime", "lab", "--rm", *network, *words, code=code)

    return call


@pytest.fixture
def start(docker):
    """Start a container in the background; it is removed after the test."""
    names = []

    def call(name, *words):
        names.append(name)
        docker("run", "--runtime", "lab", "--detach", "--name", name, *words)
        return name

    yield call
    for name in reversed(names):
        docker("rm", "--force", name)


def test_output_and_exit_code(docker):
    done = docker.result("run", "--runtime", "lab", "--rm", "box:1", "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (done.returncode, done.stdout, done.stderr) == (7, "out\n", "err\n")


def test_standard_input(docker):
    assert docker("run", "--runtime", "lab", "--rm", "-i", "box:1", "cat", data="typed\n") == "typed\n"


@pytest.mark.parametrize(
    ("program", "code", "text"),
    [
        ("/nonexistent", 127, "no such file or directory"),
        ("nonexistent", 127, "executable file not found in $PATH"),
        ("/etc/passwd", 126, "permission denied"),
    ],
)
def test_a_program_that_cannot_be_run(docker, program, code, text):
    docker.fails("run", "--runtime", "lab", "--rm", "box:1", program, code=code, text=text)


def test_the_bundle_says_who_ran_it(docker, start):
    """Positive control of all tests here: it is not Docker's own runc that runs the containers."""
    start("mine", "box:1", *HOLD)
    assert docker("inspect", "--format", "{{.HostConfig.Runtime}}", "mine") == "lab\n"
    state = docker.lab.path("/run/lab/docker/exec/runtime-runc/moby")
    assert docker("inspect", "--format", "{{.Id}}", "mine").strip() in os.listdir(state)


def test_exec(docker, start):
    start("exec", "box:1", *HOLD)
    assert docker("exec", "exec", "echo", "inside") == "inside\n"
    shown = docker(
        "exec", "-u", "1000:1001", "-e", "A=b", "-w", "/tmp", "exec", "sh", "-c", "id -u; id -g; pwd; echo $A"
    )
    assert shown.split() == ["1000", "1001", "/tmp", "b"]
    docker("exec", "exec", "sh", "-c", "exit 3", code=3)
    assert docker("exec", "-i", "exec", "cat", data="typed\n") == "typed\n"
    for program in ("/nonexistent", "/etc/passwd"):
        assert docker.result("exec", "exec", program).returncode in (126, 127)
    docker("exec", "--detach", "exec", "touch", "/tmp/by-exec")
    docker.until("/tmp/by-exec", "exec", "exec", "sh", "-c", "ls /tmp/by-exec 2>/dev/null || true")
    assert docker("exec", "exec", "cat", "/proc/1/cgroup") == docker("exec", "exec", "cat", "/proc/self/cgroup")


def test_exec_in_a_terminal(docker, start):
    start("tty", "box:1", *HOLD)
    script = "tty; echo ready; read line; echo got $line; " + SIZE + "exit 4"
    output, code = docker.terminal("exec", "-it", "tty", "sh", "-c", script, typed="word\n", size=(33, 111))
    assert code == 4, output
    assert "/dev/pts/" in output
    assert "got word" in output
    assert "33 111" in output


def test_run_in_a_terminal(docker):
    script = "tty; ls -l /dev/console; echo ready; read line; echo got $line; " + SIZE + "exit 9"
    output, code = docker.terminal(
        "run", "--runtime", "lab", "--rm", "-it", "box:1", "sh", "-c", script, typed="word\n", size=(44, 99)
    )
    assert code == 9, output
    assert "/dev/console" in output
    assert "got word" in output
    assert "44 99" in output


def test_control_c_reaches_a_terminal(docker):
    script = 'trap "exit 6" INT; echo ready; while :; do sleep 0.05; done'
    words = ("run", "--runtime", "lab", "--rm", "-it", "box:1", "sh", "-c", script)
    output, code = docker.terminal(*words, typed="\x03", timeout=20)
    assert code == 6, output


def test_logs_kill_stop_restart(docker, start):
    start("life", "box:1", *HOLD)
    docker.until("started", "logs", "life")
    docker("kill", "--signal", "USR1", "life")
    docker.until("started\nusr1", "logs", "life")
    docker("stop", "--time", "5", "life")
    assert docker("inspect", "--format", "{{.State.ExitCode}}", "life") == "5\n"
    docker("start", "life")
    first = docker("inspect", "--format", "{{.State.Pid}}", "life")
    docker("restart", "--time", "5", "life")
    assert docker("inspect", "--format", "{{.State.Pid}}", "life") != first
    docker("kill", "life")
    docker.until("137", "inspect", "--format", "{{.State.ExitCode}}", "life")
    docker.fails("kill", "life", code=1, text="is not running")


def test_pause(docker, start, lab):
    start("pause", "box:1", "sh", "-c", "while :; do i=$((i+1)); echo $i >/new; mv /new /tmp/now; sleep 0.01; done")
    pid = docker("inspect", "--format", "{{.State.Pid}}", "pause").strip()
    docker("pause", "pause")
    assert docker("inspect", "--format", "{{.State.Status}}", "pause") == "paused\n"
    now = lab.path(f"/proc/{pid}/root/tmp/now")
    before = now.read_text()
    lab.run("sleep", "0.2")
    assert now.read_text() == before
    docker.fails("exec", "pause", "true", code=1, text="paused")
    docker("unpause", "pause")
    docker("exec", "pause", "sh", "-c", "a=$(cat /tmp/now); sleep 0.2; [ $a != $(cat /tmp/now) ]")


def test_top_and_stats(docker, start):
    start("top", "--memory", "64m", "box:1", *HOLD)
    docker("exec", "--detach", "top", "sleep", "77")
    docker.until("seen", "exec", "top", "sh", "-c", "grep -l sleep.77 /proc/*/cmdline >/dev/null && echo seen || true")
    top = docker("top", "top", "-o", "pid,args").splitlines()
    pid = docker("inspect", "--format", "{{.State.Pid}}", "top").strip()
    assert any(line.split()[0] == pid for line in top[1:])
    assert any("sleep 77" in line for line in top)
    stats = json.loads(docker("stats", "--no-stream", "--format", "{{json .}}", "top"))
    assert stats["MemUsage"].endswith("/ 64MiB")
    assert int(stats["PIDs"]) >= 2


def test_update(docker, start):
    start("update", "--memory", "64m", "--network", "none", "box:1", *HOLD)
    words = ("--memory", "80m", "--memory-swap", "160m", "--pids-limit", "40", "--cpus", "0.4", "--cpu-shares", "512")
    docker("update", *words, "update")
    stats = json.loads(docker("stats", "--no-stream", "--format", "{{json .}}", "update"))
    assert stats["MemUsage"].endswith("/ 80MiB")
    shown = docker("exec", "update", "sh", "-c", READ_LIMITS).split()
    assert shown == ["40", "40000"]


READ_LIMITS = """
cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/cpu/cpu.cfs_quota_us 2>/dev/null ||
    { cat /sys/fs/cgroup/pids.max; cut -d' ' -f1 /sys/fs/cgroup/cpu.max; }
"""


def test_memory_limit(docker, start):
    grow = 'x=$(head -c 40000000 /dev/zero | tr "\\0" a); echo ${#x}'
    start("roomy", "--memory", "256m", "box:1", "sh", "-c", grow)
    assert docker("wait", "roomy") == "0\n"
    start("oom", "--memory", "16m", "--memory-swap", "16m", "box:1", "sh", "-c", grow)
    assert docker("wait", "oom") == "137\n"
    docker.until("true", "inspect", "--format", "{{.State.OOMKilled}}", "oom")
    assert docker("inspect", "--format", "{{.State.OOMKilled}}", "roomy") == "false\n"


def test_pids_limit(run, docker):
    forks = "for i in 1 2 3 4 5 6 7 8; do sleep 1 & done; wait"
    run("--pids-limit", "20", "box:1", "sh", "-c", forks)
    docker.fails(
        "run", "--runtime", "lab", "--rm", "--pids-limit", "5", "box:1", "sh", "-c", forks, code=2, text="fork"
    )


def test_user_and_capabilities(run):
    assert (
        run("--user", "1000", "box:1", "id") == "uid=1000(student) gid=1001(student) groups=1001(student),2000(lab)\n"
    )
    assert run("--user", "5:6", "--group-add", "7", "box:1", "sh", "-c", "id -u; id -G").split() == ["5", "6", "7"]

    def effective(*options):
        return int(run(*options, "box:1", "awk", "/CapEff/ {print $2}", "/proc/self/status"), 16)

    usual = effective()
    assert effective("--cap-add", "NET_ADMIN") == usual | 1 << 12
    assert effective("--cap-drop", "CHOWN") == usual & ~1
    assert effective("--cap-drop", "ALL") == 0
    run("--cap-drop", "CHOWN", "box:1", "chown", "1", "/tmp", code=1)
    run("box:1", "chown", "1", "/tmp")


def test_file_systems(run, tmp_path):
    (tmp_path / "file").write_text("from the host\n")
    run("--read-only", "box:1", "touch", "/tmp/new", code=1)
    run("box:1", "touch", "/tmp/new")
    run("--read-only", "--tmpfs", "/tmp:size=1m", "box:1", "touch", "/tmp/new")
    run("--tmpfs", "/t:size=1m", "box:1", "dd", "if=/dev/zero", "of=/t/file", "bs=1M", "count=2", code=1)
    assert run("-v", f"{tmp_path}:/mnt:ro", "box:1", "cat", "/mnt/file") == "from the host\n"
    run("-v", f"{tmp_path}:/mnt:ro", "box:1", "touch", "/mnt/new", code=1)
    run("-v", f"{tmp_path}:/mnt", "box:1", "touch", "/mnt/new")
    assert (tmp_path / "new").exists()
    assert run("-v", f"{tmp_path}/file:/etc/motd", "box:1", "cat", "/etc/motd") == "from the host\n"
    assert run("--workdir", "/new/folder", "box:1", "pwd") == "/new/folder\n"


def test_names(run):
    assert run("--hostname", "classroom", "box:1", "hostname") == "classroom\n"
    assert run("--env", "A=b", "box:1", "sh", "-c", "echo $A$HOME") == "b/root\n"
    assert run("--sysctl", "net.ipv4.ip_forward=1", "box:1", "cat", "/proc/sys/net/ipv4/ip_forward") == "1\n"
    assert run("--ulimit", "nofile=77:99", "box:1", "sh", "-c", "ulimit -n; ulimit -Hn").split() == ["77", "99"]


def test_init(run):
    names = run("--init", "box:1", "sh", "-c", "cat /proc/1/comm").split()
    assert names != ["sh"]


def test_namespaces(run, lab, docker, start):
    def names(kind):
        return lab.run("readlink", f"/proc/1/ns/{kind}").stdout

    assert run("--network", "none", "box:1", "ls", "/sys/class/net") == "lo\n"
    assert run("--network", "host", "box:1", "readlink", "/proc/self/ns/net") == names("net")
    assert run("--network", "none", "box:1", "readlink", "/proc/self/ns/net") != names("net")
    assert run("--pid", "host", "box:1", "readlink", "/proc/self/ns/pid") == names("pid")
    assert run("--ipc", "host", "box:1", "readlink", "/proc/self/ns/ipc") == names("ipc")
    assert run("--uts", "host", "box:1", "readlink", "/proc/self/ns/uts") == names("uts")
    start("other", "--ipc", "shareable", "--network", "none", "box:1", *HOLD)
    for kind, option in (("ipc", "--ipc"), ("net", "--network"), ("pid", "--pid")):
        own = docker("exec", "other", "readlink", f"/proc/self/ns/{kind}")
        assert run(option, "container:other", "box:1", "readlink", f"/proc/self/ns/{kind}") == own


def test_what_a_shared_pid_namespace_leaves(run, lab):
    """There the kernel does not kill the container's other processes; the shim asks the runtime to (kill --all)."""
    run("--pid", "host", "box:1", "sh", "-c", "sleep 4321 & exit 0")
    assert "sleep 4321" not in lab.run("ps", "-e", "-o", "args").stdout


def test_bridge(run, docker, start, iptables):
    if iptables:
        pytest.skip(iptables)
    start("server", "box:1", "sh", "-c", "while :; do echo hello | nc -l -p 80; done")
    address = docker("inspect", "--format", "{{.NetworkSettings.IPAddress}}", "server").strip()
    script = f"for i in 1 2 3 4 5 6 7 8 9; do nc {address} 80 </dev/null && exit 0; sleep 0.1; done"
    assert run("--network", "bridge", "box:1", "sh", "-c", script) == "hello\n"


def test_seccomp(run):
    status = "grep ^Seccomp: /proc/self/status"
    assert run("box:1", "sh", "-c", status).split() == ["Seccomp:", "2"]
    assert run("--security-opt", "seccomp=unconfined", "box:1", "sh", "-c", status).split() == ["Seccomp:", "0"]
    # unshare of a user namespace: refused by Docker's profile, and by nothing else
    run("box:1", "unshare", "-U", "true", code=1)
    run("--security-opt", "seccomp=unconfined", "box:1", "unshare", "-U", "true")
    assert (
        run("--security-opt", "no-new-privileges", "box:1", "grep", "NoNewPrivs", "/proc/self/status").split()[1] == "1"
    )


def test_devices(run):
    run("--cap-add", "MKNOD", "box:1", "sh", "-c", "mknod /tmp/kmsg c 1 11 && cat /tmp/kmsg >/dev/null", code=1)
    assert "null" in run("box:1", "sh", "-c", "echo x >/dev/null && ls /dev/null")
    run("--device", "/dev/full:/dev/mine", "box:1", "sh", "-c", "head -c 1 /dev/mine >/dev/null")


def test_health_check(docker, start):
    start("ill", "--health-cmd", "false", "--health-interval", "0.3s", "--health-retries", "1", "box:1", *HOLD)
    start("well", "--health-cmd", "true", "--health-interval", "0.3s", "box:1", *HOLD)
    docker.until("healthy", "inspect", "--format", "{{.State.Health.Status}}", "well")
    docker.until("unhealthy", "inspect", "--format", "{{.State.Health.Status}}", "ill")


def test_many_at_once(docker):
    def one(number):
        return docker(
            "run",
            "--runtime",
            "lab",
            "--rm",
            "--network",
            "none",
            "box:1",
            "sh",
            "-c",
            f"echo {number}; exit 3",
            code=3,
        )

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(one, range(12))) == [f"{number}\n" for number in range(12)]


def test_as_the_default_runtime(lab, runtime, image, tmp_path):
    """A second daemon, which has no network: one firewall is enough."""
    options = ("--default-runtime", "lab")
    client = start_docker(lab, runtime, image, "no network", tmp_path / "log", "docker-default", options)
    try:
        client("run", "--detach", "--name", "default", "box:1", *HOLD)
        assert client("inspect", "--format", "{{.HostConfig.Runtime}}", "default") == "lab\n"
        assert client("exec", "default", "echo", "inside") == "inside\n"
        client("rm", "--force", "default")
    finally:
        lab.stop(client.daemon)
