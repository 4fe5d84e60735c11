# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The runtime by the Python that runs this file: the command built for it, and what it is for, once each.

test_pythons.py starts it for every Python that it finds; by itself it is no test, and its name says so to pytest.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.ocilab.hosts.plugins.module_utils.labrun import command, container, monitor

pytestmark = pytest.mark.root


@pytest.fixture(scope="session")
def labrun(tmp_path_factory):
    """The command for this very Python, in place of the system's."""
    path = tmp_path_factory.mktemp("bin") / "labrun"
    command.write_executable(str(path))
    return path


def test_this_python_runs_the_command(bundle):
    interpreter = os.path.realpath(sys.executable)
    assert f"exec {interpreter} ".encode() in Path(bundle.labrun_path).read_bytes()[:300]
    result = bundle.labrun("--version")
    assert (result.returncode, result.stdout[:14], result.stderr) == (0, "labrun version", "")


def test_run_and_its_code(bundle):
    result = bundle.run("/bin/sh", "-c", "echo hello; echo problem >&2; exit 7")
    assert (result.stdout, result.stderr, result.returncode) == ("hello\n", "problem\n", 7)
    bundle.assert_nothing_left()


def test_life_cycle_and_exec(bundle):
    bundle.config["process"]["args"] = ["/bin/sleep", "100"]
    bundle.write()
    for words in (["create", "--bundle", str(bundle.path), bundle.name], ["start", bundle.name]):
        result = bundle.labrun(*words, stdin=subprocess.DEVNULL)
        assert (result.returncode, result.stderr) == (0, "")
    assert json.loads(bundle.labrun("state", bundle.name).stdout)["status"] == "running"
    inside = bundle.labrun(
        "exec", "--env", "A=b", "--user", "1000:1001", bundle.name, "/bin/sh", "-c", "id -u; echo $A"
    )
    assert (inside.stdout.split(), inside.returncode) == (["1000", "b"], 0)
    assert bundle.labrun("exec", bundle.name, "/bin/missing").returncode != 0
    assert bundle.labrun("delete", bundle.name).returncode == 1
    assert bundle.labrun("delete", "--force", bundle.name).returncode == 0
    bundle.assert_nothing_left()


def test_limits_seccomp_capabilities_and_namespaces(bundle):
    bundle.config["linux"]["resources"]["pids"] = {"limit": 17}
    bundle.config["process"]["user"] = {"uid": 1000, "gid": 1001, "additionalGids": [2000], "umask": 0o77}
    seen = bundle.shell(
        "cat /proc/self/status; umask; cat /sys/fs/cgroup/pids/pids.max 2>/dev/null || cat /sys/fs/cgroup/pids.max"
    )
    status = dict(line.split(":\t", 1) for line in seen.splitlines() if ":\t" in line)
    assert (status["Seccomp"], status["NoNewPrivs"], status["CapEff"]) == ("2", "1", "0" * 16)
    assert status["Uid"].split() == ["1000"] * 4
    assert seen.split()[-2:] == ["0077", "17"]
    bundle.assert_nothing_left()


def test_user_namespace_hooks_and_a_terminal_less_listener(bundle):
    linux = bundle.config["linux"]
    linux["namespaces"].append({"type": "user"})
    linux["uidMappings"] = linux["gidMappings"] = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    hook = {"path": "/bin/sh", "args": ["sh", "-c", "cat >/dev/null"], "timeout": 20}
    bundle.config["hooks"] = {kind: [hook] for kind in ("createRuntime", "startContainer", "poststop")}
    for folder in [bundle.path, *bundle.path.parents]:
        if folder != Path("/tmp") and str(folder).startswith("/tmp/"):
            folder.chmod(0o755)
    assert bundle.shell("id -u; cat /proc/self/uid_map").split() == ["0", "0", "100000", "65536"]
    bundle.assert_nothing_left()


@pytest.mark.parametrize("program", ["/bin/missing", "/etc/passwd"])
def test_an_error_is_one_line(bundle, program):
    result = bundle.run(program)
    assert result.returncode != 0
    assert len(result.stderr.splitlines()) == 1
    assert program in result.stderr
    bundle.assert_nothing_left()


def test_in_process_and_under_a_monitor(bundle):
    """What the modules call, without a command."""
    bundle.config["process"]["args"] = ["/bin/sh", "-c", "echo logged; exit 5"]
    bundle.write()
    log = bundle.path / "log"
    monitor.Start(bundle.name, str(bundle.path), str(bundle.state), str(log), True, True).finish()
    made = container.Container(bundle.name, str(bundle.state))
    made.stop(10)
    assert made.exit_code() == 5
    assert log.read_text().endswith(" stdout F logged\n")
    made.delete()
    bundle.assert_nothing_left()
