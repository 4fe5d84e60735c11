# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""Signals by name (signal(7))."""

from __future__ import annotations

import _signal

from .errors import InvalidInput


def number(text: str) -> int:
    """The number of a signal given as TERM, SIGTERM or 15. Raises InvalidInput."""
    if (text.isascii() and text.isdigit()) and int(text) < 65:
        return int(text)
    name = text.upper()
    name = name if name.startswith("SIG") else "SIG" + name
    for real_time, sign in (("SIGRTMIN", 1), ("SIGRTMAX", -1)):
        offset = name[len(real_time) + 1 :]
        if (
            name.startswith(real_time)
            and (not offset or (offset.isascii() and offset.isdigit()))
            and int(offset or 0) <= 30
        ):
            return int(getattr(_signal, real_time)) + sign * int(offset or 0)
    found = getattr(_signal, name, None)
    if not isinstance(found, int) or "_" in name:
        raise InvalidInput("unknown signal %r: use a name such as SIGTERM or a number from 1 to 64" % text)
    return found
