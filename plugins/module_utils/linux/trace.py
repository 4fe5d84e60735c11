# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""A record of the system calls that change the kernel's state, for people who want to see them (`explain`).

Off it costs one comparison a call. A process that is forked while it is on inherits the record, so that a child
appends its own calls and sends them back (take()).
"""

from __future__ import annotations

import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, TypeVar

    Result = TypeVar("Result")

# A record is {"step": str, "call": str, "arguments": [str, ...], "duration_us": int, "result": "ok" or "errno 1"}.
_records: list[dict[str, object]] | None = None
_step = ""


def begin() -> None:
    """Forget what was recorded and record from here on."""
    global _records, _step
    _records = []
    _step = ""


def end() -> None:
    """Stop recording."""
    global _records
    _records = None


def step(name: str) -> None:
    """What is recorded from here on belongs to the step of that name."""
    global _step
    _step = name


def take() -> list[dict[str, object]]:
    """The records so far, which are forgotten; an empty list when recording is off."""
    global _records
    taken = _records or []
    if _records is not None:
        _records = []
    return taken


def add(records: list[dict[str, object]]) -> None:
    """Append records that another process took."""
    if _records is not None:
        _records.extend(records)


def call(name: str, arguments: tuple[object, ...], function: Callable[..., Result], *parameters: object) -> Result:
    """function(*parameters), recorded as the system call of that name with arguments as a person reads them."""
    if _records is None:
        return function(*parameters)
    before = time.perf_counter_ns()
    result = "ok"
    try:
        return function(*parameters)
    except OSError as error:
        result = "errno %s" % error.errno
        raise
    finally:
        _records.append(
            {
                "step": _step,
                "call": name,
                "arguments": [str(argument) for argument in arguments],
                "duration_us": (time.perf_counter_ns() - before) // 1000,
                "result": result,
            }
        )
