# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: from_toml
short_description: Read TOML as a dictionary
version_added: 0.1.0
description:
  - Reads TOML, the format of Podman's, containerd's and CRI-O's configuration.
author:
  - ocilab.hosts authors (@ocilab)
options:
  _input:
    description: The text.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Show a part of a configuration
  ansible.builtin.debug:
    msg: "{{ ('[network]\ndefault_subnet = \"10.88.0.0/16\"' | ocilab.hosts.from_toml).network }}"
"""

RETURN = r"""
_value:
  description: The dictionary.
  type: dict
"""

import tomllib
from ansible.errors import AnsibleFilterError


def from_toml(text):
    if not isinstance(text, str):
        raise AnsibleFilterError("from_toml: a text is expected, not %s" % type(text).__name__)
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise AnsibleFilterError("from_toml: %s" % error)


class FilterModule:
    def filters(self):
        return {"from_toml": from_toml}
