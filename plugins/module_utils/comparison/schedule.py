# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""In which order a plan is measured: shuffled, so that a drift of the host favours no engine."""

from __future__ import annotations

import random

from .cases import table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

WARM_UP = -1


class Entry:
    """One sample: its index is WARM_UP where it is not counted."""

    def __init__(self, engine: str, case: str, block: int, index: int) -> None:
        self.engine = engine
        self.case = case
        self.block = block
        self.index = index

    def record(self) -> dict[str, Any]:
        """As the document of results has it."""
        return {"engine": self.engine, "case": self.case, "block": self.block, "index": self.index}


def entries(plan: dict[str, Any], pairs: Iterable[tuple[str, str]]) -> list[Entry]:
    """All samples in order; pairs: the engines and cases that are to be measured with each other."""
    wanted = list(pairs)
    shuffler = random.Random(plan["seed"])
    repeats = plan["sizes"]["repeats"]

    def few(cases: Iterable[str]) -> Iterator[Entry]:
        for case in cases:
            for index in range(repeats):
                yield from _shuffled([Entry(*pair, index, index) for pair in wanted if pair[1] == case], shuffler)

    in_blocks = [pair for pair in wanted if pair[1] in table.IN_BLOCKS]
    result = list(few(table.AT_FIRST))
    result += [Entry(*pair, 0, WARM_UP) for pair in in_blocks for _index in range(plan["warmup"])]
    index = 0
    for block, size in enumerate(block_sizes(plan["samples"], plan["blocks"])):
        result += _shuffled(
            [Entry(*pair, block, index + place) for place in range(size) for pair in in_blocks], shuffler
        )
        index += size
    return result + list(few((*table.WITH_STANDING, *table.ALONE)))


def _shuffled(items: list[Entry], shuffler: random.Random) -> list[Entry]:
    shuffler.shuffle(items)
    return items


def block_sizes(samples: int, blocks: int) -> list[int]:
    """The samples of each block, as equal as can be: [5, 5, 4] for 14 in 3."""
    return [samples // blocks + (1 if block < samples % blocks else 0) for block in range(blocks)]
