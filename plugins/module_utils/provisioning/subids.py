# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""Ranges of subordinate ids (subuid(5), subgid(5)): whose they are, whether two overlap, and a free one."""

from __future__ import annotations

import os
import pwd
import time

from ..linux.errors import InvalidInput, OcilabError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Iterable

FILES = {"subuid": "/etc/subuid", "subgid": "/etc/subgid"}
_LOCK_S = 15.0  # as shadow's tools
_FIRST, _LAST = 100000, 600100000  # SUB_UID_MIN and SUB_UID_MAX of login.defs(5)


class Range:
    """count ids from start on, which user (a name, or a number as text) may map."""

    def __init__(self, user: str, start: int, count: int) -> None:
        self.user = user
        self.start = start
        self.count = count

    @property
    def end(self) -> int:
        """The first id after it."""
        return self.start + self.count

    def __str__(self) -> str:
        """As usermod(8) takes it."""
        return "%d-%d" % (self.start, self.end - 1)

    def overlaps(self, other: Range) -> bool:
        return self.start < other.end and other.start < self.end


def read(path: str) -> list[Range]:
    """All ranges of the file; none where there is no file. Raises OcilabError where a line is none."""
    found = []
    try:
        with open(path, encoding="utf-8") as file:
            for line in file:
                if line.strip() and not line.startswith("#"):
                    user, start, count = line.strip().split(":")
                    found.append(Range(user, int(start), int(count)))
    except FileNotFoundError:
        pass
    except ValueError:
        raise OcilabError("%s: a line is not user:start:count: %s" % (path, line.strip())) from None
    return found


def of(user: str, ranges: Iterable[Range]) -> list[Range]:
    """Those of the user, who may stand in the file by name or by number."""
    names = {user}
    try:
        names.add(str(pwd.getpwnam(user).pw_uid))
    except KeyError:
        pass
    return [item for item in ranges if item.user in names]


def refuse_overlap(user: str, path: str, ranges: Iterable[Range]) -> None:
    """Raise InvalidInput where a range of the user is also somebody else's, who could then enter the containers."""
    ranges = list(ranges)
    mine = of(user, ranges)
    for item in mine:
        for other in ranges:
            if other not in mine and item.overlaps(other):
                message = "%s: the range %s of %s overlaps %s of %s; give one of them another range"
                raise InvalidInput(message % (path, item, user, other, other.user))


def free(user: str, count: int, taken: Iterable[Range]) -> Range:
    """The lowest range of that size that overlaps none of the taken ones. Raises OcilabError when there is none."""
    start = _FIRST
    for item in sorted(taken, key=lambda item: item.start):
        if item.start < start + count and start < item.end:
            start = item.end
    if start + count > _LAST:
        raise OcilabError("%s: no %d free subordinate ids are left below %d" % (user, count, _LAST))
    return Range(user, start, count)


def remove(path: str, item: Range) -> None:
    """Take the range out of the file. usermod(8) does not for a user with processes, as root is. Raises OcilabError."""
    lock = path + ".lock"  # what shadow's tools lock it by
    deadline = time.monotonic() + _LOCK_S
    while True:
        try:
            os.close(os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            break
        except FileExistsError:
            if time.monotonic() > deadline:
                raise OcilabError("%s: is locked by %s; remove that where no program works on users" % (path, lock))
            time.sleep(0.2)
    try:
        with open(path, encoding="utf-8") as file:
            lines = file.readlines()
        gone = "%s:%d:%d" % (item.user, item.start, item.count)
        new = path + "+"
        with open(new, "w", encoding="utf-8") as file:
            file.writelines(line for line in lines if line.strip() != gone)
            os.fchmod(file.fileno(), os.stat(path).st_mode & 0o7777)
        os.replace(new, path)
    finally:
        os.unlink(lock)
