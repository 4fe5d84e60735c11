# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever is killed, and whenever: the next lab_up mends it, and the next lab_down removes it."""

from __future__ import annotations

import json
import os
import signal
import time

import pytest

pytestmark = pytest.mark.root


def test_a_machine_whose_first_process_was_killed_is_started_again(clean_lab):
    lab = clean_lab
    names = lab.names[:2]
    lab.bring(names)
    lab.shell(names[0], "echo kept >/root/kept")
    other = lab.pid(names[1])
    pidfd = os.pidfd_open(lab.pid(names[0]))
    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    os.close(pidfd)
    wait_until(lambda: lab.status(names[0]) == "stopped")
    mended = lab.bring(names)
    assert [machine["actions"] for machine in mended] == [["start"], []]
    assert lab.shell(names[0], "cat /root/kept; systemctl is-system-running").split() == ["kept", "running"]
    lab.shell(names[1], f"ping -c 1 -W 5 {names[0]}")
    assert lab.pid(names[1]) == other
    traces = lab.traces()
    lab.bring(state="absent")
    assert traces.left() == {}


def test_a_machine_that_shuts_itself_down_is_stopped(clean_lab):
    lab = clean_lab
    (name,) = lab.names[:1]
    lab.bring([name])
    lab.exec(name, "systemctl poweroff")
    wait_until(lambda: lab.status(name) == "stopped")
    assert lab.bring([name])[0]["actions"] == ["start"]


def test_a_machine_without_its_monitor_can_be_removed(clean_lab):
    lab = clean_lab
    (name,) = lab.names[:1]
    lab.bring([name])
    for line in (lab.root / name / "journal").read_text().splitlines():
        entry = json.loads(line)
        if entry["object"] == "monitor":
            os.kill(entry["pid"], signal.SIGKILL)
    assert lab.shell(name, "systemctl is-system-running") == "running\n"
    traces = lab.traces()
    lab.bring(state="absent")
    assert traces.left() == {}


def kill_at(lab, moment_s, **arguments):
    """Begin, and kill what was begun so many seconds after its first word."""
    process = lab.begin(**arguments)
    process.stdout.readline()
    time.sleep(moment_s)
    process.kill()
    process.stdout.close()
    process.wait()


# From the first folder to a booted machine; later moments find it complete, and that is a case, too.
@pytest.mark.parametrize(
    "moment_s", [0.15, 0.6, *[pytest.param(moment, marks=pytest.mark.slow) for moment in (0.0, 0.05, 0.3, 1.2)]]
)
def test_lab_up_killed_in_the_midst_is_mended(clean_lab, moment_s):
    lab = clean_lab
    names = lab.names[:2]
    lab.bring(names[:1], "created")  # the root filesystem is there
    lab.bring(state="absent")
    kill_at(lab, moment_s, name=names, state="started")
    lab.bring(names)
    for name in names:
        assert lab.shell(name, "systemctl is-system-running") == "running\n"
    kill_at(lab, moment_s / 2, name=names, state="absent")
    traces = lab.traces()
    lab.bring(state="absent")
    assert traces.left() == {}
    assert sorted(path.name for path in (lab.data / "lab").iterdir()) == ["@base", "@lock"]


@pytest.mark.parametrize("moment_s", [0.0, 0.2, 0.8])
def test_lab_up_killed_in_the_midst_is_removed(clean_lab, moment_s):
    lab = clean_lab
    names = lab.names[:2]
    kill_at(lab, moment_s, name=names, state="started")
    lab.bring(state="absent")
    assert lab.traces().left() == {}
    assert sorted(path.name for path in (lab.data / "lab").iterdir()) == ["@base", "@lock"]


def test_a_killed_build_of_a_root_filesystem_leaves_nothing(clean_lab, tmp_path):
    lab = clean_lab
    (name,) = lab.names[:1]
    places = dict(lab.places, data_root=str(tmp_path))
    process = lab.begin(**dict(places, name=[name], state="created"))
    for line in process.stdout:
        if "extracting" in line:
            break
    else:
        pytest.fail("the build did not begin")
    process.kill()
    process.stdout.close()
    process.wait()
    left = list((tmp_path / "lab" / "@base").glob(".new-*"))
    assert left
    lab.bring(**dict(places, names=[name], state="absent"))
    assert [path.name for path in (tmp_path / "lab" / "@base").iterdir()] == ["lock"]
    assert sorted(path.name for path in (tmp_path / "lab").iterdir()) == ["@base", "@lock"]
    assert str(tmp_path) not in open("/proc/self/mounts").read()


def wait_until(condition, limit_s=30):
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_another_container_of_the_name_is_left_alone(clean_lab, bundle):
    lab = clean_lab
    (name,) = lab.names[:1]
    bundle.config["process"]["args"] = ["/bin/sleep", "600"]
    bundle.write()
    bundle.state = lab.root  # where the fixture deletes what it has made
    made = bundle.labrun("create", "--bundle", str(bundle.path), name)
    assert made.returncode == 0, made.stderr
    process = lab.begin(name=[name], state="started")
    process.stdout.read()
    assert process.wait() == 1
    lab.bring(state="absent")
    assert '"status": "created"' in bundle.labrun("state", name).stdout
    assert bundle.labrun("delete", "--force", name).returncode == 0
    assert lab.bring([name])[0]["status"] == "running"
