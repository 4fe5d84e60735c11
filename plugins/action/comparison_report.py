# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The action of ocilab.hosts.comparison_report: it runs on the controller, where Jinja2 and numpy are."""

from __future__ import annotations

import os

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.ocilab.hosts.plugins.plugin_utils.report import documents, pages, render, runs, tables
from ansible_collections.ocilab.hosts.plugins.plugin_utils.report.arrays import np
from ansible_collections.ocilab.hosts.plugins.plugin_utils.report.fleet import Fleet


class ActionModule(ActionBase):
    """Render the results of all hosts as HTML, Markdown and CSV."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _VALID_ARGS = frozenset(("results_dir", "report", "earlier_dirs"))

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        if np is None:
            raise AnsibleActionFail("Python has no numpy on the controller; install what requirements.txt names")
        argument_spec = {
            "results_dir": {"type": "path", "required": True},
            "report": {"type": "path", "required": True},
            "earlier_dirs": {"type": "list", "elements": "path", "default": []},
        }
        _validation, arguments = self.validate_argument_spec(argument_spec=argument_spec)
        try:
            fleet = Fleet(documents.load(arguments["results_dir"]))
            earlier = runs.in_order([Fleet(documents.load(path)) for path in arguments["earlier_dirs"]])
        except documents.BadResults as error:
            raise AnsibleActionFail(str(error)) from None
        texts = rendered(arguments["report"], arguments["results_dir"], [*earlier, fleet])
        try:
            result.update(pages.write_all(texts, self._task.check_mode, self._task.diff))
        except OSError as error:
            raise AnsibleActionFail("report %s: %s" % (error.filename, error.strerror.lower())) from None
        result.update(report=arguments["report"], files=list(texts))
        result.update(table=tables.table(fleet), summary=tables.summary(fleet))
        return result


def rendered(report, results_dir, fleets):
    """Path -> text of all that is written, the report of the newest run first."""
    folder = os.path.dirname(report)
    markdown = os.path.splitext(report)[0] + ".md"
    href = os.path.relpath(results_dir, folder or ".") + "/"
    return {
        report: render.html(fleets, href, os.path.basename(markdown)),
        markdown: tables.markdown(fleets[-1]),
        os.path.join(folder, "results.csv"): tables.comma_separated(fleets[-1]),
    }
