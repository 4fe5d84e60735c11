# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes how long each task took on each host, to the file that TASK_TIMES names: one JSON object by host."""

from __future__ import annotations

import json
import os
import time

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: task_times
type: aggregate
short_description: Times of tasks
description: Writes them to a file.
"""


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "task_times"

    def __init__(self):
        super().__init__()
        self.begun = {}
        self.taken = {}

    def v2_runner_on_start(self, host, task):
        self.begun[host.get_name()] = time.perf_counter_ns()

    def v2_runner_on_ok(self, result):
        name = result._host.get_name()
        self.taken.setdefault(name, []).append(time.perf_counter_ns() - self.begun[name])

    def v2_playbook_on_stats(self, stats):
        with open(os.environ["TASK_TIMES"], "w") as file:
            json.dump(self.taken, file)
