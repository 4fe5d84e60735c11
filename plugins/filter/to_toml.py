# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: to_toml
short_description: Write a dictionary as TOML
version_added: 0.1.0
description:
  - Writes a dictionary as TOML, the format of Podman's, containerd's and CRI-O's configuration.
author:
  - ocilab.hosts authors (@ocilab)
options:
  _input:
    description: The dictionary. Keys without a value are left out.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Show a part of containers.conf
  ansible.builtin.debug:
    msg: "{{ {'network': {'default_subnet': '10.88.0.0/16'}} | ocilab.hosts.to_toml }}"
"""

RETURN = r"""
_value:
  description: The text.
  type: str
"""

from ansible.errors import AnsibleFilterError
from ansible_collections.ocilab.hosts.plugins.module_utils.linux.errors import OcilabError
from ansible_collections.ocilab.hosts.plugins.module_utils.provisioning import toml


def to_toml(tree):
    if not isinstance(tree, dict):
        raise AnsibleFilterError("to_toml: a dictionary is expected, not %s" % type(tree).__name__)
    try:
        return toml.dump(tree)
    except OcilabError as error:
        raise AnsibleFilterError("to_toml: %s" % error)


class FilterModule:
    def filters(self):
        return {"to_toml": to_toml}
