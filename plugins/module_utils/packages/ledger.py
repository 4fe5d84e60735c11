# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""What the collection's roles have installed on this host, so that removing them leaves the packages of before.

The file: {"owners": {owner: [packages that it wants]}, "brought": [packages that were not there before the roles],
"marked": [packages that were there, as automatically installed ones, until a role wanted them], "archives": {owner:
the sha256 of the archive that its packages are from}}.
A package is written down before it is installed: a run that is killed leaves none that nobody knows of.
"""

from __future__ import annotations

import os

from ..provisioning.kept import FOLDER, Kept

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Iterable

PATH = os.path.join(FOLDER, "packages.json")


class Ledger:
    """The ledger at path; nothing is written before save()."""

    def __init__(self, path: str = PATH) -> None:
        self.owners: dict[str, list[str]] = {}
        self.brought: set[str] = set()
        self.marked: set[str] = set()
        self.archives: dict[str, str] = {}
        self._kept = Kept(path, "restore it, or remove it with the packages that roles installed")
        self.load()

    def load(self) -> None:
        """Read the file anew. Raises OcilabError when it is damaged."""
        read = self._kept.read() or {"owners": {}, "brought": [], "marked": [], "archives": {}}
        try:
            self.owners = {owner: sorted(names) for owner, names in read["owners"].items()}
            self.brought, self.marked, self.archives = set(read["brought"]), set(read["marked"]), dict(read["archives"])
        except (KeyError, ValueError, TypeError, AttributeError):
            raise self._kept.damaged() from None

    def lock(self) -> None:
        """Wait until no other run changes packages, and keep others out until this process ends. Raises OSError."""
        self._kept.lock()
        self.load()

    def of_others(self, owner: str) -> set[str]:
        """The packages that another owner wants."""
        return {name for other, names in self.owners.items() if other != owner for name in names}

    def want(self, owner: str, names: Iterable[str], archive: str = "") -> None:
        """What the owner wants from now on, and from which archive; nothing lets it go."""
        self.owners.pop(owner, None)
        self.archives.pop(owner, None)
        wanted = sorted(set(names))
        if wanted:
            self.owners[owner] = wanted
            if archive:
                self.archives[owner] = archive

    def save(self) -> None:
        """Write the file; without owners and packages it goes."""
        content = {"owners": self.owners, "brought": sorted(self.brought), "marked": sorted(self.marked)}
        self._kept.write(dict(content, archives=self.archives) if any(content.values()) else {})
