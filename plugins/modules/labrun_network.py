#!/usr/bin/python

# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: labrun_network
short_description: Manage networks of labrun's containers, by CNI
version_added: 0.1.0
description:
  - Makes a network that M(ocilab.hosts.labrun_container) attaches containers to; its members reach each other by name.
  - It is a configuration list of the CNI specification for the plugins C(bridge), C(host-local), C(portmap) and
    C(firewall), in a directory of its own, so that no other engine takes it for its own. IPv4 only.
  - The bridge is made when the first container is attached. The removal of the last network sets back what only they
    needed of the host, as C(net.ipv4.ip_forward) and the chains of the plugins.
author:
  - ocilab.hosts authors (@ocilab)
requirements:
  - CNI plugins from version 1.0 on, as in Debian's package containernetworking-plugins
  - iptables
extends_documentation_fragment:
  - ocilab.hosts.attributes
options:
  name:
    description: The network's name.
    type: str
    required: true
  state:
    description:
      - Whether the network is to exist.
      - A network that is in use is neither removed nor changed, but for its labels.
    type: str
    choices: [present, absent]
    default: present
  subnet:
    description:
      - The network's addresses, as V(10.1.2.0/24). The first one is the host's own, unless O(internal=true).
      - Without it a new network gets one that overlaps no route of the host and none that other engines use by default,
        and a present one keeps its own.
    type: str
  internal:
    description: Whether there is no way out of the network, and none into it.
    type: bool
    default: false
  labels:
    description: Labels of the network.
    type: dict
    default: {}
  check:
    description:
      - Whether to have the plugins look at each attached container (the operation CHECK of CNI).
      - What they find wrong is returned as RV(network.attached[].problem).
    type: bool
    default: false
  root:
    description: Where the state of containers and networks is kept. A network that exists keeps its own.
    type: path
    default: /run/labrun
  config_dir:
    description: Where networks are defined.
    type: path
    default: /etc/labrun/networks
"""

EXAMPLES = r"""
- name: Make a network
  ocilab.hosts.labrun_network:
    name: lab
    labels:
      course: containers

- name: Make a network that leads nowhere else
  ocilab.hosts.labrun_network:
    name: backstage
    subnet: 10.231.77.0/24
    internal: true

- name: Fail unless all containers on the network are attached as they should be
  ocilab.hosts.labrun_network:
    name: lab
    check: true
  register: result
  failed_when: result.network.attached | selectattr('problem') | list | length > 0

- name: Remove the network
  ocilab.hosts.labrun_network:
    name: lab
    state: absent
"""

RETURN = r"""
network:
  description: The network as it is, or in check mode would be. Empty when there is none.
  returned: always
  type: dict
  sample:
    name: lab
    subnet: 10.231.0.0/24
    gateway: 10.231.0.1
    bridge: lr-lab
    internal: false
    labels: {course: containers}
    attached:
      - id: web
        address: 10.231.0.2
        names: [web, www]
  contains:
    attached:
      description: The containers on the network.
      type: list
      elements: dict
      returned: when there is a network
      contains:
        id:
          description: The container's id.
          type: str
          returned: always
        address:
          description: Its address; empty before it has one.
          type: str
          returned: always
        names:
          description: The names that the others know it by.
          type: list
          elements: str
          returned: always
        problem:
          description: What the plugins find wrong with it; empty for nothing.
          type: str
          returned: when O(check=true)
"""

import os

from ansible_collections.ocilab.hosts.plugins.module_utils import arguments
from ansible_collections.ocilab.hosts.plugins.module_utils.glue import run_module
from ansible_collections.ocilab.hosts.plugins.module_utils.networks import network as networks
from ansible_collections.ocilab.hosts.plugins.module_utils.networks.registry import FOLDER


def shown(network, described, check):
    return dict(described, attached=network.attached(check)) if described else {}


def run(module):
    params = module.params
    network = networks.Network(params["name"], params["config_dir"], os.path.join(params["root"], FOLDER))
    before = network.describe()
    if params["state"] == "absent":
        wanted = {}
    else:
        wanted = network.wanted(params["subnet"] or "", params["internal"], arguments.labels(params["labels"]))
    changed = before != wanted
    if before and networks.differ_in_use(before, wanted):
        network.refuse_in_use()
    if changed and not module.check_mode:
        network.create(wanted) if wanted else network.remove()
    result = {"changed": changed, "network": shown(network, wanted, params["check"])}
    if module._diff:
        result["diff"] = {"before": before, "after": wanted}
    return result


def main():
    argument_spec = {
        "name": {"type": "str", "required": True},
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "subnet": {"type": "str"},
        "internal": {"type": "bool", "default": False},
        "labels": {"type": "dict", "default": {}},
        "check": {"type": "bool", "default": False},
        "root": {"type": "path", "default": "/run/labrun"},
        "config_dir": {"type": "path", "default": "/etc/labrun/networks"},
    }
    run_module(argument_spec, run)


if __name__ == "__main__":
    main()
