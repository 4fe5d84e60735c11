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


def networks(wanted):
    """Those of the network namespaces ('net:[inode]') that still belong to a process or to a mount."""
    seen = set()
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                seen.add(os.readlink(f"/proc/{name}/ns/net"))
            except OSError:
                continue
    table = Path("/proc/self/mountinfo").read_text()
    return [network for network in wanted if network in seen or f" {network} " in table]


def find(name, token, paths, state, wanted_networks=(), grace_s=3.0):
    """A line for each kind of remains; []: nothing. Orphans that are just ending get grace_s seconds to do so."""
    deadline = time.monotonic() + grace_s
    while True:
        found = {
            "processes": processes(token),
            "cgroups": cgroups(name),
            "mounts": mounts(name, *paths),
            "networks": networks(wanted_networks),
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
