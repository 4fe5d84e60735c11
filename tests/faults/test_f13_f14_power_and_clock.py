# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""F13: what a power cut leaves of the state is deletable, and little is left. F14: time-outs mind no clock's jump."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time

import clocks
import leaks
import pytest
from waiting import wait_for

pytestmark = pytest.mark.root

DAY_S = 86400


def reboot(victim):
    """All that a power cut takes with it: the container's process and its cgroups. The files stay."""
    for pid in leaks.processes(victim.token):
        os.kill(pid, 9)
    leaks.clear(victim.name, victim.token)


def empty(path):
    path.write_bytes(b"")


def halve(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def zeros(path):
    path.write_bytes(b"\0" * path.stat().st_size)  # as ext4 and XFS may leave a file whose data was not written yet


DAMAGE = {"empty": empty, "halved": halve, "zeros": zeros, "missing": os.unlink}


@pytest.mark.parametrize("files", ["state.json", "journal", "config.json", "all"])
@pytest.mark.parametrize("damage", list(DAMAGE))
def test_f13_damaged_state_is_deletable(victim, files, damage):
    victim.config["process"]["args"] = ["/bin/sleep", "1000"]
    victim.begin()
    reboot(victim)
    folder = victim.bundle.state / victim.name
    assert {"journal", "state.json"} <= set(os.listdir(folder))
    # Whatever else the runtime keeps there is as old or older: it is damaged with the rest.
    every = [path for path in folder.iterdir() if path.is_file()]
    chosen = every if files == "all" else [folder / files] if files != "config.json" else []
    for path in chosen + ([victim.path / "config.json"] if files in ("config.json", "all") else []):
        DAMAGE[damage](path)
    listed = victim.labrun("list")
    assert listed.returncode == 0, listed.stderr
    for words in (["state"], ["start"], ["kill"], ["exec"]):
        result = victim.labrun(*words, victim.name, *(["/bin/true"] if words == ["exec"] else []))
        assert "Traceback" not in result.stderr
        assert words == ["state"] or result.returncode != 0
    victim.must("delete", "--force", victim.name)
    assert victim.left() == []
    victim.must("delete", "--force", victim.name)
    victim.config["process"]["args"] = ["/bin/true"]
    assert victim.run().returncode == 0  # the name is free again


@pytest.mark.parametrize("damage", list(DAMAGE))
def test_f13_a_running_container_with_a_damaged_state_is_still_killed(victim, damage):
    """The journal names the process and the cgroup: without the state nothing is forgotten."""
    victim.config["process"]["args"] = ["/bin/sleep", "1000"]
    victim.begin()
    DAMAGE[damage](victim.bundle.state / victim.name / "state.json")
    assert victim.labrun("delete", victim.name).returncode != 0
    assert leaks.processes(victim.token)
    victim.must("delete", "--force", victim.name)
    assert victim.left() == []


def test_f13_the_state_is_written_synced_and_renamed_in_that_order(victim):
    """A name that leads to no data yet is what a power cut must not leave."""
    if not shutil.which("strace"):
        pytest.skip("strace is not installed")
    victim.config["process"]["args"] = ["/bin/true"]
    victim.bundle.write()
    trace = victim.path / "trace"
    calls = "openat,write,fsync,fdatasync,rename,renameat,renameat2"
    command = ["strace", "-f", "-y", "-e", f"trace={calls}", "-o", str(trace), str(victim.bundle.labrun_path)]
    command += ["--root", str(victim.bundle.state), "run", "--bundle", str(victim.path), victim.name]
    subprocess.run(
        command, check=True, timeout=60, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env=victim.environment
    )
    lines = trace.read_text().splitlines()
    folder = str(victim.bundle.state / victim.name)
    rename = next(index for index, line in enumerate(lines) if " rename" in line and '/state.json"' in line)
    temporary = re.search(r'"([^"]+)"', lines[rename]).group(1)
    assert os.path.dirname(temporary) == folder
    written = [index for index, line in enumerate(lines) if " write(" in line and f"<{temporary}>" in line]
    synced = [index for index, line in enumerate(lines) if "sync(" in line and f"<{temporary}>" in line]
    folder_synced = [index for index, line in enumerate(lines) if "sync(" in line and f"<{folder}>" in line]
    assert written and synced and folder_synced, (written, synced, folder_synced)
    assert written[-1] < synced[-1] < rename < folder_synced[-1]


_NAIVE = """
import sys, time
deadline = time.time() + 1
for _try in range(40):
    if time.time() > deadline:
        sys.exit("timed out")
    time.sleep(0.01)
"""
_STOP = """
import sys
from ansible_collections.ocilab.hosts.plugins.module_utils.labrun.container import Container
Container(sys.argv[1], sys.argv[2]).stop(float(sys.argv[3]))
"""


def test_f14_the_harness_fools_who_trusts_the_wall_clock(tmp_path):
    """The known-bad control."""
    output = str(tmp_path / "output")
    for step_s, expected in ((0, 0), (DAY_S, 1)):
        code, looks = clocks.run(step_s, [sys.executable, "-c", _NAIVE], dict(os.environ), output)
        assert code == expected
        assert looks > 1


def hook(victim, script, timeout):
    victim.config["hooks"] = {"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", script], "timeout": timeout}]}
    victim.config["hooks"]["createRuntime"][0]["env"] = ["PATH=/usr/bin:/bin", victim.token + "=1"]
    victim.bundle.write()
    words = ["--root", str(victim.bundle.state), "run", "--bundle", str(victim.path), victim.name]
    return [str(victim.bundle.labrun_path), *words]


@pytest.mark.parametrize("step_s", [DAY_S, -DAY_S])
def test_f14_a_hook_has_its_time_whatever_the_clock_does(victim, step_s):
    victim.config["process"]["args"] = ["/bin/true"]
    output = str(victim.path / "output")
    quick = hook(victim, "sleep 0.7", 5)
    assert clocks.run(step_s, quick, victim.environment, output)[0] == 0, open(output).read()
    assert victim.left() == []
    hanging = hook(victim, "exec sleep 1000", 1)
    before = time.monotonic()
    assert clocks.run(step_s, hanging, victim.environment, output)[0] == 1
    assert 0.9 < time.monotonic() - before < 15
    assert victim.left() == []


@pytest.mark.parametrize("step_s", [DAY_S, -DAY_S])
def test_f14_stop_waits_as_long_as_it_was_told(victim, step_s):
    script = "trap 'sleep 0.7; exit 3' TERM; echo ready >/ready; while :; do sleep 0.05; done"
    for ending, timeout in ((script, 20), (script.replace("sleep 0.7; exit 3", ""), 1)):
        victim.shell(ending)
        victim.begin()
        assert wait_for((victim.rootfs / "ready").exists)
        arguments = [sys.executable, "-c", _STOP, victim.name, str(victim.bundle.state), str(timeout)]
        before = time.monotonic()
        assert clocks.run(step_s, arguments, victim.environment, str(victim.path / "output"))[0] == 0
        took = time.monotonic() - before
        assert 0.6 < took < 10
        assert victim.status() == "stopped"
        victim.must("delete", victim.name)
        (victim.rootfs / "ready").unlink()
    assert victim.left() == []


@pytest.mark.parametrize("step_s", [DAY_S, -DAY_S])
def test_f14_delete_force_gives_processes_their_time_to_die(victim, step_s):
    linux = victim.config["linux"]
    linux["namespaces"] = [item for item in linux["namespaces"] if item["type"] != "pid"]
    victim.shell("for i in 1 2 3 4 5 6 7 8 9; do sleep 1000 & done; wait")
    victim.begin()
    assert wait_for(lambda: len(leaks.processes(victim.token)) >= 10)
    words = ["--root", str(victim.bundle.state), "delete", "--force", victim.name]
    code, _looks = clocks.run(step_s, [str(victim.bundle.labrun_path), *words], victim.environment)
    assert code == 0
    assert victim.left() == []
