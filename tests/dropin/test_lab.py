# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The room itself: what is left in it is seen, and it does not meet the host."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from lab import Lab


def test_leftovers_are_seen():
    """The positive control of the check that runs after every test."""
    room = Lab()
    try:
        clean = room.footprint()
        assert room.footprint() == clean
        room.daemon("sleep", "4323", log=os.devnull)
        room.run("mount", "-t", "tmpfs", "left", "/run/lab/home")
        room.run("mkdir", "-p", "/run/labrun/left", "/run/containerd/s/left")
        groups = [path for path in Path("/sys/fs/cgroup").glob("*/cgroup.procs")] or [
            Path("/sys/fs/cgroup/cgroup.procs")
        ]
        (groups[0].parent / room.cgroup / "left").mkdir(parents=True)
        found = "\n".join(sorted(room.footprint() - clean))
        for part in ("sleep 4323", "mount /run/lab/home", "/run/labrun/left", "/run/containerd/s/left", "/left\nfile"):
            assert part in found
        assert not Path("/run/lab").exists()
    finally:
        room.close()
    assert not room.cgroups()
    assert room.process.poll() is not None


def test_no_part_of_it_meets_the_host(lab):
    assert lab.run("ls", "/run/lab").returncode == 0
    assert not Path("/run/lab").exists()
    assert lab.run("ls", "/sys/class/net").returncode == 0
    shown = lab.run("ip", "-o", "link").stdout
    assert "lo:" in shown
    others = {name for _index, name in socket.if_nameindex()} - {"lo"}
    assert not any(f" {name}:" in shown for name in others if not name.startswith("docker"))
