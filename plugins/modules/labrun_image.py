#!/usr/bin/python

# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: labrun_image
short_description: Manage images in the store of labrun
version_added: 0.1.0
description:
  - Imports a root filesystem, a directory or a tar archive, as an image of one layer into an OCI image layout.
  - The layout can be read and written by skopeo, umoci, buildah and podman too.
author:
  - ocilab.hosts authors (@ocilab)
extends_documentation_fragment:
  - ocilab.hosts.attributes
  - ocilab.hosts.attributes.store
options:
  name:
    description: The image's name, as C(NAME[:TAG]) in the grammar of the distribution specification.
    type: str
    required: true
  source:
    description:
      - The root filesystem, a directory or a tar archive, plain or gzip.
      - Without it O(state=present) only makes sure that the image exists.
    type: path
  state:
    description: Whether the image is to be in the store.
    type: str
    choices: [present, absent]
    default: present
  config:
    description: What the image's configuration says of its containers.
    type: dict
    default: {}
    suboptions:
      entrypoint:
        description: The program and arguments that come before the command.
        type: list
        elements: str
      cmd:
        description: The command, used where a container gives none.
        type: list
        elements: str
      env:
        description: Environment variables.
        type: dict
      working_dir:
        description: The working directory.
        type: str
      user:
        description: The user, as C(USER[:GROUP]).
        type: str
      labels:
        description: Labels.
        type: dict
"""

EXAMPLES = r"""
- name: Import a root filesystem
  ocilab.hosts.labrun_image:
    name: lab/busybox:1
    source: /srv/busybox-rootfs
    config:
      cmd: [/bin/sh]

- name: Remove the image
  ocilab.hosts.labrun_image:
    name: lab/busybox:1
    state: absent
"""

RETURN = r"""
image:
  description: The image as it is, or in check mode would be.
  returned: when O(state=present)
  type: dict
  contains:
    name:
      description: Its name with the tag.
      type: str
      returned: always
    digest:
      description: The digest of its manifest.
      type: str
      returned: always
    id:
      description: The digest of its configuration.
      type: str
      returned: always
    size:
      description: The bytes of its layers in the store.
      type: int
      returned: always
    layers:
      description: Its layers, base first, with digest, size, media_type, diff_id and chain_id.
      type: list
      elements: dict
      returned: always
    config:
      description: Its configuration document.
      type: dict
      returned: always
"""

from ansible_collections.ocilab.hosts.plugins.module_utils import arguments
from ansible_collections.ocilab.hosts.plugins.module_utils.glue import run_module
from ansible_collections.ocilab.hosts.plugins.module_utils.images import layers, reference, rootfs
from ansible_collections.ocilab.hosts.plugins.module_utils.images.store import Store
from ansible_collections.ocilab.hosts.plugins.module_utils.linux.errors import NotFound

_SETTINGS = {"entrypoint": "Entrypoint", "cmd": "Cmd", "working_dir": "WorkingDir", "user": "User", "labels": "Labels"}


def settings(config):
    """The config object of the image configuration (image-spec, config.md)."""
    result = {_SETTINGS[name]: value for name, value in config.items() if name in _SETTINGS and value}
    if config.get("env"):
        result["Env"] = ["%s=%s" % pair for pair in config["env"].items()]
    return result


def shown(image):
    return {
        "name": image.name,
        "digest": image.digest,
        "id": image.id,
        "size": image.size,
        "layers": image.layers,
        "config": image.config,
    }


def find(store, name):
    try:
        return store.get(name)
    except NotFound:
        return None


def change(module, before, after):
    """The result of going from one digest to another, empty for no image."""
    result = {"changed": before != after}
    if module._diff:
        texts = [digest + "\n" if digest else "" for digest in (before, after)]
        result["diff"] = {"before_header": "image", "after_header": "image", "before": texts[0], "after": texts[1]}
    return result


def run(module):
    params = module.params
    store = Store(params["store"])
    name = reference.normal(params["name"])
    present = find(store, name)
    before = present.digest if present else ""
    if params["state"] == "absent":
        if present and not module.check_mode:
            store.remove(name)
            layers.prune(store, params["layers"])
        return change(module, before, "")
    if params["source"]:
        config = settings(params["config"])
        image = rootfs.predict(params["source"], name, config)
        if image.digest != before and not module.check_mode:
            image = rootfs.import_rootfs(store, params["source"], name, config)
    else:
        image = store.get(name)
    return dict(change(module, before, image.digest), image=shown(image))


def main():
    strings = {"type": "list", "elements": "str"}
    config = {
        "type": "dict",
        "default": {},
        "options": {
            "entrypoint": strings,
            "cmd": strings,
            "env": {"type": "dict"},
            "working_dir": {"type": "str"},
            "user": {"type": "str"},
            "labels": {"type": "dict"},
        },
    }
    argument_spec = dict(
        arguments.STORE,
        name={"type": "str", "required": True},
        source={"type": "path"},
        state={"type": "str", "choices": ["present", "absent"], "default": "present"},
        config=config,
    )
    run_module(argument_spec, run)


if __name__ == "__main__":
    main()
