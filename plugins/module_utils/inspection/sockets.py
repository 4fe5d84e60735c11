# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""Unix sockets by their files and by who listens in the kernel; nothing connects to them."""

from __future__ import annotations

import os
import stat

from ..linux import files, owners

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_LISTENS = 0x10000  # __SO_ACCEPTCON, which /proc/net/unix shows (proc(5))


def describe(path: str) -> dict[str, Any] | None:
    """{"path", "mode", "owner", "group", "listening"}; None where there is no such socket, or we may not look."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    if not stat.S_ISSOCK(found.st_mode):
        return None
    return {
        "path": path,
        "mode": "0%o" % stat.S_IMODE(found.st_mode),
        "owner": owners.user_name(found.st_uid),
        "group": owners.group_name(found.st_gid),
        "listening": os.path.realpath(path) in listening(),
    }


def remote(address: str) -> dict[str, Any]:
    """The same for an address of the network that has answered."""
    return {"path": address, "mode": None, "owner": None, "group": None, "listening": True}


def listening() -> set[str]:
    """The paths of all sockets that somebody listens on."""
    result = set()
    for line in files.read_text("/proc/net/unix").splitlines()[1:]:
        fields = line.split(None, 7)
        if len(fields) == 8 and int(fields[3], 16) & _LISTENS:
            result.add(os.path.realpath(fields[7]))
    return result
