# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""labrun_exec, and what labrun_container_info tells of a container that a module has started: its log, its use."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from test_modules import module

pytestmark = pytest.mark.root


@pytest.fixture
def started(bundle, tmp_path):
    """A container with a monitor; the arguments that name it."""
    bundle.config["root"]["readonly"] = False
    count = "i=0; while [ $i -lt 300 ]; do echo line $i; i=$((i+1)); done"
    script = f"echo first; echo problem >&2; {count}; exec sleep 1000"
    bundle.config["process"]["args"] = ["/bin/sh", "-c", script]
    bundle.write()
    places = {"root": str(tmp_path / "places"), "data_root": str(tmp_path / "data")}
    made = module("labrun_container", name=bundle.name, bundle=str(bundle.path), **places)
    assert not made["failed"], made
    yield {"name": bundle.name, "root": places["root"]}
    module("labrun_container", name=bundle.name, state="absent", stop_timeout=0, **places)


def test_a_command_with_all_that_it_is_given(started):
    script = "echo $0 $1 $GREETING; id; pwd; cat; echo problem >&2"
    wanted = {"command": ["/bin/sh", "-c", script, "zero", "a b;id"], "env": {"GREETING": "hello"}, "user": "student"}
    done = module("labrun_exec", working_dir="/tmp", stdin="  given\n\n", **wanted, **started)
    assert done["changed"] is True and done["rc"] == 0
    lines = ["zero a b;id hello", "uid=1000(student) gid=1001 groups=2000(lab)", "/tmp", "  given"]
    assert done["stdout"].split("\n") == lines
    assert done["stderr"] == "problem"


def test_four_steps_with_creates_and_removes(started, bundle):
    made = bundle.path / "rootfs" / "tmp" / "made"
    wanted = {"command": ["/bin/sh", "-c", "echo x > /tmp/made"], "creates": "/tmp/made", **started}
    assert module("labrun_exec", check=True, **wanted)["changed"] is True
    assert not made.exists()
    assert module("labrun_exec", **wanted)["changed"] is True
    assert made.read_text() == "x\n"
    again = module("labrun_exec", **wanted)
    assert again["changed"] is False and "rc" not in again
    assert module("labrun_exec", check=True, **wanted)["changed"] is False
    removal = {"command": ["/bin/busybox", "rm", "/tmp/made"], "removes": "/tmp/made", **started}
    assert module("labrun_exec", check=True, **removal)["changed"] is True
    assert made.exists()
    assert module("labrun_exec", **removal)["changed"] is True
    assert not made.exists()
    assert module("labrun_exec", **removal)["changed"] is False
    assert module("labrun_exec", check=True, **removal)["changed"] is False


def test_creates_follows_links_inside_the_container_only(started, bundle, tmp_path):
    (tmp_path / "outside").write_text("x")
    (bundle.path / "rootfs" / "tmp" / "link").symlink_to(tmp_path / "outside")
    wanted = {"command": ["/bin/true"], "creates": "/tmp/link", **started}
    assert module("labrun_exec", **wanted)["changed"] is True
    (bundle.path / "rootfs" / "tmp" / "control").symlink_to("/etc/passwd")
    assert module("labrun_exec", **dict(wanted, creates="/tmp/control"))["changed"] is False


def test_check_mode_skips_what_it_cannot_know(started):
    skipped = module("labrun_exec", check=True, command=["/bin/false"], **started)
    assert skipped["changed"] is False and skipped["skipped"] is True


def test_failures(started):
    failed = module("labrun_exec", command=["/bin/sh", "-c", "echo why; kill -9 $$"], **started)
    assert failed["failed"] is True and failed["rc"] == 137 and failed["stdout"] == "why"
    begun = time.monotonic()
    killed = module("labrun_exec", command=["/bin/sleep", "300"], timeout=0.5, **started)
    assert "took longer than 0.5 s" in killed["msg"] and time.monotonic() - begun < 60
    for arguments, message in (
        ({"command": ["/none"]}, "no such file or directory in the container"),
        ({"command": ["/bin/true"], "user": "nobody-of-it"}, "not in the /etc/passwd of container"),
        ({"command": ["/bin/true"], "name": "none"}, "does not exist in"),
    ):
        result = module("labrun_exec", **dict(started, **arguments))
        assert result["failed"] is True and message in result["msg"] and len(result["msg"].splitlines()) == 1


def test_a_detached_command_outlives_the_module(started):
    done = module("labrun_exec", command=["/bin/sleep", "4321"], detach=True, **started)
    assert b"4321" in Path(f"/proc/{done['pid']}/cmdline").read_bytes()


def test_info_has_the_log_and_the_use(started):
    deadline = time.monotonic() + 20
    logs: list = []
    while len(logs) < 302 and time.monotonic() < deadline:
        (told,) = module("labrun_container_info", log_lines=1000, **started)["containers"]
        logs = told["logs"]
    assert "stats" not in told
    streams = {name: [line["text"] for line in logs if line["stream"] == name] for name in ("stdout", "stderr")}
    assert streams == {"stdout": ["first", *(f"line {n}" for n in range(300))], "stderr": ["problem"]}
    (told,) = module("labrun_container_info", log_lines=3, stats=True, **started)["containers"]
    assert told["logs"] == logs[-3:]
    assert told["stats"]["pids"]["current"] == 1 and told["stats"]["memory"]["usage"]["usage"] > 0
    assert told["networks"] == [] and told["ports"] == [] and told["labels"] == {} and told["image"] == ""
    (told,) = module("labrun_container_info", **started)["containers"]
    assert "logs" not in told
