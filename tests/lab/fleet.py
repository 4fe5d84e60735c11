# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A lab host, and the playbooks that act on it."""

from __future__ import annotations

import json
import re
import subprocess
import sys

from lab_hosts import ANSIBLE, REPOSITORY

SNAPSHOT = (REPOSITORY / "molecule" / "shared" / "snapshot.sh").read_text()


class Fleet:
    """One lab host, and the playbooks that act on it."""

    def __init__(self, lab, folder, release, number=0):
        self.lab = lab
        self.name = lab.names[number]
        self.inventory = folder / "inventory.json"
        known = dict(lab.bring([self.name], release=release)[0]["vars"])
        self.inventory.write_text(json.dumps({"all": {"hosts": {self.name: known}}}))

    def shell(self, script, timeout=120):
        return self.lab.shell(self.name, script, timeout)

    def snapshot(self):
        return self.shell(SNAPSHOT).splitlines()

    def playbook(self, name, check=False, **variables):
        """How many tasks have changed something."""
        code, output = self.attempt(name, check, **variables)
        assert code == 0, output[-6000:]
        return int(re.search(r"changed=(\d+)", output[output.index("PLAY RECAP") :]).group(1))

    def attempt(self, name, check=False, **variables):
        """(exit code, output) of a playbook."""
        words = [sys.executable, "-m", "ansible", "playbook", "-i", str(self.inventory), name]
        words += ["-e", json.dumps(variables)] + (["--check"] if check else [])
        environment = dict(ANSIBLE, ANSIBLE_CALLBACK_RESULT_FORMAT="yaml")  # as playbooks/ansible.cfg has it
        result = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=1800, check=False)
        return result.returncode, result.stdout + result.stderr

    def module(self, module, **arguments):
        words = [sys.executable, "-m", "ansible", "adhoc", self.name, "-i", str(self.inventory), "-m", module]
        words += ["-a", json.dumps(arguments)]
        result = subprocess.run(words, env=ANSIBLE, capture_output=True, text=True, timeout=300, check=False)
        assert result.returncode == 0, result.stdout + result.stderr

    def put(self, path, there):
        words = [str(self.lab.labrun_path), "--root", str(self.lab.root), "exec", self.name, "sh", "-c"]
        words.append(f"mkdir -p $(dirname {there}) && cat >{there} && chmod 755 {there}")
        with open(path, "rb") as file:
            subprocess.run(words, stdin=file, check=True, timeout=60)


def difference(before, after):
    """What a host has lost (-) and gained (+)."""
    return sorted(f"- {line}" for line in set(before) - set(after)) + sorted(
        f"+ {line}" for line in set(after) - set(before)
    )
