# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a lab has on its host: everything of it is known by a mark, so that others may use the host meanwhile."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path


def lines_of(*command):
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False).stdout.splitlines()


def mounts():
    return Path("/proc/self/mountinfo").read_text().splitlines()


def namespaces_in_use():
    """The network namespaces that a process is in, or a mount keeps."""
    found = set()
    for link in Path("/proc").glob("[0-9]*/ns/net"):
        try:
            found.add(os.readlink(link))
        except OSError:
            pass  # it has ended
    return found | {line.split()[3] for line in mounts() if " - nsfs " in line}


class Traces:
    """Of the lab, when this is made; left() is what is still there later."""

    def __init__(self, lab):
        self.marks = [*lab.names, f"lr-{lab.network}", f'"{lab.network}"', str(lab.data), str(lab.root)]
        self.mounts = self._marked(mounts())
        self.cgroups = self._cgroups()
        self.rules = set(self._rules())
        self.processes = {pid for group in self.cgroups for pid in _members(group)} | self._monitors()
        self.namespaces = {os.readlink(f"/proc/{pid}/ns/net") for pid in self.processes} - {
            os.readlink("/proc/self/ns/net")
        }
        self.links = self._links(lab)
        self.files = sorted(path.name for path in lab.root.glob("*")) if lab.root.exists() else []
        self.lab = lab

    def _marked(self, lines):
        return {line for line in lines if any(mark in line for mark in self.marks)}

    def _cgroups(self):
        wanted = {f"labrun-{name}" for name in self.marks[:5]}
        return {
            f"{folder}/{name}" for folder, names, _files in os.walk("/sys/fs/cgroup") for name in wanted & set(names)
        }

    def _rules(self):
        for table in ("filter", "nat"):
            rules = lines_of("iptables", "-t", table, "-S")
            chains = {line.split()[-1] for line in self._marked(rules) if line.split()[-1].startswith("CNI-")}
            for line in rules:
                if line in self._marked([line]) or chains & set(line.split()):
                    yield f"{table} {line}"

    def _monitors(self):
        """Monitors have let go of all but their container's state."""
        found = set()
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                if self._marked([path.read_bytes().replace(b"\0", b" ").decode(errors="replace")]):
                    found.add(int(path.parent.name))
            except OSError:
                pass
        return found - {os.getpid()}

    def _links(self, lab):
        links = lines_of("ip", "-o", "link", "show")
        bridge = f"lr-{lab.network}"
        return {
            line.split()[1].split("@")[0].rstrip(":")
            for line in links
            if f" {bridge}: " in line or f"master {bridge} " in line
        }

    def left(self, patience_s=10):
        """What of it is there now, by kind; empty when nothing is.

        A monitor may end some time after its container, and the kernel clears up after a process in its own time.
        """
        deadline = time.monotonic() + patience_s
        while True:
            found = self._left()
            if not found or set(found) - {"processes", "namespaces", "links"} or time.monotonic() > deadline:
                return {kind: [_described(kind, thing) for thing in things] for kind, things in found.items()}
            time.sleep(0.1)

    def _left(self):
        now = Traces(self.lab)
        links = {line.split()[1].split("@")[0].rstrip(":") for line in lines_of("ip", "-o", "link", "show")}
        found = {
            "mounts": now.mounts,
            "cgroups": now.cgroups,
            "rules": now.rules | (self.rules & set(now._rules())),
            "processes": {pid for pid in self.processes if Path(f"/proc/{pid}").exists()} | now.processes,
            "namespaces": self.namespaces & namespaces_in_use(),
            "links": self.links & links | now.links,
            "state": {name for name in now.files if not name.startswith("@seccomp")},
        }
        return {kind: things for kind, things in found.items() if things}


def _members(group):
    for folder, _names, _files in os.walk(group):
        try:
            yield from (int(word) for word in Path(folder, "cgroup.procs").read_text().split())
        except OSError:
            pass  # it is gone


def _described(kind, thing):
    if kind != "processes":
        return thing
    try:
        return thing, Path(f"/proc/{thing}/cmdline").read_bytes()
    except OSError:
        return thing, b"ended meanwhile"
