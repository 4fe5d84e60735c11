# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A wall clock that jumps each time a command or a child of it looks at it, while the machine's own goes on as ever.

The tracer takes the vDSO away (AT_SYSINFO_EHDR of the auxiliary vector), so that the C library asks the kernel, and
changes what the kernel answers. The monotonic clocks stay as they are.
"""

from __future__ import annotations

import os

import tracer

_WALL_CLOCKS = (0, 5, 11)  # CLOCK_REALTIME, CLOCK_REALTIME_COARSE, CLOCK_TAI
_AT_SYSINFO_EHDR, _AT_IGNORE = 33, 1


class ClockTracer(tracer.Tracer):
    """Each look at the wall clock shows step_s seconds more than the last one, or less."""

    def __init__(self, step_s):
        super().__init__(None, "", "")
        self.step_s = step_s
        self.looks = 0
        self.awaited = {}  # thread -> address of the answer

    def run(self, arguments, environment, output):
        super().run(arguments, environment, output)
        return self.code, self.looks

    def executed(self, thread):
        with open(f"/proc/{thread}/mem", "r+b", buffering=0) as memory:
            address = self.info(thread).stack + 8  # past argc
            for _array in ("arguments", "environment"):
                while _word(memory, address):
                    address += 8
                address += 8
            while _word(memory, address):
                if _word(memory, address) == _AT_SYSINFO_EHDR:
                    os.pwrite(memory.fileno(), _AT_IGNORE.to_bytes(8, "little"), address)
                address += 16

    def called(self, thread):
        info = self.info(thread)
        name = tracer.NAMES.get(info.number, "") if info.op == tracer.ENTRY else ""
        if name == "clock_gettime" and info.arguments[0] in _WALL_CLOCKS:
            self.awaited[thread] = info.arguments[1]
        elif name == "gettimeofday":
            self.awaited[thread] = info.arguments[0]
        elif info.op == tracer.EXIT and self.awaited.get(thread):
            self._jump(thread, self.awaited.pop(thread))

    def _jump(self, thread, address):
        self.looks += 1
        with open(f"/proc/{thread}/mem", "r+b", buffering=0) as memory:
            seconds = _word(memory, address) + self.looks * self.step_s
            os.pwrite(memory.fileno(), seconds.to_bytes(8, "little"), address)


def _word(memory, address):
    return int.from_bytes(os.pread(memory.fileno(), 8, address), "little")


def run(step_s, arguments, environment, output=os.devnull):
    """(exit code, how often the wall clock was looked at)."""
    code, looks = tracer.follow(ClockTracer(step_s), arguments, environment, output)
    return code, looks
