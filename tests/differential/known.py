# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The differences between labrun and runc 1.1.5 that are meant, each with its reason. All others are faults."""

from __future__ import annotations

import re

# A field's name as a regular expression, and why labrun's value is another.
ALWAYS: dict[str, str] = {}


def unknown(
    differences: dict[str, tuple[str | None, str | None]], also_known: dict[str, str]
) -> dict[str, tuple[str | None, str | None]]:
    """The differences without a reason. also_known has those of one case, in the form of ALWAYS."""
    patterns = [re.compile(pattern) for pattern in (*ALWAYS, *also_known)]
    return {
        field: values
        for field, values in differences.items()
        if not any(pattern.fullmatch(field) for pattern in patterns)
    }
