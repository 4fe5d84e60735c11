#!/usr/bin/python

# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: engine_verify
short_description: Prove that the container engines of a host work, alone and beside each other
version_added: 0.1.0
description:
  - Has each engine run a container, reach the network, another container and a name server, mount a volume, hold to
    limits of memory and processes, and pull through a registry's cache.
  - With several engines each is tried while a container of every other one stands and calls the host each second. None
    of those calls may fail.
  - A check that fails is a result, not a failure of the task. The role P(ocilab.hosts.verify#role) tells of them.
  - It installs nothing, starts no daemon, and leaves no container, image, network, mount or cgroup behind.
author:
  - ocilab.hosts authors (@ocilab)
extends_documentation_fragment:
  - ocilab.hosts.attributes
  - ocilab.hosts.attributes.store
attributes:
  check_mode:
    support: full
    details:
      - In check mode no container is run; the results have the hardening alone.
  diff_mode:
    support: N/A
  idempotent:
    support: N/A
    details:
      - It looks, and leaves the host as it was.
options:
  engines:
    description: The engines, in the order in which they are tried.
    type: list
    elements: str
    choices: [docker, podman, podman-rootless, containerd, crio, lxc, labrun]
    default: [docker, podman, podman-rootless, containerd, crio, lxc, labrun]
  expected:
    description:
      - Whether the host is to have all of O(engines), so that one that is not installed has failed.
      - Otherwise it is left out, with the reason.
    type: bool
    default: false
  image:
    description:
      - The image in the store of labrun, of busybox with its shell. It must have C(/bin/busybox) and C(/bin/sh).
      - Without it no container is run, and only the hardening is told of.
    type: str
  cache_image:
    description: The image that engines with a client for registries pull through the registry's cache.
    type: str
    default: ""
  name:
    description: The name of a host that containers are to resolve. Where the host itself does not, this is left out.
    type: str
    default: deb.debian.org
  outside:
    description:
      - What containers are to reach by TCP, as HOST:PORT.
      - Without it, it is the host, at a port that this module opens while it runs.
    type: str
    default: ""
  hardening:
    description: Whether to look how the engines that are installed are hardened.
    type: bool
    default: true
"""

EXAMPLES = r"""
- name: Tell how Docker is hardened
  ocilab.hosts.engine_verify:
    engines: [docker]
  register: result

- name: See that Docker and Podman work beside each other
  ocilab.hosts.engine_verify:
    engines: [docker, podman]
    expected: true
    image: lab/busybox:1
  register: result

- name: Fail where one does not
  ansible.builtin.assert:
    that: result.failed_checks == []
    fail_msg: "{{ result.failed_checks }}"
"""

RETURN = r"""
checks:
  description: What was tried, in order.
  returned: always
  type: list
  elements: dict
  contains:
    engine:
      description: The engine.
      type: str
      returned: always
    check:
      description:
        - One of V(service), V(run), V(network), V(neighbour), V(names), V(volume), V(memory), V(cache), V(pids), and
          V(standing), which is that the container that stood all the while has lost no call.
      type: str
      returned: always
    while:
      description: The engines that a container stood in meanwhile.
      type: list
      elements: str
      returned: always
    passed:
      description: Whether the engine does what it should.
      type: bool
      returned: always
    left_out:
      description: Whether there was nothing to check.
      type: bool
      returned: always
    reason:
      description: Why it has not passed; empty where it has.
      type: str
      returned: always
    seconds:
      description: How long it took.
      type: float
      returned: always
failed_checks:
  description: A line for each check that failed.
  returned: always
  type: list
  elements: str
  sample: ["lxc: network: it does not reach its target: no answer from 10.0.3.1"]
table:
  description: For people, a line for each engine, with what it does, what it does not, and what was left out.
  returned: always
  type: list
  elements: str
hardening:
  description: How the engines that are installed are hardened.
  returned: always
  type: list
  elements: dict
  contains:
    engine:
      description: The engine.
      type: str
      returned: always
    id:
      description: The item's name.
      type: str
      returned: always
      sample: docker-icc
    title:
      description: What should be so.
      type: str
      returned: always
    state:
      description: V(ok), V(deviates) or V(not applicable).
      type: str
      returned: always
    reason:
      description: What it is good for, or why it is not applicable.
      type: str
      returned: always
    found:
      description: What the host has.
      type: str
      returned: always
"""

from ansible_collections.ocilab.hosts.plugins.module_utils import arguments
from ansible_collections.ocilab.hosts.plugins.module_utils.glue import run_module
from ansible_collections.ocilab.hosts.plugins.module_utils.images.store import Store
from ansible_collections.ocilab.hosts.plugins.module_utils.linux.errors import InvalidInput
from ansible_collections.ocilab.hosts.plugins.module_utils.verification import checks, hardening, subjects, verification


def outside(text):
    """(host, port), or None for nothing. Raises InvalidInput."""
    host, colon, port = text.rpartition(":")
    if text and not (host and colon and port.isdigit() and 0 < int(port) < 65536):
        raise InvalidInput("outside: %r: HOST:PORT is expected, such as 192.0.2.1:443" % text)
    return (host, int(port)) if text else None


def run(module):
    params = module.params
    names = list(dict.fromkeys(params["engines"]))
    wishes = checks.Wishes(params["name"], params["cache_image"], outside(params["outside"]))
    done = []
    if params["image"]:
        store = Store(params["store"])
        store.get(params["image"])
        if not module.check_mode:
            done = verification.verify(names, params["expected"], wishes, params["image"], store, params["layers"])
    return {
        "changed": False,
        "checks": done,
        "failed_checks": [verification.line(result) for result in done if verification.failed(result)],
        "table": verification.table(done),
        "hardening": hardening.of_host(names) if params["hardening"] else [],
    }


def main():
    names = list(subjects.NAMES)
    argument_spec = dict(
        arguments.STORE,
        engines={"type": "list", "elements": "str", "choices": names, "default": names},
        expected={"type": "bool", "default": False},
        image={"type": "str"},
        cache_image={"type": "str", "default": ""},
        name={"type": "str", "default": "deb.debian.org"},
        outside={"type": "str", "default": ""},
        hardening={"type": "bool", "default": True},
    )
    run_module(argument_spec, run)


if __name__ == "__main__":
    main()
