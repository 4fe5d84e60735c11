# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""One repository of packages for apt: a deb822 file (sources.list(5)), and the one key that it may be signed by."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile

from ..linux import files
from ..linux.errors import InvalidInput, OcilabError
from . import download, openpgp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Iterator

SOURCES = "/etc/apt/sources.list.d"
KEYRINGS = "/etc/apt/keyrings"
LISTS = "/var/lib/apt/lists"
_WORD = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._~:/@%+-]*\Z")
_SUITE = re.compile(r"^(/|[A-Za-z0-9._-]+[A-Za-z0-9._/-]*)\Z")


class Repository:
    """The repository of one owner.

    definition: {"uris", "suites", "components": lists, "key": text or "", "key_url": str, "key_fingerprint": list}, or
    None for no repository. Raises InvalidInput.
    """

    def __init__(self, owner: str, definition: dict[str, Any] | None, sources: str = SOURCES, keyrings: str = KEYRINGS):
        self.owner = owner
        self.definition = definition
        self.path = os.path.join(sources, "ocilab-%s.sources" % owner)
        self.key_path = os.path.join(keyrings, "ocilab-%s.asc" % owner)
        self.keys: list[str] = []
        if definition:
            self._validate(definition)

    def _validate(self, definition: dict[str, Any]) -> None:
        for name, pattern in (("uris", _WORD), ("suites", _SUITE), ("components", _WORD)):
            for word in definition[name]:
                if not pattern.match(word):
                    raise InvalidInput("repository %s: %s holds %r" % (self.owner, name, word))
        flat = all(suite.endswith("/") for suite in definition["suites"])
        if not definition["uris"] or not definition["suites"] or flat == bool(definition["components"]):
            message = "repository %s: wants uris, suites, and components (none for suites that end with a slash)"
            raise InvalidInput(message % self.owner)
        self.keys = sorted(openpgp.normal(word) for word in definition["key_fingerprint"])
        if not self.keys or not (definition["key"] or definition["key_url"]):
            raise InvalidInput("repository %s: wants key_fingerprint, and key or key_url" % self.owner)

    def text(self) -> str:
        """The file's content; empty for no repository."""
        if not self.definition:
            return ""
        lines = ["# Written by the collection ocilab.hosts for its role %s." % self.owner, "Types: deb"]
        for field, name in (("URIs", "uris"), ("Suites", "suites"), ("Components", "components")):
            if self.definition[name]:
                lines.append("%s: %s" % (field, " ".join(self.definition[name])))
        return "\n".join(lines + ["Signed-By: %s" % self.key_path]) + "\n"

    def differs(self) -> bool:
        """Whether the host has other files than these. Raises OSError."""
        if _read(self.path).decode("utf-8", "replace") != self.text():
            return True
        return self._keys_there() != self.keys

    def _keys_there(self) -> list[str]:
        data = _read(self.key_path)
        try:
            return sorted(openpgp.fingerprints(data)) if data else []
        except InvalidInput:
            return ["damaged"]

    def write(self, proxies: download.Proxies) -> None:
        """Write both files, the key first. Raises OcilabError when the key is not the one that was asked for."""
        if not self.definition:
            self.remove()
            return
        key = self._key(self.definition, proxies)
        found = sorted(openpgp.fingerprints(key))
        if found != self.keys:
            message = "repository %s: its key file holds %s, and %s was asked for"
            raise OcilabError(message % (self.owner, ", ".join(found), ", ".join(self.keys)))
        for path, data in ((self.key_path, key), (self.path, self.text().encode())):
            os.makedirs(os.path.dirname(path), 0o755, exist_ok=True)
            files.replace(path, data)

    @contextlib.contextmanager
    def put_back_on_failure(self) -> Iterator[None]:
        """Both files are again as before when what is done meanwhile fails."""
        before = [(path, _read(path)) for path in (self.key_path, self.path)]
        try:
            yield
        except BaseException:
            for path, data in before:
                if data:
                    files.replace(path, data)
                elif os.path.lexists(path):
                    os.unlink(path)
            raise

    def _key(self, definition: dict[str, Any], proxies: download.Proxies) -> bytes:
        if definition["key"]:
            return str(definition["key"]).encode()
        with tempfile.TemporaryDirectory(prefix="ocilab-") as folder:
            path = os.path.join(folder, "key")
            download.fetch(definition["key_url"], "", path, proxies)
            return _read(path)

    def remove(self) -> None:
        """Remove both files, and what apt has downloaded of the repository."""
        words = re.findall(r"^URIs: (.*)$", _read(self.path).decode("utf-8", "replace"), re.MULTILINE)
        for path in (self.path, self.key_path):
            if os.path.lexists(path):
                os.unlink(path)
        for uri in " ".join(words).split():
            prefix = uri.partition("://")[2].rstrip("/").replace("_", "%5f").replace("/", "_") + "_"
            for name in os.listdir(LISTS) if os.path.isdir(LISTS) else []:
                if name.startswith(prefix):
                    os.unlink(os.path.join(LISTS, name))


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return b""
