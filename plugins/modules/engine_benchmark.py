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
  - Runs one workload, C(/bin/true) of an image, in labrun and in every engine that is found.
  - The engines are measured in interleaved, shuffled blocks, after a warm-up. Every sample is kept, failures apart.
  - It installs no engine, starts no daemon, and leaves no container, image, mount or cgroup behind.
author:
  - ocilab.hosts authors (@ocilab)
extends_documentation_fragment:
  - ocilab.hosts.attributes
  - ocilab.hosts.attributes.store
attributes:
  check_mode:
    support: full
    details:
      - In check mode nothing is measured; the results tell the engines that would be, and have no samples.
  diff_mode:
    support: N/A
  idempotent:
    support: N/A
    details:
      - It measures, and leaves the host as it was.
options:
  image:
    description: The image in the store of labrun. It must have C(/bin/true).
    type: str
    required: true
  host:
    description: The host's name in the results. Without it its host name.
    type: str
  plan:
    description: The plan.
    type: dict
    default: {}
    suboptions:
      samples:
        description: Samples of each engine and case.
        type: int
        default: 25
      warmup:
        description: Runs before that, which are not counted.
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
        choices: [run_true, lifecycle]
        default: [run_true, lifecycle]
      engines:
        description: The engines to look for.
        type: list
        elements: str
        choices: [labrun, labrun-module, runc, docker, podman]
        default: [labrun, labrun-module, runc, docker, podman]
"""

EXAMPLES = r"""
- name: Measure
  ocilab.hosts.engine_benchmark:
    image: lab/busybox:1
    plan:
      samples: 30
      engines: [labrun, runc]
  register: result
"""

RETURN = r"""
document:
  description: The document of results; docs/results.schema.json describes it.
  returned: always
  type: dict
"""

import os

from ansible_collections.ocilab.hosts.plugins.module_utils import arguments
from ansible_collections.ocilab.hosts.plugins.module_utils.comparison import plan as plans
from ansible_collections.ocilab.hosts.plugins.module_utils.comparison import results
from ansible_collections.ocilab.hosts.plugins.module_utils.glue import run_module
from ansible_collections.ocilab.hosts.plugins.module_utils.images.store import Store


def run(module):
    params = module.params
    given = {name: value for name, value in params["plan"].items() if value is not None}
    plan = plans.checked(given, results.ENGINES)
    host = params["host"] or os.uname().nodename
    store = Store(params["store"])
    if module.check_mode:
        document = results.predict(host, params["image"], store, plan)
    else:
        document = results.measure(host, params["image"], store, params["layers"], plan)
    return {"changed": False, "document": document}


def main():
    engines = list(results.ENGINES)
    cases = list(plans.CASES)
    plan = {
        "samples": {"type": "int", "default": 25},
        "warmup": {"type": "int", "default": 2},
        "blocks": {"type": "int", "default": 5},
        "seed": {"type": "int", "default": 1},
        "timeout_s": {"type": "float", "default": 60},
        "cases": {"type": "list", "elements": "str", "choices": cases, "default": cases},
        "engines": {"type": "list", "elements": "str", "choices": engines, "default": engines},
    }
    argument_spec = dict(
        arguments.STORE,
        image={"type": "str", "required": True},
        host={"type": "str"},
        plan={"type": "dict", "default": {}, "options": plan, "apply_defaults": True},
    )
    run_module(argument_spec, run)


if __name__ == "__main__":
    main()
