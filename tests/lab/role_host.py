# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A lab host, and the roles of engines run there."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

from lab_hosts import ANSIBLE

SNAPSHOT = Path(__file__).resolve().parents[2] / "molecule" / "shared" / "snapshot.sh"


class RoleHost:
    """folder: for what the controller is to read."""

    def __init__(self, lab, name, release, folder):
        self.lab = lab
        self.name = name
        self.folder = folder
        self.inventory = folder / "inventory.json"
        known = dict(lab.bring([name], release=release)[0]["vars"])
        self.inventory.write_text(json.dumps({"all": {"hosts": {name: known}}}))

    def shell(self, script, timeout=120):
        return self.lab.shell(self.name, script, timeout)

    def role(self, role, check=False, entry="main", **variables):
        """Run an entry point; (failed, how many tasks changed, output). Variables lack the role's prefix."""
        given = {f"{role}_{key}": value for key, value in variables.items()}
        task = {"ansible.builtin.include_role": {"name": f"ocilab.hosts.{role}", "tasks_from": entry}}
        playbook = self.folder / "play.yml"
        playbook.write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": [task]}]))
        words = [sys.executable, "-m", "ansible", "playbook", "-i", str(self.inventory), str(playbook)]
        words += ["-e", json.dumps(given)] + (["--check"] if check else [])
        done = subprocess.run(words, env=ANSIBLE, capture_output=True, text=True, timeout=600, check=False)
        found = re.search(r"changed=(\d+)", done.stdout)
        return done.returncode != 0, int(found.group(1)) if found else -1, done.stdout + done.stderr

    def snapshot(self):
        return self.shell(SNAPSHOT.read_text()).splitlines()

    def pid(self, unit):
        return int(self.shell(f"systemctl show --value --property MainPID {unit}"))
