# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long the playbook provision takes for two bare lab hosts, against apt-get with the same packages on both at once.

As root, four minutes: .venv/bin/python tests/benchmarks/provision.py
The bar: 1.3 of apt's time, plus 60 s.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "tests" / "lab"))

import lab_hosts
from ansible_collections.ocilab.hosts.plugins.module_utils.labrun import command
from ansible_collections.ocilab.hosts.plugins.module_utils.machines import image

RELEASES = ("bookworm", "trixie")
INSTALL = "apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends %s"


def bare(lab, folder):
    """Two lab hosts as they are made; (their names, the inventory)."""
    lab.bring(state="absent")
    names = lab.names[:2]
    known = {name: lab.bring([name], release=release)[0]["vars"] for name, release in zip(names, RELEASES)}
    inventory = folder / "inventory.json"
    inventory.write_text(json.dumps({"all": {"hosts": known}}))
    return names, str(inventory)


def playbook(name, inventory):
    words = [sys.executable, "-m", "ansible", "playbook", "-i", inventory, name]
    begun = time.monotonic()
    result = subprocess.run(words, env=lab_hosts.ANSIBLE, capture_output=True, text=True, timeout=900, check=False)
    assert result.returncode == 0, result.stdout[-4000:] + result.stderr
    return time.monotonic() - begun


def measure(lab, folder):
    """(seconds of provision, of its second run, of apt-get)."""
    names, inventory = bare(lab, folder)
    first, second = (playbook("ocilab.hosts.provision", inventory) for _time in range(2))
    ledgers = [json.loads(lab.shell(name, "cat /var/lib/ocilab.hosts/packages.json")) for name in names]
    wanted = [sorted({package for each in ledger["owners"].values() for package in each}) for ledger in ledgers]
    names, inventory = bare(lab, folder)
    threads = [
        threading.Thread(target=lab.shell, args=(name, f"({INSTALL % ' '.join(packages)}) >/dev/null 2>&1", 900))
        for name, packages in zip(names, wanted)
    ]
    begun = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return first, second, time.monotonic() - begun


def main():
    with tempfile.TemporaryDirectory(prefix="bench-provision-", dir="/var/tmp") as text:
        folder = Path(text)
        command.write_executable(str(folder / "labrun"), "/usr/bin/python3")
        lab = lab_hosts.Lab(folder, folder / "labrun")
        kept = Path(image.default_cache()).parent / "lab"
        for path in (kept, lab.data / "lab"):
            path.mkdir(parents=True, exist_ok=True)
        (lab.data / "lab" / "@base").symlink_to(kept)
        try:
            first, second, apt = measure(lab, folder)
        finally:
            lab.bring(state="absent")
    limit = 1.3 * apt + 60
    print(f"apt-get {apt:.1f} s, provision {first:.1f} s (bar {limit:.1f} s), its second run {second:.1f} s")
    print(f"load of the last minutes: {os.getloadavg()}")
    return 0 if first <= limit else 1


if __name__ == "__main__":
    sys.exit(main())
