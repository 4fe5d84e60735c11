# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The action of ocilab.hosts.comparison_report: it runs on the controller, where Jinja2 and the charts' library are."""

from __future__ import annotations

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.ocilab.hosts.plugins.plugin_utils.report import data, pages, render


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
        path = arguments["report"]
        try:
            result.update(pages.write(path, render.html(hosts), self._task.check_mode, self._task.diff))
        except OSError as error:
            raise AnsibleActionFail("report %s: %s" % (path, error.strerror.lower())) from None
        result["table"] = data.table(hosts)
        result["summary"] = data.summary(hosts)
        return result
