# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
name: labrun
short_description: Containers of labrun as hosts
version_added: 0.1.0
description:
  - Has a host for each container of labrun on the controller, which is reached by
    P(ocilab.hosts.labrun#connection).
  - Each has the variables C(labrun_status), C(labrun_pid), C(labrun_bundle), C(labrun_image), C(labrun_labels),
    C(labrun_networks), C(labrun_addresses) and C(labrun_ports).
  - It is in the groups C(status_STATUS), C(image_NAME), C(network_NAME), and C(label_KEY_VALUE) for each of its labels.
  - The file's name ends in C(labrun.yml) or C(labrun.yaml).
author:
  - ocilab.hosts authors (@ocilab)
extends_documentation_fragment:
  - constructed
options:
  plugin:
    description: The name of this plugin.
    type: str
    required: true
    choices: [ocilab.hosts.labrun]
  root:
    description: Where the state of containers is kept.
    type: str
    default: /run/labrun
  labels:
    description: Only containers that have all of these labels; of one that is empty the value does not matter.
    type: dict
    default: {}
  statuses:
    description: Only containers that are C(created), C(running), C(paused) or C(stopped).
    type: list
    elements: str
    choices: [created, running, paused, stopped]
    default: [running]
"""

EXAMPLES = r"""
# my.labrun.yml: all running containers
plugin: ocilab.hosts.labrun
---
# those of a course, grouped by a label, those of one network apart
plugin: ocilab.hosts.labrun
labels:
  course: containers
keyed_groups:
  - key: labrun_labels.role | default('other')
    prefix: role
groups:
  backend: "'backend' in labrun_addresses"
compose:
  address: labrun_addresses.values() | first | default('')
"""

import os

from ansible.errors import AnsibleParserError
from ansible.plugins.inventory import BaseInventoryPlugin, Constructable
from ansible.plugins.loader import connection_loader
from ansible.template import trust_as_template
from ansible_collections.ocilab.hosts.plugins.module_utils.labrun import container as life
from ansible_collections.ocilab.hosts.plugins.module_utils.labrun.about import about
from ansible_collections.ocilab.hosts.plugins.module_utils.linux.errors import NotFound, OcilabError


def _marked(value):
    """The value with all of it marked as harmless that can be no template; what is not is shown and never run (A05)."""
    if isinstance(value, dict):
        return {_marked(key): _marked(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_marked(item) for item in value]
    return trust_as_template(value) if isinstance(value, str) and "{" not in value else value


class InventoryModule(BaseInventoryPlugin, Constructable):
    """One scan of the states' folder; nothing is started."""

    NAME = "ocilab.hosts.labrun"

    def verify_file(self, path):
        return super().verify_file(path) and path.endswith(("labrun.yml", "labrun.yaml"))

    def parse(self, inventory, loader, path, cache=True):
        super().parse(inventory, loader, path, cache)
        # Once here rather than by each task's own process.
        connection_loader.get("ocilab.hosts.labrun", class_only=True)
        self._read_config_data(path)
        try:
            for name, variables, groups in self._containers():
                self._add(name, variables, groups)
        except OcilabError as error:
            raise AnsibleParserError(f"{path}: {error}") from None

    def _containers(self):
        """(name, variables, groups) for each container that is asked for."""
        root = self.get_option("root")
        if os.path.isdir(root) and not os.access(root, os.R_OK | os.X_OK):
            raise AnsibleParserError(f"{root}: only root may list labrun's containers; run Ansible as root")
        for container in life.containers(root):
            try:
                told = about(container)
            except NotFound:
                continue  # it was deleted meanwhile
            if told["status"] in self.get_option("statuses") and self._has_labels(told["labels"]):
                yield container.id, self._variables(root, told), self._groups(told)

    def _has_labels(self, labels):
        wanted = self.get_option("labels")
        return all(labels.get(key) == str(value) if value else key in labels for key, value in wanted.items())

    def _variables(self, root, told):
        own = {"ansible_connection": "ocilab.hosts.labrun", "ansible_host": told["id"], "ansible_labrun_root": root}
        own["labrun_addresses"] = {item["name"]: item["address"] for item in told["networks"]}
        for key in ("status", "pid", "bundle", "image", "labels", "networks", "ports"):
            own["labrun_" + key] = told[key]
        return own

    def _groups(self, told):
        found = ["status_" + told["status"]]
        if told["image"]:
            found.append("image_" + told["image"].partition("@")[0])
        found += ["network_" + item["name"] for item in told["networks"]]
        return found + [f"label_{key}_{value}" for key, value in told["labels"].items()]

    def _add(self, name, variables, groups):
        self.inventory.add_host(name)
        for key, value in variables.items():
            self.inventory.set_variable(name, key, _marked(value))
        for group in groups:
            self.inventory.add_child(self.inventory.add_group(self._sanitize_group_name(group)), name)
        strict = self.get_option("strict")
        known = self.inventory.get_host(name).get_vars()
        self._set_composite_vars(self.get_option("compose"), known, name, strict=strict)
        self._add_host_to_composed_groups(self.get_option("groups"), known, name, strict=strict)
        self._add_host_to_keyed_groups(self.get_option("keyed_groups"), known, name, strict=strict)
