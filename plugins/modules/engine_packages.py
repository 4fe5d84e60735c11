#!/usr/bin/python

# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: engine_packages
short_description: Install packages so that their removal leaves the host's packages as they were
version_added: 0.1.0
description:
  - Installs packages of Debian and its relatives for an owner, which is one of this collection's roles.
  - Keeps a ledger of what came with them, in C(/var/lib/ocilab.hosts/packages.json).
  - When an owner is removed, what no other owner and no other package of the host needs is purged. What was there
    before the first owner stays in any case, and what another package only recommends does not.
  - No recommended packages are installed, and no service is started by an installation.
  - The lock of dpkg is waited for.
author:
  - ocilab.hosts authors (@ocilab)
extends_documentation_fragment:
  - ocilab.hosts.attributes
options:
  owner:
    description: On whose behalf the packages are installed, as V(docker).
    type: str
    required: true
  state:
    description:
      - Whether the owner is to have its packages.
      - V(present) installs what is missing; what is there in another version than a pinned one changes to it.
    type: str
    choices: [present, absent]
    default: present
  name:
    description:
      - The packages, which are all that the owner wants; others that it had are let go.
      - Required when O(state=present).
    type: list
    elements: str
    default: []
  versions:
    description: The versions of some of the packages. They may hold asterisks, as V(1.6*).
    type: dict
    default: {}
  repository:
    description: A repository of packages to use besides those that the host has.
    type: dict
    suboptions:
      uris:
        description: Where it is.
        type: list
        elements: str
        required: true
      suites:
        description: Its suites, or a directory that ends with a slash.
        type: list
        elements: str
        required: true
      components:
        description: Its components.
        type: list
        elements: str
        default: []
      key:
        description: The public key that it is signed by, in ASCII armor.
        type: str
        default: ""
      key_url:
        description: Where to download the key, instead of O(repository.key).
        type: str
        default: ""
      key_fingerprint:
        description:
          - The fingerprints, 40 hexadecimal digits each, of all keys in the file of keys.
          - A file with another key, or with one more, is an error.
        type: list
        elements: str
        required: true
  package_dir:
    description:
      - A directory of packages to install from, with no repository at all.
      - It is on the controller, and taken to the host only when something of it is to be installed.
    type: path
    default: ""
  remote_src:
    description: Whether O(package_dir) is on the managed host.
    type: bool
    default: false
  archive_url:
    description: A tar archive of packages to install from, with no repository at all.
    type: str
    default: ""
  archive_sha256:
    description: The sha256 of O(archive_url).
    type: str
    default: ""
  proxy:
    description: Proxies of the downloads.
    type: dict
    default: {}
    suboptions:
      http:
        description: The URL of the proxy for http.
        type: str
        default: ""
      https:
        description: The URL of the proxy for https.
        type: str
        default: ""
      no_proxy:
        description: The hosts and domains that are reached without one, separated by commas.
        type: str
        default: ""
  allow_removal:
    description: Whether an installation may remove packages that no role has brought, or that another owner wants.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Install containerd
  ocilab.hosts.engine_packages:
    owner: containerd
    name: [containerd, runc]

- name: Install a pinned version
  ocilab.hosts.engine_packages:
    owner: containerd
    name: [containerd, runc]
    versions:
      runc: 1.1*

- name: Install from a directory of packages on the host
  ocilab.hosts.engine_packages:
    owner: podman
    name: [podman, crun]
    package_dir: /srv/packages
    remote_src: true

- name: Let go of all that the owner has
  ocilab.hosts.engine_packages:
    owner: containerd
    state: absent
"""

RETURN = r"""
installed:
  description: The packages that were new.
  returned: always
  type: list
  elements: str
  sample: [containerd, runc]
upgraded:
  description: The packages that have another version than before.
  returned: always
  type: list
  elements: str
  sample: []
removed:
  description: The packages that went.
  returned: always
  type: list
  elements: str
  sample: []
packages:
  description: The versions of the packages in O(name).
  returned: always
  type: dict
  sample:
    containerd: 1.6.20~ds1-1+b1
    runc: 1.1.5+ds1-1+b1
"""

from ansible_collections.ocilab.hosts.plugins.module_utils.glue import run_module
from ansible_collections.ocilab.hosts.plugins.module_utils.packages.download import Proxies
from ansible_collections.ocilab.hosts.plugins.module_utils.packages.owner import ArchiveWanted, Owner, Wish


def run(module):
    params = module.params
    absent = params["state"] == "absent"
    wish = Wish(
        params["owner"],
        [] if absent else params["name"],
        {} if absent else params["versions"],
        None if absent else params["repository"],
        "" if absent else params["package_dir"],
        "" if absent else params["archive_url"],
        "" if absent else params["archive_sha256"],
        Proxies(**{name: value or "" for name, value in params["proxy"].items()}),
        params["allow_removal"],
    )
    owner = Owner(wish)
    try:
        result = owner.plan() if module.check_mode else owner.carry_out()
    except ArchiveWanted as error:
        module.fail_json(msg=str(error), archive_wanted=True)  # which the action plugin brings then
    if module._diff:
        result["diff"] = {
            "before": {"present": result["removed"], "absent": result["installed"]},
            "after": {"present": result["installed"], "absent": result["removed"]},
        }
    return result


def main():
    repository = {
        "uris": {"type": "list", "elements": "str", "required": True},
        "suites": {"type": "list", "elements": "str", "required": True},
        "components": {"type": "list", "elements": "str", "default": []},
        "key": {"type": "str", "default": "", "no_log": False},
        "key_url": {"type": "str", "default": "", "no_log": False},
        "key_fingerprint": {"type": "list", "elements": "str", "required": True, "no_log": False},
    }
    # Their URLs may hold passwords.
    proxy = {
        name: {"type": "str", "default": "", "no_log": name != "no_proxy"} for name in ("http", "https", "no_proxy")
    }
    argument_spec = {
        "owner": {"type": "str", "required": True},
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "name": {"type": "list", "elements": "str", "default": []},
        "versions": {"type": "dict", "default": {}},
        "repository": {"type": "dict", "options": repository},
        "package_dir": {"type": "path", "default": ""},
        "remote_src": {"type": "bool", "default": False},
        "archive_url": {"type": "str", "default": ""},
        "archive_sha256": {"type": "str", "default": ""},
        "proxy": {"type": "dict", "default": {}, "options": proxy},
        "allow_removal": {"type": "bool", "default": False},
    }
    run_module(argument_spec, run, required_if=[("state", "present", ["name"])])


if __name__ == "__main__":
    main()
