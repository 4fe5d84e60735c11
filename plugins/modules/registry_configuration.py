#!/usr/bin/python

# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: registry_configuration
short_description: Write a registry's configuration, if the registry starts with it
version_added: 0.1.0
description:
  - Docker Registry has no command that validates its configuration. This module starts it with the new one, on a socket
    of its own, until it listens; with one that it does not start with, what was there stays.
  - The file is root's, and the registry's group's to read, from its first byte on.
author:
  - ocilab.hosts authors (@ocilab)
extends_documentation_fragment:
  - ocilab.hosts.attributes
attributes:
  diff_mode:
    support: none
    details: The configuration may hold passwords.
options:
  path:
    description: The file.
    type: path
    required: true
  content:
    description: The configuration, as YAML. It may hold passwords, and is not shown.
    type: str
    required: true
  pull_through:
    description: Whether it is that of a pull-through cache, which then gets an upstream for its trial.
    type: bool
    default: false
  program:
    description: The registry.
    type: path
    default: /usr/bin/docker-registry
  user:
    description: The user that it runs as, who has a group of the same name.
    type: str
    default: docker-registry
"""

EXAMPLES = r"""
- name: Have a registry that keeps images in /srv
  ocilab.hosts.registry_configuration:
    path: /etc/docker/registry/config.yml
    content: |
      version: 0.1
      storage: {filesystem: {rootdirectory: /srv/registry}}
      http: {addr: "127.0.0.1:5000"}
"""

RETURN = r"""
"""

from ansible_collections.ocilab.hosts.plugins.module_utils.glue import run_module
from ansible_collections.ocilab.hosts.plugins.module_utils.registries import accounts
from ansible_collections.ocilab.hosts.plugins.module_utils.registries.configuration import Configuration, Trial


def run(module):
    params = module.params
    group = accounts.group(params["user"], module.check_mode)
    configuration = Configuration(params["path"], group)
    changed = configuration.differs(params["content"])
    if changed and not module.check_mode:
        user = accounts.user(params["user"])
        configuration.carry_out(params["content"], Trial(params["program"], user, group, params["pull_through"]))
    return {"changed": changed}


def main():
    argument_spec = {
        "path": {"type": "path", "required": True},
        "content": {"type": "str", "required": True, "no_log": True},
        "pull_through": {"type": "bool", "default": False},
        "program": {"type": "path", "default": "/usr/bin/docker-registry"},
        "user": {"type": "str", "default": "docker-registry"},
    }
    run_module(argument_spec, run)


if __name__ == "__main__":
    main()
