#!/usr/bin/python

# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: engine_traces
short_description: Remove what a container engine has left in the kernel
version_added: 0.1.0
description:
  - Removes chains of iptables with the rules that lead to them, tables of nftables, and interfaces.
  - Engines make them for their networks and leave some when they are stopped. It is for an engine that no longer runs.
  - Both kinds of iptables are looked at, with IPv4 and IPv6. What is not there is no error.
author:
  - ocilab.hosts authors (@ocilab)
extends_documentation_fragment:
  - ocilab.hosts.attributes
options:
  chains:
    description: How the names of the chains begin.
    type: list
    elements: str
    default: []
  tables:
    description: Tables of nftables, with their family, as V(inet lxc).
    type: list
    elements: str
    default: []
  interfaces:
    description: Network interfaces.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Remove what Podman's networks have left
  ocilab.hosts.engine_traces:
    chains: [NETAVARK]
    tables: [inet netavark]
    interfaces: [podman0]
"""

RETURN = r"""
commands:
  description: The commands that were run, or in check mode would be.
  returned: always
  type: list
  elements: list
  sample:
    - [ip, link, delete, podman0]
"""

from ansible_collections.ocilab.hosts.plugins.module_utils.glue import run_module
from ansible_collections.ocilab.hosts.plugins.module_utils.provisioning import commands
from ansible_collections.ocilab.hosts.plugins.module_utils.provisioning.traces import Traces


def run(module):
    params = module.params
    words = Traces(params["chains"], params["tables"], params["interfaces"]).commands()
    if not module.check_mode:
        for command in words:
            commands.run(*command)
    result = {"changed": bool(words), "commands": words}
    if module._diff:
        result["diff"] = {"prepared": "".join(" ".join(command) + "\n" for command in words)}
    return result


def main():
    names = {"type": "list", "elements": "str", "default": []}
    run_module({"chains": names, "tables": names, "interfaces": names}, run)


if __name__ == "__main__":
    main()
