#!/usr/bin/python

# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: registry_users
short_description: Manage the users of a registry
version_added: 0.1.0
description:
  - Has these users in a registry's file of users and passwords, and no others. Passwords are kept as bcrypt hashes,
    which the host's libcrypt makes.
  - The hash of a password that has not changed stays as it is. The file is root's, and the group's to read, from its
    first byte on.
author:
  - ocilab.hosts authors (@ocilab)
extends_documentation_fragment:
  - ocilab.hosts.attributes
options:
  path:
    description: The file.
    type: path
    required: true
  users:
    description: The users.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: The user's name, of letters, digits and C(_ . @ -).
        type: str
        required: true
      password:
        description: The user's password, of at most 72 bytes, as bcrypt looks at no more.
        type: str
        required: true
  group:
    description: The group that reads the file, which is the registry's.
    type: str
    default: docker-registry
  cost:
    description:
      - How dear a new hash is, as a power of two.
      - The registry computes it for each request, so that a higher one slows down pulls.
    type: int
    default: 10
"""

EXAMPLES = r"""
- name: Let the class use the registry
  ocilab.hosts.registry_users:
    path: /etc/ocilab-registry/users
    users:
      - name: student
        password: "{{ lookup('ansible.builtin.password', '~/.ocilab-registry') }}"
"""

RETURN = r"""
actions:
  description: What was done, or in check mode would be.
  returned: always
  type: list
  elements: dict
  sample:
    - {user: student, action: add}
"""

from ansible_collections.ocilab.hosts.plugins.module_utils.glue import run_module
from ansible_collections.ocilab.hosts.plugins.module_utils.linux.errors import InvalidInput
from ansible_collections.ocilab.hosts.plugins.module_utils.registries import accounts
from ansible_collections.ocilab.hosts.plugins.module_utils.registries.htpasswd import Htpasswd


def run(module):
    params = module.params
    users = {user["name"]: user["password"] for user in params["users"]}
    if len(users) < len(params["users"]):
        raise InvalidInput("users: a name stands there twice")
    file = Htpasswd(params["path"], accounts.group(params["group"], module.check_mode), params["cost"])
    actions = file.carry_out(users, dry=module.check_mode)
    shown = [{"user": user, "action": action} for user, action in actions]
    result = {"changed": bool(actions), "actions": shown}
    if module._diff:
        result["diff"] = {"prepared": "".join("%s: %s\n" % action for action in actions)}
    return result


def main():
    user = {"name": {"type": "str", "required": True}, "password": {"type": "str", "required": True, "no_log": True}}
    argument_spec = {
        "path": {"type": "path", "required": True},
        "users": {"type": "list", "elements": "dict", "required": True, "options": user},
        "group": {"type": "str", "default": "docker-registry"},
        "cost": {"type": "int", "default": 10},
    }
    run_module(argument_spec, run)


if __name__ == "__main__":
    main()
