#!/usr/bin/python

# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: comparison_report
short_description: Write one report of the results of all hosts, and of earlier runs
version_added: 0.1.0
description:
  - Renders the results of M(ocilab.hosts.engine_benchmark) as one HTML file, in English and Korean.
  - The file needs no network. Without scripts it lacks the pages of single hosts, and sorting and filtering.
  - Beside it stand the same name with C(.md), a short form, and C(results.csv), with the medians of all hosts.
  - The same results give the same files.
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
    description: The HTML file to write.
    type: path
    required: true
  earlier_dirs:
    description:
      - Folders of earlier runs' results, to which this run is compared.
      - They are put in order of the time at which they were measured.
    type: list
    elements: path
    default: []
"""

EXAMPLES = r"""
- name: Write the report
  ocilab.hosts.comparison_report:
    results_dir: build/compare/results
    report: build/compare/report.html

- name: Write the report, and tell what has changed since
  ocilab.hosts.comparison_report:
    results_dir: build/compare/results
    earlier_dirs: [results-of-monday, results-of-tuesday]
    report: build/compare/report.html
"""

RETURN = r"""
report:
  description: The HTML file.
  returned: always
  type: str
files:
  description: All files.
  returned: always
  type: list
  elements: str
summary:
  description:
    - A row for each host and engine, with the medians of the cases and the ratio to the reference.
    - Times stand there in milliseconds, too.
  returned: always
  type: list
  elements: dict
table:
  description: The summary as lines of text; of more than 10 hosts, over all hosts.
  returned: always
  type: list
  elements: str
"""
