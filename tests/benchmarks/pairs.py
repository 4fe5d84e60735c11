# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rounds in which every runtime starts once, in an order of the round's own: what else the host does hits all."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

from ansible_collections.ocilab.hosts.plugins.module_utils.comparison import statistics
from ansible_collections.ocilab.hosts.plugins.module_utils.labrun import container


class Command:
    """`RUNTIME run` as a process, from its start to its end."""

    def __init__(self, path: str, root: Path, bundle: Path) -> None:
        self.arguments = [path, "--root", str(root), "run", "--bundle", str(bundle)]

    def __call__(self, name: str) -> None:
        null = [(os.POSIX_SPAWN_OPEN, fd, "/dev/null", os.O_RDWR, 0) for fd in (0, 1)]
        pid = os.posix_spawnp(self.arguments[0], [*self.arguments, name], os.environ, file_actions=null)
        if os.waitpid(pid, 0)[1] != 0:
            raise RuntimeError(f"{' '.join(self.arguments)} {name}: failed")


class InProcess:
    """The same through labrun's functions, in this process."""

    def __init__(self, root: Path, bundle: Path) -> None:
        self.root = str(root)
        self.bundle = str(bundle)

    def __call__(self, name: str) -> None:
        made = container.create(name, self.bundle, self.root)
        made.start()
        if made.wait() != 0:
            raise RuntimeError(f"{name}: failed")
        made.delete()


def measure(runtimes: dict, rounds: int) -> dict[str, list[int]]:
    """Nanoseconds of each start by the runtime's name; the first round, which warms up, is left out."""
    samples: dict[str, list[int]] = {name: [] for name in runtimes}
    order = list(runtimes)
    generator = random.Random(1)
    for number in range(rounds + 1):
        generator.shuffle(order)
        for name in order:
            started = time.perf_counter_ns()
            runtimes[name](f"bench-{os.getpid()}-{number}-{order.index(name)}")
            if number:
                samples[name].append(time.perf_counter_ns() - started)
    return samples


def ratio(samples: list[int], reference: list[int]) -> tuple[float, float, float]:
    """The median of the rounds' ratios, and the ends of its 95 % interval."""
    ratios = [own / other for own, other in zip(samples, reference)]
    return (statistics.median(ratios), *statistics.median_interval(ratios))
