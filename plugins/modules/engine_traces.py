#!/usr/bin/python

# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: engine_traces
short_description: Take back what an engine has changed in the kernel
version_added: 0.1.0
description:
  - Notes what a host's firewall and forwarding are like before an engine starts for the first time.
  - When the engine goes, takes its rules, chains and bridges away, and restores the policies of chains. Forwarding is
    restored when the last of the engines goes that have noted.
author:
  - ocilab.hosts authors (@ocilab)
extends_documentation_fragment:
  - ocilab.hosts.attributes
options:
  engine:
    description: The engine.
    type: str
    required: true
  state:
    description: V(noted) before the engine starts, V(absent) after it has stopped for good.
    type: str
    choices: [noted, absent]
    required: true
  chains:
    description: What the names of the engine's chains begin with.
    type: list
    elements: str
    default: []
  shared_chains:
    description: What the names of chains begin with that other engines use as well, and that go with the last one.
    type: list
    elements: str
    default: []
  interfaces:
    description: Patterns of the names of the engine's bridges, which may hold asterisks and question marks.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Note what is there before Docker
  ocilab.hosts.engine_traces:
    engine: docker
    state: noted

- name: Remove what Docker has left
  ocilab.hosts.engine_traces:
    engine: docker
    state: absent
    chains: [DOCKER]
    interfaces: [docker0]
"""

RETURN = r"""
commands:
  description: The commands that remove the engine's traces.
  returned: always
  type: list
  elements: list
  sample: [[ip, link, delete, docker0]]
"""

from ansible_collections.ocilab.hosts.plugins.module_utils.glue import run_module
from ansible_collections.ocilab.hosts.plugins.module_utils.packages.traces import Traces


def run(module):
    params = module.params
    traces = Traces(params["engine"], params["chains"], params["interfaces"], params["shared_chains"])
    if params["state"] == "noted":
        result = {"changed": not traces.noted(), "commands": []}
        if result["changed"] and not module.check_mode:
            traces.take()
    else:
        commands, forwarding = traces.commands(), traces.forwarding()
        result = {"changed": bool(commands or forwarding or traces.noted()), "commands": commands}
        if result["changed"] and not module.check_mode:
            traces.remove()
    if module._diff:
        lines = "".join(" ".join(words) + "\n" for words in result["commands"])
        result["diff"] = {"before": "", "after": lines}
    return result


def main():
    argument_spec = {
        "engine": {"type": "str", "required": True},
        "state": {"type": "str", "choices": ["noted", "absent"], "required": True},
        "chains": {"type": "list", "elements": "str", "default": []},
        "shared_chains": {"type": "list", "elements": "str", "default": []},
        "interfaces": {"type": "list", "elements": "str", "default": []},
    }
    run_module(argument_spec, run)


if __name__ == "__main__":
    main()
