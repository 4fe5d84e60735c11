#!/usr/bin/python

# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: labrun_anatomy
short_description: Take one container through its steps and tell what each brings about on the host
version_added: 0.1.0
description:
  - Creates, starts and deletes one container of a bundle, and looks at the host after each step.
  - It leaves no container, cgroup or mount behind.
author:
  - ocilab.hosts authors (@ocilab)
extends_documentation_fragment:
  - ocilab.hosts.attributes
  - ocilab.hosts.attributes.root
attributes:
  check_mode:
    support: full
    details:
      - In check mode no container is made, and there are no steps.
  diff_mode:
    support: N/A
  idempotent:
    support: N/A
    details:
      - It looks, and leaves the host as it was.
options:
  bundle:
    description:
      - The bundle, made by M(ocilab.hosts.labrun_bundle) or by any other tool.
      - Its program should run for some seconds, as C(sleep) does, to be seen.
    type: path
    required: true
  name:
    description: The container's id.
    type: str
    default: anatomy
"""

EXAMPLES = r"""
- name: Look at the steps of a container
  ocilab.hosts.labrun_anatomy:
    bundle: /var/lib/labrun/bundles/web
  register: result

- name: Show the namespaces that the clone made
  ansible.builtin.debug:
    var: result.steps[2].new.namespaces
"""

RETURN = r"""
steps:
  description:
    - The steps in the order of time. Empty in check mode.
    - The cgroup is made before the process, which is cloned into it.
  returned: always
  type: list
  elements: dict
  contains:
    step:
      description: The step's name, C(receive_bundle) to C(become_process), then C(start) and C(delete).
      type: str
      returned: always
    new:
      description: What appeared or changed, in the lists files, cgroups, namespaces, mounts and process.
      type: dict
      returned: always
    copied_mounts:
      description: How many mounts the new mount namespace began with, copies of the host's.
      type: int
      returned: always
    left:
      description: Of the step C(delete), the paths that are still there; none, unless something failed.
      type: list
      elements: str
      returned: always
"""

from ansible_collections.ocilab.hosts.plugins.module_utils.glue import run_module
from ansible_collections.ocilab.hosts.plugins.module_utils.labrun import anatomy


def run(module):
    params = module.params
    observer = anatomy.Observer(params["name"], params["bundle"], params["root"])
    return {"changed": False, "steps": [] if module.check_mode else observer.run()}


def main():
    argument_spec = {
        "bundle": {"type": "path", "required": True},
        "name": {"type": "str", "default": "anatomy"},
        "root": {"type": "path", "default": "/run/labrun"},
    }
    run_module(argument_spec, run)


if __name__ == "__main__":
    main()
