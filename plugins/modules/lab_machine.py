#!/usr/bin/python

# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: lab_machine
short_description: Manage lab hosts, systemd machines that labrun runs as containers
version_added: 0.1.0
description:
  - Makes machines of Debian for exercises and tests, with systemd, and able to run container engines inside.
  - A machine is a container of labrun over a root filesystem that all machines of its release share, so that a further
    one costs a second or two and little space.
  - A lab host is privileged by its nature. Root in it is not far from root on the host. It has no devices but those
    that engines need, no kernel modules, no clock, no swap, and of the sysctls those of its own network.
author:
  - ocilab.hosts authors (@ocilab)
extends_documentation_fragment:
  - ocilab.hosts.attributes
  - ocilab.hosts.attributes.root
  - ocilab.hosts.attributes.store
options:
  name:
    description:
      - The names of the machines, each a host name.
      - Those that are started by one call boot at the same time.
      - Without it V(stopped) and V(absent) mean all machines that there are.
    type: list
    elements: str
  state:
    description:
      - The state that the machines are to be in.
      - V(created) builds what a machine needs, which takes half a minute for the first one of a release, and starts
        none; V(absent) removes machines with all that is in them.
      - A machine of another release, other packages, another mirror or image is made anew by V(created) and V(started);
        for other options it is started again by V(started).
    type: str
    choices: [created, started, stopped, absent]
    default: started
  backend:
    description:
      - What runs the machine.
      - With V(vm) it is a virtual machine under QEMU, by KVM where a guest boots with it and else by emulation, which
        takes 20 seconds and more to boot. It has a kernel of its own, cgroup v2 and AppArmor, and Ansible reaches it by
        ssh as a user who is not root, but may become root.
      - The machine's image is built once, which takes two minutes, and kept in C(~/.cache/ocilab.hosts/machines).
    type: str
    choices: [container, vm]
    default: container
  release:
    description: The release of Debian.
    type: str
    choices: [bookworm, trixie]
    default: bookworm
  packages:
    description: Packages of Debian that the shared root filesystem has besides the base.
    type: list
    elements: str
    default: []
  mirror:
    description: The mirror of Debian's archive to build from. Without it C(deb.debian.org) is used.
    type: str
    default: ""
  image:
    description:
      - An image of labrun's store with systemd and Python in it, instead of a root filesystem that is built.
      - O(release), O(packages) and O(mirror) do not count then.
    type: str
    default: ""
  memory:
    description:
      - The limit of memory, in bytes or with a unit, as V(512M).
      - A virtual machine has V(1G) without it.
    type: str
  cpus:
    description:
      - The limit of processor time, in processors.
      - A virtual machine has two without it, and can have whole ones only.
    type: float
    default: 0
  network:
    description:
      - The network of labrun that the machines share, as M(ocilab.hosts.labrun_network) makes them.
      - They know each other by name in it, and have a way out.
      - One that does not exist is made with the first machine, and removed with the last one.
      - With an empty name a machine has its loopback device only.
      - A virtual machine is not in it; it has QEMU's own network, with a way out.
    type: str
    default: ocilab
  boot_timeout:
    description: Seconds for all to boot. Without it 120, and 600 for virtual machines.
    type: float
  stop_timeout:
    description: Seconds for a machine to shut down before its processes are killed.
    type: float
    default: 20
  data_root:
    description: Where the machines and the root filesystems that they share are kept, below C(lab).
    type: path
    default: /var/lib/labrun
  network_config_dir:
    description: Where networks are defined.
    type: path
    default: /etc/labrun/networks
"""

EXAMPLES = r"""
- name: Start two machines of Debian 12
  ocilab.hosts.lab_machine:
    name: [lab1, lab2]
  register: lab

- name: Make them known to the plays that follow
  ansible.builtin.add_host: "{{ item.vars | combine({'name': item.name, 'groups': 'lab'}) }}"
  loop: "{{ lab.machines }}"

- name: Remove all machines
  ocilab.hosts.lab_machine:
    state: absent
"""

RETURN = r"""
machines:
  description: Each machine after the run; in check mode before it. One that does not exist has name and status only.
  returned: always
  type: list
  elements: dict
  sample:
    - name: lab1
      backend: container
      release: bookworm
      status: running
      address: 10.88.0.2
      actions: [create, start]
      vars:
        ansible_connection: ocilab.hosts.labrun
        ansible_host: lab1
        ansible_python_interpreter: /usr/bin/python3
progress:
  description: What was done, with the seconds since the beginning.
  returned: always
  type: list
  elements: str
  sample: ["0.0 lab1: create", "0.1 Debian bookworm with 11 packages by mmdebstrap"]
"""

import time

from ansible_collections.ocilab.hosts.plugins.module_utils import arguments
from ansible_collections.ocilab.hosts.plugins.module_utils.glue import run_module
from ansible_collections.ocilab.hosts.plugins.module_utils.machines import lab as labs


def definition(params, name):
    return labs.Definition(
        name,
        backend=params["backend"],
        release=params["release"],
        packages=params["packages"],
        mirror=params["mirror"],
        image=params["image"],
        memory=arguments.memory_bytes(params["memory"]) if params["memory"] else 0,
        cpus=params["cpus"],
        network=params["network"],
    )


def run(module):
    params = module.params
    folders = ("data_root", "root", "store", "layers", "network_config_dir")
    lab = labs.Lab(labs.Places(*(params[name] for name in folders)))
    names = lab.names() if params["name"] is None else list(dict.fromkeys(params["name"]))
    hosts = [definition(params, name) for name in names]
    state = params["state"]
    plans = [lab.plan(host, state) for host in hosts]
    before = {host.name: lab.shown(host.name) for host in hosts}
    predicted = {host.name: lab.predict(host, plan) for host, plan in zip(hosts, plans)}
    lines = []
    if any(plans) and not module.check_mode:
        begun = time.monotonic()
        plans = lab.carry_out(
            hosts,
            state,
            params["stop_timeout"],
            params["boot_timeout"],
            lambda line: lines.append("%.1f %s" % (time.monotonic() - begun, line)),
        )
    machines = [dict(lab.state(host.name), actions=plan) for host, plan in zip(hosts, plans)]
    result = {"changed": any(plans), "machines": machines, "progress": lines}
    if module._diff:
        result["diff"] = {"before": before, "after": predicted}
    return result


def main():
    argument_spec = dict(
        arguments.STORE,
        name={"type": "list", "elements": "str"},
        state={"type": "str", "choices": ["created", "started", "stopped", "absent"], "default": "started"},
        backend={"type": "str", "choices": list(labs.BACKENDS), "default": "container"},
        release={"type": "str", "choices": ["bookworm", "trixie"], "default": "bookworm"},
        packages={"type": "list", "elements": "str", "default": []},
        mirror={"type": "str", "default": ""},
        image={"type": "str", "default": ""},
        memory={"type": "str"},
        cpus={"type": "float", "default": 0},
        network={"type": "str", "default": "ocilab"},
        network_config_dir={"type": "path", "default": "/etc/labrun/networks"},
        boot_timeout={"type": "float"},
        stop_timeout={"type": "float", "default": 20},
        root={"type": "path", "default": "/run/labrun"},
        data_root={"type": "path", "default": "/var/lib/labrun"},
    )
    run_module(argument_spec, run, required_if=[("state", "created", ["name"]), ("state", "started", ["name"])])


if __name__ == "__main__":
    main()
