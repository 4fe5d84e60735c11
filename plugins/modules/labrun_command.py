#!/usr/bin/python

# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: labrun_command
short_description: Install labrun as a command
version_added: 0.1.0
description:
  - Builds the command from this collection, for the host's Python, as one file. It has runc's command line, so that
    Docker, Podman and containerd can use it.
author:
  - ocilab.hosts authors (@ocilab)
extends_documentation_fragment:
  - ocilab.hosts.attributes
options:
  path:
    description: The file.
    type: path
    default: /usr/local/bin/labrun
  state:
    description: Whether the file is to be there.
    type: str
    choices: [present, absent]
    default: present
"""

EXAMPLES = r"""
- name: Install labrun
  ocilab.hosts.labrun_command:

- name: Remove it
  ocilab.hosts.labrun_command:
    state: absent
"""

RETURN = r"""
path:
  description: The file.
  returned: always
  type: str
  sample: /usr/local/bin/labrun
"""

import os

from ansible_collections.ocilab.hosts.plugins.module_utils.glue import run_module

# cli is what the command is made of: where it is imported, all that it can reach is brought to the host.
from ansible_collections.ocilab.hosts.plugins.module_utils.labrun import cli, command

MAIN = cli.main


def run(module):
    path, state = module.params["path"], module.params["state"]
    changed = not command.is_current(path) if state == "present" else os.path.lexists(path)
    if changed and not module.check_mode:
        if state == "present":
            os.makedirs(os.path.dirname(path), 0o755, exist_ok=True)
            command.write_executable(path)
        else:
            os.unlink(path)
    result = {"changed": changed, "path": path}
    if module._diff:
        texts = {"present": "the command\n", "absent": "\n"}
        other = {"present": "no such command, or another\n", "absent": texts["present"]}
        result["diff"] = {"before": (other if changed else texts)[state], "after": texts[state]}
    return result


def main():
    argument_spec = {
        "path": {"type": "path", "default": "/usr/local/bin/labrun"},
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    }
    run_module(argument_spec, run)


if __name__ == "__main__":
    main()
