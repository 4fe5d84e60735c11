# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""How far a comparison is, as one line in a file: who waits for its end reads it, and disturbs it no further."""

from __future__ import annotations

from ..linux import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .budget import Budget


class Progress:
    """The line in the file at path, of which nothing is kept; without a path nobody asks."""

    def __init__(self, path: str, budget: Budget) -> None:
        self.path = path
        self.budget = budget

    def tell(self, text: str, part: float = 0) -> None:
        """Say what is being done; part: of all, from 0 to 1."""
        if self.path:
            spent = (100 * part, self.budget.spent_s(), self.budget.seconds)
            files.replace(self.path, ("%3d %%, %3d s of at most %g s: " % spent + text + "\n").encode())
