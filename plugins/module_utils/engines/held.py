# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""What several columns have in common, as docker and docker+crun an image: it goes with the last of them."""

from __future__ import annotations

_holders: dict[tuple[str, str], int] = {}


def take(owner: str, name: str) -> None:
    """One column more that needs it."""
    _holders[owner, name] = _holders.get((owner, name), 0) + 1


def give(owner: str, name: str) -> bool:
    """One column less; whether it was the last."""
    _holders[owner, name] -= 1
    if _holders[owner, name]:
        return False
    del _holders[owner, name]
    return True
