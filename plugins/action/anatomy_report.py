# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The action of ocilab.hosts.anatomy_report: it runs on the controller, where Jinja2 is."""

from __future__ import annotations

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.ocilab.hosts.plugins.plugin_utils.report import anatomy, pages


class ActionModule(ActionBase):
    """Tell of a container's steps as text in one language, and as an HTML file in both."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _VALID_ARGS = frozenset(("host", "steps", "report", "language"))

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        argument_spec = {
            "host": {"type": "str", "required": True},
            "steps": {"type": "list", "elements": "dict", "required": True},
            "report": {"type": "path", "required": True},
            "language": {"type": "str", "choices": ["en", "ko"], "default": "en"},
        }
        _validation, arguments = self.validate_argument_spec(argument_spec=argument_spec)
        steps, path = anatomy.view(arguments["steps"]), arguments["report"]
        page = anatomy.html(arguments["host"], steps)
        try:
            result.update(pages.write(path, page, self._task.check_mode, self._task.diff))
        except OSError as error:
            raise AnsibleActionFail("report %s: %s" % (path, error.strerror.lower())) from None
        result["texts"] = [anatomy.text(step, arguments["language"]) for step in steps]
        return result
