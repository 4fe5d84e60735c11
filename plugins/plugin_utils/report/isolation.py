# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""What the default container of each engine may do, side by side: a row for each finding, differences marked."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass

from .fleet import Fleet

BASE = "labrun"  # that the others are compared to; where it is absent, the first engine
TOPICS = [
    "capability",
    "seccomp",
    "syscall",
    "process",
    "namespace",
    "id_map",
    "path",
    "device",
    "mount",
    "sysctl",
    "lsm",
    "cgroup",
    "rlimit",
    "environment",
    "host",
]


@dataclass
class Cell:
    """What most hosts found; others: how many found something else; shut: whether a door is, None for no door."""

    value: str
    others: int
    shut: bool | None
    differs: bool


@dataclass
class Row:
    topic: str
    item: str
    cells: list[Cell]

    @property
    def differs(self) -> bool:
        """Whether the engines are not all alike."""
        return len({cell.value for cell in self.cells}) > 1


@dataclass
class Score:
    """How many of the doors that were tried are shut, by topic: topic -> (shut, tried)."""

    engine: str
    topics: dict[str, tuple[int, int]]

    @property
    def shut(self) -> int:
        return sum(shut for shut, _tried in self.topics.values())

    @property
    def tried(self) -> int:
        return sum(tried for _shut, tried in self.topics.values())


@dataclass
class Matrix:
    engines: list[str]
    base: str
    rows: list[Row]
    scores: list[Score]  # most doors shut first
    failures: dict[str, str]  # engine -> why the probe failed


def matrix(fleet: Fleet) -> Matrix:
    """The findings of all hosts."""
    found: dict[str, dict[tuple[str, str], Counter[str]]] = {}
    failures = {}
    for engine in fleet.engines:
        counts, failure = _counted(fleet, engine)
        if counts:
            found[engine] = counts
        elif failure:
            failures[engine] = failure
    engines = list(found)
    base = BASE if BASE in found else (engines[0] if engines else "")
    names = dict.fromkeys(key for counts in found.values() for key in counts)
    ordered = sorted(names, key=lambda key: TOPICS.index(key[0]) if key[0] in TOPICS else len(TOPICS))
    rows = [Row(topic, item, _cells(topic, item, found, base)) for topic, item in ordered]
    scores = [_score(engine, place, rows) for place, engine in enumerate(engines)]
    return Matrix(engines, base, rows, sorted(scores, key=lambda score: -score.shut), failures)


def _counted(fleet: Fleet, engine: str) -> tuple[dict[tuple[str, str], Counter[str]], str]:
    """(topic, item) -> how many hosts found what. Equal documents are one object, counted once and weighed."""
    weights: dict[int, int] = defaultdict(int)
    documents = {}
    for host in fleet.hosts:
        known = host.engines.get(engine, {})
        isolation = known.get("isolation")
        if isolation and known.get("available"):  # why one is not is told where the engines are
            weights[id(isolation)] += 1
            documents[id(isolation)] = isolation
    counts: dict[tuple[str, str], Counter[str]] = {}
    failure = ""
    for key, isolation in documents.items():
        failure = failure or isolation.get("failure") or ""
        for topic, items in isolation["findings"].items():
            for item, value in items.items():
                counts.setdefault((topic, item), Counter())[str(value)] += weights[key]
    return counts, failure


def _cells(topic: str, item: str, found: dict[str, dict[tuple[str, str], Counter[str]]], base: str) -> list[Cell]:
    cells = []
    for counts in found.values():
        counter = counts.get((topic, item), Counter())
        value, most = counter.most_common(1)[0] if counter else ("", 0)
        cells.append(Cell(value, sum(counter.values()) - most, shut(topic, item, value) if value else None, False))
    usual = cells[list(found).index(base)].value
    for cell in cells:
        cell.differs = cell.value != usual
    return cells


def shut(topic: str, item: str, value: str) -> bool | None:
    """Whether a finding is a shut door; None where it is no door, or neither better nor worse."""
    doors = {
        "capability": value == "absent",
        "seccomp": value in ("strict", "filter"),
        "syscall": value != "allowed",
        "namespace": value == "own",
        "path": value != "writable",
        "lsm": value not in ("none", "unconfined", ""),
        "id_map": not value.startswith("0 0 "),
    }
    special = {
        ("process", "no_new_privs"): value == "yes",
        ("cgroup", "writable"): value == "no",
        ("cgroup", "memory.max"): value != "max",
        ("cgroup", "pids.max"): value != "max",
    }
    return special.get((topic, item), doors.get(topic))


def _score(engine: str, place: int, rows: list[Row]) -> Score:
    topics: dict[str, tuple[int, int]] = {}
    for row in rows:
        is_shut = row.cells[place].shut
        if is_shut is not None:
            before = topics.get(row.topic, (0, 0))
            topics[row.topic] = (before[0] + is_shut, before[1] + 1)
    return Score(engine, topics)
