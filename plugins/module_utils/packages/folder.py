# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""Packages from a folder or an archive, for hosts that reach no repository."""

from __future__ import annotations

import os
import re
import shutil
import tarfile

from ..linux.errors import InvalidInput, NotFound, OcilabError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Iterable

    from .apt import Apt

_FIELDS = "${Package}\t${Version}\t${Architecture}\t${Pre-Depends}, ${Depends}\t${Provides}"
_LARGEST = 4 << 30


class File:
    """A file of a package.

    needs: the alternatives, names, of each dependency; names: its own one, and what it provides.
    """

    def __init__(self, path: str, fields: str) -> None:
        self.path = path
        self.name, self.version, self.architecture, depends, provides = (fields.split("\t") + [""] * 5)[:5]
        self.needs = [[_bare(word) for word in part.split("|")] for part in depends.split(",") if part.strip()]
        self.names = {self.name} | {_bare(part) for part in provides.split(",") if part.strip()}


class Folder:
    """The packages in a folder, of each the newest that this host can have. Raises NotFound, OcilabError."""

    def __init__(self, path: str, apt: Apt) -> None:
        if not os.path.isdir(path):
            raise NotFound("package_dir %s: is no directory" % path)
        self.path = path
        self.files: dict[str, File] = {}
        native = apt.architecture()
        for name in sorted(os.listdir(path)):
            if name.endswith(".deb"):
                deb = os.path.join(os.path.abspath(path), name)
                file = File(deb, apt.run("dpkg-deb", "--show", "--showformat=" + _FIELDS, deb))
                other = self.files.get(file.name)
                if file.architecture in (native, "all") and (not other or _newer(apt, file.version, other.version)):
                    self.files[file.name] = file

    def closure(self, wanted: Iterable[str], installed: dict[str, str]) -> list[File]:
        """The files of the wanted packages, and of all that they need and the host has not.

        Raises NotFound for a wanted one that neither the folder nor the host has.
        """
        missing = sorted(set(wanted) - set(self.files) - set(installed))
        if missing:
            raise NotFound("package_dir %s: has no package %s for this host" % (self.path, ", ".join(missing)))
        providers = {name: file for file in self.files.values() for name in file.names if name != file.name}
        chosen: dict[str, File] = {}
        waiting = [self.files[name] for name in sorted(set(wanted)) if name in self.files]
        while waiting:
            file = waiting.pop()
            if file.name in chosen:
                continue
            chosen[file.name] = file
            for alternatives in file.needs:
                if not any(name in installed for name in alternatives):
                    found = [self.files.get(name) or providers.get(name) for name in alternatives]
                    waiting += [one for one in found if one][:1]
        return [chosen[name] for name in sorted(chosen)]


def unpack(archive: str, folder: str) -> None:
    """Put the packages in a tar archive, wherever they are in it, into a folder of the caller's own.

    Raises OcilabError for what is no archive, or holds no package.
    """
    taken = 0
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                name = os.path.basename(member.name)
                if not member.isreg() or not re.match(r"^[A-Za-z0-9][A-Za-z0-9+.~:%_-]*\.deb\Z", name):
                    continue
                source = tar.extractfile(member)
                taken += member.size
                if source is None or taken > _LARGEST:
                    raise InvalidInput("archive %s: holds more than %d GiB" % (archive, _LARGEST >> 30))
                with open(os.path.join(folder, name), "xb") as file:
                    shutil.copyfileobj(source, file, 1 << 20)
    except (tarfile.TarError, EOFError, FileExistsError) as error:
        raise OcilabError("archive %s: %s" % (archive, error))
    if not taken:
        raise OcilabError("archive %s: holds no package (*.deb)" % archive)


def _newer(apt: Apt, one: str, other: str) -> bool:
    try:
        apt.run("dpkg", "--compare-versions", one, "gt", other)
        return True
    except OcilabError:
        return False


def _bare(word: str) -> str:
    return re.sub(r"[\s:(\[<].*", "", word.strip())
