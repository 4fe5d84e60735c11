# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a container has left on the host: mounts, cgroups, network namespaces, processes, its state folder."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path


def processes(token):
    """The processes whose environment holds the token: the runtime, its children and what they run carry it."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            try:
                environment = Path(f"/proc/{name}/environ").read_bytes()
            except OSError:
                continue
            if f"{token}=1".encode() in environment.split(b"\0"):
                found.append(int(name))
    return found


def cgroups(name):
    """The cgroup directories of all hierarchies whose name holds the container's."""
    return [
        os.path.join(folder, child)
        for folder, children, _files in os.walk("/sys/fs/cgroup")
        for child in children
        if name in child
    ]


def mounts(*words):
    """The lines of the host's mount table that hold one of the words: the bundle's path, the state's, the name."""
    table = Path("/proc/self/mountinfo").read_text().splitlines()
    return [line for line in table if any(word in line for word in words)]


def now():
    """The time since boot in clock ticks, as /proc/PID/stat counts."""
    return int(time.clock_gettime(time.CLOCK_BOOTTIME) * os.sysconf("SC_CLK_TCK"))


def networks(wanted, moment):
    """Those of the network namespaces ('net:[inode]') that still belong to a mount, or to a process of that moment.

    The kernel gives their numbers again: a process that began after the moment (see now()) has one of its own.
    """
    seen = set()
    for name in os.listdir("/proc") if wanted else ():
        if name.isdigit():
            try:
                network = os.readlink(f"/proc/{name}/ns/net")
                began = int(Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()[19])
            except OSError:
                continue
            if began <= moment:
                seen.add(network)
    table = Path("/proc/self/mountinfo").read_text()
    return [network for network in wanted if network in seen or f" {network} " in table]


def find(name, token, paths, state, wanted_networks=(), moment=0, grace_s=3.0):
    """A line for each kind of remains; []: nothing. Orphans that are just ending get grace_s seconds to do so."""
    deadline = time.monotonic() + grace_s
    while True:
        found = {
            "processes": processes(token),
            "cgroups": cgroups(name),
            "mounts": mounts(name, *paths),
            "networks": networks(wanted_networks, moment),
            "state": [str(path) for path in (Path(state) / name,) if path.exists()],
        }
        lines = [f"{kind}: {left}" for kind, left in found.items() if left]
        if not lines or time.monotonic() > deadline:
            return lines
        time.sleep(0.02)


def clear(name, token):
    """Remove what the known-bad controls leave, so that no test is spoilt by another."""
    for pid in processes(token):
        os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 5
    for path in reversed(cgroups(name)):
        while os.path.isdir(path) and time.monotonic() < deadline:
            try:
                for pid in Path(path, "cgroup.procs").read_text().split():
                    os.kill(int(pid), signal.SIGKILL)
                os.rmdir(path)
            except OSError:
                time.sleep(0.01)
