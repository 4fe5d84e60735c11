# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rounds in which every runtime starts once, in an order of the round's own: what else the host does hits all."""

from __future__ import annotations

import os
import random
import statistics
import subprocess
import time
from pathlib import Path

import numpy as np
from ansible_collections.ocilab.hosts.plugins.module_utils.labrun import container
from ansible_collections.ocilab.hosts.plugins.plugin_utils.report.statistics import median_interval


class Command:
    """`RUNTIME run` as a process, from its start to its end."""

    def __init__(self, path: str, root: Path, bundle: Path) -> None:
        self.arguments = [path, "--root", str(root), "run", "--bundle", str(bundle)]

    def __call__(self, name: str) -> int:
        """Nanoseconds of one start."""
        null = [(os.POSIX_SPAWN_OPEN, fd, "/dev/null", os.O_RDWR, 0) for fd in (0, 1)]
        started = time.perf_counter_ns()
        pid = os.posix_spawnp(self.arguments[0], [*self.arguments, name], os.environ, file_actions=null)
        if os.waitpid(pid, 0)[1] != 0:
            raise RuntimeError(f"{' '.join(self.arguments)} {name}: failed")
        return time.perf_counter_ns() - started


_STARTER = """
import sys, time
from ansible_collections.ocilab.hosts.plugins.module_utils.labrun import container
from ansible_collections.ocilab.hosts.plugins.plugin_utils.report.statistics import median_interval
root, bundle = sys.argv[1:]
for line in sys.stdin:
    started = time.perf_counter_ns()
    made = container.create(line.strip(), bundle, root)
    made.start()
    if made.wait() != 0:
        sys.exit(line.strip() + ": failed")
    made.delete()
    print(time.perf_counter_ns() - started, flush=True)
"""


class InProcess:
    """The same through labrun's functions, in one process for all starts: of the interpreter of the command, which on
    a managed host is the modules' too, and without what this process has imported. It times itself.
    """

    def __init__(self, python: str, root: Path, bundle: Path) -> None:
        environment = dict(os.environ, PYTHONPATH=str(Path(container.__file__).parents[6]))
        arguments = [python, "-c", _STARTER, str(root), str(bundle)]
        self.process = subprocess.Popen(
            arguments, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __call__(self, name: str) -> int:
        """Nanoseconds of one start."""
        self.process.stdin.write(name + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def close(self) -> None:
        self.process.communicate()


def measure(runtimes: dict, rounds: int) -> dict[str, list[int]]:
    """Nanoseconds of each start by the runtime's name; the first round, which warms up, is left out."""
    samples: dict[str, list[int]] = {name: [] for name in runtimes}
    order = list(runtimes)
    generator = random.Random(1)
    for number in range(rounds + 1):
        generator.shuffle(order)
        for name in order:
            took = runtimes[name](f"bench-{os.getpid()}-{number}-{order.index(name)}")
            if number:
                samples[name].append(took)
    return samples


def ratio(samples: list[int], reference: list[int]) -> tuple[float, float, float]:
    """The median of the rounds' ratios, and the ends of its 95 % interval."""
    ratios = [own / other for own, other in zip(samples, reference)]
    return (statistics.median(ratios), *median_interval(np.array(ratios)))
