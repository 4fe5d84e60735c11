# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A lab of the tests' own: its names, its network and its folders are no other's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

from traces import Traces

ANSIBLE = dict(os.environ, ANSIBLE_NOCOLOR="1", ANSIBLE_INVENTORY_UNPARSED_WARNING="false")


class Lab:
    """Lab hosts by the module lab_machine and by playbooks. names: of the machines that tests may make."""

    def __init__(self, folder, labrun):
        self.labrun_path = labrun
        self.folder = folder
        self.data = folder / "data"
        self.root = folder / "run"
        self.network = f"lt{os.getpid()}"
        self.names = [f"lt{os.getpid()}-{number}" for number in range(1, 6)]
        self.places = {
            "data_root": str(self.data),
            "root": str(self.root),
            "network": self.network,
            "network_config_dir": str(folder / "networks"),
        }

    def module(self, check=False, **arguments):
        """Run the module; its result."""
        command = [sys.executable, "-m", "ansible", "adhoc", "localhost", "-m", "ocilab.hosts.lab_machine", "-a"]
        command += [json.dumps(dict(self.places, **arguments))] + (["--check", "--diff"] if check else [])
        environment = dict(ANSIBLE, ANSIBLE_STDOUT_CALLBACK="ansible.builtin.minimal")
        result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
        text = result.stdout[result.stdout.index(" => ") + 4 :] if " => " in result.stdout else result.stdout
        return dict(json.loads(text), failed=result.returncode != 0)

    def playbook(self, name, **variables):
        """Run one of the collection's playbooks; (seconds, output)."""
        given = {f"lab_host_{key}": value for key, value in self.places.items()}
        given.update(lab_base_dir=str(self.folder), **variables)
        command = [sys.executable, "-m", "ansible", "playbook", f"ocilab.hosts.{name}", "-e", json.dumps(given)]
        begun = time.monotonic()
        result = subprocess.run(command, env=ANSIBLE, capture_output=True, text=True, timeout=900, check=False)
        assert result.returncode == 0, result.stdout + result.stderr
        return time.monotonic() - begun, result.stdout

    def begin(self, **arguments):
        """The module, begun in a process of its own, to be killed in the midst of it."""
        command = [sys.executable, "-c", _CARRY_OUT, json.dumps(dict(self.places, **arguments))]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def exec(self, name, script, timeout=120):
        """Run the script of shell in a lab host; (exit code, output)."""
        words = [str(self.labrun_path), "--root", str(self.root), "exec", name, "sh", "-c", script]
        result = subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
            check=False,
        )
        return result.returncode, result.stdout

    def shell(self, name, script, timeout=120):
        """What the script prints in a lab host."""
        code, output = self.exec(name, script, timeout)
        assert code == 0, output
        return output

    def pid(self, name):
        words = [str(self.labrun_path), "--root", str(self.root), "state", name]
        return json.loads(subprocess.run(words, capture_output=True, text=True, timeout=30, check=True).stdout)["pid"]

    def traces(self):
        """What the lab has on the host now."""
        return Traces(self)


# What the module does, without the module: a signal to it is a signal to what changes the host.
_CARRY_OUT = """\
import json, sys
from ansible_collections.ocilab.hosts.plugins.module_utils.machines import lab
given = json.loads(sys.argv[1])
places = lab.Places(given["data_root"], given["root"], networks=given["network_config_dir"])
hosts = [lab.Definition(name, network=given["network"]) for name in given["name"]]
lab.Lab(places).carry_out(hosts, given["state"], 20, 60, lambda line: print(line, flush=True))
"""
