# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""Items of hardening: what should be so, whether it is, and what it is good for."""

from __future__ import annotations

import os
import stat
from ipaddress import ip_address

from ..coexistence import host
from ..linux import owners

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Iterable

    Item = dict[str, str]

OK, DEVIATES, NOT_APPLICABLE = "ok", "deviates", "not applicable"


def judged(name: str, title: str, met: bool, reason: str, found: str = "") -> Item:
    """An item that is met or not. reason: what it is good for; found: what the host has."""
    return {"id": name, "title": title, "state": OK if met else DEVIATES, "reason": reason, "found": found}


def not_applicable(name: str, title: str, reason: str) -> Item:
    """An item that there is nothing to judge of, with the reason."""
    return {"id": name, "title": title, "state": NOT_APPLICABLE, "reason": reason, "found": ""}


def path(name: str, title: str, where: str, most: int, reason: str, group: str = "root") -> Item:
    """A file or directory that is root's, or the group's too, and has no permission beyond most."""
    try:
        status = os.stat(where)
    except OSError:
        return not_applicable(name, title, "%s does not exist" % where)
    mode = stat.S_IMODE(status.st_mode)
    met = not mode & ~most and status.st_uid == 0 and owners.group_name(status.st_gid) in ("root", group)
    found = "%s: %04o %s:%s" % (where, mode, owners.user_name(status.st_uid), owners.group_name(status.st_gid))
    return judged(name, title, met, reason, found)


def paths(name: str, title: str, places: Iterable[str], most: int, reason: str) -> Item:
    """The same of several, of which the worst is told."""
    found = [path(name, title, place, most, reason) for place in places]
    for state in (DEVIATES, OK):
        for item in found:
            if item["state"] == state:
                return item
    return not_applicable(name, title, "no such file exists")


def listening(name: str, programs: Iterable[str], encrypted: bool, reason: str) -> Item:
    """Whether the programs can be reached by TCP without TLS, from elsewhere than from the host itself.

    encrypted: whether what they listen on wants a certificate of its clients.
    """
    # /proc/PID/comm has 15 characters of a name.
    names = {program[:15] for program in programs}
    ports = sorted(
        {
            "%s:%d" % (address or "*", port)
            for address, port, program in host.listeners()
            if program in names and not (address and ip_address(address).is_loopback)
        }
    )
    title = "the engine does not listen on TCP without TLS"
    met = not ports or encrypted
    return judged(name, title, met, reason, "listens on " + ", ".join(ports) if ports else "no port of TCP")
