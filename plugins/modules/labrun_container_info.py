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
options:
  name:
    description: The container's id. Without it all containers are returned.
    type: str
  root:
    description: Where the state of containers is kept.
    type: path
    default: /run/labrun
"""

EXAMPLES = r"""
- name: Tell of one container
  ocilab.hosts.labrun_container_info:
    name: web
  register: result

- name: Tell of all containers
  ocilab.hosts.labrun_container_info:
"""

RETURN = r"""
containers:
  description:
    - The containers, by id, each as the runtime specification's state with log_path and exit_code.
    - Empty when there is none of that name.
  returned: always
  type: list
  elements: dict
  sample:
    - id: web
      status: running
      pid: 4242
      bundle: /var/lib/labrun/bundles/web
      log_path: /var/lib/labrun/logs/web.log
      exit_code: null
"""

from ansible_collections.ocilab.hosts.plugins.module_utils.glue import run_module
from ansible_collections.ocilab.hosts.plugins.module_utils.labrun import container as life
from ansible_collections.ocilab.hosts.plugins.module_utils.linux.errors import NotFound


def run(module):
    params = module.params
    found = [life.Container(params["name"], params["root"])] if params["name"] else life.containers(params["root"])
    result = []
    for container in found:
        try:
            log_path = container.noted("log").get("path", "")
            result.append(dict(container.state(), log_path=log_path, exit_code=container.exit_code()))
        except NotFound:
            continue  # it never was, or was deleted while we looked
    return {"changed": False, "containers": result}


def main():
    argument_spec = {"name": {"type": "str"}, "root": {"type": "path", "default": "/run/labrun"}}
    run_module(argument_spec, run)


if __name__ == "__main__":
    main()
