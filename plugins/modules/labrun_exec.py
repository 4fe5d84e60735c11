#!/usr/bin/python

# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: labrun_exec
short_description: Run a command in a running container of labrun
version_added: 0.1.0
description:
  - Runs a further process in the namespaces and the cgroup of a container, with its capabilities and its filter.
  - Nothing needs to be in the container but the program. To run modules in it, use P(ocilab.hosts.labrun#connection).
author:
  - ocilab.hosts authors (@ocilab)
extends_documentation_fragment:
  - ocilab.hosts.attributes
  - ocilab.hosts.attributes.root
attributes:
  check_mode:
    support: partial
    details:
      - The command is skipped, unless O(creates) or O(removes) tell whether it would be run.
  diff_mode:
    support: none
  idempotent:
    support: partial
    details:
      - Where O(creates) or O(removes) tell that it need not be run again.
options:
  name:
    description: The container's id.
    type: str
    required: true
  command:
    description: The program and its arguments; no shell is between.
    type: list
    elements: str
    required: true
  env:
    description: Environment variables, added to those of the container's own process.
    type: dict
    default: {}
  user:
    description:
      - The user, as C(USER[:GROUP]) in names of the container or numbers.
      - Without it the user that the container's own process was started as.
    type: str
  working_dir:
    description: The working directory. Without it the container's own.
    type: path
  stdin:
    description: What the command can read on its standard input, as it is. Without it that is empty.
    type: str
  creates:
    description: A path in the container; where it exists the command is not run.
    type: path
  removes:
    description: A path in the container; where it does not exist the command is not run.
    type: path
  timeout:
    description: Seconds after which the command and its process group are killed, and the task fails.
    type: float
  detach:
    description: Whether to return when the command has started. It has no standard input and output then.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Read what a container's root is
  ocilab.hosts.labrun_exec:
    name: web
    command: [/bin/ls, -l, /]
  register: result

- name: Write a file as another user, once
  ocilab.hosts.labrun_exec:
    name: web
    command: [/bin/sh, -c, "cat > /tmp/greeting"]
    stdin: "hello\n"
    user: student
    creates: /tmp/greeting
"""

RETURN = r"""
rc:
  description: The exit code; 128 and the signal's number where a signal ended it. Other than 0 the task fails.
  returned: when it was run and O(detach=false)
  type: int
  sample: 0
stdout:
  description: What it wrote to its standard output, without the last line ends; bytes that are not UTF-8 are replaced.
  returned: when it was run and O(detach=false)
  type: str
stderr:
  description: What it wrote to its standard error, likewise.
  returned: when it was run and O(detach=false)
  type: str
pid:
  description: Its process on the host.
  returned: when it was run and O(detach=true)
  type: int
  sample: 4242
command:
  description: The program and its arguments.
  returned: always
  type: list
  elements: str
"""

from ansible_collections.ocilab.hosts.plugins.module_utils.glue import run_module
from ansible_collections.ocilab.hosts.plugins.module_utils.labrun import container as life
from ansible_collections.ocilab.hosts.plugins.module_utils.labrun import running


def reason_to_leave_it(params, container):
    """Why the command need not be run; '' where it is to be."""
    if params["creates"] and running.exists(container, params["creates"]):
        return "not run, since %s exists in the container" % params["creates"]
    if params["removes"] and not running.exists(container, params["removes"]):
        return "not run, since %s does not exist in the container" % params["removes"]
    return ""


def run(module):
    params = module.params
    container = life.Container(params["name"], params["root"])
    env = {name: str(value) for name, value in params["env"].items()}
    process = running.described(container, params["command"], env, params["user"], params["working_dir"])
    result = {"changed": False, "command": params["command"]}
    reason = reason_to_leave_it(params, container)
    if reason:
        return dict(result, msg=reason)
    if module.check_mode:
        if params["creates"] or params["removes"]:
            return dict(result, changed=True)
        return dict(result, skipped=True, msg="the command would be run")
    result["changed"] = True
    if params["detach"]:
        return dict(result, pid=running.start(container, process, module.warn))
    given = (params["stdin"] or "").encode("utf-8", "surrogateescape")
    code, stdout, stderr = running.run(container, process, given, params["timeout"], module.warn)
    result.update(rc=code, stdout=shown(stdout), stderr=shown(stderr))
    if code:
        module.fail_json(msg="the command ended with exit code %d" % code, **result)
    return result


def shown(data):
    return data.decode("utf-8", "replace").rstrip("\r\n")


def main():
    argument_spec = {
        "name": {"type": "str", "required": True},
        "command": {"type": "list", "elements": "str", "required": True},
        "env": {"type": "dict", "default": {}},
        "user": {"type": "str"},
        "working_dir": {"type": "path"},
        "stdin": {"type": "str"},
        "creates": {"type": "path"},
        "removes": {"type": "path"},
        "timeout": {"type": "float"},
        "detach": {"type": "bool", "default": False},
        "root": {"type": "path", "default": "/run/labrun"},
    }
    run_module(argument_spec, run, mutually_exclusive=[("detach", "stdin"), ("detach", "timeout")])


if __name__ == "__main__":
    main()
