# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Podman of a normal user: the runtime is run as root of Podman's user namespace, without any privilege outside."""

from __future__ import annotations

import pytest
from lab import CGROUPS

BOX = "localhost/box:1"
USUAL = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024")
HOLD = ("sh", "-c", 'trap "exit 5" TERM; echo started; while :; do sleep 0.05; done')


@pytest.fixture
def run(rootless):
    def call(*words, code=0, **keywords):
        return rootless("run", "--rm", *USUAL, *words, code=code, **keywords)

    return call


def test_run(run, rootless, runtime):
    assert run(BOX, "sh", "-c", "id -u; exit 7", code=7) == "0\n"
    assert run("-i", BOX, "cat", data="typed\n") == "typed\n"
    assert run(BOX, "cat", "/proc/self/uid_map").split()[:3] == ["0", str(rootless.user), "1"]
    assert rootless("info", "--format", "{{.Host.Security.Rootless}}") == "true\n"
    assert rootless("info", "--format", "{{.Host.OCIRuntime.Path}}").strip() == runtime
    assert run("--user", "1000", BOX, "id", "-u") == "1000\n"
    run("--network", "host", BOX, "true")


def test_a_program_that_cannot_be_run(rootless):
    for program, code in (("/nonexistent", 127), ("nonexistent", 127), ("/etc/passwd", 126)):
        rootless.fails("run", "--rm", *USUAL, BOX, program, code=code)


def test_user_namespaces(run, rootless):
    assert run("--userns", "keep-id", BOX, "id", "-u") == f"{rootless.user}\n"
    assert run("--userns", "nomap", BOX, "id", "-u") == "0\n"


def test_exec_logs_stop(rootless):
    rootless("run", "--detach", "--name", "one", *USUAL, BOX, *HOLD)
    try:
        rootless.until("started", "logs", "one")
        assert rootless("exec", "-u", "1000:1001", "-w", "/tmp", "one", "sh", "-c", "id -u; pwd") == "1000\n/tmp\n"
        rootless("exec", "one", "sh", "-c", "exit 3", code=3)
        script = "tty; echo ready; read line; echo got $line; exit 4"
        output, code = rootless.terminal("exec", "-it", "one", "sh", "-c", script, typed="word\n")
        assert code == 4, output
        assert "got word" in output
        rootless("stop", "--time", "5", "one")
        assert rootless("inspect", "--format", "{{.State.ExitCode}}", "one") == "5\n"
    finally:
        rootless("rm", "--force", "--time", "0", "one")


def test_terminal(rootless):
    script = "tty; echo ready; read line; echo got $line; exit 9"
    output, code = rootless.terminal("run", "--rm", *USUAL, "-it", BOX, "sh", "-c", script, typed="word\n")
    assert code == 9, output
    assert "got word" in output


def test_file_systems(run, rootless, lab):
    folder = lab.path(f"/run/lab/{rootless.user}/shared")
    folder.mkdir(exist_ok=True)
    (folder / "file").write_text("of the user\n")
    inside = f"/run/lab/{rootless.user}/shared"
    assert run("-v", f"{inside}:/mnt:ro", BOX, "cat", "/mnt/file") == "of the user\n"
    run("-v", f"{inside}:/mnt:ro", BOX, "touch", "/mnt/new", code=1)
    run("--read-only", "--tmpfs", "/t:size=1m", BOX, "touch", "/t/new")
    assert "null" in run(BOX, "sh", "-c", "echo x >/dev/null && ls /dev/null")


def test_no_cgroup_without_delegation(run, rootless):
    if (CGROUPS / "cgroup.controllers").exists():
        pytest.skip("on a host with cgroup v2 alone a user may have a delegated cgroup")
    own = rootless.lab.run("cat", "/proc/self/cgroup", user=rootless.user).stdout
    assert run(BOX, "cat", "/proc/self/cgroup") == own


def test_pod(rootless):
    rootless("pod", "create", "--name", "pod", "--network", "none", "--infra-image", BOX)
    try:
        rootless("run", "--detach", *USUAL, "--pod", "pod", "--name", "member", BOX, *HOLD)
        own = rootless("exec", "member", "readlink", "/proc/self/ns/net")
        assert rootless("run", "--rm", *USUAL, "--pod", "pod", BOX, "readlink", "/proc/self/ns/net") == own
    finally:
        rootless("pod", "rm", "--force", "--time", "0", "pod")
