# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""labrun as a command, on a real kernel: what the process in the container sees, and how bad input ends."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path

import pytest
from ansible_collections.ocilab.hosts.plugins.module_utils.labrun import container, managed
from ansible_collections.ocilab.hosts.plugins.module_utils.linux.errors import CommandNotFound

pytestmark = pytest.mark.root


def status_field(text, name):
    return next(line.split(":", 1)[1].strip() for line in text.splitlines() if line.startswith(name + ":"))


def test_run_passes_output_and_exit_code_on_and_leaves_nothing(bundle):
    result = bundle.run("/bin/sh", "-c", "echo hello; echo problem >&2; exit 7")
    assert (result.stdout, result.stderr, result.returncode) == ("hello\n", "problem\n", 7)
    bundle.assert_nothing_left()


def test_the_namespaces_are_its_own(bundle):
    kinds = ("pid", "net", "mnt", "uts", "ipc", "cgroup")
    seen = bundle.shell(
        "for n in pid net mnt uts ipc cgroup; do ls -l /proc/self/ns/$n; done; cat /proc/sys/kernel/hostname"
    )
    for kind in kinds:
        assert os.readlink(f"/proc/self/ns/{kind}") not in seen
    assert seen.splitlines()[-1] == "labrun"


def test_user_namespace_maps_ids(bundle):
    linux = bundle.config["linux"]
    linux["namespaces"].append({"type": "user"})
    linux["uidMappings"] = linux["gidMappings"] = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    os.chmod(bundle.path, 0o755)
    for parent in bundle.path.parents:
        if str(parent).startswith("/tmp/"):
            os.chmod(parent, 0o755)
    seen = bundle.shell("id -u; cat /proc/self/uid_map")
    assert seen.split() == ["0", "0", "100000", "65536"]


def test_capabilities_are_exact_and_absent_means_none(bundle):
    del bundle.config["process"]["capabilities"]
    seen = bundle.shell("cat /proc/self/status")
    assert {status_field(seen, name) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
    bundle.config["process"]["capabilities"] = {
        "bounding": ["CAP_KILL"],
        "permitted": ["CAP_KILL"],
        "effective": ["CAP_KILL"],
    }
    seen = bundle.shell("cat /proc/self/status")
    assert [int(status_field(seen, name), 16) for name in ("CapBnd", "CapPrm", "CapEff", "CapInh")] == [32, 32, 32, 0]


def test_unknown_capability_is_a_warning(bundle):
    bundle.config["process"]["capabilities"]["bounding"].append("CAP_FROM_THE_FUTURE")
    result = bundle.run()
    assert result.returncode == 0
    assert "CAP_FROM_THE_FUTURE" in result.stderr


def test_identity_limits_and_no_new_privileges(bundle):
    process = bundle.config["process"]
    process["user"] = {"uid": 1000, "gid": 1001, "additionalGids": [2000], "umask": 0o77}
    process["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}]
    process["env"].append("COLOUR=blue")
    process["cwd"] = "/made/here"
    seen = bundle.shell("cat /proc/self/status; cat /proc/self/limits; umask; pwd; echo $COLOUR")
    assert status_field(seen, "Uid").split() == ["1000"] * 4
    assert status_field(seen, "Gid").split() == ["1001"] * 4
    assert status_field(seen, "Groups") == "2000"
    assert status_field(seen, "NoNewPrivs") == "1"
    assert status_field(seen, "Seccomp") == "2"
    reserved = 0x180000000  # signals 32 and 33 are the C library's own, inherited from whoever started the tests
    assert int(status_field(seen, "SigIgn"), 16) & ~reserved == 0
    assert "Max open files            100                  200" in seen
    assert seen.splitlines()[-3:] == ["0077", "/made/here", "blue"]


def test_only_standard_streams_are_open(bundle):
    bundle.config["process"]["args"] = ["/bin/ls", "/proc/self/fd"]
    bundle.write()
    leaked = os.open("/", os.O_RDONLY)
    os.set_inheritable(leaked, True)
    try:
        result = bundle.labrun("run", "--bundle", str(bundle.path), bundle.name, pass_fds=[leaked])
    finally:
        os.close(leaked)
    assert result.stdout.split() == ["0", "1", "2", "3"]  # 3 is the listing itself


def test_limits_are_in_the_cgroup(bundle):
    resources = bundle.config["linux"]["resources"]
    resources["memory"] = {"limit": 64 << 20}
    resources["cpu"] = {"period": 100000, "quota": 50000, "shares": 512}
    resources["pids"] = {"limit": 17}
    seen = bundle.shell(
        "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/pids/pids.max"
        " /sys/fs/cgroup/cpu/cpu.cfs_quota_us"
        " 2>/dev/null || cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/pids.max /sys/fs/cgroup/cpu.max"
    )
    assert seen.split() in (["67108864", "17", "50000"], ["67108864", "17", "50000", "100000"])


def test_masked_readonly_and_root_readonly(bundle):
    bundle.config["root"]["readonly"] = True
    seen = bundle.shell(
        "cat /proc/keys; ls /sys/firmware; echo 1 2>/dev/null >/proc/sys/kernel/domainname || echo ro-proc;"
        " echo x 2>/dev/null >/file || echo ro-root; echo x >/dev/shm/file && cat /dev/shm/file"
    )
    assert seen.split() == ["ro-proc", "ro-root", "x"]


@pytest.fixture
def fuse(bundle):
    """The bundle with a device that anybody may open on the host; the script tries to read from it, then to write."""
    if not Path("/sys/dev/char/10:229").exists():
        pytest.skip("this kernel has no /dev/fuse")
    bundle.config["linux"]["devices"] = [
        {"type": "c", "path": "/dev/fuse", "major": 10, "minor": 229, "fileMode": 0o666}
    ]
    script = "echo x >/dev/null && (: </dev/fuse) && echo read; (: >/dev/fuse) && echo written; cat /proc/self/cgroup"
    bundle.config["process"]["args"] = ["/bin/sh", "-c", script]
    return bundle


def allow_reading_fuse(bundle):
    rule = {"allow": True, "type": "c", "major": 10, "minor": 229, "access": "r"}
    bundle.config["linux"]["resources"]["devices"].append(rule)


def test_devices_outside_the_list_are_refused(fuse):
    refused = fuse.run()
    assert refused.stderr.count("Operation not permitted") == 2
    allow_reading_fuse(fuse)
    allowed = fuse.run()
    assert allowed.stdout.split()[0] == "read"
    assert "written" not in allowed.stdout
    assert allowed.stderr.count("Operation not permitted") == 1


@pytest.mark.parametrize(("call", "expected"), [("unshare -U", "not permitted"), ("mount -t tmpfs x /tmp", "")])
def test_seccomp_refuses_what_acts_on_the_host(bundle, call, expected):
    bundle.config["process"]["capabilities"] = {
        name: ["CAP_SYS_ADMIN"] for name in ("bounding", "permitted", "effective")
    }
    (bundle.path / "rootfs" / "bin" / call.split()[0]).symlink_to("busybox")
    refused = bundle.run("/bin/sh", "-c", call)
    assert refused.returncode != 0
    assert expected in refused.stderr
    del bundle.config["linux"]["seccomp"]  # the positive control
    assert bundle.run("/bin/sh", "-c", call).returncode == 0


def test_life_cycle(bundle):
    bundle.config["process"]["args"] = ["/bin/sleep", "100"]
    bundle.write()
    pid_file = bundle.path / "pid"
    assert (
        bundle.labrun("create", "--bundle", str(bundle.path), "--pid-file", str(pid_file), bundle.name).returncode == 0
    )
    state = json.loads(bundle.labrun("state", bundle.name).stdout)
    assert (state["status"], state["pid"]) == ("created", int(pid_file.read_text()))
    assert bundle.labrun("start", bundle.name).returncode == 0
    assert "cannot be started" in bundle.labrun("start", bundle.name).stderr
    inside = bundle.labrun(
        "exec", "--env", "A=b", "--user", "1000:1001", bundle.name, "/bin/sh", "-c", "id -u; echo $A; exit 5"
    )
    assert (inside.stdout.split(), inside.returncode) == (["1000", "b"], 5)
    assert "it is running" in bundle.labrun("delete", bundle.name).stderr
    assert bundle.name in bundle.labrun("list", "--quiet").stdout.split()
    assert bundle.labrun("kill", bundle.name, "KILL").returncode == 0
    deadline = time.monotonic() + 5
    while json.loads(bundle.labrun("state", bundle.name).stdout)["status"] != "stopped":
        assert time.monotonic() < deadline
    assert bundle.labrun("delete", bundle.name).returncode == 0
    assert "does not exist" in bundle.labrun("delete", bundle.name).stderr
    assert bundle.labrun("delete", "--force", bundle.name).returncode == 0
    bundle.assert_nothing_left()


def seccomp_with(**change):
    return lambda config: config["linux"]["seccomp"].update(change)


BAD_INPUT = [
    ("command not found", lambda config: config["process"].update(args=["nothing"]), 127, "executable file not found"),
    ("not executable", lambda config: config["process"].update(args=["/etc/passwd"]), 126, "permission denied"),
    ("directory", lambda config: config["process"].update(args=["/etc"]), 126, "permission denied"),
    ("no rootfs", lambda config: config["root"].update(path="missing"), 1, "missing is not a directory"),
    ("action", seccomp_with(defaultAction="SCMP_ACT_FOO"), 1, "'SCMP_ACT_FOO' is not a seccomp action"),
    ("architecture", seccomp_with(architectures=["SCMP_ARCH_Z80"]), 1, "'SCMP_ARCH_Z80' is not an architecture"),
    (
        "operator",
        seccomp_with(
            syscalls=[
                {"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_IS"}]}
            ]
        ),
        1,
        "'SCMP_CMP_IS' is not a comparison operator",
    ),
    ("identity", lambda config: config["process"]["user"].update(uid=4294967295), 1, "process.user.uid"),
    ("text as id", lambda config: config["process"]["user"].update(uid="0"), 1, "process.user.uid"),
    ("cgroups path", lambda config: config["linux"].update(cgroupsPath="/../x"), 1, "cgroupsPath"),
    ("relative cwd", lambda config: config["process"].update(cwd="tmp"), 1, "not an absolute path"),
]


@pytest.mark.parametrize(
    ("change", "code", "message"), [row[1:] for row in BAD_INPUT], ids=[row[0] for row in BAD_INPUT]
)
def test_bad_configuration_is_one_clear_line(bundle, change, code, message):
    change(bundle.config)
    bundle.write()
    result = bundle.labrun("run", "--bundle", str(bundle.path), bundle.name)
    assert result.returncode == code
    assert message in result.stderr.replace('\\"', '"')
    assert len(result.stderr.splitlines()) == 1
    bundle.assert_nothing_left()


@pytest.mark.parametrize("text", ["{", '{"a":1,"a":2}', "[]", '{"x":NaN}', "[" * 5000, ""])
def test_broken_json_is_one_clear_line(bundle, text):
    (bundle.path / "config.json").write_text(text)
    result = bundle.labrun("run", "--bundle", str(bundle.path), bundle.name)
    assert result.returncode == 1
    assert "config.json" in result.stderr
    assert "Traceback" not in result.stderr
    assert len(result.stderr.splitlines()) == 1
    bundle.assert_nothing_left()


@pytest.mark.parametrize("name", ["a/b", "..", "", "a\nb", "x" * 256])
def test_hostile_ids_are_refused(bundle, name):
    assert "container id" in bundle.run("/bin/true", name=name).stderr


def test_a_mapping_of_all_ids(bundle):
    linux = bundle.config["linux"]
    linux["namespaces"].append({"type": "user"})
    for kind in ("uidMappings", "gidMappings"):
        linux[kind] = [{"containerID": 0, "hostID": 0, "size": 4294967295}]
    assert bundle.shell("cat /proc/self/uid_map").split() == ["0", "0", "4294967295"]
    linux["uidMappings"][0]["size"] = 4294967296
    assert "linux.uidMappings[0].size: an integer from 0 to 4294967295 is expected" in bundle.run().stderr


def test_options_may_follow_the_operands(bundle):
    """As in runc; but what follows exec's and ps's is for the program, and for ps(1)."""
    bundle.config["process"]["args"] = ["/bin/sleep", "100"]
    bundle.write()
    assert bundle.labrun("run", bundle.name, "--detach", "--bundle", str(bundle.path), stdin=-3).returncode == 0
    assert bundle.labrun("exec", bundle.name, "/bin/echo", "--detach", "-x").stdout == "--detach -x\n"
    assert bundle.labrun("ps", bundle.name, "-o", "pid,args").stdout.count("sleep 100") == 1
    assert bundle.labrun("update", bundle.name, "--pids-limit", "77").returncode == 0
    assert bundle.labrun("kill", bundle.name, "KILL", "--all").returncode == 0
    assert bundle.labrun("delete", bundle.name, "--force").returncode == 0
    assert "unknown option --fast" in bundle.labrun("delete", bundle.name, "--fast").stderr
    assert "too many arguments, from '--force' on" in bundle.labrun("delete", bundle.name, "--", "--force").stderr
    bundle.assert_nothing_left()


def test_unknown_words_of_the_command_line(bundle):
    assert "unknown option --speed" in bundle.labrun("run", "--speed", "x").stderr
    assert "No help topic for 'fly': it is no command" in bundle.labrun("fly", "-h").stderr
    assert "ID is missing" in bundle.labrun("start").stderr


def test_one_of_concurrent_creates_wins(bundle):
    bundle.config["process"]["args"] = ["/bin/sleep", "100"]
    bundle.write()
    arguments = [
        str(bundle.labrun_path),
        "--root",
        str(bundle.state),
        "create",
        "--bundle",
        str(bundle.path),
        bundle.name,
    ]
    started = [subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for _index in range(8)]
    codes = [process.wait(timeout=60) for process in started]
    assert sorted(codes) == [0] + [1] * 7
    assert bundle.labrun("delete", "--force", bundle.name).returncode == 0
    bundle.assert_nothing_left()


def test_a_system_call_that_libseccomp_does_not_know_is_logged_and_skipped(bundle):
    bundle.config["linux"]["seccomp"]["syscalls"][0]["names"].append("call_of_tomorrow")
    bundle.write()
    result = bundle.labrun("--debug", "run", "--bundle", str(bundle.path), bundle.name)
    assert result.returncode == 0
    assert "call_of_tomorrow" in result.stderr


@pytest.mark.parametrize("name", ["proc", "sys", "dev"])
def test_a_link_in_place_of_proc_sys_or_dev_is_refused(bundle, tmp_path_factory, name):
    outside = tmp_path_factory.mktemp("outside")
    (bundle.path / "rootfs" / name).rmdir()
    (bundle.path / "rootfs" / name).symlink_to(outside)
    result = bundle.run("/bin/true")
    assert result.returncode == 1
    assert "symbolic link" in result.stderr
    assert list(outside.iterdir()) == []
    bundle.assert_nothing_left()


def test_nothing_is_imported_after_pivot_root(bundle):
    bundle.write()
    trace = bundle.path / "trace"
    arguments = ["strace", "-f", "-e", "trace=openat,pivot_root,execve", "-o", str(trace), str(bundle.labrun_path)]
    arguments += ["--root", str(bundle.state), "run", "--bundle", str(bundle.path), bundle.name]
    if subprocess.run(["which", "strace"], capture_output=True, check=False).returncode != 0:
        pytest.skip("strace is not installed")
    subprocess.run(arguments, check=True, timeout=60)
    lines = trace.read_text().splitlines()
    pivot = next(index for index, line in enumerate(lines) if "pivot_root" in line)
    child = lines[pivot].split()[0]
    after = [line for line in lines[pivot + 1 :] if line.split()[0] == child]
    execute = next(index for index, line in enumerate(after) if "execve" in line)
    assert not [line for line in after[:execute] if ".py" in line or ".so" in line]


def test_a_cgroup_that_exists_is_left_alone_with_its_processes(bundle):
    cgroups = [path for path in Path("/sys/fs/cgroup").glob("*/") if (path / "cgroup.procs").exists()]
    parent = (cgroups or [Path("/sys/fs/cgroup")])[0]
    foreign = parent / "test-foreign"
    foreign.mkdir()
    bystander = subprocess.Popen(["sleep", "60"])
    try:
        (foreign / "cgroup.procs").write_text(str(bystander.pid))
        bundle.config["linux"]["cgroupsPath"] = "/test-foreign"
        result = bundle.run("/bin/true")
        assert result.returncode == 1
        assert "exists already" in result.stderr
        assert len(result.stderr.splitlines()) == 1
        assert bystander.poll() is None
        assert foreign.exists()
    finally:
        bystander.kill()
        bystander.wait()
        foreign.rmdir()
    bundle.assert_nothing_left()


def test_failed_starts_leave_no_descriptor_open_in_the_caller(bundle):
    bundle.config["process"]["args"] = ["/bin/missing"]
    bundle.write()
    before = sorted(os.listdir("/proc/self/fd"))
    for _attempt in range(3):
        with pytest.raises(CommandNotFound):
            container.create(bundle.name, str(bundle.path), str(bundle.state))
    assert sorted(os.listdir("/proc/self/fd")) == before
    bundle.assert_nothing_left()


def v1_mounts(names):
    """The mount points of the v1 hierarchies of this host that bear one of names; all of them for no name."""
    found = [
        line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines() if line.split()[2] == "cgroup"
    ]
    return [path for path in found if not names or Path(path).name in names]


def run_without(bundle, names):
    """Run the bundle in a mount namespace of its own where those hierarchies are not mounted."""
    hidden = v1_mounts(names)
    if not hidden:
        pytest.skip("this host has no v1 hierarchy that could be hidden")
    bundle.write()
    script = 'for path in %s; do umount "$path" || exit 99; done; exec "$@"' % " ".join(hidden)
    command = [str(bundle.labrun_path), "--root", str(bundle.state), "run", "--bundle", str(bundle.path), bundle.name]
    arguments = ["unshare", "--mount", "sh", "-c", script, "sh", *command]
    return subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=False)


def test_a_memory_limit_without_a_memory_controller_is_refused(bundle):
    assert run_without(bundle, ["memory"]).returncode == 0  # the positive control
    bundle.config["linux"]["resources"]["memory"] = {"limit": 64 << 20}
    result = run_without(bundle, ["memory"])
    assert result.returncode == 1
    assert "linux.resources.memory.limit: this host has no memory controller" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    bundle.assert_nothing_left()


def test_on_cgroup_v2_alone_the_devices_are_limited_by_a_program(fuse):
    if not Path("/sys/fs/cgroup/unified/cgroup.procs").exists():
        pytest.skip("this host has no cgroup2 hierarchy beside v1")
    refused = run_without(fuse, [])
    assert refused.stderr.count("Operation not permitted") == 2
    assert "0::/" in refused.stdout.split()
    allow_reading_fuse(fuse)
    allowed = run_without(fuse, [])
    assert allowed.stdout.split()[0] == "read"
    assert allowed.stderr.count("Operation not permitted") == 1
    fuse.assert_nothing_left()


def test_without_a_mount_namespace_exec_is_in_the_root_and_delete_takes_the_mounts_away(bundle):
    before = Path("/proc/self/mountinfo").read_text()
    linux = bundle.config["linux"]
    linux["namespaces"] = [item for item in linux["namespaces"] if item["type"] not in ("mount", "cgroup")]
    linux["maskedPaths"] = linux["readonlyPaths"] = []
    bundle.config["mounts"] = [item for item in bundle.config["mounts"] if item["destination"] in ("/proc", "/dev")]
    bundle.config["process"]["args"] = ["/bin/sleep", "100"]
    bundle.write()
    assert bundle.labrun("run", "--detach", "--bundle", str(bundle.path), bundle.name).returncode == 0
    assert str(bundle.path) in Path("/proc/self/mountinfo").read_text()
    inside = bundle.labrun("exec", bundle.name, "/bin/ls", "/")
    assert sorted(inside.stdout.split()) == sorted(path.name for path in (bundle.path / "rootfs").iterdir())
    assert bundle.labrun("delete", "--force", bundle.name).returncode == 0
    assert str(bundle.path) not in Path("/proc/self/mountinfo").read_text()
    assert [line for line in before.splitlines() if str(bundle.path) in line] == []
    bundle.config["process"]["args"] = ["/bin/missing"]
    bundle.write()
    assert bundle.labrun("run", "--bundle", str(bundle.path), bundle.name).returncode == 127
    assert str(bundle.path) not in Path("/proc/self/mountinfo").read_text()
    bundle.assert_nothing_left()


def test_a_container_without_process_can_be_created_and_not_be_started(bundle):
    """config.md, process: "REQUIRED when start is called". runc refuses it at create, crun does as this."""
    process = bundle.config.pop("process")
    bundle.write()
    assert bundle.labrun("create", "--bundle", str(bundle.path), bundle.name, stdin=-3).returncode == 0
    assert json.loads(bundle.labrun("state", bundle.name).stdout)["status"] == "created"
    entered = bundle.labrun("exec", bundle.name, "/bin/echo", "within")
    assert (entered.returncode, entered.stdout) == (0, "within\n"), entered.stderr
    result = bundle.labrun("start", bundle.name)
    assert result.returncode == 1
    assert "process: missing; a container without one can be created, and cannot be started" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert json.loads(bundle.labrun("state", bundle.name).stdout)["status"] == "stopped"
    assert bundle.labrun("delete", bundle.name).returncode == 0
    result = bundle.labrun("run", "--bundle", str(bundle.path), bundle.name)
    assert (result.returncode, "process: missing" in result.stderr) == (1, True)
    bundle.assert_nothing_left()
    bundle.config["process"] = process
    assert bundle.run("/bin/true").returncode == 0


@pytest.mark.root
@pytest.mark.parametrize("state", ["stopped", "absent"])
def test_many_containers_end_in_the_time_of_one(bundle, tmp_path, state):
    """The first process of a pid namespace that handles no SIGTERM does not hear it, as sleep here."""
    bundle.config["process"]["args"] = ["/bin/sleep", "100"]
    bundle.write()
    wanted = [
        managed.Wanted(f"{bundle.name}-{number}", str(bundle.state), str(tmp_path / "data"), str(bundle.path), 2)
        for number in range(4)
    ]

    def bring(state):
        planned = [(item, managed.plan(item, state)) for item in wanted]
        started = time.monotonic()
        done = list(managed.carry_out(planned, True))
        return time.monotonic() - started, done

    bring("started")
    took, done = bring(state)
    assert 2 <= took < 6
    assert all(any(step["step"] == "stop" for step in item["steps"]) for item in done)
    assert [item.shown().get("status") for item in wanted] == [None if state == "absent" else "stopped"] * 4
    if state == "stopped":
        assert [item.container.exit_code() for item in wanted] == [137] * 4


@pytest.mark.root
def test_a_created_container_stops_at_once(bundle):
    bundle.write()
    bundle.labrun("create", "--bundle", str(bundle.path), bundle.name)
    made = container.Container(bundle.name, str(bundle.state))
    started = time.monotonic()
    made.stop(20)
    assert time.monotonic() - started < 10
    assert made.state()["status"] == "stopped"
