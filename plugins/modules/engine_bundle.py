#!/usr/bin/python

# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: engine_bundle
short_description: Install an engine that comes as an archive of programs, so that it can be taken away again
version_added: 0.1.0
description:
  - Takes the files of a tar archive to where they belong, and notes them, in C(/var/lib/ocilab.hosts/bundles.json).
  - When the owner is removed, its files go, and the directories that were made for them. A file of the same name that
    was there before is an error, and stays.
  - An archive that holds packages instead is told apart, and left to M(ocilab.hosts.engine_packages).
author:
  - ocilab.hosts authors (@ocilab)
extends_documentation_fragment:
  - ocilab.hosts.attributes
options:
  owner:
    description: On whose behalf the files are installed, as V(crio).
    type: str
    required: true
  archive_url:
    description: The tar archive. Without it the owner has no files, as with O(state=absent).
    type: str
    default: ""
  archive_sha256:
    description: The sha256 of O(archive_url).
    type: str
    default: ""
  files:
    description: Which files are taken, each by the first that fits.
    type: list
    elements: dict
    default: []
    suboptions:
      src:
        description: A pattern of paths in the archive, below its one folder where it has one, as V(bin/*).
        type: str
        required: true
      dest:
        description: The path on the host, or a directory with a slash at its end.
        type: str
        required: true
      mode:
        description: The permissions of the file.
        type: str
        default: "0644"
      keep:
        description: Whether a file that is there already stays, also when it differs.
        type: bool
        default: false
      required:
        description: Whether an archive without such a file is not the right one.
        type: bool
        default: false
  proxy:
    description: Proxies of the download.
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
  state:
    description: Whether the owner is to have its files.
    type: str
    choices: [present, absent]
    default: present
"""

EXAMPLES = r"""
- name: Install a program from an archive
  ocilab.hosts.engine_bundle:
    owner: crictl
    archive_url: file:///srv/crictl.tar.gz
    archive_sha256: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
    files:
      - {src: bin/crictl, dest: /usr/local/bin/, mode: "0755", required: true}

- name: Take it away
  ocilab.hosts.engine_bundle:
    owner: crictl
    state: absent
"""

RETURN = r"""
kind:
  description: What the archive is, V(bundle) or V(packages); empty without one.
  returned: always
  type: str
  sample: bundle
packages:
  description: The names of the packages in the archive.
  returned: always
  type: list
  elements: str
  sample: []
files:
  description: The files that were put there.
  returned: always
  type: list
  elements: str
  sample: [/usr/local/bin/crictl]
removed:
  description: The files that were taken away.
  returned: always
  type: list
  elements: str
  sample: []
"""

from ansible_collections.ocilab.hosts.plugins.module_utils.glue import run_module
from ansible_collections.ocilab.hosts.plugins.module_utils.linux.errors import InvalidInput
from ansible_collections.ocilab.hosts.plugins.module_utils.packages.bundle import Bundle, Rule
from ansible_collections.ocilab.hosts.plugins.module_utils.packages.download import Proxies


def run(module):
    params = module.params
    url, sha256 = ("", "") if params["state"] == "absent" else (params["archive_url"], params["archive_sha256"])
    proxies = Proxies(**{name: value or "" for name, value in params["proxy"].items()})
    bundle = Bundle(params["owner"], [_rule(one) for one in params["files"]], url, sha256, proxies)
    result = bundle.plan() if module.check_mode else bundle.carry_out()
    if module._diff:
        result["diff"] = {"before": {"files": result["removed"]}, "after": {"files": result["files"]}}
    return result


def _rule(given):
    try:
        mode = int(given["mode"], 8)
    except ValueError:
        raise InvalidInput("files: mode %r is no octal number" % given["mode"])
    return Rule(given["src"], given["dest"], mode, given["keep"], given["required"])


def main():
    file = {
        "src": {"type": "str", "required": True},
        "dest": {"type": "str", "required": True},
        "mode": {"type": "str", "default": "0644"},
        "keep": {"type": "bool", "default": False},
        "required": {"type": "bool", "default": False},
    }
    # Their URLs may hold passwords.
    proxy = {
        name: {"type": "str", "default": "", "no_log": name != "no_proxy"} for name in ("http", "https", "no_proxy")
    }
    argument_spec = {
        "owner": {"type": "str", "required": True},
        "archive_url": {"type": "str", "default": ""},
        "archive_sha256": {"type": "str", "default": ""},
        "files": {"type": "list", "elements": "dict", "default": [], "options": file},
        "proxy": {"type": "dict", "default": {}, "options": proxy},
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    }
    run_module(argument_spec, run)


if __name__ == "__main__":
    main()
