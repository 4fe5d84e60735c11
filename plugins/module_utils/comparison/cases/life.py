# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""A container's life: from nothing to nothing, its phases, a command in it, and its end. Many samples of each."""

from __future__ import annotations

import time

from ...engines.engine import PROGRAM, Wanted
from ...linux import files
from . import seat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_READY_S = 0.5  # gVisor's containers never look ready from outside
_SIGTERM_BIT = 1 << 14


def run_true(at: seat.Seat) -> Iterator[seat.Measured]:
    """PROGRAM, from nothing to nothing, as a user runs it."""
    container_id = at.name()
    yield "run", "ns", seat.took_ns(lambda: at.engine.run_true(container_id))


def lifecycle(at: seat.Seat) -> Iterator[seat.Measured]:
    """The same life in its phases."""
    times = {name: seat.took_ns(phase) for name, phase in at.engine.phases(at.name())}
    for name, value in times.items():
        yield name, "ns", value
    yield "total", "ns", sum(times.values())


def execute(at: seat.Seat) -> Iterator[seat.Measured]:
    """PROGRAM in a container that runs."""
    container_id = at.standing()
    yield "exec", "ns", seat.took_ns(lambda: at.engine.execute(container_id, [PROGRAM]))


def stop(at: seat.Seat) -> Iterator[seat.Measured]:
    """The end of a process that obeys SIGTERM at once; its start and its removal are not counted."""
    container_id = at.start(Wanted(seat.IDLE))
    _wait_for_trap(at.engine.process(container_id))
    yield "stop", "ns", seat.took_ns(lambda: at.engine.stop(container_id))


def _wait_for_trap(pid: int) -> None:
    """A signal before the shell has set its trap would be lost."""
    deadline = time.monotonic() + _READY_S
    while time.monotonic() < deadline and not _catches_term(pid):
        time.sleep(0.005)


def _catches_term(pid: int) -> bool:
    for line in files.read_text("/proc/%d/status" % pid).splitlines():
        if line.startswith("SigCgt:"):
            return bool(int(line.split()[1], 16) & _SIGTERM_BIT)
    return False
