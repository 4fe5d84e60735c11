# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Step 5 on a real kernel: each property of process, and seccomp, sysctl and personality, as the process sees it."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import os
import select
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.root

MACHINE = os.uname().machine


def field(text, name):
    return next(line.split(":", 1)[1].strip() for line in text.splitlines() if line.startswith(name + ":"))


def refused(bundle, message, code=1):
    result = bundle.run()
    assert result.returncode == code, result.stdout + result.stderr
    assert message in result.stderr.replace('\\"', '"')
    assert len(result.stderr.splitlines()) == 1
    bundle.assert_nothing_left()


def in_user_namespace(bundle):
    """A new user namespace, into which the bundle's folder is visible."""
    linux = bundle.config["linux"]
    linux["namespaces"].append({"type": "user"})
    linux["uidMappings"] = linux["gidMappings"] = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    for folder in (bundle.path, *bundle.path.parents):
        if str(folder).startswith("/tmp/"):
            os.chmod(folder, 0o755)


@pytest.fixture
def running(probe):
    """The bundle with its container started, for exec."""

    def start():
        probe.config["process"]["args"] = ["/bin/sleep", "100"]
        probe.write()
        made = probe.labrun("create", "--bundle", str(probe.path), probe.name)
        assert made.returncode == 0, made.stderr
        assert probe.labrun("start", probe.name).returncode == 0

    probe.start = start
    return probe


def execute(bundle, described, *options):
    """exec of a process object; args of it decide what runs."""
    path = bundle.path / "process.json"
    path.write_text(json.dumps(dict(bundle.config["process"], **described)))
    return bundle.labrun("exec", "--process", str(path), *options, bundle.name)


# The environment, the working directory, the standard streams


def test_the_last_of_two_values_counts_in_its_place(bundle):
    (bundle.path / "rootfs/bin/env").symlink_to("busybox")
    bundle.config["process"]["env"] = ["A=1", "PATH=/bin", "B=2", "A=3", "E=", "HOME=/h"]
    assert bundle.run("env").stdout.splitlines() == ["PATH=/bin", "B=2", "A=3", "E=", "HOME=/h"]


@pytest.mark.parametrize(
    ("passwd", "uid", "env", "home"),
    [
        ("root:x:0:0::/root:/bin/sh\nu:x:7:7::/home/u:/bin/sh\n", 0, [], "/root"),
        ("root:x:0:0::/root:/bin/sh\nu:x:7:7::/home/u:/bin/sh\n", 7, [], "/home/u"),
        ("root:x:0:0::/root:/bin/sh\n", 7, [], "/"),
        ("root:x:0:0::/root:/bin/sh\n", 0, ["HOME=/mine"], "/mine"),
        ("root:x:0:0::/root:/bin/sh\n", 0, ["HOME="], "/root"),
        ("# a comment\n\nshort:x:7\nu:x:7:7::/late:/bin/sh", 7, [], "/late"),
        (None, 0, [], "/"),
    ],
)
def test_home_is_that_of_the_containers_passwd(bundle, passwd, uid, env, home):
    file = bundle.path / "rootfs/etc/passwd"
    file.unlink()
    if passwd is not None:
        file.write_text(passwd)
    bundle.config["process"]["user"] = {"uid": uid, "gid": uid}
    bundle.config["process"]["env"] += env
    assert bundle.shell("echo $HOME") == home + "\n"


def test_home_of_an_exec(running):
    running.start()
    result = running.labrun("exec", "--user", "1000:1001", running.name, "/bin/sh", "-c", "echo $HOME; id -u")
    assert result.stdout.split() == ["/", "1000"]


def test_a_directory_that_only_the_user_may_enter(bundle):
    """Root of a user namespace has no rights over a directory of an id that is not mapped; its owner has."""
    in_user_namespace(bundle)
    private = bundle.path / "rootfs/private"
    private.mkdir(mode=0o700)
    os.chown(private, 101000, 101000)
    bundle.config["process"].update(cwd="/private", user={"uid": 1000, "gid": 1000})
    assert bundle.shell("pwd; id -u").split() == ["/private", "1000"]


def test_the_user_owns_the_standard_streams(bundle):
    bundle.config["process"]["user"] = {"uid": 1000, "gid": 1001}
    result = bundle.run("/bin/sh", "-c", "echo again >/dev/stdout")
    assert (result.returncode, result.stdout) == (0, "again\n")


def test_signals_are_neither_ignored_nor_blocked(bundle):
    bundle.write()

    def spoil():
        for number in (signal.SIGUSR1, signal.SIGPIPE, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT, signal.SIGUSR2, signal.SIGTERM])

    bundle.config["process"]["args"] = ["/bin/cat", "/proc/self/status"]
    bundle.write()
    arguments = ["run", "--bundle", str(bundle.path), bundle.name]
    seen = bundle.labrun(*arguments, preexec_fn=spoil).stdout
    assert {field(seen, name) for name in ("SigIgn", "SigBlk", "SigPnd")} == {"0" * 16}


def test_preserved_descriptors_and_no_others(bundle):
    bundle.config["process"]["args"] = ["/bin/sh", "-c", "echo through >&4; ls /proc/self/fd"]
    bundle.write()
    through = bundle.path / "through"
    script = f'exec "$@" 3</dev/null 4>{through} 5>{through}'
    arguments = [str(bundle.labrun_path), "--root", str(bundle.state), "run", "--preserve-fds", "2"]
    arguments += ["--bundle", str(bundle.path), bundle.name]
    result = subprocess.run(
        ["sh", "-c", script, "sh", *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    assert result.stdout.split() == ["0", "1", "2", "3", "4", "5"]  # 5 is the listing itself
    assert through.read_text() == "through\n"


def test_preserved_descriptors_that_are_not_open(bundle):
    """Those that are open are passed, and nothing of labrun's comes to lie between them (as crun; runc refuses)."""
    bundle.config["process"]["args"] = ["/bin/ls", "/proc/self/fd"]
    bundle.write()
    arguments = [str(bundle.labrun_path), "--root", str(bundle.state), "--log", str(bundle.path / "log"), "run"]
    arguments += ["--preserve-fds", "100", "--bundle", str(bundle.path), bundle.name]
    script = 'exec "$@" 5</dev/null 9</dev/null'
    result = subprocess.run(
        ["sh", "-c", script, "sh", *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    assert result.stdout.split() == ["0", "1", "2", "3", "5", "9"], result.stderr  # 3 is the listing itself
    listening = subprocess.run(arguments, env={"LISTEN_FDS": "1"}, capture_output=True, text=True, check=False)
    assert listening.returncode == 1
    assert "descriptor 3 is to be passed to the container and is not open" in listening.stderr


def test_a_program_that_only_a_capability_may_execute(bundle):
    """access(2) knows nothing of the capabilities that a user has; execve(2) does."""
    (bundle.path / "rootfs" / "bin" / "busybox").chmod(0o744)
    process = bundle.config["process"]
    process["user"] = {"uid": 1000, "gid": 1000}
    process["capabilities"] = {}
    result = bundle.run("/bin/id", "-u")
    assert (result.returncode, "permission denied" in result.stderr) == (126, True)
    for kind in ("bounding", "effective", "inheritable", "permitted", "ambient"):
        process["capabilities"].setdefault(kind, []).append("CAP_DAC_OVERRIDE")
    result = bundle.run("/bin/id", "-u")
    assert (result.returncode, result.stdout) == (0, "1000\n"), result.stderr


def test_the_program_is_what_it_says_and_no_launcher_stays(bundle):
    seen = bundle.shell("ls -l /proc/self/exe; cat /proc/self/comm; cat /proc/1/comm; cat /proc/1/cmdline")
    assert "-> /bin/busybox" in seen
    assert "memfd" not in seen


# Limits, capabilities, groups


def test_every_kind_of_limit(bundle):
    current = {
        line[:25].strip(): line[25:].split()[:2] for line in Path("/proc/self/limits").read_text().splitlines()[1:]
    }
    kinds = {
        "CPU": "Max cpu time",
        "FSIZE": "Max file size",
        "DATA": "Max data size",
        "STACK": "Max stack size",
        "CORE": "Max core file size",
        "RSS": "Max resident set",
        "NPROC": "Max processes",
        "NOFILE": "Max open files",
        "MEMLOCK": "Max locked memory",
        "AS": "Max address space",
        "LOCKS": "Max file locks",
        "SIGPENDING": "Max pending signals",
        "MSGQUEUE": "Max msgqueue size",
        "NICE": "Max nice priority",
        "RTPRIO": "Max realtime priority",
        "RTTIME": "Max realtime timeout",
    }
    limits, expected = [], {}
    for index, (kind, shown) in enumerate(kinds.items()):
        hard = current[shown][1]
        value = (1 << 40) + index if hard == "unlimited" else int(hard)
        limits.append({"type": "RLIMIT_" + kind, "soft": value // 2, "hard": value})
        expected[shown] = [str(value // 2), str(value)]
    bundle.config["process"]["rlimits"] = limits
    seen = bundle.shell("cat /proc/self/limits")
    assert {line[:25].strip(): line[25:].split()[:2] for line in seen.splitlines()[1:]} == expected


def test_the_five_sets_each_by_itself(bundle):
    sets = {
        "bounding": ["CAP_KILL", "CAP_CHOWN", "CAP_NET_RAW"],
        "permitted": ["CAP_KILL", "CAP_CHOWN"],
        "effective": ["CAP_KILL"],
        "inheritable": ["CAP_CHOWN", "CAP_NET_RAW"],
        "ambient": ["CAP_CHOWN"],
    }
    process = bundle.config["process"]
    process["capabilities"] = sets
    process["user"] = {"uid": 1000, "gid": 1000}
    seen = bundle.shell("cat /proc/self/status")
    # A program without file capabilities that a normal user executes has the ambient ones only (capabilities(7)).
    names = ("CapBnd", "CapPrm", "CapEff", "CapInh", "CapAmb")
    assert [int(field(seen, name), 16) for name in names] == [0x2021, 0x1, 0x1, 0x2001, 0x1]


@pytest.mark.parametrize("no_new_privileges", [True, False])
@pytest.mark.parametrize("ambient", [[], ["CAP_CHOWN"]])
def test_file_capabilities_of_the_first_program(bundle, no_new_privileges, ambient):
    """CAP_KILL (5) and CAP_NET_RAW (13) of the file; under no_new_privs a user gets those that were permitted."""
    file = bundle.path / "rootfs/bin/cat"
    file.unlink()
    file.write_bytes(Path("/bin/busybox").read_bytes())
    file.chmod(0o755)
    words = (0x02000001, 1 << 5 | 1 << 13, 0, 0, 0)  # struct vfs_cap_data, effective
    os.setxattr(file, "security.capability", b"".join(word.to_bytes(4, "little") for word in words))
    process = bundle.config["process"]
    process["user"] = {"uid": 1000, "gid": 1000}
    process["noNewPrivileges"] = no_new_privileges
    process["capabilities"] = {
        "bounding": ["CAP_KILL", "CAP_CHOWN", "CAP_NET_RAW"],
        "permitted": ["CAP_KILL", "CAP_CHOWN"],
        "inheritable": ambient,
        "ambient": ambient,
    }
    seen = bundle.run("/bin/cat", "/proc/self/status").stdout
    wanted = 1 << 5 if no_new_privileges else 1 << 5 | 1 << 13
    inheritable = 1 if ambient else 0
    names = ("CapInh", "CapPrm", "CapEff", "CapAmb")
    assert [int(field(seen, name), 16) for name in names] == [inheritable, wanted, wanted, 0]
    seen = bundle.run("/bin/sh", "-c", "while read a; do echo $a; done </proc/self/status").stdout
    assert [int(field(seen, name), 16) for name in names] == [inheritable] * 4


def test_a_capability_that_labrun_lacks_is_a_warning(bundle):
    bundle.config["process"]["capabilities"]["permitted"].append("CAP_SYS_TIME")
    bundle.config["process"]["capabilities"]["bounding"].append("CAP_SYS_TIME")
    bundle.config["process"]["args"] = ["/bin/cat", "/proc/self/status"]
    bundle.write()
    arguments = [str(bundle.labrun_path), "--root", str(bundle.state), "run", "--bundle", str(bundle.path), bundle.name]
    bits = []
    for dropped in ([], ["setpriv", "--bounding-set", "-sys_time"]):
        result = subprocess.run([*dropped, *arguments], capture_output=True, text=True, timeout=60, check=False)
        assert result.returncode == 0, result.stderr
        assert ("CAP_SYS_TIME" in result.stderr) == bool(dropped)
        bits.append(int(field(result.stdout, "CapPrm"), 16) >> 25 & 1)
    assert bits == [1, 0]


def test_additional_groups_where_setgroups_is_denied(bundle, tmp_path):
    """The user namespace of a normal user: no groups is well, groups are an error."""
    process = bundle.config["process"]
    process["user"] = {"uid": 0, "gid": 0, "additionalGids": [0]}
    assert bundle.shell("id -G").split() == ["0"]  # the positive control, where it is allowed
    from ansible_collections.ocilab.hosts.plugins.module_utils.labrun import process as step
    from ansible_collections.ocilab.hosts.plugins.module_utils.linux.errors import KernelRefused

    def denied(groups):
        """setgroups in a child whose user namespace denies it; the exit code says how it went."""
        pid = os.fork()
        if pid == 0:
            try:
                ctypes.CDLL(None).unshare(0x10000000)
                Path("/proc/self/setgroups").write_text("deny")
                Path("/proc/self/gid_map").write_text("0 0 1")
                step._set_groups(groups)
                os._exit(0)
            except KernelRefused as error:
                os._exit(7 if "additionalGids" in str(error) else 8)
            finally:
                os._exit(9)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    assert [denied([]), denied([0])] == [0, 7]


# Scheduling


@pytest.mark.parametrize(
    ("scheduler", "seen"),
    [
        ({"policy": "SCHED_OTHER", "nice": 5}, "0 5 0 0"),
        ({"policy": "SCHED_OTHER", "nice": -5}, "0 -5 0 0"),
        ({"policy": "SCHED_BATCH", "nice": 3}, "3 3 0 0"),
        ({"policy": "SCHED_IDLE"}, "5 0 0 0"),
        ({"policy": "SCHED_FIFO", "priority": 7}, "1 0 7 0"),
        ({"policy": "SCHED_RR", "priority": 2, "flags": ["SCHED_FLAG_RESET_ON_FORK"]}, "2 0 2 1"),
        (
            {"policy": "SCHED_DEADLINE", "runtime": 2000000, "deadline": 9000000, "period": 10000000},
            "6 0 0 0 2000000 9000000 10000000",
        ),
    ],
    ids=lambda value: value["policy"] if isinstance(value, dict) else "",
)
def test_scheduler(probe, scheduler, seen):
    probe.config["process"]["scheduler"] = scheduler
    if "priority" in scheduler and Path("/sys/fs/cgroup/cpu/cpu.rt_runtime_us").exists():
        # With RT_GROUP_SCHED a cgroup of v1 has no real-time budget of its own until it is given one.
        probe.config["linux"]["resources"]["cpu"] = {"realtimePeriod": 1000000, "realtimeRuntime": 10000}
    result = probe.run("/bin/probe", "scheduler")
    if result.returncode != 0 and "EPERM" in result.stderr:
        pytest.skip("this host does not let root choose that policy: " + result.stderr)
    assert result.stdout.startswith(seen), result.stderr
    assert result.returncode == 0


@pytest.mark.parametrize(
    ("scheduler", "message"),
    [
        ({"nice": 1}, "process.scheduler.policy: missing"),
        ({"policy": "SCHED_FAIR"}, "'SCHED_FAIR' is not one of SCHED_OTHER"),
        ({"policy": "SCHED_OTHER", "nice": 20}, "process.scheduler.nice"),
        ({"policy": "SCHED_OTHER", "priority": 1}, "only for SCHED_FIFO and SCHED_RR"),
        ({"policy": "SCHED_FIFO", "priority": 100}, "process.scheduler.priority"),
        ({"policy": "SCHED_RR", "priority": 1, "runtime": 5}, "only for SCHED_DEADLINE"),
        ({"policy": "SCHED_OTHER", "flags": ["SCHED_FLAG_X"]}, "'SCHED_FLAG_X' is not one of"),
    ],
)
def test_bad_schedulers(bundle, scheduler, message):
    bundle.config["process"]["scheduler"] = scheduler
    refused(bundle, message)


@pytest.mark.parametrize(("name", "number"), [("RT", 1), ("BE", 2), ("IDLE", 3)])
def test_io_priority(probe, name, number):
    probe.config["process"]["ioPriority"] = {"class": "IOPRIO_CLASS_" + name, "priority": 6}
    seen = probe.shell("probe call $(probe number ioprio_get) 1 0")
    assert seen.split() == [str(number << 13 | 6), "0"]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"class": "IOPRIO_CLASS_NONE", "priority": 1}, "'IOPRIO_CLASS_NONE' is not one of"),
        ({"class": "IOPRIO_CLASS_BE", "priority": 8}, "not between 0 and 7"),
        ({"priority": 1}, "ioPriority.class: missing"),
    ],
)
def test_bad_io_priorities(bundle, value, message):
    bundle.config["process"]["ioPriority"] = value
    refused(bundle, message)


def test_personality(probe):
    probe.config["linux"]["personality"] = {"domain": "LINUX32"}
    (probe.path / "rootfs/bin/uname").symlink_to("busybox")
    seen = probe.shell("probe call $(probe number personality) 0xffffffff; uname -m").split()
    assert seen[:2] == ["8", "0"]
    assert seen[2] != MACHINE
    probe.config["linux"]["personality"] = {"domain": "LINUX"}
    assert probe.shell("uname -m").split() == [MACHINE]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"domain": "BSD"}, "'BSD' is not LINUX or LINUX32"),
        ({}, "is not LINUX or LINUX32"),
        ({"domain": "LINUX", "flags": ["ADDR_NO_RANDOMIZE"]}, "runtime-spec knows none"),
    ],
)
def test_bad_personalities(bundle, value, message):
    bundle.config["linux"]["personality"] = value
    refused(bundle, message)


@pytest.mark.parametrize(
    ("value", "mode", "nodes"),
    [
        ({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]}, 2 | 1 << 15, 1),
        ({"mode": "MPOL_INTERLEAVE", "nodes": "0-0"}, 3, 1),
        ({"mode": "MPOL_PREFERRED", "nodes": "0"}, 1, 1),
        ({"mode": "MPOL_LOCAL"}, 4, 0),
        ({"mode": "MPOL_DEFAULT"}, 0, 0),
    ],
    ids=lambda value: value["mode"] if isinstance(value, dict) else "",
)
def test_memory_policy(probe, value, mode, nodes):
    del probe.config["linux"]["seccomp"]  # the default one refuses get_mempolicy(2) too
    probe.config["linux"]["memoryPolicy"] = value
    result = probe.run("/bin/probe", "memory")
    if "does not have set_mempolicy" in result.stderr:
        pytest.skip("this kernel has no NUMA")
    assert result.stdout.split() == ["0", str(mode), str(nodes)], result.stderr


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"mode": "MPOL_LOCAL", "nodes": "0"}, "mode requires 0 nodes but got 1, which MPOL_LOCAL does not take"),
        ({"mode": "MPOL_BIND"}, "MPOL_BIND needs at least one"),
        ({"mode": "MPOL_FAR", "nodes": "0"}, "'MPOL_FAR' is not one of"),
        ({"mode": "MPOL_BIND", "nodes": "0,x"}, "is not a list such as 0-3,7"),
        ({"mode": "MPOL_BIND", "nodes": "3-1"}, "is no range"),
        ({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_FAST"]}, "'MPOL_F_FAST' is not one of"),
        ({"mode": "MPOL_BIND", "nodes": "60"}, "the nodes must exist"),
        ({"nodes": "0"}, "memoryPolicy.mode: missing"),
    ],
)
def test_bad_memory_policies(bundle, value, message):
    bundle.config["linux"]["memoryPolicy"] = value
    result = bundle.run()
    if "does not have set_mempolicy" in result.stderr:
        pytest.skip("this kernel has no NUMA")
    assert (result.returncode, message in result.stderr) == (1, True), result.stderr


def test_affinity_of_an_exec(running):
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        pytest.skip("one CPU only")
    running.config["process"]["execCPUAffinity"] = {"initial": str(cpus[0]), "final": str(cpus[1])}
    running.start()

    def allowed(**affinity):
        described = {"args": ["/bin/cat", "/proc/self/status"], **affinity}
        return field(execute(running, described).stdout, "Cpus_allowed_list")

    pid = json.loads(running.labrun("state", running.name).stdout)["pid"]
    everywhere = field(Path("/proc/self/status").read_text(), "Cpus_allowed_list")
    assert field(Path(f"/proc/{pid}/status").read_text(), "Cpus_allowed_list") == everywhere  # not for the first one
    assert allowed() == str(cpus[1])
    assert allowed(execCPUAffinity={"initial": str(cpus[0])}) == str(cpus[0])
    assert allowed(execCPUAffinity={}) == everywhere
    result = execute(running, {"args": ["/bin/true"], "execCPUAffinity": {"final": "4000"}})
    assert (result.returncode, "execCPUAffinity.final" in result.stderr) == (255, True)
    result = execute(running, {"args": ["/bin/true"], "execCPUAffinity": {"final": "zero"}})
    assert (result.returncode, "is not a list such as" in result.stderr) == (255, True)


def test_the_callers_affinity_is_not_the_containers(bundle):
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        pytest.skip("one CPU only")
    bundle.config["process"]["args"] = ["/bin/cat", "/proc/self/status"]
    bundle.write()
    arguments = ["run", "--bundle", str(bundle.path), bundle.name]
    result = bundle.labrun(*arguments, preexec_fn=lambda: os.sched_setaffinity(0, cpus[:1]))
    everywhere = field(Path("/proc/self/status").read_text(), "Cpus_allowed_list")
    assert field(result.stdout, "Cpus_allowed_list") == everywhere


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rlimits": [{"type": "RLIMIT_CORE", "soft": 0, "hard": 0}] * 2}, "a second RLIMIT_CORE"),
        ({"oomScoreAdj": 1001}, "not between -1000 and 1000"),
        ({"user": {"uid": 0, "gid": 0, "umask": 0o1000}}, "user.umask"),
        ({"execCPUAffinity": {"final": "99999999"}}, "is no range from 0 to 65536"),
    ],
)
def test_bad_process_properties(bundle, change, message):
    bundle.config["process"].update(change)
    refused(bundle, message)


def test_the_session_keyring_is_named_after_the_container(running):
    del running.config["linux"]["seccomp"]  # the default one refuses keyctl(2)
    assert "_ses." + running.name in running.run("/bin/probe", "keyring").stdout
    running.start()
    result = running.labrun("exec", running.name, "/bin/probe", "keyring")
    assert result.stdout.strip().endswith(";_ses." + running.name)
    assert result.stdout.split(";")[3] == "3f1b0000"


def test_umask_of_an_exec_is_the_callers(running):
    running.start()
    for umask in (0o027, 0o077):
        result = running.labrun(
            "exec", running.name, "/bin/sh", "-c", "umask", preexec_fn=lambda umask=umask: os.umask(umask)
        )
        assert int(result.stdout, 8) == umask


# Kernel parameters (R16 is in tests/security)


def test_sysctls_of_the_containers_namespaces(bundle):
    before = Path("/proc/sys/kernel/shmmni").read_text(), Path("/proc/sys/net/ipv4/ip_forward").read_text()
    bundle.config["linux"]["sysctl"] = {
        "kernel.shmmni": "123",
        "net/ipv4/conf/lo/forwarding": "1",
        "net.ipv4.ip_default_ttl": "33",
        "kernel.domainname": "lab.example",
        "fs.mqueue.msg_max": "11",
    }
    seen = bundle.shell(
        "cd /proc/sys; cat kernel/shmmni net/ipv4/conf/lo/forwarding net/ipv4/ip_default_ttl kernel/domainname"
        " fs/mqueue/msg_max"
    )
    assert seen.split() == ["123", "1", "33", "lab.example", "11"]
    assert before == (Path("/proc/sys/kernel/shmmni").read_text(), Path("/proc/sys/net/ipv4/ip_forward").read_text())


def test_sysctls_that_the_kernel_lacks_or_refuses(bundle):
    bundle.config["linux"]["sysctl"] = {"net.ipv4.no_such_thing": "1"}
    refused(bundle, "no such parameter")
    bundle.config["linux"]["sysctl"] = {"net.ipv4.ip_default_ttl": "many"}
    refused(bundle, "the kernel does not take that value")


# Seccomp

ALLOW_ALL = {"defaultAction": "SCMP_ACT_ALLOW"}


def with_rule(bundle, rule, **profile):
    bundle.config["linux"]["seccomp"] = dict(ALLOW_ALL, syscalls=[rule], **profile)
    return bundle


@pytest.mark.parametrize("no_new_privileges", [True, False])
@pytest.mark.parametrize(
    ("action", "number", "code", "output"),
    [
        ("SCMP_ACT_ERRNO", None, 0, "-1 1"),
        ("SCMP_ACT_ERRNO", 95, 0, "-1 95"),
        ("SCMP_ACT_ERRNO", 0, 0, "0 0"),
        ("SCMP_ACT_TRACE", None, 0, "-1 38"),  # nobody traces it
        ("SCMP_ACT_TRAP", None, 128 + signal.SIGSYS, ""),
        ("SCMP_ACT_KILL", None, 128 + signal.SIGSYS, ""),
        ("SCMP_ACT_KILL_THREAD", None, 128 + signal.SIGSYS, ""),
        ("SCMP_ACT_KILL_PROCESS", None, 128 + signal.SIGSYS, ""),
        ("SCMP_ACT_LOG", None, 0, "0 0"),
        ("SCMP_ACT_ALLOW", None, 0, "0 0"),
    ],
)
def test_seccomp_actions(probe, no_new_privileges, action, number, code, output):
    probe.config["process"]["noNewPrivileges"] = no_new_privileges
    rule = {"names": ["sync"], "action": action}
    if number is not None:
        rule["errnoRet"] = number
    with_rule(probe, rule)
    seen = subprocess.run([probe.path / "rootfs/bin/probe", "number", "sync"], capture_output=True, check=True).stdout
    result = probe.run("/bin/sh", "-c", "probe call %d" % int(seen))
    assert (result.returncode, result.stdout.strip()) == (code, output), result.stderr


@pytest.mark.parametrize(
    ("op", "value", "second", "refused_ones"),
    [
        ("SCMP_CMP_EQ", 5, 0, [5]),
        ("SCMP_CMP_NE", 5, 0, [4, 6, 8, 9]),
        ("SCMP_CMP_LT", 5, 0, [4]),
        ("SCMP_CMP_LE", 5, 0, [4, 5]),
        ("SCMP_CMP_GT", 5, 0, [6, 8, 9]),
        ("SCMP_CMP_GE", 5, 0, [5, 6, 8, 9]),
        ("SCMP_CMP_MASKED_EQ", 0xC, 8, [8, 9]),
    ],
)
def test_seccomp_operators(probe, op, value, second, refused_ones):
    argument = {"index": 1, "value": value, "valueTwo": second, "op": op}
    with_rule(probe, {"names": ["getpriority"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95, "args": [argument]})
    script = "n=$(probe number getpriority); for i in 4 5 6 8 9; do probe call $n 77 $i; done"
    answers = [line.split()[1] for line in probe.shell(script).splitlines()]
    # 77 is no kind of priority: the kernel itself answers EINVAL
    assert answers == ["95" if number in refused_ones else "22" for number in (4, 5, 6, 8, 9)]


def test_two_conditions_on_one_argument_are_alternatives(probe):
    arguments = [{"index": 1, "value": value, "op": "SCMP_CMP_EQ"} for value in (5, 8)]
    with_rule(probe, {"names": ["getpriority"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95, "args": arguments})
    script = "n=$(probe number getpriority); for i in 4 5 6 8 9; do probe call $n 77 $i; done"
    assert [line.split()[1] for line in probe.shell(script).splitlines()] == ["22", "95", "22", "95", "22"]


@pytest.mark.parametrize(
    ("profile", "unknown"),
    [
        ({}, "38"),
        ({"defaultErrnoRet": 95}, "38"),
        ({"defaultAction": "SCMP_ACT_KILL_PROCESS", "defaultErrnoRet": None}, "38"),
        ({"architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]}, "38"),
    ],
)
def test_calls_newer_than_the_profile_do_not_exist(probe, profile, unknown):
    """As in runc: the newest that the profile names decides; below it the default action holds."""
    if "architectures" in profile and MACHINE != "x86_64":
        pytest.skip("architectures of x86")
    seccomp = probe.config["linux"]["seccomp"]
    seccomp.update(profile)
    seen = probe.shell("probe call 600; probe call 100000; probe call 0x3fffffff").splitlines()
    assert seen == ["-1 " + unknown] * 3
    if "defaultAction" not in profile:
        default = str(profile.get("defaultErrnoRet", 1))
        assert probe.shell("probe call $(probe number bpf)").split() == ["-1", default]
    if "architectures" in profile:
        # The other entries of the kernel: known to the profile (getppid), and newer than it.
        assert int(probe.shell("probe call32 64")) >= 0
        assert probe.shell("probe call32 600").strip() == "-38"


def test_a_permissive_profile_hides_nothing(probe):
    probe.config["linux"]["seccomp"] = dict(ALLOW_ALL, syscalls=[{"names": ["sync"], "action": "SCMP_ACT_ERRNO"}])
    assert probe.shell("probe call $(probe number bpf) 99").split() == ["-1", "22"]


BAD_PROFILES = [
    ({"flags": ["SECCOMP_FILTER_FLAG_FAST"]}, "'SECCOMP_FILTER_FLAG_FAST' is not a seccomp flag"),
    ({"flags": ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]}, "is for a listener"),
    ({"defaultAction": "SCMP_ACT_NOTIFY", "listenerPath": "/x"}, "SCMP_ACT_NOTIFY cannot be the default"),
    ({"syscalls": [{"names": ["sync"], "action": "SCMP_ACT_NOTIFY"}]}, "listenerPath: missing"),
    (
        {"syscalls": [{"names": ["write"], "action": "SCMP_ACT_NOTIFY"}], "listenerPath": "/x"},
        "SCMP_ACT_NOTIFY cannot be used for the write syscall",
    ),
    ({"listenerMetadata": "x"}, "listenerPath is missing"),
    ({"syscalls": [{"names": ["sync"], "action": "SCMP_ACT_KILL", "errnoRet": 3}]}, "returns no errno"),
    ({"syscalls": [{"names": ["sync"], "action": "SCMP_ACT_ERRNO", "errnoRet": 70000}]}, "is above 65535"),
    ({"defaultErrnoRet": 1}, "the action SCMP_ACT_ALLOW returns no errno"),
    ({"syscalls": [{"names": [], "action": "SCMP_ACT_ERRNO"}]}, "names: empty"),
    (
        {
            "syscalls": [
                {"names": ["sync"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 6, "value": 0, "op": "SCMP_CMP_EQ"}]}
            ]
        },
        "from 0 to 5",
    ),
]


@pytest.mark.parametrize(("change", "message"), BAD_PROFILES)
def test_bad_profiles(bundle, change, message):
    bundle.config["linux"]["seccomp"] = dict(ALLOW_ALL, **change)
    refused(bundle, message)


@pytest.mark.parametrize("flags", [None, [], ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_TSYNC"]])
def test_flags(bundle, flags):
    """What the filter was loaded with, by strace: without a list SPEC_ALLOW, as runc does."""
    if subprocess.run(["which", "strace"], capture_output=True, check=False).returncode != 0:
        pytest.skip("strace is not installed")
    profile = dict(ALLOW_ALL, syscalls=[{"names": ["sync"], "action": "SCMP_ACT_ERRNO"}])
    if flags is not None:
        profile["flags"] = flags
    bundle.config["linux"]["seccomp"] = profile
    bundle.write()
    trace = bundle.path / "trace"
    arguments = ["strace", "-f", "-e", "trace=seccomp", "-o", str(trace), str(bundle.labrun_path)]
    arguments += ["--root", str(bundle.state), "run", "--bundle", str(bundle.path), bundle.name]
    subprocess.run(arguments, check=True, timeout=60)
    loaded = [line for line in trace.read_text().splitlines() if "len=" in line and "= 0" in line]
    expected = {None: "SECCOMP_FILTER_FLAG_SPEC_ALLOW", 0: "SECCOMP_SET_MODE_FILTER, 0,", 2: "SECCOMP_FILTER_FLAG_LOG"}
    assert expected[flags if flags is None else len(flags)] in loaded[-1]


def test_a_profile_that_says_nothing_is_none(bundle):
    bundle.config["linux"]["seccomp"] = {}
    assert field(bundle.shell("cat /proc/self/status"), "Seccomp") == "0"


@pytest.mark.parametrize("no_new_privileges", [True, False])
def test_a_profile_that_refuses_what_the_launcher_calls(probe, no_new_privileges):
    """execveat(2) and fcntl(2) are refused to the program, and it starts and keeps nothing open all the same."""
    probe.config["process"]["noNewPrivileges"] = no_new_privileges
    with_rule(probe, {"names": ["execveat", "fcntl"], "action": "SCMP_ACT_KILL_PROCESS"})
    result = probe.run("/bin/probe", "call", "39")
    assert result.returncode == 0, result.stderr
    number = subprocess.run(
        [probe.path / "rootfs/bin/probe", "number", "execveat"], capture_output=True, text=True, check=True
    ).stdout.strip()
    assert probe.run("/bin/probe", "call", number, "-100").returncode == 128 + signal.SIGSYS
    assert probe.run("/bin/ls", "/proc/self/fd").stdout.split() == ["0", "1", "2", "3"]
    if no_new_privileges:  # what a normal user's launcher calls then
        probe.config["process"]["user"] = {"uid": 1000, "gid": 1000}
        with_rule(probe, {"names": ["capset", "prctl"], "action": "SCMP_ACT_KILL_PROCESS"})
        assert probe.run("/bin/probe", "call", "39").returncode == 0


def test_a_profile_that_refuses_prctl(probe):
    """The launcher may make itself one that nobody looks into, and the program may not even that (but PR 4, 0)."""
    with_rule(probe, {"names": ["prctl"], "action": "SCMP_ACT_KILL_PROCESS"})
    assert probe.run("/bin/probe", "call", "39").returncode == 0
    number = {"x86_64": "157", "aarch64": "167"}[os.uname().machine]
    assert probe.run("/bin/probe", "call", number, "4", "1").returncode == 128 + signal.SIGSYS
    assert probe.run("/bin/probe", "call", number, "3", "0").returncode == 128 + signal.SIGSYS
    assert probe.run("/bin/probe", "call", number, "4", "0").stdout == "0 0\n"


def test_filters_are_kept_and_what_is_not_ours_is_not_used(probe):
    with_rule(probe, {"names": ["sync"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95})
    script = "probe call $(probe number sync)"
    assert probe.shell(script) == "-1 95\n"
    (kept,) = (probe.state / "@seccomp").iterdir()
    folder = kept.parent
    assert (folder.stat().st_mode & 0o777, kept.stat().st_mode & 0o777) == (0o700, 0o600)
    good = kept.read_bytes()
    forged = good.replace((0x50000 | 95).to_bytes(4, "little"), (0x50000 | 96).to_bytes(4, "little"))
    assert forged != good
    kept.write_bytes(forged)
    assert probe.shell(script) == "-1 96\n"  # the positive control: it is what is kept that is loaded
    spoiled = [
        lambda: kept.chmod(0o644),
        lambda: os.chown(kept, 1000, 1000),
        lambda: folder.chmod(0o777),
        lambda: os.chown(folder, 1000, 1000),
        lambda: os.link(kept, folder / "other"),
        lambda: kept.write_bytes(good[: len(good) // 2]),
        lambda: (kept.unlink(), kept.symlink_to(probe.path / "forged")),
    ]
    for spoil in spoiled:
        os.chown(folder, 0, 0)
        folder.chmod(0o700)
        for file in folder.iterdir():
            file.unlink()
        kept.write_bytes(forged)
        (probe.path / "forged").write_bytes(forged)
        kept.chmod(0o600)
        spoil()
        assert probe.shell(script) == "-1 95\n"
    assert probe.labrun("list", "--quiet").stdout == ""


def test_an_unwritable_state_of_kept_filters_is_no_error(bundle):
    bundle.state.mkdir()
    (bundle.state / "@seccomp").write_text("in the way")
    assert bundle.shell("echo well") == "well\n"


# The seccomp listener


class Notification(ctypes.Structure):
    _fields_ = [
        ("id", ctypes.c_uint64),
        ("pid", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("nr", ctypes.c_int),
        ("arch", ctypes.c_uint32),
        ("instruction", ctypes.c_uint64),
        ("args", ctypes.c_uint64 * 6),
    ]


class Answer(ctypes.Structure):
    _fields_ = [
        ("id", ctypes.c_uint64),
        ("value", ctypes.c_int64),
        ("error", ctypes.c_int32),
        ("flags", ctypes.c_uint32),
    ]


RECEIVE = 0xC0502100
SEND = 0xC0182101
CONTINUE = 1


class Agent:
    """A seccomp agent: takes every listener that is sent to its socket, and answers each call with value."""

    def __init__(self, path, value=1234):
        self.value = value
        self.states = []
        self.calls = []
        self.server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.server.bind(str(path))
        self.server.listen()
        self.thread = threading.Thread(target=self._accept, daemon=True)
        self.thread.start()

    def _accept(self):
        while True:
            try:
                connection, _address = self.server.accept()
            except OSError:
                return
            data, ancillary, _flags, _address = connection.recvmsg(1 << 20, 1024)
            while True:
                more = connection.recv(1 << 20)
                if not more:
                    break
                data += more
            connection.close()
            (fd,) = [int.from_bytes(item[2][:4], "little") for item in ancillary]
            self.states.append(json.loads(data))
            threading.Thread(target=self._serve, args=(fd,), daemon=True).start()

    def _serve(self, fd):
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        while True:
            if not poll.poll(30000)[0][1] & select.POLLIN:
                break
            request = Notification()
            try:
                fcntl.ioctl(fd, RECEIVE, request)
            except OSError as error:
                if error.errno == errno.ENOENT:
                    continue
                break
            self.calls.append(request.nr)
            answer = Answer(request.id, self.value or 0, 0, CONTINUE if self.value is None else 0)
            fcntl.ioctl(fd, SEND, answer)
        os.close(fd)

    def close(self):
        self.server.close()


@pytest.fixture
def agent(tmp_path):
    made = Agent(tmp_path / "agent.sock")
    yield made
    made.close()


@pytest.mark.parametrize("no_new_privileges", [True, False])
def test_a_listener_answers_the_containers_calls(probe, agent, tmp_path, no_new_privileges):
    probe.config["process"]["noNewPrivileges"] = no_new_privileges
    probe.config["annotations"] = {"lab.key": "value"}
    rule = {"names": ["sync"], "action": "SCMP_ACT_NOTIFY"}
    path = str(tmp_path / "agent.sock")
    with_rule(probe, rule, listenerPath=path, listenerMetadata="for the agent")
    assert probe.shell("probe call $(probe number sync)") == "1234 0\n"
    (sent,) = agent.states
    assert (sent["fds"], sent["metadata"], sent["ociVersion"]) == (["seccompFd"], "for the agent", "1.3.0")
    state = sent["state"]
    assert (state["id"], state["status"], state["pid"]) == (probe.name, "creating", sent["pid"])
    assert (state["bundle"], state["annotations"]) == (str(probe.path), {"lab.key": "value"})
    assert len(agent.calls) == 1
    probe.assert_nothing_left()


@pytest.mark.parametrize("no_new_privileges", [True, False])
def test_a_listener_of_every_call_of_the_start(probe, agent, tmp_path, no_new_privileges):
    """All that a start calls once the filter is on but write(2): an agent that lets it go on is enough."""
    agent.value = None
    probe.config["process"]["noNewPrivileges"] = no_new_privileges
    names = [
        "read",
        "close",
        "execve",
        "execveat",
        "fcntl",
        "capset",
        "setresuid",
        "setgroups",
        "chdir",
        "stat",
        "mmap",
    ]
    names += ["newfstatat", "munmap", "prctl", "rt_sigaction", "rt_sigprocmask", "faccessat", "access", "openat", "brk"]
    with_rule(probe, {"names": names, "action": "SCMP_ACT_NOTIFY"}, listenerPath=str(tmp_path / "agent.sock"))
    assert probe.run("/bin/echo", "well").stdout == "well\n"
    assert len(agent.calls) > 3


def test_a_listener_of_an_exec(running, agent, tmp_path):
    rule = {"names": ["sync"], "action": "SCMP_ACT_NOTIFY"}
    with_rule(running, rule, listenerPath=str(tmp_path / "agent.sock"))
    running.start()
    result = running.labrun("exec", running.name, "/bin/sh", "-c", "probe call $(probe number sync)")
    assert result.stdout == "1234 0\n", result.stderr
    first, second = agent.states
    assert second["state"]["pid"] == first["pid"]
    assert second["pid"] != first["pid"]
    assert second["state"]["status"] == "running"


def test_a_listener_that_is_not_there(bundle, tmp_path):
    rule = {"names": ["sync"], "action": "SCMP_ACT_NOTIFY"}
    with_rule(bundle, rule, listenerPath=str(tmp_path / "nobody.sock"))
    refused(bundle, "failed to connect with seccomp agent; linux.seccomp.listenerPath must be the socket of one")


# What execve(2) answers comes back through the launcher


@pytest.mark.parametrize(
    ("content", "code", "message"),
    [
        (b"#!/bin/missing\n", 127, "interpreter does not exist"),
        (b"\x00\x01\x02", 126, "exec format error"),
        (b"#!/etc\n", 126, "permission denied"),
    ],
)
def test_programs_that_the_kernel_refuses(bundle, content, code, message):
    program = bundle.path / "rootfs/bin/program"
    program.write_bytes(content)
    program.chmod(0o755)
    bundle.config["process"]["args"] = ["program"]
    refused(bundle, message, code)


def test_arguments_that_are_too_long(bundle):
    bundle.config["process"]["args"] = ["/bin/echo", "x" * 200_000]
    refused(bundle, "too long for the kernel")


def test_a_script_runs(bundle):
    program = bundle.path / "rootfs/bin/program"
    program.write_text("#!/bin/sh -e\necho $0 $1\n")
    program.chmod(0o755)
    assert bundle.run("program", "one").stdout == "/bin/program one\n"


def test_a_detached_container_lives_without_its_runtime(running):
    running.start()
    pid = json.loads(running.labrun("state", running.name).stdout)["pid"]
    assert os.readlink(f"/proc/{pid}/exe") == "/bin/busybox"
    time.sleep(0.1)
    assert Path(f"/proc/{pid}").exists()


# What waits for the start


def waiting(bundle):
    """The pid of the init process of a created container, when it is what it waits as."""
    bundle.write()
    made = bundle.labrun("create", "--bundle", str(bundle.path), bundle.name)
    assert made.returncode == 0, made.stderr
    time.sleep(0.3)
    return json.loads(bundle.labrun("state", bundle.name).stdout)["pid"]


def private_kib(pid):
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_"))


def test_a_created_container_waits_without_the_interpreter(bundle):
    """It holds some pages, nothing of the host's but its own two FIFOs, and nobody may look into it (R01, R03, R04)."""
    bundle.config["process"]["args"] = ["/bin/sh", "-c", "ls -l /proc/self/fd; echo ran"]
    pid = waiting(bundle)
    assert os.readlink(f"/proc/{pid}/exe").startswith("/memfd:labrun")
    assert private_kib(pid) < 64
    held = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd") if int(fd) > 2]
    assert sorted(held) == [str(bundle.state / bundle.name / name) for name in ("exec.fifo", "report.fifo")]
    maps = Path(f"/proc/{pid}/maps").read_text()
    assert "python" not in maps
    # proc(5), /proc/PID: what it has there is its user's, and root's where it cannot be dumped
    bundle.labrun("delete", "--force", bundle.name)
    bundle.config["process"]["user"] = {"uid": 1000, "gid": 1001}
    pid = waiting(bundle)
    assert os.stat(f"/proc/{pid}/environ").st_uid == 0
    started = bundle.labrun("start", bundle.name)
    assert started.returncode == 0, started.stderr


def test_a_running_container_can_be_dumped_again(running):
    """The control of the test before: a process of the same user's own belongs to that user."""
    running.config["process"]["user"] = {"uid": 1000, "gid": 1001}
    running.start()
    time.sleep(0.1)
    pid = json.loads(running.labrun("state", running.name).stdout)["pid"]
    assert os.stat(f"/proc/{pid}/environ").st_uid == 1000


def test_hooks_of_the_start_keep_the_interpreter(bundle):
    bundle.config["hooks"] = {"startContainer": [{"path": "/bin/sh", "args": ["sh", "-c", "echo hook > /ran"]}]}
    bundle.config["process"]["args"] = ["/bin/sleep", "100"]
    pid = waiting(bundle)
    assert "python" in os.readlink(f"/proc/{pid}/exe")
    assert not (bundle.path / "rootfs/ran").exists()
    assert bundle.labrun("start", bundle.name).returncode == 0
    assert (bundle.path / "rootfs/ran").read_text() == "hook\n"


@pytest.mark.parametrize(("argument", "code", "message"), [("x" * 200_000, 1, "too long"), ("", 126, "exec format")])
def test_start_tells_what_execve_answered(bundle, argument, code, message):
    """By the launcher, and where not even the launcher could be executed."""
    program = bundle.path / "rootfs/bin/program"
    program.write_bytes(b"\x00\x01")
    program.chmod(0o755)
    bundle.config["process"]["args"] = ["program", argument]
    waiting(bundle)
    assert json.loads(bundle.labrun("state", bundle.name).stdout)["status"] == "created"
    started = bundle.labrun("start", bundle.name)
    assert started.returncode == code
    assert message in started.stderr
