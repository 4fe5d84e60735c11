# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""F08: 300 MiB of output through the monitor, exactly and in bounded memory. F15: the monitor is killed."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import leaks
import pytest
from ansible_collections.ocilab.hosts.plugins.module_utils.labrun.container import Container
from waiting import wait_for

pytestmark = pytest.mark.root

MIB = 1 << 20
# A process of its own, as a module is one: the monitor begins as its copy.
_START = """
import json, sys
from ansible_collections.ocilab.hosts.plugins.module_utils.labrun import monitor
print(json.dumps(monitor.Start(*sys.argv[1:5], True, False).finish()["warnings"]))
"""


class Monitored:
    """A container under a monitor."""

    def __init__(self, victim):
        self.victim = victim
        self.log = victim.path / "logs" / "log"
        victim.bundle.write()
        arguments = [victim.name, str(victim.path), str(victim.bundle.state), str(self.log)]
        result = subprocess.run(
            [sys.executable, "-c", _START, *arguments],
            env=victim.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert result.returncode == 0, result.stderr
        assert json.loads(result.stdout) == []
        self.container = Container(victim.name, str(victim.bundle.state))
        self.pid = next(pid for pid in leaks.processes(victim.token) if self.name_of(pid) == "labrun-monitor")

    @staticmethod
    def name_of(pid):
        try:
            return Path(f"/proc/{pid}/comm").read_text().strip()
        except OSError:
            return ""

    def peak_kib(self):
        """The monitor's peak resident set in KiB; 0 when it has ended."""
        try:
            status = Path(f"/proc/{self.pid}/status").read_text()
        except OSError:
            return 0
        return int(status.partition("VmHWM:")[2].split()[0]) if "VmHWM:" in status else 0


def read_log(path):
    """(digest, number of bytes) of what the log's lines of standard output carry, and whether its form is the CRI's."""
    digest, size = hashlib.sha256(), 0
    with open(path, "rb") as file:
        for line in file:
            _time, stream, kind, text = line[:-1].split(b" ", 3)
            assert (stream, line[-1:]) == (b"stdout", b"\n")
            assert kind in (b"F", b"P")
            text += b"\n" if kind == b"F" else b""
            assert len(text) <= 16385
            digest.update(text)
            size += len(text)
    return digest.hexdigest(), size


LINE = b"0123456789abcdefghijklmnopqrstuvwxyz" * 28 + b"\n"  # 1009 bytes
# name: (the container's shell script, how often the piece, the piece)
OUTPUTS = {
    "300 MiB in lines": (LINE, 300 * MIB // len(LINE)),
    "64 MiB without a line's end": (LINE[:-1], 64 * MIB // len(LINE)),
    "half a million empty lines": (b"\n", 500000),
}


@pytest.mark.parametrize("output", list(OUTPUTS))
def test_f08_output_is_logged_exactly_and_in_bounded_memory(victim, output):
    piece, count = OUTPUTS[output]
    (victim.rootfs / "piece").write_bytes(piece * 1000)
    (victim.rootfs / "rest").write_bytes(piece * (count % 1000))
    loop = f"i=0; while [ $i -lt {count // 1000} ]; do cat /piece; i=$((i+1)); done; cat /rest; exit 9"
    victim.shell("while [ ! -e /go ]; do sleep 0.02; done; " + loop)
    victim.config["process"]["args"][0] = "/bin/sh"
    monitored = Monitored(victim)
    at_rest = monitored.peak_kib()
    assert at_rest > 0
    (victim.rootfs / "go").touch()
    peaks = [at_rest]
    assert wait_for(lambda: not peaks.append(monitored.peak_kib()) and peaks[-1] == 0, 120)
    print(f"F08 {output}: peak {at_rest} KiB at rest, {max(peaks)} KiB under load")
    assert max(peaks) - at_rest < 8 * 1024
    expected = hashlib.sha256()
    for _index in range(count // 1000):
        expected.update(piece * 1000)
    expected.update(piece * (count % 1000))
    assert read_log(monitored.log) == (expected.hexdigest(), len(piece) * count)
    assert monitored.container.exit_code() == 9
    victim.must("delete", victim.name)
    assert victim.left() == []


@pytest.mark.parametrize("ending", ["stop", "kill and delete", "delete --force"])
def test_f15_a_container_whose_monitor_was_killed_can_be_stopped_and_deleted(victim, ending):
    victim.shell("trap 'exit 0' TERM; while :; do sleep 0.1; done")
    monitored = Monitored(victim)
    os.kill(monitored.pid, signal.SIGKILL)
    assert wait_for(lambda: monitored.peak_kib() == 0)
    assert victim.status() == "running"
    assert victim.must("exec", victim.name, "/bin/echo", "alive").stdout == "alive\n"
    if ending == "stop":
        monitored.container.stop(5)
        assert victim.status() == "stopped"
        assert monitored.container.exit_code() is None  # nobody saw it
        monitored.container.delete()
    elif ending == "delete --force":
        victim.must("delete", "--force", victim.name)
    else:
        victim.must("kill", victim.name, "KILL")
        assert wait_for(lambda: victim.status() == "stopped")
        victim.must("delete", victim.name)
    assert victim.left() == []
    again = Monitored(victim)  # the name is free again
    assert wait_for(lambda: victim.status() == "running")
    again.container.stop(5)
    assert again.container.exit_code() == 0
    again.container.delete()
    assert victim.left() == []


def test_f15_a_monitor_killed_before_the_start_leaves_a_container_that_can_be_deleted(victim):
    victim.config["process"]["args"] = ["/bin/sleep", "1000"]
    victim.bundle.write()
    script = _START.replace("True, False", "False, False")
    arguments = [victim.name, str(victim.path), str(victim.bundle.state), str(victim.path / "logs" / "log")]
    subprocess.run(
        [sys.executable, "-c", script, *arguments],
        env=victim.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        timeout=60,
        check=True,
    )
    monitor = next(pid for pid in leaks.processes(victim.token) if Monitored.name_of(pid) == "labrun-monitor")
    assert victim.status() == "created"
    os.kill(monitor, signal.SIGKILL)
    victim.must("delete", "--force", victim.name)
    assert victim.left() == []
