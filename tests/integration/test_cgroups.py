# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Cgroups on a real kernel: limits, freezing, killing, statistics, removal; beside v1 and in a view of v2 alone.

The driver for systemd speaks to a real dbus-daemon with a small service in systemd's place.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from ansible_collections.ocilab.hosts.plugins.module_utils.linux.cgroups import bpf, manager, stats
from ansible_collections.ocilab.hosts.plugins.module_utils.linux.errors import (
    AlreadyExists,
    InvalidInput,
    KernelRefused,
    Unsupported,
    WrongState,
)

pytestmark = pytest.mark.root
NAME = f"test-cgroups-{os.getpid()}"
V2 = Path("/sys/fs/cgroup/unified")
UNLIMITED_V1 = "9223372036854771712"  # the largest whole number of pages


class Case:
    """Cgroups of one test below /test-cgroups-PID, and the processes in them; all end with it."""

    def __init__(self):
        self.host = manager.detect()
        self.made = []
        self.processes = []

    def at(self, path=f"/{NAME}/one", resources=None):
        cgroup = self.host.at(path, "unused")
        cgroup.journal_entry()
        self.made.append(cgroup)
        cgroup.create(resources or {})
        return cgroup

    def enter(self, cgroup, *words, sub=""):
        """A process in the cgroup: the words, or one that sleeps."""
        entry = cgroup.entry(sub)

        def enter():
            entry.enter()
            if entry.clone_into >= 0:
                procs = os.open("cgroup.procs", os.O_WRONLY, dir_fd=entry.clone_into)
                os.write(procs, b"0")

        process = subprocess.Popen(words or ["sleep", "100"], preexec_fn=enter, close_fds=False)  # noqa: PLW1509
        entry.close()
        self.processes.append(process)
        return process

    def file(self, cgroup, controller, name):
        for item in self.host.hierarchies:
            if controller in item.controllers:
                return (Path(cgroup.paths[item.name]) / name).read_text().strip()
        return pytest.skip(f"this host has no {controller} controller")

    def needs(self, *controllers, mode=("v1", "hybrid")):
        if self.host.mode not in mode:
            pytest.skip(f"this host has {self.host.mode} cgroups")
        missing = set(controllers) - set(self.host.controllers)
        if missing:
            pytest.skip(f"this host has no controllers {sorted(missing)}")


@pytest.fixture
def case():
    made = Case()
    yield made
    for cgroup in reversed(made.made):
        cgroup.remove()
    for process in made.processes:
        process.kill()
        process.wait()
    assert left_of(NAME) == []


def left_of(name):
    return [str(path) for path in Path("/sys/fs/cgroup").glob(f"*/{name}")]


def disk():
    """major:minor of a disk of this host."""
    for path in sorted(Path("/sys/block").iterdir()):
        if (path / "dev").exists() and not path.name.startswith(("loop", "ram", "zram")):
            return [int(number) for number in (path / "dev").read_text().split(":")]
    return pytest.skip("this host has no disk")


V1_FILES = [
    ("memory", {"limit": 64 << 20}, "memory", "memory.limit_in_bytes", str(64 << 20)),
    ("memory", {"limit": -1}, "memory", "memory.limit_in_bytes", UNLIMITED_V1),
    ("memory", {"limit": 64 << 20, "swap": 96 << 20}, "memory", "memory.memsw.limit_in_bytes", str(96 << 20)),
    ("memory", {"limit": 64 << 20, "swap": -1}, "memory", "memory.memsw.limit_in_bytes", UNLIMITED_V1),
    ("memory", {"reservation": 32 << 20}, "memory", "memory.soft_limit_in_bytes", str(32 << 20)),
    ("memory", {"swappiness": 0}, "memory", "memory.swappiness", "0"),
    ("memory", {"kernel": 1 << 20, "kernelTCP": 1 << 20}, "memory", "memory.limit_in_bytes", UNLIMITED_V1),
    ("cpu", {"shares": 512}, "cpu", "cpu.shares", "512"),
    ("cpu", {"quota": 20000, "period": 40000}, "cpu", "cpu.cfs_quota_us", "20000"),
    ("cpu", {"quota": 20000, "period": 40000}, "cpu", "cpu.cfs_period_us", "40000"),
    ("cpu", {"quota": 20000, "burst": 10000}, "cpu", "cpu.cfs_burst_us", "10000"),
    ("cpu", {"quota": -1}, "cpu", "cpu.cfs_quota_us", "-1"),
    ("cpu", {"idle": 1, "shares": 512}, "cpu", "cpu.idle", "1"),
    ("cpu", {"realtimePeriod": 500000, "realtimeRuntime": 1000}, "cpu", "cpu.rt_runtime_us", "1000"),
    ("cpu", {"cpus": "0"}, "cpuset", "cpuset.cpus", "0"),
    ("cpu", {"mems": "0"}, "cpuset", "cpuset.mems", "0"),
    ("pids", {"limit": 17}, "pids", "pids.max", "17"),
    ("pids", {"limit": -1}, "pids", "pids.max", "max"),
    ("pids", {"limit": 0}, "pids", "pids.max", "1"),
    ("blockIO", {"weight": 500}, "blkio", "blkio.bfq.weight", "500"),
    ("network", {"classID": 1048577}, "net_cls", "net_cls.classid", "1048577"),
]


@pytest.mark.parametrize(("group", "asked", "controller", "file", "content"), V1_FILES)
def test_each_limit_is_in_its_file(case, group, asked, controller, file, content):
    case.needs(controller)
    if file == "cpu.rt_runtime_us" and not Path("/sys/fs/cgroup/cpu/cpu.rt_runtime_us").exists():
        pytest.skip("this kernel has no real-time limits of groups")
    cgroup = case.at(f"/{NAME}", {group: asked})  # right below the root, where a real-time limit needs no other
    if file == "blkio.bfq.weight" and not Path(cgroup.paths["blkio"], file).exists():
        pytest.skip("this kernel has no BFQ scheduler")
    assert case.file(cgroup, controller, file) == content


def test_oom_killer_off(case):
    case.needs("memory")
    cgroup = case.at(resources={"memory": {"disableOOMKiller": True}})
    assert "oom_kill_disable 1" in case.file(cgroup, "memory", "memory.oom_control")


@pytest.mark.parametrize("kind", ["ReadBps", "WriteBps", "ReadIOPS", "WriteIOPS"])
def test_throttles(case, kind):
    case.needs("blkio")
    major, minor = disk()
    asked = {f"throttle{kind}Device": [{"major": major, "minor": minor, "rate": 4096}]}
    cgroup = case.at(resources={"blockIO": asked})
    direction, unit = ("read", kind[4:]) if kind.startswith("Read") else ("write", kind[5:])
    file = f"blkio.throttle.{direction}_{unit.lower()}_device"
    assert case.file(cgroup, "blkio", file) == f"{major}:{minor} 4096"


def test_huge_pages_go_to_the_hierarchy_that_has_their_controller(case):
    case.needs("hugetlb")
    sizes = stats.page_sizes()
    if not sizes:
        pytest.skip("this kernel has no huge pages")
    cgroup = case.at(resources={"hugepageLimits": [{"pageSize": sizes[0], "limit": 0}]})
    is_v2 = any("hugetlb" in item.controllers and item.is_v2 for item in case.host.hierarchies)
    assert case.file(cgroup, "hugetlb", f"hugetlb.{sizes[0]}.{'max' if is_v2 else 'limit_in_bytes'}") == "0"
    with pytest.raises(Unsupported, match=r"hugepageLimits: this kernel has no hugetlb\.3MB"):
        case.at(f"/{NAME}/two", {"hugepageLimits": [{"pageSize": "3MB", "limit": 0}]})


def test_memory_and_swap_are_raised_and_lowered_in_the_right_order(case):
    case.needs("memory")
    cgroup = case.at(resources={"memory": {"limit": 64 << 20, "swap": 64 << 20}})
    for size in (128 << 20, 32 << 20):
        cgroup.update({"memory": {"limit": size, "swap": size}})
        assert case.file(cgroup, "memory", "memory.memsw.limit_in_bytes") == str(size)
    cgroup.update({"memory": {"limit": -1}})
    assert case.file(cgroup, "memory", "memory.memsw.limit_in_bytes") == UNLIMITED_V1
    with pytest.raises(KernelRefused, match="limit must not be above swap"):
        cgroup.update({"memory": {"limit": 64 << 20, "swap": 32 << 20}})


def test_a_memory_limit_below_what_is_used_tells_how_much_is_used(case):
    case.needs("memory")
    cgroup = case.at()
    process = case.enter(cgroup, sys.executable, "-c", "import time; x = b'x' * (64 << 20); time.sleep(60)")
    usage = Path(cgroup.paths["memory"], "memory.usage_in_bytes")
    wait_until(lambda: int(usage.read_text()) > 64 << 20)
    Path(cgroup.paths["memory"], "memory.swappiness").write_text("0")
    with pytest.raises(KernelRefused, match=r"it uses [67][0-9]{7} bytes now"):
        cgroup.update({"memory": {"limit": 8 << 20}})
    assert process.poll() is None


def test_period_and_quota_that_only_go_together(case):
    case.needs("cpu")
    cgroup = case.at(f"/{NAME}", {"cpu": {"quota": 5000, "period": 10000}})
    case.at(f"/{NAME}/below", {"cpu": {"quota": 5000, "period": 10000}})
    # Half a processor either way, but neither value goes with the other's old one.
    cgroup.update({"cpu": {"quota": 500000, "period": 1000000}})
    assert case.file(cgroup, "cpu", "cpu.cfs_quota_us") == "500000"
    case.made[1].update({"cpu": {"quota": 50000, "period": 100000}})
    assert case.file(case.made[1], "cpu", "cpu.cfs_period_us") == "100000"


def test_an_update_leaves_alone_what_it_does_not_name(case):
    case.needs("memory", "pids", "devices")
    cgroup = case.at(resources={"memory": {"limit": 64 << 20}, "pids": {"limit": 9}})
    before = case.file(cgroup, "devices", "devices.list")
    manager.from_journal(cgroup.journal_entry()).update({"pids": {"limit": 10}, "devices": [{"allow": True}]})
    assert case.file(cgroup, "memory", "memory.limit_in_bytes") == str(64 << 20)
    assert case.file(cgroup, "pids", "pids.max") == "10"
    assert case.file(cgroup, "devices", "devices.list") == before


@pytest.mark.parametrize(
    ("resources", "said"),
    [
        ({"rdma": {"mlx5_1": {"hcaHandles": 1}}}, "linux.resources.rdma: this host has no rdma controller"),
        ({"network": {"classID": 1}}, "linux.resources.network.classID: this host has no net_cls controller"),
        ({"unified": {"pids.max": "1"}}, "invalid configuration: linux.resources.unified: is for hosts with cgroup v2"),
    ],
)
def test_limits_that_the_host_cannot_keep_are_refused(case, resources, said):
    case.needs()
    if "this host has no" in said and said.split()[-2] in case.host.controllers:
        pytest.skip("this host has that controller")
    with pytest.raises(Unsupported) as caught:
        case.at(resources=resources)
    assert str(caught.value).startswith(said)


def test_shares_out_of_range(case):
    case.needs("cpu")
    with pytest.raises(InvalidInput, match=r"cpu\.shares: 1 is not from 2"):
        case.at(resources={"cpu": {"shares": 1}})


def test_devices_are_as_runc_sets_them(case, bundle):
    case.needs("devices")
    runc = runc_container(bundle)
    try:
        seen = Path("/sys/fs/cgroup/devices", f"{NAME}-runc", "devices.list").read_text().split("\n")
    finally:
        runc("delete", "--force", NAME)
    cgroup = case.at(resources=bundle.config["linux"]["resources"])
    assert set(case.file(cgroup, "devices", "devices.list").split("\n")) == set(seen) - {""}


def test_all_devices_but_one(case):
    case.needs("devices")
    cgroup = case.at(resources={"devices": [{"allow": True, "access": "rwm"}]})
    assert case.file(cgroup, "devices", "devices.list") == "a *:* rwm"
    rules = [{"allow": True}, {"allow": False, "type": "c", "major": 1, "minor": 11, "access": "r"}]
    other = case.at(f"/{NAME}/two", {"devices": rules})
    script = "(: </dev/kmsg) 2>/dev/null && echo open || echo refused"
    for path, expected in ((cgroup, "open"), (other, "refused")):
        entry = path.entry()
        shell = ["sh", "-c", script]
        seen = subprocess.check_output(shell, preexec_fn=entry.enter, close_fds=False, text=True)
        entry.close()
        assert seen.strip() == expected


# Existing cgroups, and whose they are


def test_an_empty_cgroup_is_joined_and_stays(case):
    paths = [Path(item.mount_point, NAME) for item in case.host.hierarchies]
    for path in paths:
        path.mkdir()
    try:
        cgroup = case.at(f"/{NAME}")
        process = case.enter(cgroup)
        assert cgroup.pids() == [process.pid]
        manager.from_journal(cgroup.journal_entry()).remove()
        assert process.wait(5) == -signal.SIGKILL
        assert all(path.is_dir() for path in paths)
    finally:
        for path in paths:
            path.rmdir()


def test_a_cgroup_with_processes_or_frozen_is_refused(case):
    case.needs("freezer")
    cgroup = case.at()
    process = case.enter(cgroup)
    with pytest.raises(AlreadyExists, match=f"cgroup is not empty: .*, with the processes {process.pid}"):
        case.host.at(f"/{NAME}/one", "x").journal_entry()
    process.kill()
    process.wait()
    cgroup.freeze()
    with pytest.raises(WrongState, match="container's cgroup unexpectedly frozen"):
        case.host.at(f"/{NAME}/one", "x").journal_entry()
    cgroup.thaw()
    assert case.host.at(f"/{NAME}/one", "x").journal_entry()["made"] == []


def test_parents_go_with_the_last_that_is_below_them(case):
    first, second = case.at(f"/{NAME}/a/one"), case.at(f"/{NAME}/a/two")
    first.remove()
    assert all(Path(path).is_dir() for path in second.paths.values())
    second.remove()
    # The first one made the parents, and found them in use; the second one leaves them, for they are not its own.
    first.remove()
    assert left_of(NAME) == []


def test_who_loses_a_race_for_a_cgroup_leaves_the_winner_alone(case):
    loser = case.host.at(f"/{NAME}/one", "x")
    noted = loser.journal_entry()
    winner = case.at()
    process = case.enter(winner)
    with pytest.raises(AlreadyExists, match="another container took it meanwhile"):
        loser.create({})
    loser.remove()
    manager.from_journal(noted).remove()
    assert process.poll() is None
    assert all(Path(path).is_dir() for path in winner.paths.values())


def test_a_journal_cut_short_before_the_cgroup_was_made(case):
    cgroup = case.host.at(f"/{NAME}/one", "x")
    noted = cgroup.journal_entry()
    assert not noted["complete"]
    manager.from_journal(noted).remove()
    cgroup.create({})
    assert cgroup.journal_entry()["complete"]
    manager.from_journal(noted).remove()  # the runtime was killed right after it
    assert left_of(NAME) == []


def test_paths(case):
    for path in ("/", "..", "/a/../b", "a\0"):
        with pytest.raises(InvalidInput):
            case.host.at(path, "x")
    assert all(path.endswith("/labrun-x") for path in case.host.at("", "x").paths.values())
    relative = case.host.at("a/b", "x").paths
    own = Path("/proc/self/cgroup").read_text()
    for name, path in relative.items():
        if name == "memory":
            mine = next(line.split(":", 2)[2] for line in own.splitlines() if ":memory:" in line)
            assert path == f"/sys/fs/cgroup/memory{mine.rstrip('/')}/a/b"


# Processes


def wait_until(condition, timeout_s=5.0):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def state_of(process):
    return Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_freeze_and_thaw(case):
    cgroup = case.at()
    case.enter(cgroup, "sh", "-c", "while :; do :; done")
    usage = Path(cgroup.paths.get("cpuacct", ""), "cpuacct.usage")
    assert not cgroup.is_frozen()
    cgroup.freeze()
    assert cgroup.is_frozen()
    if usage.exists():
        before = usage.read_text()
        time.sleep(0.05)
        assert usage.read_text() == before
        cgroup.thaw()
        wait_until(lambda: usage.read_text() != before)
    cgroup.thaw()
    assert not cgroup.is_frozen()


def test_a_cgroup_below_a_frozen_one_is_not_frozen_itself(case):
    upper = case.at(f"/{NAME}")
    lower = case.at(f"/{NAME}/lower")
    upper.freeze()
    assert upper.is_frozen()
    assert not lower.is_frozen()
    upper.thaw()


FORKS = """
import os, time
while True:
    try:
        if os.fork():
            time.sleep(0.02)
    except BlockingIOError:
        time.sleep(0.001)
"""


def test_kill_reaches_processes_that_fork_all_the_time(case):
    cgroup = case.at(resources={"pids": {"limit": 200}} if "pids" in case.host.controllers else {})
    case.enter(cgroup, sys.executable, "-c", FORKS)
    wait_until(lambda: len(cgroup.pids()) > 20)
    cgroup.kill(signal.SIGKILL)
    wait_until(lambda: cgroup.pids() == [])


def test_a_frozen_cgroup_is_killed(case):
    cgroup = case.at()
    process = case.enter(cgroup)
    cgroup.freeze()
    cgroup.kill(signal.SIGKILL)
    assert process.wait(5) == -signal.SIGKILL


def test_a_signal_reaches_all_and_leaves_a_frozen_cgroup_frozen(case):
    cgroup = case.at()
    processes = [case.enter(cgroup) for _number in range(3)]
    cgroup.freeze()
    cgroup.kill(signal.SIGTERM)
    assert cgroup.is_frozen()
    cgroup.thaw()
    assert [process.wait(5) for process in processes] == [-signal.SIGTERM] * 3


def make_below(cgroup, *names):
    for path in cgroup.paths.values():
        for name in names:
            Path(path, name).mkdir()
        for name in names:
            if Path(path, name, "cpuset.cpus").exists() and "cpuset" in path:
                for file in ("cpuset.cpus", "cpuset.mems"):
                    Path(path, name, file).write_text(Path(path, name).parent.joinpath(file).read_text())


def test_cgroups_below_are_counted_killed_and_removed(case):
    cgroup = case.at()
    make_below(cgroup, "sub", "sub/deep", "other")
    upper, lower = case.enter(cgroup), case.enter(cgroup, sub="sub/deep")
    assert cgroup.pids() == sorted([upper.pid, lower.pid])
    manager.from_journal(cgroup.journal_entry()).remove()
    assert [process.wait(5) for process in (upper, lower)] == [-signal.SIGKILL] * 2


def test_on_v1_alone_forking_processes_are_killed_and_removed(case):
    case.needs("freezer", "pids")
    case.host = manager.Cgroups([item for item in case.host.hierarchies if not item.is_v2])
    assert case.host.mode == "v1"
    cgroup = case.at(resources={"pids": {"limit": 100}})
    case.enter(cgroup, sys.executable, "-c", FORKS)
    wait_until(lambda: len(cgroup.pids()) > 20)
    cgroup.freeze()
    assert cgroup.is_frozen()
    cgroup.remove()
    assert left_of(NAME) == []


def test_exec_into_a_cgroup_below(case):
    cgroup = case.at()
    make_below(cgroup, "sub")
    process = case.enter(cgroup, sub="sub")
    seen = Path(f"/proc/{process.pid}/cgroup").read_text()
    assert seen.count(f"/{NAME}/one/sub\n") >= len(cgroup.paths)
    with pytest.raises(InvalidInput, match="bad sub cgroup path"):
        cgroup.entry("../x")
    with pytest.raises(KernelRefused, match="adding pid of the process: no such file or directory"):
        cgroup.entry("missing")
    if "memory" in case.host.controllers and case.host.mode != "v2":
        process = case.enter(cgroup, sub={"memory": "sub"})
        lines = Path(f"/proc/{process.pid}/cgroup").read_text().splitlines()
        assert [line.split(":")[1] for line in lines if line.endswith("/sub")] == ["memory"]
        with pytest.raises(InvalidInput, match="unknown controller 'nothing'"):
            cgroup.entry({"nothing": "sub"})


def test_survivors_of_an_init_without_a_pid_namespace_end_with_delete(bundle):  # F06
    linux = bundle.config["linux"]
    linux["namespaces"] = [item for item in linux["namespaces"] if item["type"] != "pid"]
    bundle.config["mounts"] = [item for item in bundle.config["mounts"] if item["type"] not in ("proc",)]
    linux["maskedPaths"] = linux["readonlyPaths"] = []
    bundle.config["process"]["args"] = ["/bin/sh", "-c", "/bin/sleep 98765 & exec /bin/sleep 0"]
    bundle.write()
    assert bundle.labrun("create", "--bundle", str(bundle.path), bundle.name).returncode == 0
    assert bundle.labrun("start", bundle.name).returncode == 0
    wait_until(lambda: json.loads(bundle.labrun("state", bundle.name).stdout)["status"] == "stopped")
    assert alive("98765")
    assert bundle.labrun("delete", bundle.name).returncode == 0
    assert not alive("98765")
    bundle.assert_nothing_left()


def alive(word):
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if word.encode() in path.read_bytes().split(b"\0"):
                return True
        except OSError:
            continue
    return False


# Statistics and notices


def runc_container(bundle):
    """A created container of runc with the bundle's resources; a function to run runc's commands."""
    if not shutil.which("runc"):
        pytest.skip("runc is not installed")
    config = json.loads(json.dumps(bundle.config))
    config["ociVersion"] = "1.0.2"
    config["process"]["args"] = ["/bin/sleep", "100"]
    config["linux"]["cgroupsPath"] = f"/{NAME}-runc"
    (bundle.path / "config.json").write_text(json.dumps(config))
    root = str(bundle.path / "runc")

    def runc(*words):
        with open(bundle.path / "runc.out", "w+") as output:
            code = subprocess.run(
                ["runc", "--root", root, *words], stdout=output, stderr=output, check=False
            ).returncode
            output.seek(0)
            text = output.read()
        assert code == 0, text
        return text

    runc("create", "--bundle", str(bundle.path), NAME)
    return runc


def test_statistics_are_those_of_runc(case, bundle):
    case.needs("memory", "cpu", "pids")
    bundle.config["linux"]["resources"].update(
        memory={"limit": 64 << 20}, cpu={"quota": 50000, "period": 100000}, pids={"limit": 20}
    )
    runc = runc_container(bundle)
    try:
        theirs = json.loads(runc("events", "--stats", NAME))["data"]
        hierarchies = case.host.hierarchies
        same = manager.Cgroup({item.name: f"{item.mount_point}/{NAME}-runc" for item in hierarchies}, case.host)
        ours = same.stats()
    finally:
        runc("delete", "--force", NAME)
    if "hugetlb" in case.host.controllers:
        theirs["hugetlb"] = ours["hugetlb"]  # the controller is on v2 beside v1, where runc does not see it
    assert shape(ours) == shape(theirs)
    for group in ("cpuset", "pids", "intel_rdt", "network_interfaces"):
        assert ours[group] == theirs[group]
    for key in ("usage", "swap", "kernel", "kernelTCP"):
        assert ours["memory"][key]["limit"] == theirs["memory"][key]["limit"]
    assert ours["cpu"]["throttling"] == theirs["cpu"]["throttling"]
    assert ours["cpu"]["usage"]["total"] >= theirs["cpu"]["usage"]["total"] > 0


def shape(value):
    """The keys of nested objects, without the numbers."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items()}
    return type(value).__name__


def test_the_kernel_tells_that_memory_ran_out(case):
    case.needs("memory")
    cgroup = case.at(resources={"memory": {"limit": 16 << 20, "swap": 16 << 20}})
    notifier = cgroup.oom_notifier()
    try:
        process = case.enter(cgroup, sys.executable, "-c", "x = b'x' * (64 << 20)")
        assert notifier.read() == "oom"
        assert process.wait(10) == -signal.SIGKILL
        assert cgroup.oom_kills() == 1
        cgroup.remove()
        assert notifier.read() == "end"
    finally:
        notifier.close()


# cgroup v2 alone: a mount namespace without the v1 hierarchies

SCRIPT = """
import json, os, signal, subprocess, sys
from ansible_collections.ocilab.hosts.plugins.module_utils.linux.cgroups import bpf, manager, stats
from ansible_collections.ocilab.hosts.plugins.module_utils.linux.errors import OcilabError
host = manager.detect()
name = sys.argv[1]
def enter(cgroup, **more):
    entry = cgroup.entry(**more)
    def move():
        os.write(os.open("cgroup.procs", os.O_WRONLY, dir_fd=entry.clone_into), b"0")
    process = subprocess.Popen(["sleep", "100"], preexec_fn=move, close_fds=False)
    entry.close()
    return process
def refused(function, *arguments):
    try:
        function(*arguments)
    except OcilabError as error:
        return "%s: %s" % (type(error).__name__, error)
"""


def on_v2_alone(script, user=0):
    """What the script prints as JSON where only cgroup2 is mounted."""
    if not (V2 / "cgroup.procs").exists():
        pytest.skip("this host has no cgroup2 hierarchy beside v1")
    hide = "for path in $(awk '$3 == \"cgroup\" { print $2 }' /proc/self/mounts); do umount $path || exit 99; done\n"
    command = ["unshare", "--mount", "sh", "-c", hide + 'exec "$@"', "sh"]
    if user:
        command += ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"]
    command += [sys.executable, "-c", SCRIPT + textwrap.dedent(script), NAME]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stderr
    assert left_of(NAME) == []
    return json.loads(result.stdout)


def test_life_on_v2(rootfs):
    seen = on_v2_alone(
        """
        cgroup = host.at("/%s/a" % name, "x")
        noted = cgroup.journal_entry()
        cgroup.create({})
        first, second = enter(cgroup), enter(cgroup)
        os.mkdir(cgroup.paths[""] + "/below")
        kept = manager.from_journal(cgroup.journal_entry())
        result = {"mode": host.mode, "made": len(noted["made"]), "pids": kept.pids() == sorted([first.pid, second.pid])}
        kept.freeze()
        result["frozen"] = [kept.is_frozen(), "frozen 1" in open(kept.paths[""] + "/cgroup.events").read()]
        kept.thaw()
        result["thawed"] = kept.is_frozen()
        kept.kill(signal.SIGTERM)
        result["term"] = [first.wait(5), second.wait(5)]
        third = enter(cgroup)
        result["stats"] = kept.stats()
        kept.remove()
        result["kill"] = third.wait(5)
        print(json.dumps(result))
        """
    )
    numbers = seen.pop("stats")
    assert seen == {
        "mode": "v2",
        "made": 2,
        "pids": True,
        "frozen": [True, True],
        "thawed": False,
        "term": [-15, -15],
        "kill": -9,
    }
    assert numbers["pids"] == {"current": 1}
    assert numbers["cpu"]["usage"]["total"] > 0
    assert set(numbers["cpu"].get("psi", {"some": 0, "full": 0})) == {"some", "full"}
    assert set(numbers) == {"cpu", "cpuset", "memory", "pids", "blkio", "hugetlb", "intel_rdt", "network_interfaces"}


def test_limits_on_v2():
    seen = on_v2_alone(
        """
        result = {}
        size = (stats.page_sizes() or ["2MB"])[0]
        cgroup = host.at("/%s" % name, "x")
        cgroup.journal_entry()
        limits = {"hugepageLimits": [{"pageSize": size, "limit": 4 << 30}]} if "hugetlb" in host.controllers else {}
        if limits:
            limits["unified"] = {"hugetlb.%s.rsvd.max" % size: "2147483648"}
        cgroup.create(dict(limits, unified=dict(limits.get("unified", {}), **{"cgroup.max.depth": "7"})))
        read = lambda file: open(cgroup.paths[""] + "/" + file).read().strip()
        result["depth"] = read("cgroup.max.depth")
        if limits:
            result["limits"] = [read("hugetlb.%s.max" % size), read("hugetlb.%s.rsvd.max" % size)]
        result["refused"] = [
            refused(cgroup.update, resources) for resources in (
                {"memory": {"limit": 1}},
                {"unified": {"memory.max": "1"}},
                {"unified": {"cgroup.nothing": "1"}},
                {"unified": {"cgroup.procs/x": "1"}},
                {"unified": {"cgroup.max.depth": "x"}},
                {"network": {"classID": 1}},
            )
        ]
        cgroup.remove()
        print(json.dumps(result))
        """
    )
    assert seen["depth"] == "7"
    assert seen.get("limits", ["4294967296", "2147483648"]) == ["4294967296", "2147483648"]
    said = [
        "Unsupported: linux.resources.memory.limit: this host has no memory controller (v2 cgroups",
        "Unsupported: linux.resources.unified: 'memory.max': the controller memory is not available",
        "Unsupported: linux.resources.unified.cgroup.nothing: this kernel has no cgroup.nothing",
        "InvalidInput: linux.resources.unified: 'cgroup.procs/x' is not the name of a file",
        "KernelRefused: write /sys/fs/cgroup/unified",
        "Unsupported: linux.resources.network.classID: this host has no net_cls controller",
    ]
    for text, expected in zip(seen["refused"], said):
        assert text.startswith(expected), text


def test_a_container_that_made_cgroups_of_its_own_can_be_entered_on_v2():
    seen = on_v2_alone(
        """
        cgroup = host.at("/%s" % name, "x")
        cgroup.journal_entry()
        cgroup.create({})
        top = cgroup.paths[""]
        init = enter(cgroup)
        os.mkdir(top + "/init")
        with open(top + "/init/cgroup.procs", "w") as file:
            file.write(str(init.pid))
        with open(top + "/cgroup.subtree_control", "w") as file:
            file.write("+" + host.controllers[0] if host.controllers else "")
        entered = enter(cgroup, init_pid=init.pid)
        print(json.dumps(open("/proc/%d/cgroup" % entered.pid).read()))
        cgroup.remove()
        init.wait()
        entered.wait()
        """
    )
    if (V2 / "cgroup.controllers").read_text().strip():
        assert f"0::/{NAME}/init\n" in seen


def test_a_device_program_takes_the_place_of_the_one_before(case):
    if not (V2 / "cgroup.procs").exists():
        pytest.skip("this host has no cgroup2 hierarchy")
    directory = V2 / NAME
    directory.mkdir()
    fd = os.open(directory, os.O_RDONLY)
    try:
        seen = []
        for rules in ([], [{"allow": True}], [{"allow": False}]):
            bpf.attach_program(str(directory), rules, is_fresh=False)
            attached = bpf._attached(fd)
            seen.append(len(attached))
            for program in attached:
                os.close(program)
        assert seen == [1, 1, 1]
    finally:
        os.close(fd)
        directory.rmdir()


# Without root


NOBODY = 65534


def as_nobody(script):
    return on_v2_alone(script, NOBODY)


def test_without_permission_and_without_limits_there_is_no_cgroup():
    seen = as_nobody(
        """
        cgroup = host.at("", name)
        cgroup.journal_entry()
        cgroup.create({"devices": [{"allow": False}]})
        noted = manager.from_journal(cgroup.journal_entry())
        entry = noted.entry()
        print(json.dumps([cgroup.paths, cgroup.left_out, entry.clone_into, noted.pids()]))
        noted.remove()
        """
    )
    assert seen[0] == {}
    assert "permission denied (EACCES)" in seen[1]
    assert seen[2:] == [-1, []]


def test_without_permission_a_limit_or_a_path_is_refused():
    seen = as_nobody(
        """
        def create(path, resources):
            cgroup = host.at(path, name)
            cgroup.journal_entry()
            try:
                cgroup.create(resources)
            finally:
                cgroup.remove()
        pages = {"hugepageLimits": [{"pageSize": (stats.page_sizes() or ["2MB"])[0], "limit": 0}]}
        print(json.dumps([refused(create, "", {"unified": {"cgroup.max.depth": "1"}}), refused(create, "/" + name, {}),
                          refused(create, "", pages)]))
        """
    )
    assert seen[0].startswith("Unsupported: linux.resources.unified: the limit cannot be set: mkdir cgroup")
    assert "KernelRefused: mkdir cgroup" in seen[1]
    assert "must be delegated to the caller" in seen[1]
    assert seen[2].startswith("Unsupported: linux.resources.hugepageLimits: ")


def test_a_delegated_cgroup_is_a_users_own():
    if not (V2 / "cgroup.procs").exists():
        pytest.skip("this host has no cgroup2 hierarchy beside v1")
    owned = V2 / f"{NAME}-user"
    owned.mkdir()
    try:
        for path in (owned, *(owned / name for name in ("cgroup.procs", "cgroup.subtree_control", "cgroup.threads"))):
            os.chown(path, NOBODY, NOBODY)
        seen = as_nobody(
            """
            cgroup = host.at("/%s-user/one" % name, "x")
            cgroup.journal_entry()
            cgroup.create({"unified": {"cgroup.max.depth": "3"}})
            depth = open(cgroup.paths[""] + "/cgroup.max.depth").read()
            cgroup.remove()
            print(json.dumps([depth, os.path.exists(cgroup.paths[""])]))
            """
        )
        assert seen == ["3\n", False]
    finally:
        owned.rmdir()


def test_a_cgroup_is_given_to_a_user():
    seen = on_v2_alone(
        """
        cgroup = host.at("/" + name, "x")
        cgroup.journal_entry()
        cgroup.create({})
        cgroup.give(1234)
        top = cgroup.paths[""]
        print(json.dumps([os.stat(path).st_uid for path in (top, top + "/cgroup.procs", top + "/cgroup.max.depth")]))
        cgroup.remove()
        """
    )
    assert seen == [1234, 1234, 0]


# systemd: its manager's interface on a bus, by a small service that does what systemd does to cgroups

SERVICE = """
import json, os, sys
from ansible_collections.ocilab.hosts.plugins.module_utils.linux import dbus
address, log, version = sys.argv[1:4]
tops = sys.argv[4:]
connection = dbus.Connection(address, True)
bus = ("org.freedesktop.DBus", "/org/freedesktop/DBus")
connection.call(*bus, "RequestName", "su", ["org.freedesktop.systemd1", 0])
print("ready", flush=True)
units, failed, jobs = {}, {"lab-failed.scope"}, 0

def answer(message, kind, signature, body, **more):
    fields = {"reply_serial": message.serial, "destination": message.fields["sender"]}
    connection.send(dbus.Message(kind, dict(fields, **more), signature, body))

def error(message, name):
    answer(message, dbus.ERROR, "s", ["said by the service"], error_name="org.freedesktop.systemd1." + name)

def done(message, unit, result="done"):
    global jobs
    jobs += 1
    job = "/org/freedesktop/systemd1/job/%d" % jobs
    fields = {"path": "/org/freedesktop/systemd1", "interface": "org.freedesktop.systemd1.Manager"}
    fields["member"] = "JobRemoved"
    # another one's job first, which nobody waits for
    connection.send(dbus.Message(dbus.SIGNAL, fields, "uoss", [0, "/org/freedesktop/systemd1/job/0", "x", "done"]))
    answer(message, dbus.METHOD_RETURN, "o", [job])
    connection.send(dbus.Message(dbus.SIGNAL, fields, "uoss", [jobs, job, unit, result]))

while True:
    message = connection.receive(600)
    if message.kind != dbus.METHOD_CALL:
        continue
    member, body = message.fields["member"], message.body
    with open(log, "a") as file:
        file.write(json.dumps([member, message.signature, body], default=lambda value: value.decode("latin-1")) + "\\n")
    if member == "Get":
        known = {"Version": version, "ActiveState": "active"}
        answer(message, dbus.METHOD_RETURN, "v", [("s", known.get(body[1], "/user.slice"))])
    elif member == "GetUnit":
        answer(message, dbus.METHOD_RETURN, "o", ["/unit"]) if body[0] in units else error(message, "NoSuchUnit")
    elif member == "StartTransientUnit":
        properties = dict(body[2])
        if body[0] in units or body[0] in failed:
            error(message, "UnitExists")
            continue
        if properties["Description"][1].endswith("fails"):
            done(message, body[0], "failed")
            continue
        units[body[0]] = [top + "/" + properties["Slice"][1] + "/" + body[0] for top in tops]
        for path in units[body[0]]:
            os.makedirs(path)
            with open(path + "/cgroup.procs", "w") as file:
                file.write(str(properties["PIDs"][1][0]))
        done(message, body[0])
    elif member == "StopUnit":
        if body[0] not in units:
            error(message, "NoSuchUnit")
            continue
        for path in units.pop(body[0]):
            os.rmdir(path)
        done(message, body[0])
    elif member == "SetUnitProperties":
        answer(message, dbus.METHOD_RETURN, "", []) if body[0] in units else error(message, "NoSuchUnit")
    elif member == "ResetFailedUnit":
        answer(message, dbus.METHOD_RETURN, "", []) if body[0] in failed else error(message, "NoSuchUnit")
        failed.discard(body[0])
"""

BUS = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>system</type><listen>unix:path=%s</listen><auth>EXTERNAL</auth>
<policy context="default"><allow own="*"/><allow send_destination="*"/><allow eavesdrop="false"/>
<allow user="*"/><allow receive_sender="*"/></policy></busconfig>
"""


class Systemd:
    """A bus with the service on it, and labrun's view of a host where systemd runs."""

    def __init__(self, folder, tops, version="252.39-1~deb12u1"):
        self.address = folder / "bus"
        self.log = folder / "log"
        self.slice = f"test-{os.getpid()}.slice"
        (folder / "bus.conf").write_text(BUS % self.address)
        arguments = ["dbus-daemon", f"--config-file={folder / 'bus.conf'}", "--nofork", "--nopidfile", "--nosyslog"]
        self.daemon = subprocess.Popen(arguments)
        wait_until(self.address.exists)
        arguments = [sys.executable, "-c", SERVICE, str(self.address), str(self.log), version, *tops]
        self.service = subprocess.Popen(arguments, stdout=subprocess.PIPE)
        assert self.service.stdout.readline() == b"ready\n"
        self.tops = tops

    def calls(self, member):
        lines = [json.loads(line) for line in self.log.read_text().splitlines()]
        return [body for name, _signature, body in lines if name == member]

    def run(self, script, *arguments):
        view = 'mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/system && exec "$@"'
        command = ["unshare", "--mount", "sh", "-c", view, "sh", sys.executable, "-c"]
        command += [SCRIPT + textwrap.dedent(script), self.slice, *arguments]
        environment = dict(os.environ, DBUS_SYSTEM_BUS_ADDRESS=f"unix:path={self.address}")
        result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)
        assert result.returncode == 0, result.stderr
        return json.loads(result.stdout)

    def end(self):
        for process in (self.service, self.daemon):
            process.kill()
            process.wait()
        self.service.stdout.close()
        # the slice's directories are systemd's, whose place we took
        for path in Path("/sys/fs/cgroup").glob(f"*/{self.slice}"):
            path.rmdir()


@pytest.fixture
def systemd(tmp_path):
    if not shutil.which("dbus-daemon"):
        pytest.skip("dbus-daemon is not installed")
    tops = [path for path in ("/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified") if os.path.isdir(path)]
    if not tops:
        pytest.skip("this host has no hierarchy that systemd would manage beside v1")
    made = Systemd(tmp_path, tops)
    yield made
    made.end()


def test_a_container_is_a_scope_of_systemd(systemd):
    seen = systemd.run(
        """
        import time
        from ansible_collections.ocilab.hosts.plugins.module_utils.linux.cgroups.systemd import annotated
        more = annotated({"org.systemd.property.TimeoutStopSec": "uint64 5"})
        cgroup = host.at(name + ":lab:one", "x", systemd=True, properties=more)
        before = cgroup.journal_entry()
        cgroup.create({"memory": {"limit": 64 << 20}, "cpu": {"quota": 12345, "period": 100000}, "pids": {"limit": 9},
                       "devices": [{"allow": False}]})
        entry = cgroup.entry()
        process = subprocess.Popen(["sleep", "100"])
        cgroup.adopt(process.pid)
        noted = cgroup.journal_entry()
        kept = manager.from_journal(noted)
        result = {"unit": [noted["unit"], noted["of_user"], before["complete"], noted["complete"], entry.clone_into],
                  "cgroup": open("/proc/%d/cgroup" % process.pid).read().splitlines(),
                  "pids": kept.pids() == [process.pid]}
        read = lambda controller, file: open(kept.paths[controller] + "/" + file).read().strip()
        if "memory" in kept.paths and "cpu" in kept.paths:
            result["files"] = [read("memory", "memory.limit_in_bytes"), read("cpu", "cpu.cfs_quota_us")]
        kept.update({"pids": {"limit": 11}, "memory": {"limit": 32 << 20}})
        result["frozen"] = kept.is_frozen()
        kept.remove()
        result["ended"] = process.wait(5)
        result["left"] = [path for path in kept.paths.values() if os.path.exists(path)]
        print(json.dumps(result))
        """
    )
    assert seen["unit"] == ["lab-one.scope", False, False, True, -1]
    assert seen["pids"]
    assert all(line.endswith(f"/{systemd.slice}/lab-one.scope") for line in seen["cgroup"]), seen["cgroup"]
    assert seen.get("files", [str(64 << 20), "13000"]) == [str(64 << 20), "13000"]
    assert (seen["frozen"], seen["ended"], seen["left"]) == (False, -signal.SIGKILL, [])
    ((unit, mode, properties, auxiliary),) = systemd.calls("StartTransientUnit")
    assert (unit, mode, auxiliary) == ("lab-one.scope", "replace", [])
    values = {name: value for name, (_kind, value) in properties}
    kinds = {name: kind for name, (kind, _value) in properties}
    expected = {
        "Slice": ("s", systemd.slice),
        "Delegate": ("b", True),
        "DefaultDependencies": ("b", False),
        "MemoryAccounting": ("b", True),
        "TasksAccounting": ("b", True),
        "MemoryLimit": ("t", 64 << 20),
        "CPUQuotaPerSecUSec": ("t", 130000),
        "CPUQuotaPeriodUSec": ("t", 100000),
        "TasksMax": ("t", 9),
        "DevicePolicy": ("s", "strict"),
        "TimeoutStopUSec": ("t", 5000000),
    }
    assert {name: (kinds[name], values[name]) for name in expected} == expected
    assert ["/dev/char/1:3", "rwm"] in values["DeviceAllow"]
    assert systemd.calls("SetUnitProperties") == [
        ["lab-one.scope", True, [["MemoryLimit", ["t", 32 << 20]], ["TasksMax", ["t", 11]]]]
    ]
    assert [body[0] for body in systemd.calls("StopUnit")] == ["lab-one.scope"]


def test_a_unit_that_does_not_start_is_one_error(systemd):
    seen = systemd.run(
        """
        def start(path):
            cgroup = host.at(path, "x", systemd=True)
            cgroup.journal_entry()
            process = subprocess.Popen(["sleep", "100"])
            try:
                cgroup.create({})
                cgroup.adopt(process.pid)
            finally:
                process.kill()
                process.wait()
                cgroup.remove()
        print(json.dumps([refused(start, path) for path in (name + ":lab:fails", "a/b", "x:y:z", name + ":lab:good")]))
        """
    )
    assert seen[0] == "OcilabError: systemd unit lab-fails.scope: its start ended with 'failed'; see journalctl"
    assert "slice:prefix:name is expected" in seen[1]
    assert "is not the name of a systemd slice" in seen[2]
    assert seen[3] is None


def test_a_failed_unit_of_that_name_is_forgotten_first(systemd):
    seen = systemd.run(
        """
        cgroup = host.at(name + ":lab:failed", "x", systemd=True)
        cgroup.journal_entry()
        cgroup.create({})
        process = subprocess.Popen(["sleep", "100"])
        cgroup.adopt(process.pid)
        cgroup.remove()
        print(json.dumps(process.wait(5)))
        """
    )
    assert seen == -signal.SIGKILL
    assert [body[0] for body in systemd.calls("StartTransientUnit")] == ["lab-failed.scope"] * 2
    assert systemd.calls("ResetFailedUnit")[0] == ["lab-failed.scope"]


def test_without_systemd_its_driver_says_so(case):
    if os.path.isdir("/run/systemd/system"):
        pytest.skip("systemd runs on this host")
    with pytest.raises(Unsupported, match="systemd does not run on this host"):
        case.host.at("", "x", systemd=True)


def test_other_clients_of_the_bus_agree_on_the_wire(systemd):
    if not shutil.which("gdbus"):
        pytest.skip("gdbus is not installed")
    command = ["gdbus", "call", f"--address=unix:path={systemd.address}", "--dest=org.freedesktop.systemd1"]
    command += ["--object-path=/org/freedesktop/systemd1"]
    get = [*command, "--method=org.freedesktop.DBus.Properties.Get", "org.freedesktop.systemd1.Manager", "Version"]
    assert subprocess.check_output(get, text=True).strip() == "(<'252.39-1~deb12u1'>,)"
    text = "[('A', <[('/dev/null', 'rw')]>), ('B', <[byte 1, 2]>), ('C', <-1.5>), ('D', <{'k': <uint64 7>}>)]"
    call = [*command, "--method=org.freedesktop.systemd1.Manager.SetUnitProperties", "none", "true", text]
    refused = subprocess.run(call, capture_output=True, text=True, check=False)
    assert "org.freedesktop.systemd1.NoSuchUnit: said by the service" in refused.stderr
    assert systemd.calls("SetUnitProperties") == [
        [
            "none",
            True,
            [
                ["A", ["a(ss)", [["/dev/null", "rw"]]]],
                ["B", ["ay", "\x01\x02"]],
                ["C", ["d", -1.5]],
                ["D", ["a{sv}", [["k", ["t", 7]]]]],
            ],
        ]
    ]
