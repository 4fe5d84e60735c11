# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""The numbers of a registry's user and group."""

from __future__ import annotations

import grp
import pwd

from ..linux.errors import NotFound


def group(name: str, may_lack: bool) -> int:
    """The group's number; -1 for one that there is not yet, where it may lack. Raises NotFound."""
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        if may_lack:
            return -1
        raise NotFound("%s: there is no such group" % name) from None


def user(name: str) -> int:
    """The user's number. Raises NotFound."""
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        raise NotFound("%s: there is no such user" % name) from None
