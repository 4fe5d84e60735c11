# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""What one owner, a role, wants of a host's packages: planned, and carried out by apt.

plan() and carry_out() share all that decides; check mode is plan() alone.
"""

from __future__ import annotations

import contextlib
import fnmatch
import os
import shutil
import tempfile

from ..linux import files
from ..linux.errors import InvalidInput, OcilabError
from . import download, repository
from .apt import Apt, Plan, check_name, check_version
from .folder import Folder, unpack
from .ledger import PATH, Ledger

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Iterator


class ArchiveWanted(OcilabError):
    """The packages have to come from an archive that only its digest is known of."""


class Wish:
    """What an owner wants.

    names: packages; without any, all of the owner's are let go. versions: a version, which may hold asterisks, by
    package. repository: as of repository.Repository. package_dir: a folder of packages on the host; archive_url,
    archive_sha256: a tar archive of them, of which only the digest may be known as long as nothing of it is needed.
    allow_removal: whether packages may go that no role has brought, or another one wants. Raises InvalidInput.
    """

    def __init__(
        self,
        owner: str,
        names: list[str],
        versions: dict[str, str] | None = None,
        repository: dict[str, Any] | None = None,
        package_dir: str = "",
        archive_url: str = "",
        archive_sha256: str = "",
        proxies: download.Proxies | None = None,
        allow_removal: bool = False,
    ) -> None:
        self.owner = check_name(owner, "owner")
        self.names = sorted({check_name(name) for name in names})
        self.versions = {check_name(name): check_version(name, str(value)) for name, value in (versions or {}).items()}
        self.repository = repository
        self.package_dir = package_dir
        self.archive_url = archive_url
        self.archive_sha256 = archive_sha256.lower()
        self.proxies = proxies or download.Proxies()
        self.allow_removal = allow_removal
        if set(self.versions) - set(self.names):
            stray = sorted(set(self.versions) - set(self.names))
            raise InvalidInput("versions: %s is not among the names" % ", ".join(stray))
        if archive_url and not archive_sha256:
            raise InvalidInput("archive_url: wants archive_sha256")
        if bool(archive_sha256) + bool(package_dir) + bool(repository) > 1:
            raise InvalidInput("repository, package_dir and archive_url: only one can be the source of packages")


class Owner:
    """The wish on this host. ledger_path: another ledger, for tests."""

    def __init__(self, wish: Wish, ledger_path: str = PATH) -> None:
        self.wish = wish
        self.ledger = Ledger(ledger_path)
        self.apt = Apt()
        self.repository = repository.Repository(wish.owner, wish.repository)
        self.auto: set[str] = set()
        self.newly_wanted: set[str] = set()

    def plan(self) -> dict[str, Any]:
        """What carry_out() would return; the host stays as it is. Raises OcilabError."""
        with self._scratch() as scratch:
            before = self.apt.installed()
            moved, other = self._moved(), self.repository.differs()
            apt, words = self.apt, self._words(before, scratch)
            if words and not self._offline() and (other or apt.stale()):
                apt = self._apart(scratch)
            elif other and self.wish.repository:
                self._apart(scratch, update=False)  # is its key the right one?
            step = self._step(apt, words, before)
            gone = self._gone(before) - step.removed
            return self._result(before, step, gone, moved)

    def carry_out(self) -> dict[str, Any]:
        """Bring it about: {"changed", "installed", "upgraded", "removed": names, "packages": {name: version}}."""
        self.ledger.lock()
        with self._scratch() as scratch:
            before = self.apt.installed()
            moved, other = self._moved(), self.repository.differs()
            self.newly_wanted = set(self.wish.names) - set(self.ledger.owners.get(self.wish.owner, []))
            with self.repository.put_back_on_failure():
                if other:
                    self.repository.write(self.wish.proxies)
                words = self._words(before, scratch)
                if words and not self._offline() and (other or self.apt.stale()):
                    self.apt.update()
                step = self._step(self.apt, words, before)
            if words:
                self._install(words, step, before)
            gone = self._let_go(self.apt.installed())
            return self._result(before, step, gone, moved)

    def _moved(self) -> bool:
        """Whether the repository's files, or what the ledger has of the owner, differ."""
        return self.repository.differs() or self.ledger.owners.get(self.wish.owner, []) != self.wish.names

    def _offline(self) -> bool:
        return bool(self.wish.package_dir or self.wish.archive_sha256)

    @contextlib.contextmanager
    def _scratch(self) -> Iterator[str]:
        folder = tempfile.mkdtemp(prefix="ocilab-packages-")
        try:
            os.chmod(folder, 0o755)  # apt reads and downloads as a user of its own
            self._take_proxies(folder)
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _take_proxies(self, scratch: str) -> None:
        settings = self.wish.proxies.apt_conf()
        if settings:
            path = os.path.join(scratch, "apt.conf")
            files.replace(path, settings.encode(), 0o600)
            self.apt = Apt((), path, self.wish.proxies.no_proxy)

    def _words(self, before: dict[str, str], scratch: str) -> list[str]:
        """What apt-get install is to be given; nothing when all is there."""
        wish = self.wish
        missing = [
            name
            for name in wish.names
            if name not in before or not fnmatch.fnmatchcase(before[name], wish.versions.get(name, "*"))
        ]
        if not self._offline():
            return [name + ("=" + wish.versions[name] if name in wish.versions else "") for name in missing]
        path = wish.package_dir
        if wish.archive_sha256:
            if not missing and self.ledger.archives.get(wish.owner) == wish.archive_sha256:
                return []
            if not wish.archive_url:
                raise ArchiveWanted("archive_sha256: packages of %s are missing; give archive_url, too" % wish.owner)
            path = os.path.join(scratch, "packages")
            os.mkdir(path, 0o755)
            archive = os.path.join(scratch, "archive")
            download.fetch(wish.archive_url, wish.archive_sha256, archive, wish.proxies)
            unpack(archive, path)
        found = Folder(path, self.apt).closure(wish.names, before)
        found = [file for file in found if before.get(file.name) != file.version]
        wrong = [
            file.name for file in found if not fnmatch.fnmatchcase(file.version, wish.versions.get(file.name, "*"))
        ]
        if wrong:
            raise OcilabError("packages of %s: version of %s is not the pinned one" % (wish.owner, ", ".join(wrong)))
        self.auto = {file.name for file in found} - set(wish.names) - set(before)
        return [file.path for file in found]

    def _apart(self, scratch: str, update: bool = True) -> Apt:
        """An apt with lists of its own, for a plan that leaves the host's alone."""
        sources, lists = os.path.join(scratch, "sources"), os.path.join(scratch, "lists")
        if os.path.isdir(repository.SOURCES):
            shutil.copytree(repository.SOURCES, sources)
        else:
            os.mkdir(sources)
        apart = repository.Repository(self.wish.owner, self.wish.repository, sources, os.path.join(scratch, "keys"))
        apart.write(self.wish.proxies)
        os.makedirs(os.path.join(lists, "partial"))
        options = ["Dir::State::lists=" + lists, "Dir::Etc::sourceparts=" + sources]
        options += ["Dir::Cache::pkgcache=", "Dir::Cache::srcpkgcache="]
        apt = Apt(options, self.apt.configuration, self.apt.no_proxy)
        if update:
            apt.update()
        return apt

    def _step(self, apt: Apt, words: list[str], before: dict[str, str]) -> Plan:
        """What the installation does. Raises OcilabError when it removes what it must not."""
        if not words:
            return Plan("", before)
        step = apt.plan(*self._install_words(words))
        ours = self.ledger.brought - self.ledger.of_others(self.wish.owner)
        foreign = sorted(step.removed - ours)
        if foreign and not self.wish.allow_removal:
            message = "packages of %s: installing %s would remove %s; remove that first, or allow its removal"
            raise OcilabError(message % (self.wish.owner, ", ".join(self.wish.names), ", ".join(foreign)))
        return step

    def _install_words(self, words: list[str]) -> list[str]:
        downgrade = ["--allow-downgrades"] if self.wish.versions else []
        return ["install", "--no-install-recommends", *downgrade, *words]

    def _install(self, words: list[str], step: Plan, before: dict[str, str]) -> None:
        ledger, owner = self.ledger, self.wish.owner
        ledger.brought |= set(step.new)
        ledger.want(owner, set(self.wish.names) | set(ledger.owners.get(owner, [])))
        ledger.marked |= set(self.wish.names) & set(before) - self.apt.manual() - ledger.brought
        ledger.save()
        with self.apt.services_stay():
            self.apt.get(*self._install_words(words))
        self.apt.mark("auto", self.auto)

    def _gone(self, installed: dict[str, str]) -> set[str]:
        """The packages that roles have brought, and none needs any longer when this owner has what it wants."""
        leftovers = self.apt.leftovers() & self.ledger.brought
        known = self.ledger.brought & set(installed)
        if not known and not leftovers:
            return set()
        leaving = set(self.ledger.owners.get(self.wish.owner, [])) - set(self.wish.names)
        leaving -= self.ledger.of_others(self.wish.owner)
        if not leaving:
            return leftovers  # apt needs not be asked, which takes it a second
        auto = leaving & (known | self.ledger.marked) & set(installed)
        wanted = (self.ledger.of_others(self.wish.owner) | set(self.wish.names)) & set(installed)
        return self.apt.unneeded(auto, wanted) & known | leftovers

    def _let_go(self, installed: dict[str, str]) -> set[str]:
        """Remove what is not needed any longer; the ledger knows of it until it is gone."""
        ledger, wish = self.ledger, self.wish
        recorded = set(ledger.owners.get(wish.owner, []))
        gone = self._gone(installed)
        if gone:
            step = self.apt.plan("purge", *sorted(gone))
            if step.removed - gone:
                foreign = ", ".join(sorted(step.removed - gone))
                raise OcilabError("packages of %s: their removal would remove %s as well" % (wish.owner, foreign))
            self.apt.get("purge", *sorted(gone))
            installed = self.apt.installed()
        others = ledger.of_others(wish.owner)
        leaving = recorded - set(wish.names) - others
        self.apt.mark("auto", leaving & (ledger.brought | ledger.marked) & set(installed))
        if self.newly_wanted:
            automatic = self.newly_wanted - self.apt.manual()
            ledger.marked |= automatic - ledger.brought
            self.apt.mark("manual", automatic)
        ledger.marked -= leaving
        ledger.brought &= set(installed) | self.apt.leftovers()
        ledger.want(wish.owner, wish.names, wish.archive_sha256)
        ledger.save()
        return gone

    def _result(self, before: dict[str, str], step: Plan, gone: set[str], moved: bool) -> dict[str, Any]:
        after = {**before, **step.new, **step.changed}
        removed = (step.removed | gone) & set(before)
        return {
            "changed": bool(step.new or step.changed or step.removed or gone or moved),
            "installed": sorted(step.new),
            "upgraded": sorted(step.changed),
            "removed": sorted(removed),
            "packages": {name: after[name] for name in self.wish.names if name in after},
        }
