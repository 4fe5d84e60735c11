#!/usr/bin/python

# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: engine_conflicts
short_description: Tell which container engines would collide on a host
version_added: 0.1.0
description:
  - Compares what engines are to have on a host with each other, and with what the host has, before anything is
    installed. It looks at packages, bridges, subnets, ranges of subordinate ids, folders of CNI, cgroup drivers, the
    firewall, storage, ports, sockets, units and programs.
  - It only looks, and works on a host without any engine.
author:
  - ocilab.hosts authors (@ocilab)
extends_documentation_fragment:
  - ocilab.hosts.attributes.info
options:
  engines:
    description: What is planned, by the name of the engine.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: The engine.
        type: str
        required: true
      packages:
        description: The packages that it is to have.
        type: list
        elements: str
        default: []
      allow_removal:
        description: Whether its installation may remove packages that stand in its way.
        type: bool
        default: false
      subnets:
        description: Its networks, as V(10.88.0.0/16), or an address in one with its prefix.
        type: list
        elements: str
        default: []
      pools:
        description: Where it takes further networks from, as far as they are free.
        type: list
        elements: str
        default: []
      bridges:
        description: The names of its bridges.
        type: list
        elements: str
        default: []
      ports:
        description: The ports of TCP that it is to listen on.
        type: list
        elements: dict
        default: []
        suboptions:
          port:
            description: The number.
            type: int
            required: true
          address:
            description: The address; without it all.
            type: str
            default: ""
      sockets:
        description: The paths of its sockets.
        type: list
        elements: str
        default: []
      storage:
        description: The folders of its images and containers.
        type: list
        elements: str
        default: []
      cni_dirs:
        description: The folders in which it looks for networks of CNI.
        type: list
        elements: str
        default: []
      units:
        description: The names of its units.
        type: list
        elements: str
        default: []
      cgroup_driver:
        description: How it makes cgroups.
        type: str
        choices: [systemd, cgroupfs]
      subid_users:
        description: The users whose subordinate ids its containers have.
        type: list
        elements: str
        default: []
  forward:
    description:
      - Whether the firewall lets the bridges of all engines pass, or is going to, as the role
        P(ocilab.hosts.coexistence#role) has it.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: See whether Docker and LXC could live here
  ocilab.hosts.engine_conflicts:
    engines:
      - name: docker
        packages: [docker.io, containerd, runc]
        subnets: [172.30.0.1/24]
        bridges: [docker0]
      - name: lxc
        packages: [lxc]
        subnets: [10.0.3.0/24]
        bridges: [lxcbr0]
  register: result

- name: Stop where they could not
  ansible.builtin.assert:
    that: result.conflicts | selectattr('severity', 'equalto', 'certain') | length == 0
    fail_msg: "{{ result.report }}"
"""

RETURN = r"""
conflicts:
  description: What collides, the surest first.
  returned: always
  type: list
  elements: dict
  contains:
    kind:
      description: What the two want, as V(packages), V(subnets) or V(firewall).
      type: str
      returned: always
    severity:
      description:
        - V(certain) where it will happen and nothing prevents it, V(possible) where somebody should look at it,
          V(resolved) where it is provided for.
      type: str
      returned: always
    engine:
      description: The engine; empty where it is the host's own affair.
      type: str
      returned: always
    what:
      description: What of the engine.
      type: str
      returned: always
    with:
      description: What it collides with.
      type: str
      returned: always
    advice:
      description: What to do about it.
      type: str
      returned: always
report:
  description: The same as lines for a person.
  returned: always
  type: list
  elements: str
  sample:
    - "certain: sockets: docker: /run/docker.sock, with a link to /run/podman/podman.sock: remove its package"
missing:
  description: The packages of each engine that the host does not have.
  returned: always
  type: dict
  sample:
    docker: [docker.io]
    lxc: [dnsmasq-base, lxc]
owners:
  description: On whose behalf M(ocilab.hosts.engine_packages) has installed packages.
  returned: always
  type: list
  elements: str
  sample: [docker, podman]
"""

from ansible_collections.ocilab.hosts.plugins.module_utils.coexistence import conflicts
from ansible_collections.ocilab.hosts.plugins.module_utils.coexistence.host import Host
from ansible_collections.ocilab.hosts.plugins.module_utils.coexistence.plan import Engine
from ansible_collections.ocilab.hosts.plugins.module_utils.glue import run_module


def run(module):
    engines = [Engine(plan["name"], plan) for plan in module.params["engines"]]
    sockets = [path for engine in engines for path in engine.sockets]
    units = [name for engine in engines for name in engine.units]
    host = Host().read(sockets, units)
    found = conflicts.find(engines, host, module.params["forward"])
    return {
        "changed": False,
        "conflicts": found,
        "report": [conflicts.line(item) for item in found],
        "missing": {engine.name: sorted(set(engine.packages) - host.installed) for engine in engines},
        "owners": host.owners,
    }


def main():
    texts = {"type": "list", "elements": "str", "default": []}
    port = {"port": {"type": "int", "required": True}, "address": {"type": "str", "default": ""}}
    engine = {
        "name": {"type": "str", "required": True},
        "packages": texts,
        "allow_removal": {"type": "bool", "default": False},
        "subnets": texts,
        "pools": texts,
        "bridges": texts,
        "ports": {"type": "list", "elements": "dict", "default": [], "options": port},
        "sockets": texts,
        "storage": texts,
        "cni_dirs": texts,
        "units": texts,
        "cgroup_driver": {"type": "str", "choices": ["systemd", "cgroupfs"]},
        "subid_users": texts,
    }
    argument_spec = {
        "engines": {"type": "list", "elements": "dict", "required": True, "options": engine},
        "forward": {"type": "bool", "default": False},
    }
    run_module(argument_spec, run)


if __name__ == "__main__":
    main()
