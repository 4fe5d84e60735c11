#!/usr/bin/python

# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: labrun_pod
short_description: Manage pods, whose containers share a network, System V IPC and a host name
version_added: 0.1.0
description:
  - A pod is a small process that holds the namespaces. M(ocilab.hosts.labrun_container) puts containers into it.
  - Its containers reach each other at C(localhost), and its published ports lead to them.
  - A pod outlives its containers, and is there before them.
author:
  - ocilab.hosts authors (@ocilab)
extends_documentation_fragment:
  - ocilab.hosts.attributes
  - ocilab.hosts.attributes.root
options:
  name:
    description: The pod's id, which no container can have.
    type: str
    required: true
  state:
    description:
      - The state that the pod is to be in. With V(present) it exists, whether it has been started or not.
      - V(stopped) stops its containers before it, V(absent) removes them before it.
      - A pod that differs from the options is removed with its containers and made anew, but not by V(stopped) and
        V(absent). Its containers, and those of a pod that is started again, are made anew by their own tasks.
    type: str
    choices: [present, started, stopped, absent]
    default: started
  hostname:
    description: The host name of all of its containers. Without it the pod's id.
    type: str
  share_processes:
    description: Whether its containers see each other's processes, too. What they leave behind the pod then reaps.
    type: bool
    default: false
  networks:
    description:
      - The networks that the pod is attached to, as for M(ocilab.hosts.labrun_container).
      - Without networks it has its loopback device only.
    type: list
    elements: raw
  published_ports:
    description: Ports of the host that lead to the pod, as V(8080:80) or V(127.0.0.1:5353:53/udp).
    type: list
    elements: str
  labels:
    description: Labels. In the pod's state they are annotations named C(ocilab.hosts.label.KEY).
    type: dict
    default: {}
  network_config_dir:
    description: Where networks are defined.
    type: path
    default: /etc/labrun/networks
  stop_timeout:
    description: Seconds between C(SIGTERM) and C(SIGKILL), for the pod and for each of its containers.
    type: float
    default: 10
  data_root:
    description: Where bundles of containers and their logs are kept.
    type: path
    default: /var/lib/labrun
"""

EXAMPLES = r"""
- name: Make a pod with a published port
  ocilab.hosts.labrun_pod:
    name: shop
    networks: [lab]
    published_ports: ["8080:80"]

- name: Put a server and its helper into it, who reach each other at localhost
  ocilab.hosts.labrun_container:
    name: "{{ item }}"
    image: lab/{{ item }}:1
    pod: shop
  loop: [server, helper]

- name: Remove the pod with its containers
  ocilab.hosts.labrun_pod:
    name: shop
    state: absent
"""

RETURN = r"""
pod:
  description: The pod's own container after the run; in check mode before it. Empty when there is none.
  returned: always
  type: dict
  sample:
    id: shop
    status: running
    pid: 4242
    bundle: /var/lib/labrun/bundles/shop
    log_path: /var/lib/labrun/logs/shop.log
    exit_code: null
members:
  description: Its containers, each with id and status; in check mode before the run.
  returned: always
  type: list
  elements: dict
  sample:
    - id: server
      status: running
actions:
  description: What was done with the pod, or in check mode would be done, in order.
  returned: always
  type: list
  elements: str
  sample: [create, start]
member_actions:
  description: Likewise for each of its containers with which anything was done, by id.
  returned: always
  type: dict
  sample: {}
"""

from ansible_collections.ocilab.hosts.plugins.module_utils import arguments
from ansible_collections.ocilab.hosts.plugins.module_utils.glue import run_module
from ansible_collections.ocilab.hosts.plugins.module_utils.labrun import managed, pod

MEMBERS_STATE = {"stopped": "stopped", "absent": "absent"}


def wish(params, name):
    return managed.Wanted(name, params["root"], params["data_root"], None, params["stop_timeout"])


def shown(wanted, params):
    return {"pod": wanted.shown(), "members": pod.members(params["name"], params["root"])}


def predicted(before, plan, member_plans):
    members = []
    for member in before["members"]:
        status = managed.predict(member, member_plans.get(member["id"], [])).get("status")
        if status:
            members.append({"id": member["id"], "status": status})
    return {"pod": managed.predict(before["pod"], plan), "members": members}


def run(module):
    params = module.params
    options = dict(arguments.connected_options(dict(params, volumes=None)), hostname=params["hostname"])
    wanted = wish(params, params["name"])
    wanted.describe_pod(dict(options, share_processes=params["share_processes"]), params["data_root"])
    plan = managed.plan(wanted, "created" if params["state"] == "present" else params["state"])
    state = "absent" if "delete" in plan else MEMBERS_STATE.get(params["state"])
    planned = []
    before = shown(wanted, params)
    for member in before["members"] if state else []:
        its = wish(params, member["id"])
        planned.append((its, managed.plan(its, state)))
    member_plans = {its.container.id: actions for its, actions in planned if actions}
    if not module.check_mode:
        for done in (*managed.carry_out(planned, False), *managed.carry_out([(wanted, plan)], False)):
            for warning in done["warnings"]:
                module.warn(warning)
    result = dict(shown(wanted, params), actions=plan, member_actions=member_plans)
    result["changed"] = bool(plan or member_plans)
    if module._diff:
        result["diff"] = {"before": before, "after": predicted(before, plan, member_plans)}
    return result


def main():
    connected = {key: option for key, option in arguments.CONNECTED.items() if key != "volumes"}
    argument_spec = dict(
        connected,
        name={"type": "str", "required": True},
        state={"type": "str", "choices": ["present", "started", "stopped", "absent"], "default": "started"},
        hostname={"type": "str"},
        share_processes={"type": "bool", "default": False},
        stop_timeout={"type": "float", "default": 10},
        root={"type": "path", "default": "/run/labrun"},
        data_root={"type": "path", "default": "/var/lib/labrun"},
    )
    run_module(argument_spec, run)


if __name__ == "__main__":
    main()
