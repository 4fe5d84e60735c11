#!/usr/bin/python

# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: engine_pause_image
short_description: Give containerd or CRI-O an image of pods' own process, with no registry
version_added: 0.1.0
description:
  - Each pod of Kubernetes' kind has a process that holds its namespaces, of an image that engines pull from a registry.
  - This module makes such an image on the host, of a program of this collection's that does nothing but wait and reap,
    and loads it.
  - It needs the command C(ctr) for containerd, whose service runs, and C(skopeo) for CRI-O.
author:
  - ocilab.hosts authors (@ocilab)
extends_documentation_fragment:
  - ocilab.hosts.attributes
options:
  engine:
    description: The engine that is to have the image.
    type: str
    choices: [containerd, crio]
    required: true
  name:
    description: The image's name, as the engine's configuration says it.
    type: str
    default: localhost/ocilab/pause:1
  storage:
    description: Where CRI-O keeps its images, as C(DRIVER@ROOT+RUNROOT) of containers-transports(5).
    type: str
    default: overlay@/var/lib/containers/crio+/run/containers/crio
  state:
    description: Whether the engine is to have the image.
    type: str
    choices: [present, absent]
    default: present
"""

EXAMPLES = r"""
- name: Let pods of containerd start where no registry is reached
  ocilab.hosts.engine_pause_image:
    engine: containerd
"""

RETURN = r"""
name:
  description: The image's name.
  returned: always
  type: str
  sample: localhost/ocilab/pause:1
"""

from ansible_collections.ocilab.hosts.plugins.module_utils.engines import cri_images
from ansible_collections.ocilab.hosts.plugins.module_utils.glue import run_module
from ansible_collections.ocilab.hosts.plugins.module_utils.provisioning import commands


def run(module):
    engine, name, storage = (module.params[key] for key in ("engine", "name", "storage"))
    present = module.params["state"] == "present"
    command = "ctr" if engine == "containerd" else "skopeo"
    # Without the command there is no image; a run in check mode comes before the packages.
    changed = present != (commands.has(command) and cri_images.has(engine, name, storage))
    if changed and not module.check_mode:
        if present:
            cri_images.load_pause(engine, name, storage)
        else:
            cri_images.remove(engine, name, storage)
    result = {"changed": changed, "name": name}
    if module._diff:
        texts = ["image %s: %s\n" % (name, word) for word in ("absent", "present")]
        before, after = texts if present else reversed(texts)
        result["diff"] = {"before": before, "after": after} if changed else {"before": "", "after": ""}
    return result


def main():
    argument_spec = {
        "engine": {"type": "str", "choices": ["containerd", "crio"], "required": True},
        "name": {"type": "str", "default": cri_images.PAUSE},
        "storage": {"type": "str", "default": cri_images.CRIO_STORAGE},
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    }
    run_module(argument_spec, run)


if __name__ == "__main__":
    main()
