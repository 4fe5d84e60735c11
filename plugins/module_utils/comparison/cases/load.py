# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""Many containers: started at once, and one after the other without a pause."""

from __future__ import annotations

import os
import time

from ...linux.errors import OcilabError
from . import seat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


def parallel(at: seat.Seat) -> Iterator[seat.Measured]:
    """From the word to go until the last of N containers has come to nothing again."""
    for count in at.sizes["parallel"]:
        at.budget.check_containers(count)
        yield "starts_%d" % count, "ns", _at_once(at, count)


def rate(at: seat.Seat) -> Iterator[seat.Measured]:
    """Containers from nothing to nothing in a row, by the second."""
    started = time.perf_counter()
    elapsed, count = 0.0, 0
    while elapsed < at.sizes["rate_s"]:
        at.engine.run_true(at.name())
        count += 1
        elapsed = time.perf_counter() - started
    yield "rate", "per_s", count / elapsed


def _at_once(at: seat.Seat, count: int) -> int:
    """The nanoseconds of count containers. Processes wait for them, not threads: labrun as a library clones itself,
    which a process with threads must not."""
    ready, gun, reports = os.pipe(), os.pipe(), os.pipe()
    children = []
    for container_id in [at.name() for _number in range(count)]:
        pid = os.fork()
        if pid == 0:
            os.close(gun[1])
            _run(at, container_id, ready[1], gun[0], reports[1])
        children.append(pid)
    try:
        for fd in (ready[1], gun[0], reports[1]):
            os.close(fd)
        for _child in children:
            os.read(ready[0], 1)
        started = time.perf_counter_ns()
        os.close(gun[1])
        codes = [os.waitpid(pid, 0)[1] for pid in children]
        elapsed = time.perf_counter_ns() - started
        told = os.read(reports[0], 65536).decode("utf-8", "replace").splitlines()
    finally:
        os.close(ready[0])
        os.close(reports[0])
    if any(codes):
        reason = told[0] if told else "its process was killed"
        raise seat.failed("%d of %d at once failed: %s" % (sum(map(bool, codes)), count, reason))
    return elapsed


def _run(at: seat.Seat, container_id: str, ready: int, gun: int, reports: int) -> None:
    """A child's part, which ends here: nothing of the parent's, as what it cleans up, is the child's to do."""
    code = 1
    try:
        os.write(ready, b".")
        os.read(gun, 1)  # ends when the parent has closed it
        at.engine.run_true(container_id)
        code = 0
    except (OcilabError, OSError) as error:
        os.write(reports, (str(error)[:500] + "\n").encode())
    finally:
        os._exit(code)
