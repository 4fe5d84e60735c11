#!/usr/bin/python

# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: anatomy_report
short_description: Tell of the steps of a container in words
version_added: 0.1.0
description:
  - Renders the steps of M(ocilab.hosts.labrun_anatomy) as text, and as one HTML file in English and Korean.
  - The file needs no network and no script.
  - It runs on the controller, whatever host the task is for.
author:
  - ocilab.hosts authors (@ocilab)
extends_documentation_fragment:
  - ocilab.hosts.attributes
options:
  host:
    description: The host's name in the report.
    type: str
    required: true
  steps:
    description: The steps, as M(ocilab.hosts.labrun_anatomy) returns them.
    type: list
    elements: dict
    required: true
  report:
    description: The file to write.
    type: path
    required: true
  language:
    description: The language of the returned text.
    type: str
    choices: [en, ko]
    default: en
"""

EXAMPLES = r"""
- name: Write the report
  ocilab.hosts.anatomy_report:
    host: lab1
    steps: "{{ result.steps }}"
    report: build/anatomy/anatomy.html
    language: ko
"""

RETURN = r"""
report:
  description: The file.
  returned: always
  type: str
texts:
  description: For each step its lines of text.
  returned: always
  type: list
  elements: list
"""
