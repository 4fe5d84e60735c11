#!/usr/bin/python

# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: engine_benchmark
short_description: Measure the container engines of a host side by side
version_added: 0.1.0
description:
  - Runs one workload, programs of busybox in an image, in labrun and in every engine that is found, alone and with the
    low-level runtimes that it is to use.
  - Times of a single container are measured in interleaved, shuffled blocks, after a warm-up; what loads the host is
    measured one engine at a time. Every value is kept, failures apart. C(docs/comparison.md) tells of each case.
  - It installs no engine, starts no daemon, and leaves no container, image, mount or cgroup behind.
  - On the controller it says every few seconds how far a host is. For this the host works by itself, as a task with
    C(async) does, and one line of text is read from it now and then. In check mode nothing of this is needed.
author:
  - ocilab.hosts authors (@ocilab)
extends_documentation_fragment:
  - ocilab.hosts.attributes
  - ocilab.hosts.attributes.store
attributes:
  check_mode:
    support: full
    details:
      - In check mode nothing is measured; the results tell the engines that would be, and have no values.
  diff_mode:
    support: N/A
  idempotent:
    support: N/A
    details:
      - It measures, and leaves the host as it was.
options:
  image:
    description: The image in the store of labrun. It must have C(/bin/true), C(/bin/sh) and C(/bin/busybox).
    type: str
    required: true
  host:
    description: The host's name in the results. Without it its host name.
    type: str
  progress:
    description:
      - A file on the host in which a line tells how far the measuring is.
      - Whoever gives it reads it; without it the controller does so.
    type: path
  plan:
    description: The plan.
    type: dict
    default: {}
    suboptions:
      profile:
        description: The plan's name in the results.
        type: str
        default: default
      samples:
        description: Samples of each engine in the cases V(run_true), V(lifecycle), V(exec) and V(stop).
        type: int
        default: 25
      warmup:
        description: Runs before that, which are not counted. An engine that fails here is not tried again in the case.
        type: int
        default: 2
      blocks:
        description: The number of blocks; within one all engines and cases are shuffled.
        type: int
        default: 5
      seed:
        description: The seed of the shuffling.
        type: int
        default: 1
      timeout_s:
        description: Seconds after which one command counts as failed.
        type: float
        default: 60
      cases:
        description: What is measured.
        type: list
        elements: str
        choices:
          - run_true
          - lifecycle
          - exec
          - stop
          - parallel
          - rate
          - density
          - footprint
          - pull
          - unpack
          - syscall
          - file_io
          - network
        default: [run_true, lifecycle]
      engines:
        description:
          - The engines to look for.
          - One with C(+) and a runtime is the same engine, told to use that low-level runtime.
        type: list
        elements: str
        choices:
          - labrun
          - labrun-module
          - runc
          - crun
          - runsc
          - youki
          - kata-runtime
          - docker
          - docker+crun
          - docker+runsc
          - docker+labrun
          - docker+youki
          - podman
          - podman+runc
          - podman+crun
          - podman+runsc
          - podman+labrun
          - podman-rootless
          - containerd
          - containerd+crun
          - containerd+runsc
          - containerd+labrun
          - crio
          - lxc
        default: [labrun, labrun-module, runc, docker, podman]
      sizes:
        description: How large the cases are. A size of 0 or none leaves its case out.
        type: dict
        default: {}
        suboptions:
          repeats:
            description: Samples of each engine in the cases that O(plan.samples) does not tell of.
            type: int
            default: 3
          parallel:
            description: How many containers are started at once.
            type: list
            elements: int
            default: [1, 2, 4]
          rate_s:
            description: Seconds for which containers are started in a row.
            type: float
            default: 3
          density:
            description: With how many idle containers the memory is looked at.
            type: list
            elements: int
            default: [10]
          syscalls:
            description: System calls.
            type: int
            default: 500000
          io_bytes:
            description: Bytes that are written into a file.
            type: int
            default: 67108864
          network_bytes:
            description: Bytes from one container to another.
            type: int
            default: 268435456
          exchanges:
            description: Exchanges of two bytes between two containers.
            type: int
            default: 1000
          pull_image:
            description:
              - The image that is pulled, with its registry.
              - Each engine's copy of it is removed before and after, also one that was there.
            type: str
            default: ""
      budget_s:
        description: Seconds in all. What is not measured by then is left out.
        type: float
        default: 3600
      budget_containers:
        description: The most containers that are to run at once.
        type: int
        default: 200
"""

EXAMPLES = r"""
- name: Measure
  ocilab.hosts.engine_benchmark:
    image: lab/busybox:1
    plan:
      samples: 30
      engines: [labrun, runc]
  register: result

- name: What a container costs the program in it, for at most two minutes
  ocilab.hosts.engine_benchmark:
    image: lab/busybox:1
    plan:
      cases: [syscall, file_io]
      engines: [labrun, runc, docker, docker+runsc]
      sizes:
        repeats: 5
      budget_s: 120
"""

RETURN = r"""
document:
  description:
    - The document of results; docs/results.schema.json describes it.
    - What C(engine_isolation) and C(engine_info) find is not in it yet.
  returned: always
  type: dict
"""

import os

from ansible_collections.ocilab.hosts.plugins.module_utils import arguments
from ansible_collections.ocilab.hosts.plugins.module_utils.comparison import plan as plans
from ansible_collections.ocilab.hosts.plugins.module_utils.comparison import results
from ansible_collections.ocilab.hosts.plugins.module_utils.engines import registry
from ansible_collections.ocilab.hosts.plugins.module_utils.glue import run_module
from ansible_collections.ocilab.hosts.plugins.module_utils.images.store import Store


def run(module):
    params = module.params
    plan = plans.checked(_given(params["plan"]), registry.NAMES)
    host = params["host"] or os.uname().nodename
    store = Store(params["store"])
    if module.check_mode:
        document = results.predict(host, params["image"], store, plan)
    else:
        progress = params["progress"] or ""
        document = results.measure(host, params["image"], store, params["layers"], plan, progress)
    return {"changed": False, "document": document}


def _given(plan):
    """What stands in the plan; an option that was given as null has its default."""
    given = {name: value for name, value in plan.items() if value is not None}
    given["sizes"] = {name: value for name, value in given.get("sizes", {}).items() if value is not None}
    return given


def main():
    sizes = {
        "repeats": {"type": "int", "default": 3},
        "parallel": {"type": "list", "elements": "int", "default": [1, 2, 4]},
        "rate_s": {"type": "float", "default": 3},
        "density": {"type": "list", "elements": "int", "default": [10]},
        "syscalls": {"type": "int", "default": 500000},
        "io_bytes": {"type": "int", "default": 67108864},
        "network_bytes": {"type": "int", "default": 268435456},
        "exchanges": {"type": "int", "default": 1000},
        "pull_image": {"type": "str", "default": ""},
    }
    names = {"type": "list", "elements": "str"}
    plan = {
        "profile": {"type": "str", "default": "default"},
        "samples": {"type": "int", "default": 25},
        "warmup": {"type": "int", "default": 2},
        "blocks": {"type": "int", "default": 5},
        "seed": {"type": "int", "default": 1},
        "timeout_s": {"type": "float", "default": 60},
        "cases": dict(names, choices=list(plans.CASES), default=list(plans.DEFAULT_CASES)),
        "engines": dict(names, choices=list(registry.NAMES), default=list(plans.DEFAULT_ENGINES)),
        "sizes": {"type": "dict", "default": {}, "options": sizes, "apply_defaults": True},
        "budget_s": {"type": "float", "default": 3600},
        "budget_containers": {"type": "int", "default": 200},
    }
    argument_spec = dict(
        arguments.STORE,
        image={"type": "str", "required": True},
        host={"type": "str"},
        progress={"type": "path"},
        plan={"type": "dict", "default": {}, "options": plan, "apply_defaults": True},
    )
    run_module(argument_spec, run)


if __name__ == "__main__":
    main()
