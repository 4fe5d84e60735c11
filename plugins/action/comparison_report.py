# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The action of ocilab.hosts.comparison_report: it runs on the controller, where Jinja2 and the charts' library are."""

from __future__ import annotations

import difflib
import os

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.ocilab.hosts.plugins.plugin_utils.report import data, render


class ActionModule(ActionBase):
    """Render the results of all hosts as one HTML file."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _VALID_ARGS = frozenset(("results_dir", "report"))

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        argument_spec = {name: {"type": "path", "required": True} for name in self._VALID_ARGS}
        _validation, arguments = self.validate_argument_spec(argument_spec=argument_spec)
        try:
            hosts = data.load(arguments["results_dir"])
        except data.BadResults as error:
            raise AnsibleActionFail(str(error)) from None
        result.update(self._write(arguments["report"], render.html(hosts)))
        result["table"] = data.table(hosts)
        result["summary"] = data.summary(hosts)
        return result

    def _write(self, path, text):
        """Replace the report in one step, when it differs."""
        before = ""
        if os.path.exists(path):
            with open(path, encoding="utf-8") as file:
                before = file.read()
        result = {"changed": before != text, "report": path}
        if result["changed"] and self._task.diff:
            lines = difflib.unified_diff(before.splitlines(), text.splitlines(), path, path, lineterm="", n=0)
            result["diff"] = {"prepared": "\n".join(list(lines)[:40]) + "\n"}
        if result["changed"] and not self._task.check_mode:
            temporary = path + ".new"
            try:
                os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
                with open(temporary, "w", encoding="utf-8") as file:
                    file.write(text)
                os.replace(temporary, path)
            except OSError as error:
                raise AnsibleActionFail("report %s: %s" % (path, error.strerror.lower())) from None
        return result
