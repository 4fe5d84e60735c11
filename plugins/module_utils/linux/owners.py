# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""The names of those whom files belong to; their numbers where the host has no names for them."""

from __future__ import annotations

import grp
import pwd


def user_name(number: int) -> str:
    """A user's name, or the number as text."""
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def group_name(number: int) -> str:
    """A group's name, or the number as text."""
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)
