# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""Programs that come as a tar archive and not as packages: their files, put where they belong, and taken back.

The ledger, bundles.json beside that of packages: {owner: {"sha256": of the archive, "kind": "bundle" or "packages",
"packages": [names], "files": {path: sha256}, "directories": [those that were made]}}. A file is written down before it
is there, so that a run that is killed leaves none that nobody knows of.
"""

from __future__ import annotations

import contextlib
import fnmatch
import hashlib
import os
import shutil
import tarfile
import tempfile

from ..linux.errors import AlreadyExists, InvalidInput, OcilabError
from ..provisioning.kept import FOLDER, Kept
from . import download
from .apt import check_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Iterator

PATH = os.path.join(FOLDER, "bundles.json")
_LARGEST = 4 << 30


class Rule:
    """Which files of the archive go where.

    src: a pattern of paths below the archive's one folder, or of paths where it has none; dest: a path, or a directory
    with a slash at its end; keep: what is there already stays, also when it differs; required: an archive without it
    is no such bundle.
    """

    def __init__(self, src: str, dest: str, mode: int = 0o644, keep: bool = False, required: bool = False) -> None:
        if not os.path.isabs(dest) or os.path.normpath(dest) != dest.rstrip("/"):
            raise InvalidInput("files: dest %s is no absolute path" % dest)
        self.src = src
        self.dest = dest
        self.mode = mode
        self.keep = keep
        self.required = required


class _File:
    """A file that the owner is to have; source is its content, in the scratch folder."""

    def __init__(self, rule: Rule, path: str, source: str) -> None:
        self.rule = rule
        self.path = path
        self.source = source
        self.sha256 = _sha256(source)


class Bundle:
    """The bundle of one owner on this host; without an archive it has none. Raises InvalidInput."""

    def __init__(
        self,
        owner: str,
        rules: list[Rule],
        archive_url: str = "",
        archive_sha256: str = "",
        proxies: download.Proxies | None = None,
        path: str = PATH,
    ) -> None:
        if bool(archive_url) != bool(archive_sha256):
            raise InvalidInput("archive_url and archive_sha256: each wants the other")
        self.owner = check_name(owner, "owner")
        self.rules = rules
        self.url = archive_url
        self.sha256 = archive_sha256.lower()
        self.proxies = proxies or download.Proxies()
        self._kept = Kept(path, "restore it, or remove it with the files of bundles")
        self._ledger: dict[str, Any] = {}
        self._load()

    def _load(self) -> None:
        self._ledger = self._kept.read()

    @property
    def _recorded(self) -> dict[str, Any]:
        nothing = {"sha256": "", "kind": "", "packages": [], "files": {}, "directories": []}
        return dict(nothing, **self._ledger.get(self.owner, {}))

    def plan(self) -> dict[str, Any]:
        """What carry_out() would return; the host stays as it is. Raises OcilabError."""
        with self._wanted() as (kind, packages, files):
            return self._result(kind, packages, files)

    def carry_out(self) -> dict[str, Any]:
        """Bring it about: {"changed", "kind", "packages": in it, "files": put there, "removed": taken away}."""
        self._kept.lock()
        self._load()
        try:
            with self._wanted() as (kind, packages, files):
                result = self._result(kind, packages, files)
                if result["changed"]:
                    self._bring_about(result, files)
            return result
        finally:
            if not self._ledger:
                self._kept.write({})  # the lock has made its folder

    def _bring_about(self, result: dict[str, Any], files: list[_File]) -> None:
        self._record(result["kind"], result["packages"], files)
        for file in files:
            if file.path in result["files"]:
                _put(file)
        self._take_away(result["removed"])
        self._settle()

    @contextlib.contextmanager
    def _wanted(self) -> Iterator[tuple[str, list[str], list[_File]]]:
        """What the archive holds, unpacked; without any files where all of it is there, as the ledger has it."""
        recorded = self._recorded
        if not self.url or (recorded["sha256"] == self.sha256 and self._untouched(recorded["files"])):
            yield (recorded["kind"], recorded["packages"], []) if self.url else ("", [], [])
            return
        scratch = tempfile.mkdtemp(prefix="ocilab-bundle-")
        try:
            archive = os.path.join(scratch, "archive")
            download.fetch(self.url, self.sha256, archive, self.proxies)
            packages, files = self._unpack(archive, scratch)
            os.unlink(archive)
            lacking = [rule.src for rule in self.rules if rule.required and rule not in [file.rule for file in files]]
            if lacking and not packages:
                message = "archive %s: holds neither %s nor packages (*.deb)"
                raise OcilabError(message % (self.url, ", ".join(lacking)))
            yield ("packages", sorted(packages), []) if lacking else ("bundle", [], files)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def _unpack(self, archive: str, scratch: str) -> tuple[set[str], list[_File]]:
        packages: set[str] = set()
        files: dict[str, _File] = {}
        taken = 0
        try:
            with tarfile.open(archive) as tar:
                for member in tar:
                    name = os.path.normpath(member.name)
                    if not member.isreg():
                        continue
                    if name.endswith(".deb"):
                        packages.add(os.path.basename(name).partition("_")[0])
                    rule = self._rule(name.partition("/")[2]) or self._rule(name)
                    source = tar.extractfile(member) if rule else None
                    if rule is None or source is None:
                        continue
                    taken += member.size
                    if taken > _LARGEST:
                        raise InvalidInput("archive %s: holds more than %d GiB" % (self.url, _LARGEST >> 30))
                    path = rule.dest + (os.path.basename(name) if rule.dest.endswith("/") else "")
                    unpacked = os.path.join(scratch, str(len(files)))
                    with open(unpacked, "wb") as file:
                        shutil.copyfileobj(source, file, 1 << 20)
                    files[path] = _File(rule, path, unpacked)
        except (tarfile.TarError, EOFError, OSError) as error:
            raise OcilabError("archive %s: %s" % (self.url, error)) from None
        return packages, list(files.values())

    def _rule(self, name: str) -> Rule | None:
        return next((rule for rule in self.rules if fnmatch.fnmatchcase(name, rule.src)), None)

    def _untouched(self, files: dict[str, str]) -> bool:
        keep = {rule.dest for rule in self.rules if rule.keep}
        return all(os.path.exists(path) if path in keep else _sha256(path) == files[path] for path in files)

    def _result(self, kind: str, packages: list[str], files: list[_File]) -> dict[str, Any]:
        recorded = self._recorded
        settled = not files and recorded["sha256"] == self.sha256 and recorded["kind"] == kind
        put = [file.path for file in files if self._to_put(file)]
        gone = [] if settled else sorted(set(recorded["files"]) - {file.path for file in files})
        return {
            "changed": not settled and bool(put or gone or recorded["sha256"] != self.sha256),
            "kind": kind,
            "packages": packages,
            "files": sorted(put),
            "removed": gone,
        }

    def _to_put(self, file: _File) -> bool:
        """Whether it is missing, or an other one of ours. Raises AlreadyExists for what is somebody else's."""
        if not os.path.lexists(file.path):
            return True
        if file.rule.keep or _sha256(file.path) == file.sha256:
            return False
        if file.path in self._recorded["files"]:
            return True
        message = "%s: is there already, and not of the bundle of %s; remove it first"
        raise AlreadyExists(message % (file.path, self.owner))

    def _record(self, kind: str, packages: list[str], files: list[_File]) -> None:
        recorded = self._recorded
        ours = {file.path: file.sha256 for file in files if self._to_put(file) or file.path in recorded["files"]}
        made = set(recorded["directories"])
        for path in ours:
            folder = os.path.dirname(path)
            while not os.path.isdir(folder):
                made.add(folder)
                folder = os.path.dirname(folder)
        self._ledger[self.owner] = {
            "sha256": "",  # until all is there
            "kind": kind,
            "packages": packages,
            "files": dict(recorded["files"], **ours),
            "directories": sorted(made),
        }
        self._kept.write(self._ledger)

    def _take_away(self, paths: list[str]) -> None:
        for path in paths:
            if os.path.lexists(path):
                os.unlink(path)
        entry = self._ledger[self.owner]
        for path in paths:
            del entry["files"][path]
        for folder in sorted(entry["directories"], reverse=True):
            try:
                os.rmdir(folder)
            except FileNotFoundError:
                pass
            except OSError:
                continue  # something is in it
            entry["directories"].remove(folder)

    def _settle(self) -> None:
        if self.sha256:
            self._ledger[self.owner]["sha256"] = self.sha256
        else:
            del self._ledger[self.owner]  # a directory that is left has something of somebody else's in it
        self._kept.write(self._ledger)


def _put(file: _File) -> None:
    """By one rename, in the directory of the file."""
    os.makedirs(os.path.dirname(file.path), 0o755, exist_ok=True)
    temporary = "%s.%d.new" % (file.path, os.getpid())
    try:
        shutil.copyfile(file.source, temporary)
        os.chmod(temporary, file.rule.mode)
        os.rename(temporary, file.path)
    except BaseException:
        if os.path.lexists(temporary):
            os.unlink(temporary)
        raise


def _sha256(path: str) -> str:
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            for chunk in iter(lambda: file.read(1 << 20), b""):
                digest.update(chunk)
    except FileNotFoundError:
        return ""
    return digest.hexdigest()
