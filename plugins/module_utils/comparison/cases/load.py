# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""Many containers: started at once, and one after the other without a pause."""

from __future__ import annotations

import os
import threading
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
    """The nanoseconds of count containers. Raises EngineFailed when one fails."""
    names = [at.name() for _number in range(count)]
    elapsed, told = (_by_processes if at.engine.forks else _by_threads)(at, names)
    if told:
        raise seat.failed("%d of %d at once failed: %s" % (len(told), count, told[0]))
    return elapsed


def _by_threads(at: seat.Seat, names: list[str]) -> tuple[int, list[str]]:
    """For an adapter whose connection no child survives: (nanoseconds, the reasons of those who failed)."""
    told: list[str] = []
    gun = threading.Event()

    def run(container_id: str) -> None:
        gun.wait()
        try:
            at.engine.run_true(container_id)
        except (OcilabError, OSError) as error:
            told.append(str(error))

    threads = [threading.Thread(target=run, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    started = time.perf_counter_ns()
    gun.set()
    for thread in threads:
        thread.join()
    return time.perf_counter_ns() - started, told


def _by_processes(at: seat.Seat, names: list[str]) -> tuple[int, list[str]]:
    """For all others, as labrun the library, which clones itself: a process with threads must not do that."""
    ready, gun, reports = os.pipe(), os.pipe(), os.pipe()
    children = []
    for container_id in names:
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
    silent = sum(map(bool, codes)) - len(told)
    return elapsed, told + ["its process was killed"] * silent


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
