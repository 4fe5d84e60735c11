# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""F01: SIGKILL at each call of a command that changes state, before and after it; `delete --force` leaves nothing.

The points are those that a run without a kill meets (tracer.py), never a list written by hand. Every fifth is killed
at, from an offset that changes each day: FAULTS_OFFSET sets it, FAULTS=all takes every point.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from pathlib import Path

import leaks
import pytest
import tracer

pytestmark = pytest.mark.root
STEP = 5


class Harness:
    """A bundle, a runtime's command line for it, and a token in the environment of all that comes of it."""

    def __init__(self, bundle, command, tag):
        self.bundle = bundle
        self.name = f"{bundle.name}-{tag}"
        self.token = f"FAULTS_{os.getpid()}_{tag}"
        self.environment = {"PATH": os.environ["PATH"], self.token: "1"}
        self.state = bundle.path / "state"
        self.command = [str(word) for word in command] + ["--root", str(self.state)]
        self.output = str(bundle.path / "output")
        bundle.config["process"]["args"] = ["/bin/sleep", "1000"]
        bundle.config["process"]["env"].append(self.token + "=1")
        bundle.config["linux"]["cgroupsPath"] = "/" + self.name
        bundle.config["linux"]["resources"].update(pids={"limit": 100}, cpu={"shares": 512})
        bundle.write()

    def words(self, name):
        bundle = ["--bundle", str(self.bundle.path)]
        return (
            self.command
            + {
                "create": ["create", *bundle, self.name],
                "run": ["run", *bundle, self.name],
                "start": ["start", self.name],
                "exec": ["exec", self.name, "/bin/true"],
                "delete": ["delete", "--force", self.name],
            }[name]
        )

    def do(self, name):
        return tracer.run(self.words(name), self.environment, output=self.output)

    def must(self, name):
        """Run one command without a kill and without the tracer's costs; it must succeed."""
        assert self.plain(name) == 0, f"{name}: {self.said()}"

    def plain(self, name):
        output = os.open(self.output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        words = self.words(name)
        pid = os.posix_spawn(
            words[0], words, self.environment, file_actions=[(os.POSIX_SPAWN_DUP2, output, fd) for fd in (1, 2)]
        )
        os.close(output)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def prepare(self, command):
        """What stands before the command; before the first of all there is no folder for states either."""
        if not BEFORE[command] and self.state.exists():
            assert not (self.state / self.name).exists()
            shutil.rmtree(self.state)
        for name in BEFORE[command]:
            self.must(name)

    def said(self):
        with open(self.output) as file:
            return file.read()[-600:]

    def left(self, networks=(), moment=0, grace_s=3.0):
        return leaks.find(self.name, self.token, [str(self.bundle.path)], self.state, networks, moment, grace_s)


def enrich(bundle):
    """What a plain container has no calls for: id maps, hooks, limits of memory, a sysctl, a bind mount."""
    linux = bundle.config["linux"]
    linux["namespaces"].append({"type": "user"})
    linux["uidMappings"] = linux["gidMappings"] = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    linux["sysctl"] = {"net.ipv4.ip_forward": "0"}
    linux["resources"]["memory"] = {"limit": 1 << 26}
    hook = {"path": "/bin/sh", "args": ["sh", "-c", "cat >/dev/null"], "timeout": 20}
    kinds = ("createRuntime", "createContainer", "startContainer", "poststop")
    bundle.config["hooks"] = {kind: [hook] for kind in kinds}
    for folder in ("shared", "rootfs/shared"):
        (bundle.path / folder).mkdir()
    shared = {"destination": "/shared", "type": "bind", "source": str(bundle.path / "shared")}
    bundle.config["mounts"].append(dict(shared, options=["rbind", "ro"]))


@pytest.fixture
def elsewhere(bundle, rootfs):
    """A bundle that a mapped root can reach: the folders of pytest are root's own, whenever another pytest starts."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield type(bundle)(Path(folder), rootfs, bundle.labrun_path)


# What stands before the command that is killed, and how many points of it must at least have been found: a trace
# that saw less saw nothing. The program of `run` ends at once.
BEFORE = {"create": [], "start": ["create"], "exec": ["create", "start"], "delete": ["create", "start"], "run": []}
AT_LEAST = {"create": 60, "start": 2, "exec": 10, "delete": 8, "run": 60}


def kills(points):
    """(point, when, victim): before and after each call; a child's calls are the runtime's last moment too."""
    for point in points:
        for when in ("before", "after"):
            yield point, when, "caller"
            if point.process:
                yield point, when, "runtime"


def chosen(cases, step):
    """Every fifth in CI, all by hand; of the second kind of container fewer."""
    if os.environ.get("FAULTS") == "all":
        return list(cases), "all"
    offset = int(os.environ.get("FAULTS_OFFSET", time.time() // 86400)) % step
    return list(cases)[offset::step], f"every {step}th from {offset}, FAULTS_OFFSET={offset}"


def kill_at(harness, command, point, when, victim):
    """One kill and its aftermath; a line that tells what was left or refused, or an empty one."""
    harness.prepare(command)
    result = tracer.run(harness.words(command), harness.environment, point, when, victim, harness.output)
    moment = leaks.now()
    if not result.killed:
        return "was not met again"
    for attempt in ("first", "second"):
        if harness.plain("delete") != 0:
            return f"the {attempt} delete --force fails: {harness.said()}"
    left = harness.left(result.networks, moment)
    if left:
        return "; ".join(left)
    for name in ("create", "delete"):
        if harness.plain(name) != 0:
            return f"a new {name} fails: {harness.said()}"
    return ""


@pytest.mark.parametrize(
    ("command", "rich"), [*((command, False) for command in BEFORE), *((name, True) for name in ("run", "delete"))]
)
def test_f01_a_kill_at_any_call_leaves_nothing_after_delete_force(bundle, elsewhere, command, rich):
    if rich:
        bundle = elsewhere
    harness = Harness(bundle, [bundle.labrun_path], command)
    if command == "run":
        bundle.config["process"]["args"] = ["/bin/true"]
    if rich:
        enrich(bundle)
    bundle.write()
    harness.prepare(command)
    traced = harness.do(command)
    assert traced.code == 0, harness.said()
    points = traced.points
    assert len(points) >= AT_LEAST[command], harness.said()
    assert {point.process for point in points} >= ({0, 1} if command in ("create", "run", "exec") else {0})
    harness.must("delete")
    assert harness.left() == []
    every = list(kills(points))
    cases, selection = chosen(every, STEP * (4 if rich else 1))
    title = f"F01 {command}{', rich' if rich else ''}"
    print(f"{title}: {len(points)} calls, {len(cases)} of {len(every)} kills ({selection})")
    failures = []
    try:
        for point, when, victim in cases:
            said = kill_at(harness, command, point, when, victim)
            if said:
                failures.append(f"{victim} killed {when} {point}: {said}")
                leaks.clear(harness.name, harness.token)
                shutil.rmtree(harness.state / harness.name, ignore_errors=True)
    finally:
        leaks.clear(harness.name, harness.token)
    assert not failures, f"{len(failures)} of {len(cases)}:\n" + "\n".join(failures)


def test_f01_the_harness_sees_what_runc_leaves(bundle):
    """The known-bad control: runc that is killed before its state is written forgets the cgroups that it made."""
    runc = shutil.which("runc")
    if not runc:
        pytest.skip("runc is not installed")
    harness = Harness(bundle, [runc], "runc")
    bundle.config["ociVersion"] = "1.0.2"
    del bundle.config["linux"]["seccomp"]
    bundle.write()
    try:
        points = [point for point in harness.do("create").points if point.process == 0]
        assert any(point.call in ("mkdir", "mkdirat") for point in points), harness.said()
        assert harness.plain("delete") == 0
        assert harness.left() == []
        leaking = []
        for point in [point for point in points if point.call in ("mkdir", "mkdirat")]:
            tracer.run(harness.words("create"), harness.environment, point, "after", output=harness.output)
            harness.plain("delete")
            left = harness.left(grace_s=0.3)
            leaks.clear(harness.name, harness.token)
            shutil.rmtree(harness.state / harness.name, ignore_errors=True)
            if left:
                leaking.append(f"{point}: {left}")
                if any("cgroups" in line for line in left):
                    break
        print("\n".join(leaking))
        assert any("cgroups" in line for line in leaking), json.dumps([str(point) for point in points])
    finally:
        leaks.clear(harness.name, harness.token)
