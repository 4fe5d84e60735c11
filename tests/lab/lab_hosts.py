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
from pathlib import Path

from traces import Traces

REPOSITORY = Path(__file__).resolve().parents[2]
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
        """Run the module; its result, and what Ansible has shown."""
        command = [sys.executable, "-m", "ansible", "adhoc", "localhost", "-m", "ocilab.hosts.lab_machine", "-a"]
        command += [json.dumps(dict(self.places, **arguments))] + (["--check", "--diff"] if check else [])
        environment = dict(ANSIBLE, ANSIBLE_STDOUT_CALLBACK="ansible.builtin.minimal")
        result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
        text = result.stdout[result.stdout.index(" => ") + 4 :] if " => " in result.stdout else result.stdout
        return dict(json.loads(text), failed=result.returncode != 0, shown=result.stdout)

    def playbook(self, name, **variables):
        """Run one of the collection's playbooks; (seconds, output)."""
        given = {f"lab_host_{key}": value for key, value in self.places.items()}
        given.update(variables)
        command = [sys.executable, "-m", "ansible", "playbook", f"ocilab.hosts.{name}", "-e", json.dumps(given)]
        environment = dict(ANSIBLE, PWD=str(self.folder))
        begun = time.monotonic()
        result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900, check=False)
        assert result.returncode == 0, result.stdout + result.stderr
        return time.monotonic() - begun, result.stdout

    def begin(self, **arguments):
        """What bring() does, begun in a process of its own, to be killed in the midst of it."""
        return subprocess.Popen(self._bringing(arguments), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)

    def command(self, names=None, state="started", **arguments):
        """The command line of bring()."""
        return self._bringing(dict(arguments, name=names, state=state))

    def _bringing(self, arguments):
        return [sys.executable, "-c", _BRING, json.dumps(dict(self.places, **arguments))]

    def bring(self, names=None, state="started", **arguments):
        """What the module does, without Ansible; the machines as it returns them."""
        command = self.command(names, state, **arguments)
        result = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
        assert result.returncode == 0, result.stdout + result.stderr
        return json.loads(result.stdout.splitlines()[-1])

    def status(self, name):
        """A host's status: bringing into the state created changes nothing where it is there."""
        return self.bring([name], "created")[0]["status"]

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


# What the module does, without Ansible: quicker, and a signal to it is a signal to what changes the host.
_BRING = """\
import json, sys
from ansible_collections.ocilab.hosts.plugins.module_utils.linux.errors import OcilabError
from ansible_collections.ocilab.hosts.plugins.module_utils.machines import lab as labs
given = json.loads(sys.argv[1])
lab = labs.Lab(labs.Places(given.pop("data_root"), given.pop("root"), networks=given.pop("network_config_dir")))
names, state = given.pop("name"), given.pop("state")
if names is None:
    names = lab.names()
hosts = [labs.Definition(name, **given) for name in names]
done = lab.carry_out(hosts, state, 20, None, lambda line: print(line, flush=True))
print(json.dumps([dict(lab.state(host.name), actions=actions) for host, actions in zip(hosts, done)]))
"""
