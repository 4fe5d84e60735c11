#!/usr/bin/python

# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: registry_probe
short_description: See what a registry does and refuses
version_added: 0.1.0
description:
  - Asks a registry over TLS, from the host where the module runs, and tells what it does and what it refuses.
  - Of one that is private it wants that nobody without the right password gets in, and that an image of a few bytes can
    be pushed, pulled and deleted. The image is gone afterwards; the name of its repository, V(ocilab/verify), stays in
    the catalogue. In check mode none is pushed.
  - Of a cache it wants that it answers everybody, takes and deletes nothing, and pulls through.
author:
  - ocilab.hosts authors (@ocilab)
extends_documentation_fragment:
  - ocilab.hosts.attributes.info
options:
  kind:
    description: What the registry is to be.
    type: str
    choices: [private, cache]
    required: true
  host:
    description: The registry's name or address.
    type: str
    default: localhost
  port:
    description: The registry's port.
    type: int
    required: true
  ca:
    description: The certificate of the authority that has signed the registry's. Without it those of the host count.
    type: path
    default: ""
  user:
    description: A user of the registry; needed for O(kind=private).
    type: str
    default: ""
  password:
    description: The user's password.
    type: str
    default: ""
  deletes:
    description: Whether a private registry is to delete images.
    type: bool
    default: true
  image:
    description: An image that a cache is to pull through, as V(library/busybox:latest). Without it none is.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: See what the cache does
  ocilab.hosts.registry_probe:
    kind: cache
    host: registry.example
    port: 5001
    ca: /etc/docker/certs.d/registry.example:5001/ca.crt
"""

RETURN = r"""
findings:
  description: What was tried, whether it is as it is to be, and why that matters.
  returned: always
  type: list
  elements: dict
  sample:
    - {item: refuses a push, met: true, reason: "what the class pulls is the upstream's", error: ""}
met:
  description: Whether all is as it is to be.
  returned: always
  type: bool
  sample: true
"""

from ansible_collections.ocilab.hosts.plugins.module_utils.glue import run_module
from ansible_collections.ocilab.hosts.plugins.module_utils.registries import probe
from ansible_collections.ocilab.hosts.plugins.module_utils.registries.client import Registry


def run(module):
    params = module.params
    registry = Registry(params["host"], params["port"], params["ca"])
    if params["kind"] == "private":
        findings = probe.private(
            registry, (params["user"], params["password"]), not module.check_mode, params["deletes"]
        )
    else:
        findings = probe.cache(registry, params["image"])
    return {"changed": False, "findings": findings, "met": all(finding["met"] for finding in findings)}


def main():
    argument_spec = {
        "kind": {"type": "str", "choices": ["private", "cache"], "required": True},
        "host": {"type": "str", "default": "localhost"},
        "port": {"type": "int", "required": True},
        "ca": {"type": "path", "default": ""},
        "user": {"type": "str", "default": ""},
        "password": {"type": "str", "default": "", "no_log": True},
        "deletes": {"type": "bool", "default": True},
        "image": {"type": "str", "default": ""},
    }
    run_module(argument_spec, run, needs_root=False, required_if=[("kind", "private", ("user", "password"))])


if __name__ == "__main__":
    main()
