# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tasks of Ansible in a container, by the connection labrun, each against the same one by the connection local."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from ansible_collections.ocilab.hosts.plugins.module_utils.labrun import container
from ansible_collections.ocilab.hosts.plugins.module_utils.spec import runtime, seccomp

PYTHON = "/usr/bin/python3"
MODULES = ({"ansible.builtin.ping": {}}, {"ansible.builtin.command": {"cmd": "/bin/true"}})


def run(base: Path, rounds: int) -> dict[str, list[int]]:
    """Nanoseconds of each task by host: local and labrun as they are by default, and local (pipelined).

    The container has this machine's own programs, so that the same Python does the same. One task follows the other, on
    each host in turn; the first ones, which load what is loaded once, are left out.
    """
    made = _start(base)
    try:
        own = {"ansible_connection": "ocilab.hosts.labrun", "ansible_host": made.id}
        hosts = {
            "local": {"ansible_connection": "local"},
            "labrun": dict(own, ansible_labrun_root=str(base / "state")),
            "local (pipelined)": {"ansible_connection": "local", "ansible_pipelining": True},
        }
        return _measure(base, hosts, rounds)
    finally:
        made.delete(force=True)


def _start(base: Path) -> container.Container:
    (base / "bundle" / "rootfs").mkdir(parents=True)
    config = runtime.config(["/bin/sleep", "100000"], seccomp.default_profile(os.uname().machine))
    config["root"]["readonly"] = False
    for name in ("usr", "lib", "lib64", "bin", "sbin"):
        source = os.path.realpath("/" + name)
        if os.path.isdir(source):
            mount = {"destination": "/" + name, "type": "bind", "source": source, "options": ["rbind", "ro"]}
            config["mounts"].append(mount)
    for name in ("root", "tmp", "etc"):
        (base / "bundle" / "rootfs" / name).mkdir()
    (base / "bundle" / "rootfs" / "etc" / "passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (base / "bundle" / "config.json").write_text(json.dumps(config))
    made = container.create(f"bench-{os.getpid()}-tasks", str(base / "bundle"), str(base / "state"))
    made.start()
    return made


def _measure(base: Path, hosts: dict, rounds: int) -> dict[str, list[int]]:
    for variables in hosts.values():
        variables["ansible_python_interpreter"] = PYTHON
    (base / "hosts.json").write_text(json.dumps({"all": {"hosts": hosts}}))
    tasks = [module for _round in range(rounds + 1) for module in MODULES]
    (base / "playbook.yml").write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": tasks}]))
    environment = dict(
        os.environ,
        TASK_TIMES=str(base / "times"),
        ANSIBLE_CALLBACK_PLUGINS=str(Path(__file__).resolve().parent / "callbacks"),
        ANSIBLE_CALLBACKS_ENABLED="task_times",
    )
    words = [sys.executable, "-m", "ansible", "playbook", "-f", "1", "-i", str(base / "hosts.json")]
    words.append(str(base / "playbook.yml"))
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(done.stdout[-2000:] + done.stderr[-2000:])
    return {host: times[len(MODULES) :] for host, times in json.loads((base / "times").read_text()).items()}
