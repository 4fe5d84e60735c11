# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of the connection share: running containers, with Python and without, and Ansible's ways to them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import yaml
from ansible import constants
from ansible.playbook.play_context import PlayContext
from ansible_collections.ocilab.hosts.plugins.connection import labrun as plugin
from ansible_collections.ocilab.hosts.plugins.module_utils.labrun import container as life

NAME = "ocilab.hosts.labrun"
PYTHON = "/usr/bin/python3"


def connect(name, root, **variables):
    """The connection plugin, as Ansible would make it for a host with these variables.

    Without Ansible's loader of collections, which would not have what the tests have imported already.
    """
    options = yaml.safe_load(plugin.DOCUMENTATION)["options"]
    constants.config.initialize_plugin_configuration_definitions("connection", NAME, options)
    made = plugin.Connection(PlayContext())
    made._load_name = NAME
    own = {"inventory_hostname": name, "ansible_labrun_root": str(root), **variables}
    extras = {key: value for key, value in own.items() if key.startswith("ansible_ssh_")}
    made.set_options(var_options={**own, "_extras": extras})
    return made


def start(bundle, root):
    """Start the bundle's container in-process, which no monitor holds; the container."""
    bundle.write()
    made = life.create(bundle.name, str(bundle.path), str(root))
    made.start()
    return made


def with_python(bundle):
    """Let the bundle have this machine's programs, Python among them; files of its own below /tmp, /root and /home."""
    if not os.path.exists(PYTHON):
        pytest.skip(f"there is no {PYTHON} to run modules with")
    for name in ("usr", "lib", "lib64", "bin", "sbin"):
        source = os.path.realpath("/" + name)
        if os.path.isdir(source):
            mount = {"destination": "/" + name, "type": "bind", "source": source, "options": ["rbind", "ro"]}
            bundle.config["mounts"].append(mount)
    for name in ("root", "home/student", "var/tmp"):
        (bundle.path / "rootfs" / name).mkdir(parents=True, exist_ok=True)
    (bundle.path / "rootfs" / "tmp").chmod(0o1777)
    os.chown(bundle.path / "rootfs" / "home" / "student", 1000, 1001)
    passwd = bundle.path / "rootfs" / "etc" / "passwd"
    passwd.write_text(passwd.read_text().replace("::/:", "::/home/student:"))


def running(bundle, args=("/bin/sleep", "1000")):
    bundle.config["root"]["readonly"] = False
    bundle.config["process"]["args"] = list(args)
    return start(bundle, bundle.state)


def ansible(inventory, *words, command="playbook", **environment):
    """Run an Ansible command with the inventory, a dict in the shape of YAML's; the result, with its pid."""
    own = dict(os.environ, ANSIBLE_NOCOLOR="1", ANSIBLE_STDOUT_CALLBACK="ansible.builtin.minimal", **environment)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "hosts.json"
        path.write_text(json.dumps(inventory))
        arguments = [sys.executable, "-m", "ansible", command, "-i", str(path), *words]
        process = subprocess.Popen(arguments, env=own, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            stdout, stderr = process.communicate(timeout=300)
        finally:
            process.kill()
        result = subprocess.CompletedProcess(arguments, process.returncode, stdout, stderr)
        result.pid = process.pid
        return result


def hosts(name, root, **variables):
    own = {"ansible_connection": NAME, "ansible_labrun_root": str(root)}
    return {"all": {"hosts": {name: {**own, "ansible_python_interpreter": PYTHON, **variables}}}}
