#!/usr/bin/python

# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: engine_isolation
short_description: Find out what the default container of each engine may do
version_added: 0.1.0
description:
  - Starts a default container in labrun and in every engine that is found, and has it tell of itself from inside.
    These are its capabilities, the system calls that are refused and how, namespaces, id maps, masked and read-only
    paths, devices, mounts, kernel parameters, the label of an LSM, cgroups, limits and environment.
  - Then it looks at a container of each engine from the host.
  - The system calls are made with arguments that cannot do harm, also where all is allowed.
    The collection's docs/isolation.md tells how.
  - It installs no engine, starts no daemon, and leaves no container, image, mount or cgroup behind.
author:
  - ocilab.hosts authors (@ocilab)
extends_documentation_fragment:
  - ocilab.hosts.attributes
  - ocilab.hosts.attributes.store
attributes:
  check_mode:
    support: full
    details:
      - In check mode no container is started; the result tells the engines that would be looked at, without findings.
  diff_mode:
    support: N/A
  idempotent:
    support: N/A
    details:
      - It looks, and leaves the host as it was.
options:
  image:
    description: The image in the store of labrun. It must have a shell, and busybox or the core utilities.
    type: str
    required: true
  engines:
    description:
      - The engines to look for, by the names of a comparison's columns, as V(docker), V(docker+crun)
        or V(podman-rootless). Without it all.
    type: list
    elements: str
  host:
    description: The host's name in the result. Without it its host name.
    type: str
  timeout_s:
    description: Seconds after which one command of an engine counts as failed.
    type: float
    default: 60
"""

EXAMPLES = r"""
- name: Look at how far each engine shuts a container in
  ocilab.hosts.engine_isolation:
    image: lab/busybox:1
    engines: [labrun, runc]
  register: found

- name: Show what each system call comes to in labrun
  ansible.builtin.debug:
    var: found.isolation.labrun.findings.syscall
"""

RETURN = r"""
host:
  description: The host's name.
  returned: always
  type: str
  sample: lab-1
isolation:
  description: What was found, by the engine.
  returned: always
  type: dict
  contains:
    findings:
      description:
        - By the topic and the item, as text. Topics are C(capability), C(seccomp), C(syscall), C(process),
          C(namespace), C(id_map), C(path), C(device), C(mount), C(sysctl), C(lsm), C(cgroup), C(rlimit),
          C(environment) and C(host).
      type: dict
      returned: always
    failure:
      description: Why the engine could not be looked at, or only in part; none where it could.
      type: str
      returned: always
  sample:
    labrun:
      findings:
        capability: {CAP_SYS_ADMIN: absent}
        syscall: {mount: EPERM}
      failure: null
    docker:
      findings: {}
      failure: docker is not installed
"""

import os

from ansible_collections.ocilab.hosts.plugins.module_utils import arguments
from ansible_collections.ocilab.hosts.plugins.module_utils.engines import registry
from ansible_collections.ocilab.hosts.plugins.module_utils.glue import run_module
from ansible_collections.ocilab.hosts.plugins.module_utils.images.store import Store
from ansible_collections.ocilab.hosts.plugins.module_utils.isolation import measure
from ansible_collections.ocilab.hosts.plugins.module_utils.linux.errors import InvalidInput


def run(module):
    params = module.params
    if params["timeout_s"] <= 0:
        raise InvalidInput("timeout_s: %g is not above 0" % params["timeout_s"])
    names = params["engines"] or list(registry.NAMES)
    store = Store(params["store"])
    if module.check_mode:
        found = measure.predict(params["image"], store, names)
    else:
        found = measure.measure(params["image"], store, params["layers"], names, params["timeout_s"])
    return {"changed": False, "host": params["host"] or os.uname().nodename, "isolation": found}


def main():
    argument_spec = dict(
        arguments.STORE,
        image={"type": "str", "required": True},
        engines={"type": "list", "elements": "str"},
        host={"type": "str"},
        timeout_s={"type": "float", "default": 60},
    )
    run_module(argument_spec, run)


if __name__ == "__main__":
    main()
