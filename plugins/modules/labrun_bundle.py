#!/usr/bin/python

# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: labrun_bundle
short_description: Make OCI bundles from images
version_added: 0.1.0
description:
  - Makes a bundle that any OCI runtime can run, from an image of labrun's store.
  - Its root filesystem is an overlay on the image's layers, its C(config.json) comes from the image and the options.
author:
  - ocilab.hosts authors (@ocilab)
extends_documentation_fragment:
  - ocilab.hosts.attributes
  - ocilab.hosts.attributes.store
  - ocilab.hosts.attributes.bundle
options:
  path:
    description: The bundle's directory.
    type: path
    required: true
  image:
    description: The image's name. Required when O(state=present).
    type: str
  state:
    description: Whether the bundle is to exist.
    type: str
    choices: [present, absent]
    default: present
"""

EXAMPLES = r"""
- name: Make a bundle
  ocilab.hosts.labrun_bundle:
    path: /var/lib/labrun/bundles/hello
    image: lab/busybox:1
    command: [/bin/echo, hello]
    memory: 64M

- name: Remove it
  ocilab.hosts.labrun_bundle:
    path: /var/lib/labrun/bundles/hello
    state: absent
"""

RETURN = r"""
path:
  description: The bundle's directory.
  returned: always
  type: str
config:
  description: The bundle's C(config.json) as it is, or in check mode would be.
  returned: when O(state=present)
  type: dict
"""

import json

from ansible_collections.ocilab.hosts.plugins.module_utils import arguments
from ansible_collections.ocilab.hosts.plugins.module_utils.glue import run_module
from ansible_collections.ocilab.hosts.plugins.module_utils.images.store import Store
from ansible_collections.ocilab.hosts.plugins.module_utils.labrun import bundle as bundles


def difference(path, before, after):
    """A diff of two config.json, None for no bundle."""
    texts = [json.dumps(item, indent=2, sort_keys=True) + "\n" if item else "" for item in (before, after)]
    return {"before_header": path, "after_header": path, "before": texts[0], "after": texts[1]}


def run(module):
    params = module.params
    bundle = bundles.Bundle(params["path"])
    before = bundle.config()
    if params["state"] == "absent":
        result = {"changed": before is not None, "path": bundle.path}
        after = None
        if not module.check_mode:
            result["changed"] = bundle.remove()
    else:
        store = Store(params["store"])
        options = arguments.bundle_options(params)
        bundle, image, after = bundles.prepare(params["path"], params["image"], store, options)
        result = {"changed": before != after or not bundle.is_ready(), "path": bundle.path, "config": after}
        if result["changed"] and not module.check_mode:
            bundle.create(image, store, params["layers"], after)
    if module._diff:
        result["diff"] = difference(bundle.path, before, after)
    return result


def main():
    argument_spec = dict(
        arguments.STORE,
        **arguments.BUNDLE,
        path={"type": "path", "required": True},
        image={"type": "str"},
        state={"type": "str", "choices": ["present", "absent"], "default": "present"},
    )
    run_module(argument_spec, run, required_if=[("state", "present", ["image"])])


if __name__ == "__main__":
    main()
