#!/usr/bin/python

# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: engine_pods
short_description: Ask containerd or CRI-O by the CRI what it is and which pods it has, or remove these
version_added: 0.1.0
description:
  - Speaks the Container Runtime Interface with the engine, as Kubernetes does.
  - The managed host needs gRPC for Python, the package C(python3-grpcio).
author:
  - ocilab.hosts authors (@ocilab)
extends_documentation_fragment:
  - ocilab.hosts.attributes
options:
  socket:
    description: The engine's socket.
    type: path
    required: true
  state:
    description: V(listed) only asks; V(absent) stops and removes all pods, with their containers.
    type: str
    choices: [listed, absent]
    default: listed
"""

EXAMPLES = r"""
- name: Ask containerd for its pods
  ocilab.hosts.engine_pods:
    socket: /run/containerd/containerd.sock
"""

RETURN = r"""
runtime:
  description: The engine's name and version.
  returned: always
  type: dict
  sample:
    runtime_name: containerd
    runtime_version: 1.6.20~ds1
conditions:
  description: Why RuntimeReady and NetworkReady are not met, empty texts for what is met.
  returned: always
  type: dict
  sample:
    RuntimeReady: ""
    NetworkReady: ""
pods:
  description: The pods that were there, with C(id), C(name), C(namespace) and C(ready).
  returned: always
  type: list
  elements: dict
  sample: []
"""

from ansible_collections.ocilab.hosts.plugins.module_utils.engines import cri, cri_messages
from ansible_collections.ocilab.hosts.plugins.module_utils.glue import run_module


def run(module):
    runtime = cri.Runtime(module.params["socket"])
    pods = runtime.pods()
    result = {"runtime": runtime.version(), "conditions": runtime.conditions(), "pods": [_told(pod) for pod in pods]}
    result["changed"] = module.params["state"] == "absent" and bool(pods)
    if result["changed"] and not module.check_mode:
        for pod in pods:
            runtime.remove_pod(pod["id"])
    if module._diff:
        result["diff"] = {"before": {"pods": result["pods"]}, "after": {"pods": []}} if result["changed"] else {}
    return result


def _told(pod):
    name = pod["metadata"] or {"name": "", "namespace": ""}
    return {
        "id": pod["id"],
        "name": name["name"],
        "namespace": name["namespace"],
        "ready": pod["state"] == cri_messages.READY,
    }


def main():
    argument_spec = {
        "socket": {"type": "path", "required": True},
        "state": {"type": "str", "choices": ["listed", "absent"], "default": "listed"},
    }
    run_module(argument_spec, run)


if __name__ == "__main__":
    main()
