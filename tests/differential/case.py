# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a case is written: a name, a change of the default configuration, and a line of shell that looks further."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable

from known import Known


@dataclass
class Case:
    name: str
    change: Callable[[dict[str, Any], Case], object]
    extra: str = ""  # shell, after the probe's own sections
    known: list[Known] = field(default_factory=list)  # differences of this case only
    bundle: Path = Path()  # set before change is called
    holder: int = 0  # the pid of a process with namespaces of its own


def cases(table: dict[str, Any]) -> list[Case]:
    """{name: change} or {name: (change, extra)} or {name: (change, extra, known)} as cases."""
    made = []
    for name, value in table.items():
        parts = value if isinstance(value, tuple) else (value,)
        made.append(Case(name, *parts))
    return made
