#!/usr/bin/python

# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: labrun_volume
short_description: Manage volumes of labrun's containers
version_added: 0.1.0
description:
  - Makes a volume that M(ocilab.hosts.labrun_container) mounts in containers, and that outlives them.
author:
  - ocilab.hosts authors (@ocilab)
extends_documentation_fragment:
  - ocilab.hosts.attributes
  - ocilab.hosts.attributes.root
options:
  name:
    description: The volume's name.
    type: str
    required: true
  state:
    description:
      - Whether the volume is to exist.
      - Of a volume that exists only the labels are changed; what differs otherwise is an error, for its data would go.
    type: str
    choices: [present, absent]
    default: present
  type:
    description:
      - V(named) is a directory of the volume's own.
      - V(bind) is the directory O(device) of the host, which stays when the volume is removed.
      - V(tmpfs) is kept in memory, from its first use until the volume's removal or the next boot.
    type: str
    choices: [named, bind, tmpfs]
    default: named
  device:
    description: The directory. Required when O(type=bind).
    type: path
  size:
    description: The limit of a tmpfs, in bytes or with a unit, as V(64M). Without it half of the memory.
    type: str
  mode:
    description: The permissions of a tmpfs as an octal number. Without it V(1777).
    type: str
  labels:
    description: Labels of the volume.
    type: dict
    default: {}
  force:
    description: Whether to remove a volume that a container uses.
    type: bool
    default: false
  data_root:
    description: Where volumes are kept, in the folder C(volumes).
    type: path
    default: /var/lib/labrun
"""

EXAMPLES = r"""
- name: Make a volume
  ocilab.hosts.labrun_volume:
    name: pages
    labels:
      course: containers

- name: Make one in memory
  ocilab.hosts.labrun_volume:
    name: scratch
    type: tmpfs
    size: 64M

- name: Make one of a directory that exists
  ocilab.hosts.labrun_volume:
    name: sources
    type: bind
    device: /usr/src

- name: Remove the first one with its data
  ocilab.hosts.labrun_volume:
    name: pages
    state: absent
"""

RETURN = r"""
volume:
  description: The volume as it is, or in check mode would be. Empty when there is none.
  returned: always
  type: dict
  sample:
    name: pages
    type: named
    mountpoint: /var/lib/labrun/volumes/pages/_data
    labels: {course: containers}
    used_by: [server]
  contains:
    used_by:
      description: The ids of the containers that have it.
      type: list
      elements: str
      returned: when there is a volume
    size_bytes:
      description: The limit of a tmpfs; null for half of the memory.
      type: int
      returned: when O(type=tmpfs)
    mode:
      description: The permissions of a tmpfs.
      type: str
      returned: when O(type=tmpfs)
"""

import os

from ansible_collections.ocilab.hosts.plugins.module_utils import arguments
from ansible_collections.ocilab.hosts.plugins.module_utils.glue import run_module
from ansible_collections.ocilab.hosts.plugins.module_utils.labrun.filled_volumes import users
from ansible_collections.ocilab.hosts.plugins.module_utils.linux.errors import WrongState
from ansible_collections.ocilab.hosts.plugins.module_utils.volumes.volume import TYPES, Volume


def wanted_volume(volume, params):
    if params["state"] == "absent":
        return {}
    size = arguments.memory_bytes(params["size"], "size") if params["size"] else None
    labels = arguments.labels(params["labels"])
    return volume.new(params["type"], params["device"] or "", size, params["mode"], labels)


def run(module):
    params = module.params
    volume = Volume(params["name"], os.path.join(params["data_root"], "volumes"))
    before = volume.describe()
    wanted = wanted_volume(volume, params)
    used_by = users(volume.name, params["root"])
    if wanted:
        volume.refuse_change(wanted)
    elif before and used_by and not params["force"]:
        message = "volume %s: in use by %s; delete them first, or use force: true"
        raise WrongState(message % (volume.name, ", ".join(used_by)))
    changed = before != wanted
    if changed and not module.check_mode:
        volume.create(wanted) if wanted else volume.remove(params["force"])
    result = {"changed": changed, "volume": dict(wanted, used_by=used_by) if wanted else {}}
    if module._diff:
        result["diff"] = {"before": before, "after": wanted}
    return result


def main():
    argument_spec = {
        "name": {"type": "str", "required": True},
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "type": {"type": "str", "choices": list(TYPES), "default": "named"},
        "device": {"type": "path"},
        "size": {"type": "str"},
        "mode": {"type": "str"},
        "labels": {"type": "dict", "default": {}},
        "force": {"type": "bool", "default": False},
        "root": {"type": "path", "default": "/run/labrun"},
        "data_root": {"type": "path", "default": "/var/lib/labrun"},
    }
    run_module(argument_spec, run)


if __name__ == "__main__":
    main()
