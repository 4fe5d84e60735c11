# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""containerd with the runtime under test behind its shim: by ctr, and as a pod's runtime by the CRI."""

from __future__ import annotations

import json
import time

import pytest
from daemons import oci_archive
from lab import SIZE

BOX = "lab.invalid/box:1"
PAUSE = "lab.invalid/pause:1"
HOLD = ("sh", "-c", 'trap "exit 5" TERM; echo started; while :; do sleep 0.05; done')


@pytest.fixture(scope="session")
def images(ctr, lab, image, tmp_path_factory):
    folder = tmp_path_factory.mktemp("archives")
    for name, entrypoint in ((BOX, None), (PAUSE, ["/bin/sleep", "100000"])):
        made = oci_archive(image, name, entrypoint, folder / name.split("/")[1].partition(":")[0])
        for namespace in ("default", "k8s.io"):
            ctr("--namespace", namespace, "images", "import", "--snapshotter", "native", str(made))


@pytest.fixture
def usual(lab, runtime, images):
    """The options of `ctr run`; the last one's value is a cgroup's path."""
    return ("--snapshotter", "native", "--runc-binary", runtime, "--cgroup")


@pytest.fixture
def run(ctr, usual, lab):
    def call(name, *words, code=0, options=()):
        return ctr("run", "--rm", *usual, f"/{lab.cgroup}/{name}", *options, BOX, name, *words, code=code)

    return call


@pytest.fixture
def start(ctr, usual, lab):
    """Start a container in the background; it is removed after the test."""
    names = []

    def call(name, *words, options=()):
        names.append(name)
        ctr("run", "--detach", *usual, f"/{lab.cgroup}/{name}", *options, BOX, name, *words)
        return name

    yield call
    for name in names:
        ctr.result("task", "kill", "--signal", "KILL", name)
        ctr.result("task", "delete", "--force", name)
        ctr("container", "delete", name)


def status(ctr, name):
    return next((line.split()[2] for line in ctr("task", "ls").splitlines() if line.split()[0] == name), "")


def test_run(run, ctr, usual, lab):
    assert run("one", "sh", "-c", "echo out; exit 7", code=7) == "out\n"
    words = ("run", "--rm", *usual, f"/{lab.cgroup}/bad", BOX, "bad")
    ctr.fails(*words, "/nonexistent", code=1, text="no such file or directory")
    ctr.fails(*words, "nonexistent", code=1, text="executable file not found in $PATH")


def test_options(run, lab):
    shared = lab.run("readlink", "/proc/1/ns/net").stdout
    assert run("net", "readlink", "/proc/self/ns/net", options=["--net-host"]) == shared
    assert run("net", "readlink", "/proc/self/ns/net") != shared
    assert run("seccomp", "grep", "^Seccomp:", "/proc/self/status", options=["--seccomp"]).split()[1] == "2"
    run("ro", "touch", "/tmp/new", options=["--read-only"], code=1)
    assert run("env", "sh", "-c", "echo $A; pwd", options=["--env", "A=b", "--cwd", "/tmp"]).split() == ["b", "/tmp"]
    path = f"/{lab.cgroup}/group"
    assert path in run("group", "cat", "/proc/self/cgroup")


def test_terminal(ctr, usual, lab):
    script = "tty; echo ready; read line; echo got $line; " + SIZE + "exit 5"
    words = ("run", "--rm", "-t", *usual, f"/{lab.cgroup}/tty", BOX, "tty", "sh", "-c", script)
    output, code = ctr.terminal(*words, typed="word\n", size=(44, 99))
    assert code == 5, output
    assert "got word" in output
    assert "44 99" in output


def test_exec(ctr, start):
    start("exec", *HOLD)
    assert ctr("task", "exec", "--exec-id", "a", "exec", "echo", "inside") == "inside\n"
    ctr("task", "exec", "--exec-id", "b", "exec", "sh", "-c", "exit 3", code=3)
    assert ctr("task", "exec", "--exec-id", "c", "--user", "1000", "--cwd", "/tmp", "exec", "pwd") == "/tmp\n"
    ctr.fails("task", "exec", "--exec-id", "d", "exec", "/nonexistent", code=1, text="no such file or directory")
    script = "tty; echo ready; read line; echo got $line; exit 4"
    output, code = ctr.terminal("task", "exec", "-t", "--exec-id", "e", "exec", "sh", "-c", script, typed="word\n")
    assert code == 4, output
    assert "got word" in output


def test_pause(ctr, start):
    start("pause", *HOLD)
    ctr("task", "pause", "pause")
    assert status(ctr, "pause") == "PAUSED"
    ctr("task", "resume", "pause")
    assert status(ctr, "pause") == "RUNNING"
    assert ctr("task", "exec", "--exec-id", "a", "pause", "echo", "awake") == "awake\n"


def test_processes_and_metrics(ctr, start):
    start("metrics", *HOLD, options=["--memory-limit", str(64 << 20)])
    pid = next(line.split()[1] for line in ctr("task", "ls").splitlines() if line.startswith("metrics"))
    assert pid in [line.split()[0] for line in ctr("task", "ps", "metrics").splitlines()]
    metrics = json.loads(ctr("task", "metrics", "--format", "json", "metrics"))
    usage = metrics["memory"]["usage"]
    limit = usage.get("limit") if isinstance(usage, dict) else metrics["memory"]["usage_limit"]
    assert int(limit) == 64 << 20


def test_kill_and_delete(ctr, start):
    start("kill", *HOLD)
    ctr("task", "kill", "--signal", "TERM", "kill")
    deadline = time.monotonic() + 10
    while status(ctr, "kill") != "STOPPED" and time.monotonic() < deadline:
        time.sleep(0.05)
    assert "code 5" in ctr.result("task", "delete", "kill").stderr
    start("all", "sh", "-c", "sleep 4322 & sleep 4322")
    ctr("task", "kill", "--all", "--signal", "KILL", "all")
    deadline = time.monotonic() + 10
    while status(ctr, "all") != "STOPPED" and time.monotonic() < deadline:
        time.sleep(0.05)
    assert "sleep 4322" not in ctr.lab.run("ps", "-e", "-o", "args").stdout


@pytest.fixture(scope="session")
def cri(ctr, lab, images):
    pytest.importorskip("grpc", reason="grpcio is not installed")
    pytest.importorskip("google.protobuf", reason="protobuf is not installed")
    from cri import Cri

    client = Cri(lab.path("/run/lab/containerd/socket"))
    client.lab = lab
    yield client
    client.channel.close()


class Pod:
    """A pod on the host's network, which needs no CNI plugin."""

    def __init__(self, cri, name):
        self.cri, self.name, self.containers = cri, name, []
        self.logs = f"/run/lab/logs-{name}"
        self.config = {
            "metadata": {"name": name, "uid": name, "namespace": "lab"},
            "log_directory": self.logs,
            "linux": {
                "cgroup_parent": f"/{cri.lab.cgroup}",
                "security_context": {"namespace_options": {"network": 2, "pid": 1}, "seccomp": {"profile_type": 0}},
            },
        }
        cri.lab.path(self.logs).mkdir(exist_ok=True)
        self.id = cri.RunPodSandbox(config=self.config).pod_sandbox_id

    def create(self, name, *words, resources=None, **security):
        context = {"namespace_options": {"network": 2, "pid": 1}, "seccomp": {"profile_type": 0}, **security}
        config = {
            "metadata": {"name": name},
            "image": {"image": BOX},
            "command": list(words),
            "log_path": name + ".log",
            "linux": {"resources": resources or {}, "security_context": context},
        }
        made = self.cri.CreateContainer(pod_sandbox_id=self.id, config=config, sandbox_config=self.config)
        self.containers.append(made.container_id)
        return made.container_id

    def start(self, name, *words, **keywords):
        made = self.create(name, *words, **keywords)
        self.cri.StartContainer(container_id=made)
        return made

    def log(self, name):
        lines = self.cri.lab.path(f"{self.logs}/{name}.log").read_text().splitlines()
        return "".join(line.split(" ", 3)[3] + "\n" for line in lines)

    def remove(self):
        for one in self.containers:
            self.cri.StopContainer(container_id=one, timeout=0)
            self.cri.RemoveContainer(container_id=one)
        self.cri.StopPodSandbox(pod_sandbox_id=self.id)
        self.cri.RemovePodSandbox(pod_sandbox_id=self.id)


@pytest.fixture
def pod(cri, request):
    made = Pod(cri, request.node.name.replace("_", "-"))
    yield made
    made.remove()


def ended(cri, container, seconds=15):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = cri.ContainerStatus(container_id=container).status
        if found.state == 2:
            return found
        time.sleep(0.05)
    raise AssertionError(f"{container} does not end")


def test_cri_pod(cri, pod):
    assert cri.Version().runtime_name == "containerd"
    assert cri.PodSandboxStatus(pod_sandbox_id=pod.id).status.state == 0
    made = pod.create("short", "sh", "-c", "echo out; exit 7")
    assert cri.ContainerStatus(container_id=made).status.state == 0
    cri.StartContainer(container_id=made)
    assert ended(cri, made).exit_code == 7
    assert pod.log("short") == "out\n"


def test_cri_exec(cri, pod):
    made = pod.start("long", *HOLD)
    assert cri.ContainerStatus(container_id=made).status.state == 1
    done = cri.ExecSync(container_id=made, cmd=["sh", "-c", "echo out; echo err >&2; exit 3"], timeout=20)
    assert (done.stdout, done.stderr, done.exit_code) == (b"out\n", b"err\n", 3)
    cri.StopContainer(container_id=made, timeout=10)
    assert ended(cri, made).exit_code == 5


def test_cri_two_containers_share_the_pod(cri, pod):
    first, second = pod.start("first", *HOLD), pod.start("second", *HOLD)

    def names(container, kind):
        return cri.ExecSync(container_id=container, cmd=["readlink", f"/proc/1/ns/{kind}"], timeout=20).stdout

    assert names(first, "ipc") == names(second, "ipc")
    assert names(first, "uts") == names(second, "uts")
    assert names(first, "pid") != names(second, "pid")


def test_cri_limits_and_security(cri, pod):
    made = pod.start(
        "limited",
        *HOLD,
        resources={"memory_limit_in_bytes": 64 << 20, "cpu_quota": 50000, "cpu_period": 100000},
        run_as_user={"value": 1000},
        readonly_rootfs=True,
        no_new_privs=True,
        capabilities={"drop_capabilities": ["ALL"]},
    )

    def shell(script):
        return cri.ExecSync(container_id=made, cmd=["sh", "-c", script], timeout=20).stdout.decode()

    shown = shell("id -u; awk '/CapBnd|NoNewPrivs|^Seccomp:/ {print $2}' /proc/self/status").split()
    assert shown == ["1000", "0000000000000000", "1", "2"]
    assert shell("touch /tmp/new 2>/dev/null && echo written") == ""
    read = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || cat /sys/fs/cgroup/memory.max"
    assert shell(read).strip() == str(64 << 20)
    cri.UpdateContainerResources(container_id=made, linux={"memory_limit_in_bytes": 80 << 20})
    assert shell(read).strip() == str(80 << 20)
    stats = cri.ContainerStats(container_id=made).stats
    assert 0 < stats.memory.working_set_bytes.value < 80 << 20


def test_cri_out_of_memory(cri, pod):
    grow = 'x=$(head -c 40000000 /dev/zero | tr "\\0" a); echo ${#x}'
    roomy = pod.start("roomy", "sh", "-c", grow, resources={"memory_limit_in_bytes": 256 << 20})
    assert ended(cri, roomy).exit_code == 0
    small = pod.start("small", "sh", "-c", grow, resources={"memory_limit_in_bytes": 16 << 20})
    found = ended(cri, small)
    assert (found.exit_code, found.reason) == (137, "OOMKilled")


def test_cri_a_program_that_cannot_be_run(cri, pod):
    import grpc

    made = pod.create("bad", "/nonexistent")
    with pytest.raises(grpc.RpcError, match="no such file or directory"):
        cri.StartContainer(container_id=made)
