# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs in the virtual machine: what a runtime does on pure cgroup v2, under systemd, AppArmor and as an ordinary user.

guest_checks.py RUNTIME NAME CONFIG [CHECK...] prints one JSON object: by a check's name its "outcome" ("passed",
"failed", "skipped"), "text", "seconds" and "values" to be compared with another runtime's. One file for the standard
library alone, so that one ssh call runs everything; test_vm.py makes a test of each check.
"""

from __future__ import annotations

import copy
import functools
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
WORK = Path("/run/vm-checks")  # a folder for each runtime below it: they run at the same time
APPLETS = ("cat", "chown", "dd", "echo", "false", "ls", "mknod", "rm", "sh", "sleep", "touch", "true")
MIB = 1 << 20
USER, UID = "lab", 1000
PROFILE = "vm-checks"
# It lets through all but writing below /tmp/denied.
PROFILE_TEXT = """\
profile %s flags=(attach_disconnected,mediate_deleted) {
  file,
  capability,
  network,
  mount,
  umount,
  signal,
  ptrace,
  unix,
  deny /tmp/denied/** w,
}
"""
# Settings, and not what the kernel counts.
COUNTED = re.compile(
    r"\.(stat|stat\.local|current|events|events\.local|peak|pressure|numa_stat|reclaim)$|^cgroup\.(procs|threads|kill)$"
)

CHECKS = {}


def check(function):
    CHECKS[function.__name__] = function
    return function


class Skipped(Exception):
    """This check does not apply here; the text says why."""


class Container:
    """A container of the runtime under test, whose configuration a check changes before it starts it."""

    def __init__(self, runtime, label):
        self.runtime = runtime
        self.id = f"{runtime.name}-{label}"
        self.folder = WORK / runtime.name / self.id
        self.folder.mkdir(parents=True)
        self.config = copy.deepcopy(runtime.config)
        self.linux = self.config["linux"]
        self.resources = self.linux["resources"]
        self.linux["cgroupsPath"] = f"/vm-checks/{self.id}"
        self.globals = []
        self.prefix = []
        runtime.containers.append(self)

    def call(self, *words, timeout=90, stdin=""):
        """Run the runtime; its output goes to files, for a container that stays keeps it open."""
        arguments = [*self.prefix, self.runtime.path, *self.globals, *words]
        with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
            result = subprocess.run(
                arguments, input=stdin, stdout=output, stderr=errors, timeout=timeout, check=False, text=True
            )
            for file in (output, errors):
                file.seek(0)
            result.stdout, result.stderr = output.read(), errors.read()
        return result

    def ok(self, *words, **keywords):
        result = self.call(*words, **keywords)
        assert result.returncode == 0, f"{words}: exit code {result.returncode}: {result.stderr.strip()}"
        return result.stdout

    def write(self, script):
        self.config["process"]["args"] = ["/bin/sh", "-c", script]
        (self.folder / "config.json").write_text(json.dumps(self.config))

    def run(self, script):
        """The finished `run` of the script in the foreground."""
        self.write(script)
        return self.call("run", "--bundle", str(self.folder), self.id)

    def shell(self, script):
        """What the script prints."""
        result = self.run(script)
        assert result.returncode == 0, f"exit code {result.returncode}: {result.stderr.strip()}"
        return result.stdout

    def start(self, script="exec sleep 1000"):
        """Start it and leave it running."""
        self.write(script)
        self.ok("run", "--detach", "--bundle", str(self.folder), self.id)

    def state(self):
        return json.loads(self.ok("state", self.id))

    def cgroup(self):
        """The folder of the cgroup that the container's first process is in."""
        line = Path(f"/proc/{self.state()['pid']}/cgroup").read_text().strip()
        assert line.startswith("0::/"), line
        return CGROUPS / line[4:]

    def delete(self):
        self.call("delete", "--force", self.id)


class Runtime:
    def __init__(self, path, name, config):
        self.path = path
        self.name = name
        self.config = config
        self.containers = []
        self.values = {}

    def container(self, label):
        return Container(self, label)


def read(folder, name):
    return (folder / name).read_text().strip()


def wait_until(condition, what, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        time.sleep(0.1)


def settings(folder):
    """The cgroup's settings by file name, but for what the kernel counts."""
    result = {}
    for file in sorted(folder.iterdir()):
        if file.is_file() and not COUNTED.search(file.name):
            try:
                result[file.name] = file.read_text().strip()
            except OSError as error:
                result[file.name] = f"errno {error.errno}"
    return result


def disk_numbers():
    device = os.stat("/dev/vda").st_rdev
    return os.major(device), os.minor(device)


def all_limits(container):
    """Ask for everything that cgroup v2 limits and every machine has."""
    major, minor = disk_numbers()
    container.resources.update(
        memory={"limit": 64 * MIB, "reservation": 32 * MIB, "swap": 96 * MIB},
        cpu={"shares": 512, "quota": 50000, "period": 100000, "cpus": "0", "mems": "0"},
        pids={"limit": 50},
        blockIO={"throttleWriteBpsDevice": [{"major": major, "minor": minor, "rate": MIB}]},
        hugepageLimits=[{"pageSize": "2MB", "limit": 4 * MIB}],
        unified={"memory.high": str(48 * MIB)},
    )


def assert_all_limits(folder):
    major, minor = disk_numbers()
    expected = {
        "memory.max": str(64 * MIB),
        "memory.low": str(32 * MIB),
        "memory.swap.max": str(32 * MIB),
        "memory.high": str(48 * MIB),
        "cpu.max": "50000 100000",
        "cpuset.cpus": "0",
        "cpuset.mems": "0",
        "pids.max": "50",
        "io.max": f"{major}:{minor} rbps=max wbps={MIB} riops=max wiops=max",
        "hugetlb.2MB.max": str(4 * MIB),
    }
    found = {name: read(folder, name) for name in expected}
    assert found == expected
    # By runc's older rule, 1 + (shares - 2) * 9999 / 262142, and by the one that keeps 1024 at 100.
    assert read(folder, "cpu.weight") in ("20", "59")


def assert_gone(container, folder):
    container.ok("delete", "--force", container.id)
    assert not folder.exists(), f"{folder} is left"


@check
def exit_codes(runtime):
    """Output and exit codes come through, on pure cgroup v2."""
    container = runtime.container("plain")
    result = container.run("echo hello; echo problem >&2; exit 7")
    assert (result.stdout, result.stderr, result.returncode) == ("hello\n", "problem\n", 7)


@check
def default_cgroup(runtime):
    """Without cgroupsPath the container has a cgroup of its own, which goes with it."""
    container = runtime.container("nopath")
    del container.linux["cgroupsPath"]
    container.resources["pids"] = {"limit": 33}
    container.start()
    folder = container.cgroup()
    assert container.id in folder.name
    assert read(folder, "pids.max") == "33"
    assert_gone(container, folder)


@check
def limits(runtime):
    """Every limit arrives in its file of cgroup v2."""
    container = runtime.container("limits")
    all_limits(container)
    container.start()
    folder = container.cgroup()
    assert folder == CGROUPS / "vm-checks" / container.id
    assert_all_limits(folder)
    runtime.values["settings"] = settings(folder)
    assert read(folder, "cgroup.procs") == str(container.state()["pid"])
    assert_gone(container, folder)


@check
def io_weight(runtime):
    """blockIO.weight, for BFQ or converted for io.cost."""
    container = runtime.container("weight")
    container.resources["blockIO"] = {"weight": 200}
    container.start()
    folder = container.cgroup()
    files = {name: read(folder, name) for name in ("io.bfq.weight", "io.weight") if (folder / name).exists()}
    runtime.values["weights"] = files
    if not files:
        raise Skipped("this kernel has neither io.bfq.weight nor io.weight")
    assert files.get("io.bfq.weight") in ("200", "default 200") or files.get("io.weight") == "default 1920", files


@check
def unknown_unified_file(runtime):
    """A unified setting that the kernel lacks is an error that names it, and nothing is left."""
    container = runtime.container("unified")
    container.resources["unified"] = {"memory.nonsense": "1"}
    result = container.run("true")
    assert result.returncode != 0
    assert "memory.nonsense" in result.stderr
    assert not (CGROUPS / "vm-checks" / container.id).exists()


@check
def pids_limit(runtime):
    """pids.max stops a fork; the same program ends well with a higher limit."""
    script = "for i in 1 2 3 4 5 6; do sleep 0.1 & done; wait; echo all"
    low, high = runtime.container("pids-low"), runtime.container("pids-high")
    low.resources["pids"], high.resources["pids"] = {"limit": 4}, {"limit": 40}
    assert high.shell(script) == "all\n"
    result = low.run(script)
    assert "can't fork" in result.stderr and "all" not in result.stdout, (result.stdout, result.stderr)


@check
def cpu_quota(runtime):
    """cpu.max throttles."""
    container = runtime.container("quota")
    container.resources["cpu"] = {"quota": 5000, "period": 100000}
    container.start("while :; do :; done")
    folder = container.cgroup()
    wait_until(lambda: re.search(r"nr_throttled [1-9]", read(folder, "cpu.stat")), "no period was throttled")


@check
def oom_kill(runtime):
    """Too little memory ends the process by SIGKILL (137); the same program ends well with enough."""
    script = "exec dd if=/dev/zero of=/dev/null bs=48M count=1"
    low, high = runtime.container("oom-low"), runtime.container("oom-high")
    low.resources["memory"], high.resources["memory"] = {"limit": 24 * MIB}, {"limit": 96 * MIB}
    assert high.run(script).returncode == 0
    assert low.run(script).returncode == 137


@check
def devices(runtime):
    """The eBPF program refuses a device that no rule allows, though the container may make its node."""
    major, minor = disk_numbers()
    script = (
        f"cd /dev; mknod disk b {major} {minor}; dd if=disk of=/dev/null bs=512 count=1 2>&1;"
        " echo x >/dev/null && echo null works"
    )
    refused, allowed = runtime.container("dev-refused"), runtime.container("dev-allowed")
    node = {"type": "b", "major": major, "minor": minor}
    refused.resources["devices"].append({"allow": True, "access": "m", **node})
    allowed.resources["devices"].append({"allow": True, "access": "rwm", **node})
    for container in (refused, allowed):  # /dev is mounted without nodev
        container.config["process"]["capabilities"]["bounding"].append("CAP_MKNOD")
    assert "1+0 records in" in (output := allowed.shell(script)), output
    output = refused.shell(script)
    assert "not permitted" in output and "null works" in output, output


@check
def freezing(runtime):
    """pause stops every process, resume lets them go on, and a paused container can be deleted."""
    container = runtime.container("freeze")
    container.start("while :; do echo $((i += 1)) >/dev/shm/count; sleep 0.05; done")
    folder = container.cgroup()
    count = Path(f"/proc/{container.state()['pid']}/root/dev/shm/count")
    wait_until(count.exists, "the container does not count")
    container.ok("pause", container.id)
    assert read(folder, "cgroup.freeze") == "1"
    assert container.state()["status"] == "paused"
    seen = count.read_text()
    time.sleep(0.5)
    assert count.read_text() == seen
    container.ok("resume", container.id)
    assert container.state()["status"] == "running"
    wait_until(lambda: count.read_text() not in ("", seen), "it does not go on")
    container.ok("pause", container.id)
    assert_gone(container, folder)


@check
def cgroup_namespace(runtime):
    """The container sees its own cgroup as the root, read-only, with its limits."""
    container = runtime.container("view")
    container.resources["pids"] = {"limit": 44}
    output = container.shell(
        "cat /proc/self/cgroup /sys/fs/cgroup/pids.max; echo 5 2>/dev/null >/sys/fs/cgroup/pids.max || echo read-only;"
        " cat /proc/self/mountinfo"
    )
    lines = output.splitlines()
    assert lines[:3] == ["0::/", "44", "read-only"], output
    mount = [line.split() for line in lines if " /sys/fs/cgroup " in line]
    assert len(mount) == 1 and mount[0][3] == "/" and "cgroup2" in mount[0], mount


@check
def update(runtime):
    """`update` changes limits, by options and by a resources document."""
    container = runtime.container("update")
    container.resources.update(memory={"limit": 64 * MIB}, pids={"limit": 20})
    container.start()
    folder = container.cgroup()
    container.ok("update", "--pids-limit", "77", "--cpu-quota", "20000", "--cpu-period", "50000", container.id)
    assert (read(folder, "pids.max"), read(folder, "cpu.max")) == ("77", "20000 50000")
    document = {"memory": {"limit": 128 * MIB}, "pids": {"limit": 78}}
    container.ok("update", "--resources", "-", container.id, stdin=json.dumps(document))
    assert (read(folder, "memory.max"), read(folder, "pids.max")) == (str(128 * MIB), "78")


@check
def exec_and_ps(runtime):
    """A process that exec starts is in the container's cgroup, and ps lists it."""
    container = runtime.container("exec")
    container.start()
    folder = container.cgroup()
    assert container.ok("exec", container.id, "cat", "/proc/self/cgroup") == "0::/\n"
    container.ok("exec", "--detach", container.id, "sleep", "1000")
    processes = sorted(int(pid) for pid in read(folder, "cgroup.procs").split())
    assert len(processes) == 2
    assert sorted(json.loads(container.ok("ps", "--format", "json", container.id))) == processes


@check
def kill_all(runtime):
    """`kill --all` reaches every process, also where the container has no pid namespace of its own."""
    container = runtime.container("kill")
    container.linux["namespaces"] = [item for item in container.linux["namespaces"] if item["type"] != "pid"]
    container.start("sleep 1000 & sleep 1000 & wait")
    folder = container.cgroup()
    wait_until(lambda: len(read(folder, "cgroup.procs").split()) == 3, "not all have started")
    container.ok("kill", "--all", container.id, "KILL")
    wait_until(lambda: not read(folder, "cgroup.procs"), "processes are left")
    wait_until(lambda: container.state()["status"] == "stopped", "it is not stopped")
    assert_gone(container, folder)


@check
def statistics(runtime):
    """`events --stats` tells limits and use."""
    container = runtime.container("stats")
    container.resources.update(memory={"limit": 64 * MIB}, pids={"limit": 21})
    container.start()
    event = json.loads(container.ok("events", "--stats", container.id))
    assert (event["type"], event["id"]) == ("stats", container.id)
    data = event["data"]
    assert data["pids"] == {"current": 1, "limit": 21}
    assert data["memory"]["usage"]["limit"] == 64 * MIB
    assert 0 < data["memory"]["usage"]["usage"] < 64 * MIB
    assert data["cpu"]["usage"]["total"] > 0
    runtime.values["stats keys"] = {name: sorted(part) for name, part in data.items() if isinstance(part, dict)}


def scope_properties(name):
    """The unit's properties; those that come in several lines have them joined."""
    output = subprocess.run(
        ["systemctl", "show", name], stdout=subprocess.PIPE, text=True, check=True, timeout=60
    ).stdout
    result = {}
    for line in sorted(output.splitlines()):
        key, _equals, value = line.partition("=")
        result[key] = f"{result[key]}; {value}" if key in result else value
    return result


def systemd_container(runtime, label, of_slice="system.slice"):
    container = runtime.container(label)
    container.globals = ["--systemd-cgroup"]
    container.linux["cgroupsPath"] = f"{of_slice}:vm:{container.id}"
    return container, f"vm-{container.id}.scope"


@check
def systemd_scope(runtime):
    """With --systemd-cgroup the container is a scope with the limits as properties; it goes with the container."""
    container, scope = systemd_container(runtime, "scope")
    all_limits(container)
    container.start()
    folder = container.cgroup()
    assert folder == CGROUPS / "system.slice" / scope
    assert_all_limits(folder)
    seen = scope_properties(scope)
    expected = {
        "ActiveState": "active",
        "Slice": "system.slice",
        "MemoryMax": str(64 * MIB),
        "MemoryLow": str(32 * MIB),
        "MemorySwapMax": str(32 * MIB),
        "MemoryHigh": str(48 * MIB),
        "CPUQuotaPerSecUSec": "500ms",
        "TasksMax": "50",
        "AllowedCPUs": "0",
        "Delegate": "yes",
        "DefaultDependencies": "no",
    }
    assert {name: seen.get(name) for name in expected} == expected
    assert container.id in seen["Description"]
    volatile = re.compile(
        "Timestamp|InvocationID|CPUUsage|Memory.*(Current|Peak|Available)|TasksCurrent|^IO[A-Z]|^IP[A-Z]|^Id$|Names|"
        "ControlGroupId|DropInPaths|NeedDaemonReload"
    )
    runtime.values["settings"] = settings(folder)
    runtime.values["scope"] = {
        name: value.replace(container.id, "ID") for name, value in seen.items() if not volatile.search(name)
    }
    assert_gone(container, folder)
    assert scope_properties(scope)["LoadState"] == "not-found"


@check
def systemd_default_path(runtime):
    """Without cgroupsPath the systemd driver chooses a scope in system.slice."""
    container, _scope = systemd_container(runtime, "auto")
    del container.linux["cgroupsPath"]
    container.resources["pids"] = {"limit": 31}
    container.start()
    folder = container.cgroup()
    assert folder.parent == CGROUPS / "system.slice"
    assert container.id in folder.name and folder.name.endswith(".scope")
    assert read(folder, "pids.max") == "31"
    assert_gone(container, folder)


@check
def systemd_nested_slice(runtime):
    """A slice below a slice is where systemd puts it."""
    container, scope = systemd_container(runtime, "nested", "vmchecks-inner.slice")
    container.start()
    folder = container.cgroup()
    assert folder == CGROUPS / "vmchecks.slice" / "vmchecks-inner.slice" / scope
    assert_gone(container, folder)


@check
def systemd_survives_reload(runtime):
    """systemd knows the limits and devices, so that daemon-reload does not undo them; `update` goes through it."""
    container, scope = systemd_container(runtime, "reload")
    major, minor = disk_numbers()
    container.resources.update(memory={"limit": 64 * MIB}, pids={"limit": 20})
    container.start(f"cd /dev; mknod disk b {major} {minor}; exec sleep 1000")
    folder = container.cgroup()
    container.ok(
        "update", "--pids-limit", "55", "--memory", str(80 * MIB), "--memory-swap", str(80 * MIB), container.id
    )
    subprocess.run(["systemctl", "daemon-reload"], check=True, timeout=90)
    assert (read(folder, "pids.max"), read(folder, "memory.max")) == ("55", str(80 * MIB))
    seen = scope_properties(scope)
    assert (seen["TasksMax"], seen["MemoryMax"]) == ("55", str(80 * MIB))
    result = container.call("exec", container.id, "dd", "if=/dev/disk", "of=/dev/null", "bs=512", "count=1")
    assert result.returncode == 1 and "not permitted" in result.stderr, result.stderr


@check
def systemd_freezing(runtime):
    """pause and resume under the systemd driver."""
    container, _scope = systemd_container(runtime, "sdfreeze")
    container.start()
    folder = container.cgroup()
    container.ok("pause", container.id)
    assert (container.state()["status"], read(folder, "cgroup.freeze")) == ("paused", "1")
    container.ok("resume", container.id)
    assert (container.state()["status"], read(folder, "cgroup.freeze")) == ("running", "0")


@check
def systemd_wrong_path(runtime):
    """A cgroupsPath that is none of the systemd driver's is refused, with a word about its form."""
    container, _scope = systemd_container(runtime, "badpath")
    container.linux["cgroupsPath"] = "/not/a/scope"
    result = container.run("true")
    assert result.returncode != 0
    assert "cgroupsPath" in result.stderr and "slice" in result.stderr, result.stderr


@check
def systemd_exit_code(runtime):
    """`run` in the foreground under the systemd driver, whose scope ends by itself with its last process."""
    container, scope = systemd_container(runtime, "sdexit")
    result = container.run("echo hello; exit 9")
    assert (result.stdout, result.returncode) == ("hello\n", 9), result.stderr
    wait_until(lambda: scope_properties(scope)["LoadState"] == "not-found", "the scope is left")


@functools.lru_cache(None)
def load_profile():
    if not Path("/sys/kernel/security/apparmor").exists():
        raise Skipped("this kernel has no AppArmor")
    text = PROFILE_TEXT % PROFILE
    subprocess.run(["apparmor_parser", "--replace", "--skip-cache"], input=text, text=True, check=True, timeout=90)


# Debian 13 gives a program at runc's path a label that allows everything.
UNCONFINED = ("unconfined", "runc (unconfined)")
DENIED = "mkdir -p /tmp/denied; cat /proc/self/attr/current; touch /tmp/denied/a && echo written; rm -f /tmp/denied/a"


@check
def apparmor_enforced(runtime):
    """process.apparmorProfile confines; without one the same write succeeds."""
    load_profile()
    control, confined = runtime.container("aa-control"), runtime.container("aa-confined")
    for container in (control, confined):
        container.config["mounts"].append({"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"})
    confined.config["process"]["apparmorProfile"] = PROFILE
    label, written = control.shell(DENIED).splitlines()
    assert label in UNCONFINED and written == "written", label
    result = confined.run(DENIED)
    assert result.stdout.splitlines() == [f"{PROFILE} (enforce)"], result.stdout
    assert "ermission denied" in result.stderr


@check
def apparmor_exec(runtime):
    """exec takes the container's profile, or the one that --apparmor names."""
    load_profile()
    container, other = runtime.container("aa-exec"), runtime.container("aa-exec-option")
    container.config["process"]["apparmorProfile"] = PROFILE
    for item in (container, other):
        item.start()
    words = ["cat", "/proc/self/attr/current"]
    assert container.ok("exec", container.id, *words) == f"{PROFILE} (enforce)\n"
    assert other.ok("exec", other.id, *words).strip() in UNCONFINED
    assert other.ok("exec", "--apparmor", PROFILE, other.id, *words) == f"{PROFILE} (enforce)\n"


@check
def apparmor_unknown_profile(runtime):
    """A profile that is not loaded is an error that names it, and nothing is left."""
    load_profile()
    container = runtime.container("aa-unknown")
    container.config["process"]["apparmorProfile"] = "vm-checks-nowhere"
    result = container.run("echo ran")
    assert result.returncode != 0 and result.stdout == ""
    assert "vm-checks-nowhere" in result.stderr or "apparmor" in result.stderr.lower(), result.stderr
    assert not (CGROUPS / "vm-checks" / container.id).exists()


@functools.lru_cache(None)
def user_environment():
    """Words that run a command as the user, beside the user's own systemd."""
    subprocess.run(["loginctl", "enable-linger", USER], check=True, timeout=60)
    subprocess.run(["systemctl", "start", f"user@{UID}.service"], check=True, timeout=90)
    run = f"/run/user/{UID}"
    return [
        "runuser",
        "-u",
        USER,
        "--",
        "env",
        f"XDG_RUNTIME_DIR={run}",
        f"DBUS_SESSION_BUS_ADDRESS=unix:path={run}/bus",
    ]


def rootless(runtime, label, delegated=True, sub_ids=True):
    """A container that the user runs: its root is the user, other ids are subordinate ones."""
    container = runtime.container(label)
    container.prefix = user_environment()
    container.globals = ["--root", f"/run/user/{UID}/{runtime.name}"]
    if delegated:
        container.prefix = [
            *container.prefix,
            "systemd-run",
            "--user",
            "--scope",
            "--quiet",
            "-p",
            "Delegate=yes",
            "--",
        ]
    del container.linux["cgroupsPath"]
    del container.resources["devices"]
    container.linux["namespaces"].append({"type": "user"})
    mappings = [{"containerID": 0, "hostID": UID, "size": 1}]
    if sub_ids:
        mappings.append({"containerID": 1, "hostID": 100000, "size": 65536})
    else:  # the group of terminals cannot be mapped
        for mount in container.config["mounts"]:
            mount["options"] = [word for word in mount.get("options", []) if not word.startswith("gid=")]
    container.linux["uidMappings"] = container.linux["gidMappings"] = mappings
    return container


@check
def rootless_subordinate_ids(runtime):
    """A user's container has all ids, by newuidmap and newgidmap."""
    container = rootless(runtime, "rootless")
    output = container.shell(
        "cat /proc/self/uid_map /proc/self/gid_map; touch /dev/shm/x; chown 5:6 /dev/shm/x; ls -ln /dev/shm/x"
    )
    words = output.split()
    assert words[:12] == ["0", str(UID), "1", "1", "100000", "65536"] * 2, output
    assert words[14:16] == ["5", "6"], output


@check
def rootless_single_id(runtime):
    """A user's container with no other id than the user's."""
    container = rootless(runtime, "rootless-single", sub_ids=False)
    assert container.shell("cat /proc/self/uid_map /proc/self/gid_map").split() == ["0", str(UID), "1"] * 2


@check
def rootless_delegated_limits(runtime):
    """In a delegated cgroup a user's limits hold."""
    container = rootless(runtime, "rootless-limits")
    container.linux["cgroupsPath"] = f"/user.slice/user-{UID}.slice/user@{UID}.service/app.slice/{container.id}"
    container.resources.update(pids={"limit": 23}, memory={"limit": 64 * MIB})
    container.start()
    folder = container.cgroup()
    assert folder == CGROUPS / container.linux["cgroupsPath"][1:]
    assert (read(folder, "pids.max"), read(folder, "memory.max")) == ("23", str(64 * MIB))
    assert container.ok("exec", container.id, "cat", "/proc/self/cgroup", "/sys/fs/cgroup/pids.max") == "0::/\n23\n"
    assert_gone(container, folder)


@check
def rootless_systemd(runtime):
    """A user's systemd makes the scope."""
    container = rootless(runtime, "rootless-sd")
    container.globals.append("--systemd-cgroup")
    container.linux["cgroupsPath"] = f"user.slice:vm:{container.id}"
    container.resources.update(pids={"limit": 24}, memory={"limit": 64 * MIB})
    container.start()
    folder = container.cgroup()
    assert folder.name == f"vm-{container.id}.scope"
    assert f"user@{UID}.service" in folder.parts
    assert (read(folder, "pids.max"), read(folder, "memory.max")) == ("24", str(64 * MIB))
    assert_gone(container, folder)


@check
def rootless_without_delegation(runtime):
    """Where the user may make no cgroup the container runs without one, and a limit is an error, not forgotten."""
    container = rootless(runtime, "rootless-bare", delegated=False)
    assert container.shell("echo hello") == "hello\n"
    limited = rootless(runtime, "rootless-bare-limit", delegated=False)
    limited.resources["pids"] = {"limit": 5}
    result = limited.run("echo hello")
    assert result.returncode != 0 and result.stdout == "", result
    assert "cgroup" in result.stderr


@check
def nothing_left(runtime):
    """After everything no cgroup, scope or state of a container is left (runs last)."""
    for container in runtime.containers:
        container.delete()
    names = [str(path) for path in CGROUPS.rglob(f"*{runtime.name}-*") if path.is_dir()]
    names += [str(path) for path in Path(f"/run/user/{UID}/{runtime.name}").glob(f"{runtime.name}-*")]
    listed = subprocess.run(
        [runtime.path, "list", "--quiet"], stdout=subprocess.PIPE, text=True, check=True, timeout=60
    )
    assert names + listed.stdout.split() == []


def make_rootfs(folder):
    root = folder / "rootfs"
    for name in ("bin", "dev", "etc", "proc", "sys", "tmp"):
        (root / name).mkdir(parents=True, exist_ok=True)
    if not (root / "bin" / "busybox").exists():
        shutil.copy("/bin/busybox", root / "bin" / "busybox")
        for applet in (*APPLETS, "mkdir"):
            (root / "bin" / applet).symlink_to("busybox")
    return root


def failure_text():
    """The exception being handled, with what the check's variables held: no pytest is here to show it."""
    place = sys.exc_info()[2]
    while place.tb_next and place.tb_next.tb_frame.f_code.co_filename == __file__:
        place = place.tb_next
    values = [f"{name} = {value!r:.600}" for name, value in place.tb_frame.f_locals.items() if name != "runtime"]
    return "\n".join([traceback.format_exc(limit=-3), *values])


def main(path, name, config_path, *wanted):
    os.umask(0o022)
    shutil.rmtree(WORK / name, ignore_errors=True)
    config = json.loads(Path(config_path).read_text())
    config["root"]["path"] = str(make_rootfs(WORK / name))
    runtime = Runtime(path, name, config)
    results = {}
    for label in wanted or CHECKS:
        runtime.values = {}
        begun = time.monotonic()
        try:
            CHECKS[label](runtime)
            outcome, text = "passed", ""
        except Skipped as reason:
            outcome, text = "skipped", str(reason)
        except Exception:
            outcome, text = "failed", failure_text()
        for container in runtime.containers if label != "nothing_left" else ():
            container.delete()
        runtime.containers = [] if label != "nothing_left" else runtime.containers
        seconds = round(time.monotonic() - begun, 2)
        results[label] = {"outcome": outcome, "text": text, "seconds": seconds, "values": runtime.values}
    json.dump(results, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
