# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""What can be measured: each case's measures, their unit, and which way is better. Cases and report agree by it."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


class Case:
    """A case by its name; measures that grow with a size of the plan are named PREFIX_SIZE, as starts_4.

    unit: of its headline, ns, bytes, bytes_per_s or per_s; better: lower or higher;
    headline: the measure that stands for the case, or, ending in "_", the one of the greatest size.
    """

    def __init__(self, name: str, headline: str, unit: str, better: str = "lower") -> None:
        self.name = name
        self.headline = headline
        self.unit = unit
        self.better = better

    def headline_of(self, measures: Iterable[str]) -> str:
        """The headline among the names of measures; empty where it was not measured."""
        if not self.headline.endswith("_"):
            return self.headline if self.headline in measures else ""
        sizes = [int(name[len(self.headline) :]) for name in measures if name.startswith(self.headline)]
        return self.headline + str(max(sizes)) if sizes else ""


CASES = {
    case.name: case
    for case in (
        Case("run_true", "run", "ns"),  # run: a container from nothing to nothing
        Case("lifecycle", "total", "ns"),  # create, start, wait, delete, total
        Case("exec", "exec", "ns"),  # exec: /bin/true in a container that runs
        Case("stop", "stop", "ns"),  # stop: of a process that obeys SIGTERM
        Case("parallel", "starts_", "ns"),  # starts_N: until the last of N that were started at once has ended
        Case("rate", "rate", "per_s", "higher"),  # rate: containers from nothing to nothing in a row, by the second
        # Of N idle containers, by the container: monitors_N (PSS), daemons_N (growth of PSS), cgroup_N, total_N
        Case("density", "total_", "bytes"),
        Case("footprint", "daemons", "bytes"),  # daemons: PSS of what runs while no container does
        Case("pull", "pull", "ns"),  # pull: of an image from the registry, nothing of it being there
        Case("unpack", "load", "ns"),  # load: of an archive; disk: bytes that it takes then
        Case("syscall", "call", "ns"),  # call: one system call in the container
        Case("file_io", "root", "bytes_per_s", "higher"),  # root, volume: written and synced
        Case("network", "throughput", "bytes_per_s", "higher"),  # throughput, latency (ns): between two containers
    )
}

UNITS = ("ns", "bytes", "bytes_per_s", "per_s")
