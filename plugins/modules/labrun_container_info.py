#!/usr/bin/python

# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: labrun_container_info
short_description: Tell of containers of labrun
version_added: 0.1.0
description:
  - Returns the state of one container of labrun, or of all of them, whether a module or the command made them.
author:
  - ocilab.hosts authors (@ocilab)
extends_documentation_fragment:
  - ocilab.hosts.attributes.info
  - ocilab.hosts.attributes.root
options:
  name:
    description: The container's id. Without it all containers are returned.
    type: str
  log_lines:
    description: How many of the last lines of each container's log are returned.
    type: int
    default: 0
  stats:
    description: Whether to return what each container uses.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Tell of one container
  ocilab.hosts.labrun_container_info:
    name: web
  register: result

- name: Tell what a container wrote last, and what it uses
  ocilab.hosts.labrun_container_info:
    name: web
    log_lines: 10
    stats: true

- name: Tell of all containers
  ocilab.hosts.labrun_container_info:
"""

RETURN = r"""
containers:
  description:
    - The containers, by id. Each is the runtime specification's state, with the keys below.
    - Empty when there is none of that name.
  returned: always
  type: list
  elements: dict
  contains:
    log_path:
      description: The log, in the CRI's format. Empty where the container has none, as one that the command made.
      type: str
      returned: always
    exit_code:
      description: How the process ended, where it has and a module started it.
      type: int
      returned: always
    image:
      description: The image that it was made of, as NAME@DIGEST, or an empty string.
      type: str
      returned: always
    labels:
      description: Its labels.
      type: dict
      returned: always
    networks:
      description: The networks that it is attached to, each with name, address and interface.
      type: list
      elements: dict
      returned: always
    ports:
      description: Its published ports, each with host_ip, host_port, container_port and protocol.
      type: list
      elements: dict
      returned: always
    logs:
      description: The last lines of its log, each with time, stream (V(stdout) or V(stderr)) and text.
      type: list
      elements: dict
      returned: when O(log_lines) is above 0
    stats:
      description:
        - What it uses of processors, memory, processes and devices, in the shape of the command's C(events --stats).
        - Empty for one that has ended or has no cgroup.
      type: dict
      returned: when O(stats=true)
  sample:
    - id: web
      status: running
      pid: 4242
      bundle: /var/lib/labrun/bundles/web
      log_path: /var/lib/labrun/logs/web.log
      exit_code: null
      image: lab/busybox:1@sha256:4f53cda18c2baa0c0354bb5f9a3ecbe5ed12ab4d8e11ba873c2f11161202b945
      labels: {course: containers}
      networks: [{name: lab, address: 10.88.0.2, interface: eth0}]
      ports: []
"""

from ansible_collections.ocilab.hosts.plugins.module_utils.glue import run_module
from ansible_collections.ocilab.hosts.plugins.module_utils.labrun import container as life
from ansible_collections.ocilab.hosts.plugins.module_utils.labrun import logs
from ansible_collections.ocilab.hosts.plugins.module_utils.labrun.about import about
from ansible_collections.ocilab.hosts.plugins.module_utils.linux.errors import InvalidInput, NotFound


def described(container, log_lines, with_stats):
    told = about(container)
    if log_lines:
        told["logs"] = logs.tail(told["log_path"], log_lines) if told["log_path"] else []
    if with_stats:
        cgroup = container.cgroup() if told["status"] != "stopped" else None
        told["stats"] = cgroup.stats() if cgroup and cgroup.paths else {}
    return told


def run(module):
    params = module.params
    if params["log_lines"] < 0:
        raise InvalidInput("log_lines: %d is below 0" % params["log_lines"])
    found = [life.Container(params["name"], params["root"])] if params["name"] else life.containers(params["root"])
    result = []
    for container in found:
        try:
            result.append(described(container, params["log_lines"], params["stats"]))
        except NotFound:
            continue  # it never was, or was deleted while we looked
    return {"changed": False, "containers": result}


def main():
    argument_spec = {
        "name": {"type": "str"},
        "log_lines": {"type": "int", "default": 0},
        "stats": {"type": "bool", "default": False},
        "root": {"type": "path", "default": "/run/labrun"},
    }
    run_module(argument_spec, run)


if __name__ == "__main__":
    main()
