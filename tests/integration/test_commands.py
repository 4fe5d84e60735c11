# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands about containers, on a real kernel; beside Debian's runc, if any: the same keys, columns and codes."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from ansible_collections.ocilab.hosts.plugins.module_utils.labrun import (
    commands_control,
    commands_inspect,
    log,
    options,
)
from ansible_collections.ocilab.hosts.plugins.module_utils.linux import seccomp
from ansible_collections.ocilab.hosts.plugins.module_utils.linux.errors import InvalidInput

pytestmark = pytest.mark.root

COLUMNS = ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]


class Side:
    """One runtime with a container of its own, made of a bundle."""

    def __init__(self, command, bundle, suffix):
        self.command = command
        self.bundle = bundle
        self.name = bundle.name + suffix

    def __call__(self, *words, **keywords):
        return subprocess.run(
            [*self.command, *words], capture_output=True, text=True, timeout=60, check=False, **keywords
        )

    def start(self):
        """Its process writes elsewhere, for what it keeps open nobody waits for the end of."""
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
        with open(self.bundle.path / "errors", "w+") as errors:
            words = [*self.command, "run", "--detach", "--bundle", str(self.bundle.path), self.name]
            result = subprocess.run(words, **streams, stderr=errors, timeout=60, check=False)
            errors.seek(0)
            assert result.returncode == 0, errors.read()

    def status(self):
        return json.loads(self("state", self.name).stdout)["status"]

    def stop(self):
        self("kill", self.name, "KILL")
        deadline = time.monotonic() + 10
        while self.status() != "stopped":
            assert time.monotonic() < deadline
            time.sleep(0.01)


@pytest.fixture
def ours(bundle):
    bundle.config["process"]["args"] = ["/bin/sleep", "300"]
    bundle.config["linux"]["resources"].setdefault("memory", {})["limit"] = 256 << 20
    bundle.write()
    side = Side([str(bundle.labrun_path), "--root", str(bundle.state)], bundle, "")
    yield side
    side("delete", "--force", side.name)
    bundle.assert_nothing_left()


@pytest.fixture
def theirs(bundle):
    if not shutil.which("runc"):
        pytest.skip("runc is not installed")
    side = Side(["runc", "--root", str(bundle.path / "runc")], bundle, "-runc")
    yield side
    side("delete", "--force", side.name)


@pytest.fixture
def running(ours):
    ours.start()
    return ours


def test_list_is_laid_out_as_runcs(ours, theirs):
    for side in (ours, theirs):
        os.mkdir(side.command[-1])
        empty = [side("list"), side("list", "--format", "json"), side("list", "-q")]
        assert [result.returncode for result in empty] == [0, 0, 0]
        assert empty[0].stdout.split() == COLUMNS
        assert [result.stdout for result in empty[1:]] == ["null\n", ""]
    assert ours("list").stdout == theirs("list").stdout
    for side in (ours, theirs):
        side.start()
    mine, other = ours("list").stdout.splitlines(), theirs("list").stdout.splitlines()
    assert mine[0].split() == other[0].split() == COLUMNS
    # Every column but the first, which is as wide as the name, and the time's, which is as long as its digits.
    assert [len(word) for word in mine[0].split()] == [len(word) for word in other[0].split()]
    assert mine[1].index("running") == mine[0].index("STATUS")
    assert mine[1].split()[-1] == other[1].split()[-1] == "root"
    objects = [json.loads(side("list", "-f", "json").stdout)[0] for side in (ours, theirs)]
    assert list(objects[0]) == list(objects[1])
    assert objects[0]["owner"] == "root"
    assert ours("list", "--quiet").stdout == ours.name + "\n"
    ours.stop()
    assert ours("list").stdout.splitlines()[1].split()[1:3] == ["0", "stopped"]


def test_list_of_a_root_that_was_named_and_is_not_there_fails(ours):
    """As newer runcs do it: it is a slip of the pen; of the default root it is not."""
    result = ours("list")
    assert (result.returncode, result.stdout) == (1, "")
    assert f"--root {ours.bundle.state}: cannot be listed: no such file or directory" in result.stderr
    output = io.StringIO()
    default = options.Parsed({"--quiet": True}, [], str(ours.bundle.state))
    assert commands_inspect.list_containers(default, log.Log(), output) == 0
    assert output.getvalue() == ""


def test_list_names_the_owner_and_goes_on_where_a_folder_is_strange(running):
    state = running.bundle.state
    os.chown(state / running.name, 4242, -1)
    (state / "half-made").mkdir()
    (state / "no container").mkdir()
    result = running("list", "--format", "json")
    assert {item["id"]: item["owner"] for item in json.loads(result.stdout)}[running.name] == "#4242"
    assert "no container is left out" in result.stderr
    (state / "no container").rmdir()
    (state / "half-made").rmdir()


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("list", "--format", "xml"), 1),
        (("ps", "--format", "xml", "NAME"), 1),
        (("ps", "nothing"), 1),
        (("events", "--interval", "0", "NAME"), 1),
        (("events", "--stats", "nothing"), 1),
        (("pause", "nothing"), 1),
        (("resume", "NAME"), 1),
        (("update", "--memory", "1x", "NAME"), 1),
        (("update", "--cpu-period", "x", "NAME"), 1),
        (("update", "nothing"), 1),
        (("update", "--memory", "64m", "NAME"), 0),
        (("pause", "NAME"), 0),
        (("pause", "NAME"), 1),
        (("start", "NAME"), 1),
        (("resume", "NAME"), 0),
        (("resume", "NAME"), 1),
        (("events", "--stats", "NAME"), 0),
        (("ps", "NAME"), 0),
        (("checkpoint", "nothing"), 1),
        (("restore", "nothing"), 1),
    ],
)
def test_exit_codes_are_runcs(request, words, code):
    """In one container each, made for the first of them and gone after the last (the order of the list counts)."""
    sides = request.getfixturevalue("both")
    for side in sides:
        result = side(*[side.name if word == "NAME" else word for word in words])
        assert result.returncode == code, (side.command[0], words, result.stderr)
        assert bool(result.stderr) == bool(code)
        if side is sides[0]:
            assert len(result.stderr.splitlines()) == code


@pytest.fixture(scope="module")
def both(tmp_path_factory, rootfs, labrun):
    from conftest import BundleFolder

    sides = []
    for suffix in ("", "-runc"):
        made = BundleFolder(tmp_path_factory.mktemp("both"), rootfs, labrun)
        made.name += "-both"
        made.config["process"]["args"] = ["/bin/sleep", "300"]
        made.write()
        command = ["runc", "--root", str(made.path / "runc")] if suffix else [str(labrun), "--root", str(made.state)]
        sides.append(Side(command, made, suffix))
    if not shutil.which("runc"):
        sides.pop()
    for side in sides:
        side.start()
    yield sides
    for side in sides:
        side("delete", "--force", side.name)


def test_ps_shows_the_containers_processes_alone(running, theirs):
    theirs.start()
    quiet = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
    subprocess.run([*running.command, "exec", "--detach", running.name, "/bin/sleep", "200"], check=True, **quiet)
    pids = json.loads(running("ps", "--format", "json", running.name).stdout)
    assert len(pids) == 2
    assert [Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[1] for pid in sorted(pids)] == [b"300", b"200"]
    if not shutil.which("ps"):
        pytest.skip("ps is not installed")
    table = running("ps", running.name).stdout.splitlines()
    assert table[0].split() == theirs("ps", theirs.name).stdout.splitlines()[0].split()
    assert sorted(int(line.split()[1]) for line in table[1:]) == sorted(pids)
    chosen = running("ps", running.name, "-o", "pid,args", "-e").stdout.splitlines()
    assert sorted(line.split(None, 1)[1] for line in chosen[1:]) == ["/bin/sleep 200", "/bin/sleep 300"]
    assert "put it first" in running("ps", running.name, "-o", "args,pid", "-e").stderr
    refused = running("ps", running.name, "-o", "args", "-e")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "no PID column" in refused.stderr
    assert running("ps", running.name, "--no-such-option").returncode == 1


def test_ps_without_ps_says_so_and_lists_pids(running, tmp_path):
    without = {"PATH": str(tmp_path)}
    result = running("ps", running.name, env=without)
    assert result.returncode == 1
    assert "install procps" in result.stderr
    assert len(json.loads(running("ps", "--format", "json", running.name, env=without).stdout)) == 1


def test_ps_of_a_stopped_container_is_empty(running, theirs):
    theirs.start()
    for side in (running, theirs):
        side.stop()
        assert (side("ps", "-f", "json", side.name).stdout, side("ps", side.name).returncode) == ("null\n", 0)


def counter(path):
    return int(path.read_text() or "0")


def test_a_paused_container_stands_still_and_is_shown_so(ours):
    ours.bundle.config["process"]["args"] = [
        "/bin/sh",
        "-c",
        "n=0; while true; do n=$((n+1)); echo $n >/tmp/new; mv /tmp/new /tmp/n; sleep 0.01; done",
    ]
    (ours.bundle.path / "rootfs" / "bin" / "mv").symlink_to("busybox")
    ours.bundle.write()
    ours.start()
    count = ours.bundle.path / "rootfs" / "tmp" / "n"
    wait_for(lambda: count.exists() and counter(count) > 2)
    assert ours("pause", ours.name).returncode == 0
    assert ours.status() == "paused"
    assert ours("list").stdout.splitlines()[1].split()[2] == "paused"
    before = counter(count)
    time.sleep(0.2)
    assert counter(count) == before
    for words in (("pause", ours.name), ("exec", ours.name, "/bin/true")):
        refused = ours(*words)
        assert refused.returncode != 0
        assert "paused" in refused.stderr
    assert ours("resume", ours.name).returncode == 0
    assert ours.status() == "running"
    wait_for(lambda: counter(count) > before)
    assert "container not paused" in ours("resume", ours.name).stderr


def wait_for(condition, timeout_s=10):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_container_that_waits_for_its_start_is_not_paused(ours):
    """runc pauses it; here its start would wait for a process that is frozen."""
    quiet = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
    words = [*ours.command, "create", "--bundle", str(ours.bundle.path), ours.name]
    subprocess.run(words, check=True, timeout=60, **quiet)
    refused = ours("pause", ours.name)
    assert refused.returncode == 1
    assert "it is created" in refused.stderr
    assert (ours("start", ours.name).returncode, ours.status()) == (0, "running")


def test_a_paused_container_can_be_killed_and_deleted(running):
    assert running("pause", running.name).returncode == 0
    running.stop()
    assert "container not running" in running("pause", running.name).stderr
    assert running("delete", running.name).returncode == 0
    running.start()
    assert running("pause", running.name).returncode == 0
    assert running("delete", "--force", running.name).returncode == 0


def limit(side, controller, v1_file, v2_file):
    """The value of a file in the container's cgroup, whichever version the controller is mounted as."""
    for line in Path(f"/proc/{json.loads(side('state', side.name).stdout)['pid']}/cgroup").read_text().splitlines():
        _number, controllers, path = line.split(":", 2)
        for root in (f"/sys/fs/cgroup/{controller}", "/sys/fs/cgroup"):
            for name in (v1_file, v2_file):
                if controller in controllers.split(",") or not controllers:
                    file = Path(root + path) / name
                    if file.exists():
                        return file.read_text().strip()
    return pytest.skip(f"this host has no {controller} controller")


def memory_limit(side):
    return limit(side, "memory", "memory.limit_in_bytes", "memory.max")


def test_update_changes_what_is_asked_and_later_ones_build_on_it(running):
    assert memory_limit(running) == str(256 << 20)
    assert running("update", "--memory", "64m", running.name).returncode == 0
    assert memory_limit(running) == str(64 << 20)
    resources = {"memory": {"limit": 0}, "pids": {"limit": 33}, "blockIO": {"weight": 0}, "cpu": None}
    result = running("update", "--resources=-", running.name, input=json.dumps(resources))
    assert (result.returncode, result.stderr) == (0, "")
    assert memory_limit(running) == str(64 << 20)
    assert limit(running, "pids", "pids.max", "pids.max") == "33"
    file = running.bundle.path / "resources.json"
    file.write_text('{"memory": {"limit": 50331648}}')
    assert running("update", "-r", str(file), running.name).returncode == 0
    assert memory_limit(running) == "50331648"
    kept = json.loads((running.bundle.state / running.name / "state.json").read_text())["resources"]
    assert kept["memory"]["limit"] == 50331648
    assert running("update", "--memory", "-1", running.name).returncode == 0
    assert int(memory_limit(running).replace("max", str(1 << 62))) >= 1 << 60
    assert running.status() == "running"


def test_a_quota_and_a_period_can_be_changed_apart(running):
    assert running("update", "--cpu-period", "50000", "--cpu-quota", "20000", running.name).returncode == 0
    quota = limit(running, "cpu", "cpu.cfs_quota_us", "cpu.max")
    assert quota.split()[0] == "20000"
    assert running("update", "--cpu-quota", "10000", running.name).returncode == 0
    assert limit(running, "cpu", "cpu.cfs_quota_us", "cpu.max").split() in (["10000"], ["10000", "50000"])
    assert running("update", "--cpu-share", "512", "--cpuset-cpus", "0", running.name).returncode == 0
    assert limit(running, "cpuset", "cpuset.cpus", "cpuset.cpus") == "0"


BAD_UPDATES = [
    (("--memory", "1x"), "invalid value for memory: invalid size: '1x'"),
    (("--cpu-period", "-5"), "invalid value for cpu-period"),
    (("--cpu-quota", "1.5"), "invalid value for cpu-quota"),
    (("--pids-limit", "many"), "invalid value for pids-limit"),
    (("--cpuset-cpus", "9999"), "cpuset"),
    (("--l3-cache-schema", "L3:0=f"), "Intel RDT"),
    (("--mem-bw-schema", "MB:0=50"), "Intel RDT"),
    (("--resources", "/nonexistent.json"), "/nonexistent.json"),
    (("--blkio-weight", "5"), "weight"),
    (("--speed", "5"), "unknown option --speed"),
]


@pytest.mark.parametrize(("words", "message"), BAD_UPDATES, ids=[row[0][0] for row in BAD_UPDATES])
def test_a_bad_update_is_one_clear_line_and_changes_nothing(running, words, message):
    result = running("update", *words, running.name)
    assert result.returncode == 1
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert memory_limit(running) == str(256 << 20)


@pytest.mark.parametrize("text", ["{", "[]", '{"memory": {"limit": "64m"}}', '{"memory": {"limit": 1, "limit": 2}}'])
def test_bad_resources_on_standard_input_are_refused(running, text):
    result = running("update", "--resources", "-", running.name, input=text)
    assert result.returncode == 1
    assert len(result.stderr.splitlines()) == 1
    assert "Traceback" not in result.stderr


def test_kernel_memory_is_ignored_with_a_warning(running):
    result = running("update", "--kernel-memory", "64m", running.name)
    assert result.returncode == 0
    assert "Kernel memory settings are ignored" in result.stderr


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("4096", 4096),
        ("64m", 64 << 20),
        ("1G", 1 << 30),
        ("1.5kib", 1536),
        ("512 kB", 512 << 10),
        ("7b", 7),
        ("-1", -1),
    ],
)
def test_sizes_are_read_as_runc_reads_them(text, expected):
    assert commands_control.size(text, "--memory") == expected


@pytest.mark.parametrize("text", ["", "m", "1x", "-5", "1e3", "1mm", "1 2", "0x10", "1bb", "1ki", "9999999p", "٣"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(InvalidInput):
        commands_control.size(text, "--memory")


@pytest.mark.parametrize(("text", "expected"), [("5s", 5), ("1m30s", 90), ("300ms", 0.3), ("1.5h", 5400), ("0", 0)])
def test_durations_are_read_as_go_reads_them(text, expected):
    assert commands_inspect.duration(text) == pytest.approx(expected)


@pytest.mark.parametrize("text", ["", "5", "s", "5 s", "-1s", "1x", "1.2.3s"])
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(InvalidInput):
        commands_inspect.duration(text)


def keys(value, path=""):
    """The paths of all keys of a JSON value but those below raw and of lists."""
    if not isinstance(value, dict) or path.endswith("/raw"):
        return set()
    return {f"{path}/{key}" for key in value} | {
        found for key, item in value.items() for found in keys(item, f"{path}/{key}")
    }


def test_statistics_have_runcs_keys(running, theirs):
    theirs.start()
    mine, other = (json.loads(side("events", "--stats", side.name).stdout) for side in (running, theirs))
    assert (mine["type"], mine["id"], other["type"]) == ("stats", running.name, "stats")
    assert mine["data"]["pids"]["current"] == 1
    # Values of 0 are left out, and which are 0 differs from run to run; newer runcs tell of cgroup v2 and pressure too.
    changing = ("/cpu/throttling/", "/memory/cache", "/memory/usage/", "/memory/swap/", "/memory/kernel", "/hugetlb/")
    changing += ("/blkio/", "/psi", "/pids/limit", "/network_interfaces")
    difference = {path for path in keys(mine["data"]) ^ keys(other["data"]) if not path.startswith(changing)}
    assert difference == set()
    assert set(mine["data"]["memory"]["raw"]) >= set(other["data"]["memory"].get("raw", {}))


def test_events_come_at_each_interval_and_end_with_the_container(running):
    words = [*running.command, "events", "--interval", "100ms", running.name]
    follower = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for _line in range(3):
        assert json.loads(follower.stdout.readline())["data"]["pids"]["current"] == 1
    running.stop()
    _rest, errors = follower.communicate(timeout=10)
    assert (follower.returncode, errors) == (0, "")
    assert "is not running" in running("events", running.name).stderr


def test_events_end_at_once_though_the_interval_is_long(running):
    words = [*running.command, "events", "--interval", "1h", running.name]
    follower = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    time.sleep(0.5)
    assert follower.poll() is None
    running.stop()
    output, _errors = follower.communicate(timeout=5)
    assert (follower.returncode, output) == (0, "")


def test_want_of_memory_is_an_event(ours):
    resources = ours.bundle.config["linux"]["resources"]
    resources["memory"] = {"limit": 16 << 20, "swap": 16 << 20}
    script = "while true; do sleep 0.2; sh -c 'x=x; while true; do x=$x$x; done'; done"
    ours.bundle.config["process"]["args"] = ["/bin/sh", "-c", script]
    ours.bundle.write()
    ours.start()
    words = [*ours.command, "events", "--interval", "1h", ours.name]
    follower = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    event = json.loads(follower.stdout.readline())
    assert event == {"type": "oom", "id": ours.name}
    follower.send_signal(signal.SIGKILL)
    follower.communicate(timeout=5)


def test_features_tell_what_this_runtime_knows(ours):
    document = json.loads(ours("features").stdout)
    assert (document["ociVersionMin"], document["ociVersionMax"]) == ("1.0.0", "1.3.0")
    assert document["hooks"] == [
        "prestart",
        "createRuntime",
        "createContainer",
        "startContainer",
        "poststart",
        "poststop",
    ]
    linux = document["linux"]
    assert {"ro", "rbind", "rprivate"} <= set(document["mountOptions"])
    assert {"cgroup", "ipc", "mount", "network", "pid", "user", "uts"} <= set(linux["namespaces"])
    assert len(linux["capabilities"]) == 41
    assert set(linux["cgroup"]) == {"v1", "v2", "systemd", "systemdUser", "rdma"}
    assert set(linux["seccomp"]["supportedFlags"]) <= set(linux["seccomp"]["knownFlags"]) == set(seccomp.FLAGS)
    assert linux["intelRdt"] == {"enabled": False}
    assert document["annotations"]["org.opencontainers.runc.checkpoint.enabled"] == "false"


def test_features_have_all_that_runcs_have(ours, theirs):
    mine, other = (json.loads(side("features").stdout) for side in (ours, theirs))
    assert set(other) <= set(mine)
    # These two cannot be said to the kernel; runc itself took them out again.
    assert set(other["mountOptions"]) - set(mine["mountOptions"]) <= {"acl", "noacl"}
    for name, value in other["linux"].items():
        for key, item in value.items() if isinstance(value, dict) else [("", value)]:
            present = mine["linux"][name][key] if key else mine["linux"][name]
            assert present == item if isinstance(item, bool) else set(item) <= set(present), (name, key)


def test_features_without_libseccomp_offer_no_filters(ours):
    if not shutil.which("unshare"):
        pytest.skip("unshare is not installed")
    script = (
        "for f in /lib/*/libseccomp.so.2 /usr/lib/*/libseccomp.so.2; do [ -e $f ] && mount --bind /dev/null $f; done"
    )
    words = ["unshare", "--mount", "sh", "-c", script + '; exec "$@"', "sh", *ours.command, "features"]
    result = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True)
    assert json.loads(result.stdout)["linux"]["seccomp"] == {"enabled": False}


@pytest.mark.parametrize("options", [(), ("--rootless",)])
def test_spec_is_as_runcs(ours, theirs, tmp_path, options):
    documents = []
    for side in (ours, theirs):
        folder = tmp_path / side.name
        folder.mkdir()
        assert side("spec", *options, "--bundle", str(folder)).returncode == 0
        refused = side("spec", "-b", str(folder))
        assert refused.returncode == 1
        assert "exists. Remove it first" in refused.stderr
        documents.append(json.loads((folder / "config.json").read_text()))
    mine, other = documents
    # What differs, and why: the version and the name are each one's own; ambient capabilities without inheritable ones
    # are none (runc left them out since); two more files tell of the host as a whole (Docker masks them too).
    assert (mine.pop("ociVersion"), mine.pop("hostname")) == ("1.3.0", "labrun")
    del other["ociVersion"], other["hostname"]
    other["process"]["capabilities"].pop("ambient", None)
    assert set(mine["linux"].pop("maskedPaths")) - set(other["linux"].pop("maskedPaths")) == {
        "/proc/interrupts",
        "/sys/devices/virtual/powercap",
    }
    assert mine == other


def test_the_written_configuration_runs(ours):
    (ours.bundle.path / "config.json").unlink()
    assert ours("spec", cwd=ours.bundle.path).returncode == 0
    assert (ours.bundle.path / "config.json").read_text().startswith('{\n\t"ociVersion"')
    config = json.loads((ours.bundle.path / "config.json").read_text())
    config["process"].update(terminal=False, args=["/bin/echo", "here"])
    (ours.bundle.path / "config.json").write_text(json.dumps(config))
    result = ours("run", "--bundle", str(ours.bundle.path), ours.name)
    assert (result.stdout, result.returncode) == ("here\n", 0)
    assert "cannot be written" in ours("spec", "--bundle", "/nonexistent").stderr


@pytest.mark.parametrize("name", ["list", "ps", "events", "pause", "resume", "update", "features", "spec"])
def test_help_of_each_command(ours, name):
    result = ours(name, "--help")
    assert result.returncode == 0
    assert result.stdout.startswith(f"NAME:\n   labrun {name} - ")
    assert f"\n  {name} " in ours("--help").stdout


@pytest.mark.parametrize("name", ["checkpoint", "restore"])
def test_what_is_out_of_scope_says_so(ours, name):
    for option in ("-h", "--help"):
        told = ours(name, option)
        assert (told.returncode, told.stderr) == (0, "")
        assert f"labrun {name} - out of scope: " in told.stdout
    result = ours(name, ours.name)
    assert result.returncode == 1
    assert "does not checkpoint and restore" in result.stderr


def test_each_failure_of_exec_itself_is_255(running):
    """As runc's: all other codes are the command's own to return."""
    name, missing = running.name, str(running.bundle.path / "missing" / "file")
    for words in (
        [name, "/absent"],
        ["--pid-file", missing, name, "/bin/sleep", "300"],
        ["--process", missing, name],
        ["--user", "x", name, "/bin/true"],
        ["--cgroup", "..", name, "/bin/true"],
        ["nothing", "/bin/true"],
        [name],
    ):
        result = running("exec", *words)
        assert (result.returncode, len(result.stderr.splitlines())) == (255, 1), (words, result.stderr)
    assert len(json.loads(running("ps", "--format", "json", name).stdout)) == 1  # what was started ended with it
    assert running("exec", name, "/bin/false").returncode == 1
    running("pause", name)
    assert running("exec", name, "/bin/true").returncode == 255
    running("resume", name)
    running.stop()
    assert running("exec", name, "/bin/true").returncode == 255


def test_exec_never_runs_outside_of_a_cgroup_that_was_not_made(running):
    """systemd makes a cgroup only when the process is there: what is noted before that leads nowhere."""
    journal = running.bundle.state / running.name / "journal"
    before = journal.read_bytes()
    entry = {"object": "cgroup", "paths": {}, "made": [], "complete": False, "unit": "x.scope", "of_user": False}
    journal.write_bytes(before + json.dumps(entry).encode() + b"\n")
    result = running("exec", running.name, "/bin/true")
    journal.write_bytes(before)
    assert result.returncode == 255
    assert "the runtime was killed before its cgroup was made; delete it with --force" in result.stderr
    assert running("exec", running.name, "/bin/true").returncode == 0


@pytest.mark.parametrize("form", ["text", "json"])
def test_debug_tells_what_run_and_exec_did(ours, form):
    file = ours.bundle.path / "log"
    words = ["--debug", "--log", str(file), "--log-format", form]
    level = {"text": "level=debug", "json": '"level":"debug"'}[form]
    quiet = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
    run = [*ours.command, *words, "run", "--detach", "--bundle", str(ours.bundle.path), ours.name]
    assert subprocess.run(run, check=False, **quiet).returncode == 0
    told = [line for line in file.read_text().splitlines() if level in line]
    assert [word in line for line, word in zip(told[-2:], ("created of", "started"))] == [True, True]
    file.unlink()
    result = ours(*words, "exec", ours.name, "/bin/false")
    assert (result.returncode, result.stderr) == (1, "")
    assert "runs /bin/false" in file.read_text()
    assert "exec: exit code 1" in file.read_text()
    assert level in file.read_text()
    assert "level=debug" in ours("--debug", "exec", ours.name, "/bin/true").stderr
    assert ours("exec", ours.name, "/bin/true").stderr == ""


def test_a_created_container_ends_by_any_signal_that_ends_processes(ours):
    """Nothing handles one there yet, and the kernel would drop it: of the first process of a pid namespace it is said
    in pid_namespaces(7). runc's own init ends, too."""
    quiet = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
    words = [*ours.command, "create", "--bundle", str(ours.bundle.path), ours.name]
    assert subprocess.run(words, check=False, **quiet).returncode == 0
    for harmless in ("CONT", "WINCH", "URG"):
        assert ours("kill", ours.name, harmless).returncode == 0
    time.sleep(0.1)
    assert ours.status() == "created"
    assert ours("kill", ours.name, "TERM").returncode == 0
    deadline = time.monotonic() + 10
    while ours.status() != "stopped":
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_start_imports_none_of_these_commands(ours):
    script = (
        "import sys; from ansible_collections.ocilab.hosts.plugins.module_utils.labrun import cli;"
        "code = cli.main(sys.argv[1:], sys.stdout); names = {name.rpartition('.')[2] for name in sys.modules};"
        "unwanted = {'commands_inspect', 'commands_control', 'commands_describe', 'console', 'terminal', 'features',"
        " 'example', 'termios', '_socket'}; print(sorted(names & unwanted)); sys.exit(code)"
    )
    ours.bundle.config["process"]["args"] = ["/bin/true"]
    ours.bundle.write()
    words = ["--root", str(ours.bundle.state), "run", "--bundle", str(ours.bundle.path), ours.name]
    python = Path(__file__).resolve().parents[2] / ".venv" / "bin" / "python"
    if not python.exists():
        pytest.skip("there is no .venv to import the collection from")
    result = subprocess.run([str(python), "-c", script, *words], capture_output=True, text=True, check=False)
    assert (result.stdout, result.returncode) == ("[]\n", 0), result.stderr
