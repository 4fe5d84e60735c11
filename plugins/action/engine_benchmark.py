# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The action of ocilab.hosts.engine_benchmark: it says on the controller how far a host is that measures for minutes.

A module tells nothing before its end, and more than one call of it would load images and warm up each time. So there
is one, which works by itself (Ansible's async_wrapper) and keeps one line of progress in a file. That line is read by
a plain command every few seconds, which costs the host some milliseconds; calls of async_status would be a start of
Python each, beside what is being measured.
"""

from __future__ import annotations

import time

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

_POLL_S = 2
_TELL_S = 10
_SPARE_S = 1800  # beside the budget: to prepare engines, for what is under way when it is spent, and to clean up
_DEFAULT_BUDGET_S = 3600
_DEADLINE = "the host did not end within %d s; it may have left containers and images named ocilab-compare"
# The job's file begins with this until it holds the result.
_RUNNING = '"started": true'
_OF_THE_JOB = ("ansible_job_id", "results_file", "started", "finished", "_suppress_tmpdir_delete")


class ActionModule(ActionBase):
    """Have the host measure by itself, tell how far it is, and bring the result."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _supports_async = True

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        if self._task.check_mode or self._task.async_val or arguments.get("progress"):
            wrap_async = bool(self._task.async_val) and not self._connection.has_native_async
            result.update(self._execute_module(module_args=arguments, task_vars=task_vars, wrap_async=wrap_async))
            return result
        limit_s = self._limit_s(arguments.get("plan"))
        progress = self._connection._shell.join_path(self._work_dir(), "progress")
        job = self._start(dict(arguments, progress=progress), limit_s, task_vars)
        if job.get("failed") or "results_file" not in job:
            result.update(job)
            return result
        self._wait(task_vars["inventory_hostname"], job["results_file"], progress, limit_s)
        result.update(self._result(job, task_vars))
        return result

    @staticmethod
    def _limit_s(plan):
        try:
            return int(float((plan or {}).get("budget_s") or _DEFAULT_BUDGET_S)) + _SPARE_S
        except (AttributeError, TypeError, ValueError):
            return _SPARE_S  # the module says what is wrong with the plan

    def _work_dir(self):
        """The folder of the module's own file, which async_wrapper removes at the end."""
        if self._connection._shell.tmpdir is None:
            self._make_tmp_path()
        return self._connection._shell.tmpdir

    def _start(self, arguments, limit_s, task_vars):
        """What async_wrapper says of the job. It asks the task for the limit."""
        self._task.async_val = limit_s
        try:
            return self._execute_module(module_args=arguments, task_vars=task_vars, wrap_async=True)
        finally:
            self._task.async_val = 0

    def _wait(self, host, results_file, progress, limit_s):
        quote = self._connection._shell.quote
        command = "head -c 100 %s; echo; cat %s 2>/dev/null || :" % (quote(results_file), quote(progress))
        deadline = time.monotonic() + limit_s + 60
        told, shown = -_TELL_S, ""
        while time.monotonic() < deadline:
            state, _newline, line = self._low_level_execute_command(command)["stdout"].partition("\n")
            if _RUNNING not in state:
                return
            if line != shown and time.monotonic() - told >= _TELL_S:
                Display().display("%s: %s" % (host, line.strip()))
                told, shown = time.monotonic(), line
            time.sleep(_POLL_S)
        raise AnsibleActionFail(_DEADLINE % limit_s)

    def _result(self, job, task_vars):
        shell = self._connection._shell
        folder, _slash, jid = job["results_file"].rpartition("/")
        arguments = {"jid": jid, "mode": "status", "_async_dir": folder}
        found = self._execute_module("ansible.legacy.async_status", module_args=arguments, task_vars=task_vars)
        self._low_level_execute_command(shell.remove(job["results_file"]))
        if not found.get("finished", True):
            found = {"failed": True, "msg": "the host's job ended without a result"}
        return {name: value for name, value in found.items() if name not in _OF_THE_JOB}
