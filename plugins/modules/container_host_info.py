#!/usr/bin/python

# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: container_host_info
short_description: Tell what a host offers to containers
version_added: 0.1.0
description:
  - Returns what the kernel offers to containers and which container engines are found on the host.
  - It starts no daemon and changes nothing.
author:
  - ocilab.hosts authors (@ocilab)
extends_documentation_fragment:
  - ocilab.hosts.attributes.info
options: {}
"""

EXAMPLES = r"""
- name: Look at the host
  ocilab.hosts.container_host_info:
  register: result

- name: Stop where overlayfs is missing
  ansible.builtin.assert:
    that: result.container_host.overlayfs
"""

RETURN = r"""
container_host:
  description: The host.
  returned: always
  type: dict
  contains:
    kernel:
      description: The kernel's release.
      type: str
      returned: always
    architecture:
      description: The machine.
      type: str
      returned: always
    boot_id:
      description: Which start of which kernel this is. Hosts that have it in common, as lab hosts, share a machine.
      type: str
      returned: always
    labrun_supported:
      description: Whether labrun knows this machine's system calls.
      type: bool
      returned: always
    namespaces:
      description: For each kind of namespace whether the kernel has it.
      type: dict
      returned: always
    cgroups:
      description: The mode, V(v1), V(hybrid) or V(v2), and the controllers.
      type: dict
      returned: always
    lsms:
      description: The Linux security modules that are active; empty where securityfs is not mounted.
      type: list
      elements: str
      returned: always
    seccomp:
      description: The actions that the kernel knows, and whether libseccomp is installed.
      type: dict
      returned: always
    overlayfs:
      description: Whether the kernel has overlayfs at hand.
      type: bool
      returned: always
    idmapped_mounts:
      description: Whether the kernel is new enough for idmapped mounts.
      type: bool
      returned: always
    user_namespaces:
      description: How many there may be, and whether users other than root may make them.
      type: dict
      returned: always
    engines:
      description: For each engine whether it is available, its version, or the reason why not.
      type: dict
      returned: always
"""

from ansible_collections.ocilab.hosts.plugins.module_utils.comparison import results
from ansible_collections.ocilab.hosts.plugins.module_utils.glue import run_module
from ansible_collections.ocilab.hosts.plugins.module_utils.linux import host


def run(_module):
    found = results.detect(list(results.ENGINES))
    engines = {
        name: {key: item[key] for key in ("available", "version", "unavailable_reason", "kind")}
        for name, item in found.items()
    }
    return {"changed": False, "container_host": dict(host.describe(), engines=engines)}


def main():
    run_module({}, run, needs_root=False)


if __name__ == "__main__":
    main()
