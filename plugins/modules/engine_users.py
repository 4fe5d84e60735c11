#!/usr/bin/python

# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: engine_users
short_description: Manage users who run containers of their own
version_added: 0.1.0
description:
  - Makes users ready for containers without root, for an owner, which is one of this collection's roles.
  - A user who does not exist is created. Ranges of subordinate ids are chosen so that no two overlap, in C(/etc/subuid)
    and C(/etc/subgid) alike; a range of the user's that overlaps another's is an error.
  - A ledger in C(/var/lib/ocilab.hosts/users.json) tells what was made. A user whom the owner lets go of loses that,
    unless another owner needs it, and what was there before stays.
author:
  - ocilab.hosts authors (@ocilab)
extends_documentation_fragment:
  - ocilab.hosts.attributes
options:
  owner:
    description: On whose behalf, as V(podman).
    type: str
    required: true
  users:
    description: The users, which are all that the owner wants; others that it had are let go.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: The user's name.
        type: str
        required: true
      subids:
        description: How many subordinate ids of users and of groups the user is to have; V(0) leaves them alone.
        type: int
        default: 65536
      linger:
        description: Whether the user's systemd runs without a login, so that containers outlive it.
        type: bool
        default: true
      units:
        description: Units of the user's own systemd that are enabled and started.
        type: list
        elements: str
        default: []
  remove_home:
    description: Whether the home of a user goes who was created by this module and is let go of.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Make a student ready for Podman
  ocilab.hosts.engine_users:
    owner: podman
    users:
      - name: student

- name: Let go of all users of Podman's role
  ocilab.hosts.engine_users:
    owner: podman
    users: []
"""

RETURN = r"""
actions:
  description: What was done, or in check mode would be, in order.
  returned: always
  type: list
  elements: dict
  sample:
    - {user: student, action: create}
    - {user: student, action: subuid}
users:
  description: Each user after the run; in check mode before it. Of one that does not exist the name only.
  returned: always
  type: list
  elements: dict
  sample:
    - name: student
      uid: 1000
      home: /home/student
      subuid: [100000-165535]
      subgid: [100000-165535]
"""

from ansible_collections.ocilab.hosts.plugins.module_utils.glue import run_module
from ansible_collections.ocilab.hosts.plugins.module_utils.linux.errors import InvalidInput
from ansible_collections.ocilab.hosts.plugins.module_utils.provisioning.accounts import Accounts, Wish


def run(module):
    params = module.params
    wishes = [Wish(**user) for user in params["users"]]
    names = [wish.name for wish in wishes]
    if len(set(names)) < len(names):
        raise InvalidInput("users: a name stands there twice: %s" % ", ".join(names))
    accounts = Accounts(params["owner"], params["remove_home"])
    actions = accounts.plan(wishes) if module.check_mode else accounts.carry_out(wishes)
    shown = [{"user": user, "action": action} for user, action in actions]
    result = {"changed": bool(actions), "actions": shown, "users": [accounts.describe(name) for name in names]}
    if module._diff:
        result["diff"] = {"prepared": "".join("%s: %s\n" % action for action in actions)}
    return result


def main():
    user = {
        "name": {"type": "str", "required": True},
        "subids": {"type": "int", "default": 65536},
        "linger": {"type": "bool", "default": True},
        "units": {"type": "list", "elements": "str", "default": []},
    }
    argument_spec = {
        "owner": {"type": "str", "required": True},
        "users": {"type": "list", "elements": "dict", "default": [], "options": user},
        "remove_home": {"type": "bool", "default": False},
    }
    run_module(argument_spec, run)


if __name__ == "__main__":
    main()
