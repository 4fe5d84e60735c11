# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""What roles write down of what they have brought to a host: JSON files in one folder, changed by one run at a time."""

from __future__ import annotations

import fcntl
import json
import os

from ..linux import files
from ..linux.errors import OcilabError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

FOLDER = "/var/lib/ocilab.hosts"


class Kept:
    """The file at path. hint: what to do when it is damaged."""

    def __init__(self, path: str, hint: str) -> None:
        self.path = path
        self.hint = hint
        self._lock = -1

    def read(self) -> dict[str, Any]:
        """What was written last, {} for nothing. Raises OcilabError when it is damaged."""
        try:
            with open(self.path, encoding="utf-8") as file:
                read = json.load(file)
        except FileNotFoundError:
            return {}
        except ValueError:
            raise self.damaged() from None
        if not isinstance(read, dict):
            raise self.damaged()
        return read

    def damaged(self) -> OcilabError:
        """For who finds something else in it than it wrote."""
        return OcilabError("%s: is damaged; %s" % (self.path, self.hint))

    def lock(self) -> None:
        """Wait until no other run changes a file of the folder, and keep others out until this process ends."""
        folder = os.path.dirname(self.path)
        while self._lock < 0:
            os.makedirs(folder, 0o755, exist_ok=True)
            fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            fcntl.flock(fd, fcntl.LOCK_EX)
            if os.path.isdir(folder) and os.path.samestat(os.fstat(fd), os.stat(folder)):
                self._lock = fd
            else:
                os.close(fd)  # the one before had the last use of the folder, and removed it

    def write(self, content: dict[str, Any]) -> None:
        """Keep the content; with {} the file goes, and its folder where it is empty. By who holds the lock."""
        folder = os.path.dirname(self.path)
        if content:
            os.makedirs(folder, 0o755, exist_ok=True)
            files.replace(self.path, (json.dumps(content, indent=1, sort_keys=True) + "\n").encode())
            return
        for remove, path in ((os.unlink, self.path), (os.rmdir, folder)):
            try:
                remove(path)
            except OSError:
                pass  # never made, or not empty
