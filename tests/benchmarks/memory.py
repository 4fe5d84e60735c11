# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a process that only waits holds: private bytes and PSS, by the kernel's own count (proc(5), smaps_rollup)."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

from ansible_collections.ocilab.hosts.plugins.module_utils.labrun import container

AIM_KIB = 3482  # a shim's 3.4 MiB PSS


def of_process(pid: int) -> dict[str, int]:
    """{"private": KiB that nobody shares, "pss": KiB with its part of what is shared}."""
    found = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, value = line.split()[:2]
        found[name] = int(value)
    return {"private": found["Private_Clean:"] + found["Private_Dirty:"], "pss": found["Pss:"]}


def waiting_init(labrun: str, root: Path, bundle: Path) -> dict[str, int]:
    """Of the init process of a container that `labrun create` has made, whose creator has ended."""
    name = "bench-waiting"
    subprocess.run([labrun, "--root", root, "create", "--bundle", bundle, name], check=True, stdin=subprocess.DEVNULL)
    made = container.Container(name, str(root))
    time.sleep(0.5)  # until it does nothing but wait
    try:
        return of_process(made.pid)
    finally:
        made.delete(force=True)
