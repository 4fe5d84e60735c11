#!/usr/bin/python

# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: comparison_report
short_description: Write one report of the results of all hosts
version_added: 0.1.0
description:
  - Renders the results of M(ocilab.hosts.engine_benchmark) as one HTML file, in English and Korean.
  - The file needs no network and no script.
  - It runs on the controller, whatever host the task is for.
author:
  - ocilab.hosts authors (@ocilab)
extends_documentation_fragment:
  - ocilab.hosts.attributes
options:
  results_dir:
    description: The folder with a C(HOST.json) for each host, as docs/results.schema.json describes them.
    type: path
    required: true
  report:
    description: The file to write.
    type: path
    required: true
"""

EXAMPLES = r"""
- name: Write the report
  ocilab.hosts.comparison_report:
    results_dir: build/compare/results
    report: build/compare/report.html
"""

RETURN = r"""
report:
  description: The file.
  returned: always
  type: str
summary:
  description: A row for each host and engine, with medians in milliseconds and the ratio to the reference.
  returned: always
  type: list
  elements: dict
table:
  description: The summary as lines of text.
  returned: always
  type: list
  elements: str
"""
