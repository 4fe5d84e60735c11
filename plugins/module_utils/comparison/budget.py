# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""What a comparison may take of a host: seconds in all, and containers at the same time."""

from __future__ import annotations

import time

from ..linux.errors import Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable


class BudgetSpent(Unsupported):
    """What was asked for is more than the budget, or the budget is spent; the text is the reason that people read."""


class Budget:
    """Seconds from now on, and containers at once. clock: seconds, as of time.monotonic."""

    def __init__(self, seconds: float, containers: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.seconds = seconds
        self.containers = containers
        self.clock = clock
        self.started = clock()

    def spent_s(self) -> float:
        """The seconds since the beginning."""
        return self.clock() - self.started

    def check(self) -> None:
        """Raises BudgetSpent when the time is over."""
        if self.spent_s() >= self.seconds:
            raise BudgetSpent("the budget of %g s was spent" % self.seconds)

    def check_containers(self, count: int) -> None:
        """Raises BudgetSpent when the time is over, or when so many containers are too many."""
        self.check()
        if count > self.containers:
            raise BudgetSpent("%d containers at once are more than the budget of %d" % (count, self.containers))
