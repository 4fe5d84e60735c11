# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""The users of a registry: a file of names and bcrypt hashes, which root writes and the registry's group reads."""

from __future__ import annotations

import os
import re
import stat

from ..linux import files
from ..linux.errors import InvalidInput
from . import passwords

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Mapping

MODE = 0o640
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]{0,63}")


class Htpasswd:
    """The file at path. group: the number of the group that reads it; cost: of new hashes."""

    def __init__(self, path: str, group: int, cost: int) -> None:
        self.path = path
        self.group = group
        self.cost = cost

    def carry_out(self, users: Mapping[str, str], dry: bool = False) -> list[tuple[str, str]]:
        """Have these users with their passwords, and no others; (user, what was done) for each change.

        A hash whose password is the wanted one stays as it is. Raises InvalidInput before any change.
        """
        for name in users:
            if not _NAME.fullmatch(name):
                raise InvalidInput("users: %r is no name of letters, digits and _ . @ -" % name)
            passwords.check(users[name])
        known = self._read()
        same = {name for name, password in users.items() if passwords.fits(password, known.get(name, ""))}
        actions = [(name, "change" if name in known else "add") for name in users if name not in same]
        actions += [(name, "remove") for name in known if name not in users]
        if not actions and not self._is_private():
            actions.append(("", "protect"))
        if actions and not dry:
            lines = [
                "%s:%s\n" % (name, known[name] if name in same else passwords.hashed(password, self.cost))
                for name, password in users.items()
            ]
            files.replace(self.path, "".join(lines).encode(), MODE, self.group)
        return actions

    def _read(self) -> dict[str, str]:
        try:
            lines = files.read(self.path).decode("utf-8", "replace").splitlines()
        except FileNotFoundError:
            return {}
        return {name: known for name, colon, known in (line.partition(":") for line in lines) if colon}

    def _is_private(self) -> bool:
        try:
            found = os.lstat(self.path)
        except FileNotFoundError:
            return False
        return stat.S_ISREG(found.st_mode) and (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (
            0,
            self.group,
            MODE,
        )
