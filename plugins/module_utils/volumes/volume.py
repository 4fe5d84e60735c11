# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""Volumes: data that outlives the containers that it is mounted in.

<volumes_root>/NAME/ holds volume.json (what it is) and _data, the directory that containers get. Of a bind volume that
is another directory of the host instead; of a tmpfs volume a tmpfs lies on _data from its first use until its removal
or the next boot.
"""

from __future__ import annotations

import os
import shutil

from ..linux import files, mounts, syscalls
from ..linux.errors import InvalidInput, KernelRefused, NotFound, WrongState
from ..spec import document

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

DEFAULT_ROOT = "/var/lib/labrun/volumes"
TYPES = ("named", "bind", "tmpfs")
_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
_CHARACTERS = _LETTERS | frozenset("_.-")


def check_name(name: str) -> None:
    """Refuse what is no volume's name. Raises InvalidInput."""
    if not 0 < len(name) <= 128 or set(name) - _CHARACTERS or name[0] not in _LETTERS:
        raise InvalidInput(
            "volume name %r: use 1 to 128 of the characters A-Z a-z 0-9 _ . -, a letter or a digit first" % name
        )


def parse(text: str) -> dict[str, Any]:
    """{"name" ('' for a path of the host), "source" ('' for a name), "destination", "read_only"} of 'SOURCE:PATH[:ro]'.

    Raises InvalidInput.
    """
    parts = text.split(":")
    if len(parts) not in (2, 3) or (parts[2:] or ["rw"])[0] not in ("ro", "rw") or not parts[1].startswith("/"):
        raise InvalidInput("volume %r: NAME:/PATH or /PATH_OF_HOST:/PATH is expected, with :ro for read-only" % text)
    source = parts[0]
    if os.path.normpath(parts[1]) == "/" or "\0" in text:
        raise InvalidInput("volume %r: cannot be mounted there" % text)
    if not source.startswith("/"):
        check_name(source)
    is_path = source.startswith("/")
    return {
        "name": "" if is_path else source,
        "source": source if is_path else "",
        "destination": parts[1],
        "read_only": parts[2:] == ["ro"],
    }


class Volume:
    """A volume by its name; it need not exist."""

    def __init__(self, name: str, volumes_root: str = DEFAULT_ROOT) -> None:
        check_name(name)
        self.name = name
        self.path = os.path.join(volumes_root, name)
        self.data = os.path.join(self.path, "_data")
        self._description = os.path.join(self.path, "volume.json")

    def describe(self) -> dict[str, Any]:
        """What new() described, {} where there is no such volume. Raises InvalidInput for a broken one."""
        try:
            return document.read(self._description)
        except NotFound:
            return {}

    def new(
        self,
        kind: str = "named",
        device: str = "",
        size_bytes: int | None = None,
        mode: str | None = None,
        labels: dict[str, str] | None = None,
    ) -> dict[str, Any]:
        """What describe() is to give: name, type (TYPES), mountpoint, labels; of a tmpfs size_bytes and mode, too.

        Raises InvalidInput for options of another type, NotFound for a device that is no directory.
        """
        if (kind == "bind") != bool(device):
            raise InvalidInput("volume %s: device: needed for a bind volume, and for no other" % self.name)
        if kind != "tmpfs" and (size_bytes is not None or mode is not None):
            raise InvalidInput("volume %s: size and mode: for a tmpfs volume only" % self.name)
        if device and not device.startswith("/"):
            raise InvalidInput("volume %s: device %r: an absolute path is expected" % (self.name, device))
        if device and not os.path.isdir(device):
            raise NotFound("volume %s: device %s: not a directory of this host" % (self.name, device))
        if mode is not None and (not 0 < len(mode) <= 4 or set(mode) - set("01234567")):
            raise InvalidInput("volume %s: mode %r: an octal number such as 1777 is expected" % (self.name, mode))
        result: dict[str, Any] = {
            "name": self.name,
            "type": kind,
            "mountpoint": device or self.data,
            "labels": dict(labels or {}),
        }
        if kind == "tmpfs":
            result.update(size_bytes=size_bytes, mode=mode or "1777")
        return result

    def refuse_change(self, wanted: dict[str, Any]) -> None:
        """Raises WrongState where a present volume differs in more than labels: a change would lose its data."""
        present = self.describe()
        if not present:
            return
        for key in ("type", "mountpoint", "size_bytes", "mode"):
            if present.get(key) != wanted.get(key):
                message = "volume %s: its %s is %s, not %s; remove it first"
                raise WrongState(message % (self.name, key, present.get(key), wanted.get(key)))

    def create(self, wanted: dict[str, Any]) -> None:
        """Make the volume that new() described, or give a present one its labels. Raises WrongState."""
        self.refuse_change(wanted)
        os.makedirs(os.path.dirname(self.path), mode=0o700, exist_ok=True)
        os.makedirs(self.data, mode=0o755, exist_ok=True)
        files.replace(self._description, document.dump(wanted) + b"\n")

    def source(self) -> str:
        """The directory to mount, with a tmpfs volume's tmpfs in its place. Raises NotFound, KernelRefused."""
        described = self.describe()
        if not described:
            raise NotFound("volume %s: does not exist" % self.name)
        if described["type"] == "tmpfs" and not mounts.is_mounted(self.data):
            words = ["mode=" + described["mode"]]
            words += ["size=%d" % described["size_bytes"]] if described["size_bytes"] is not None else []
            flags = syscalls.MS_NOSUID | syscalls.MS_NODEV
            try:
                syscalls.mount(b"tmpfs", os.fsencode(self.data), b"tmpfs", flags, ",".join(words).encode())
            except OSError as error:
                raise KernelRefused("mount", "tmpfs on " + self.data, error.errno) from None
        path: str = described["mountpoint"]
        return path

    def is_empty(self) -> bool:
        """Whether it is a named volume that nothing was ever written to."""
        return self.describe().get("type") == "named" and not os.listdir(self.data)

    def remove(self, force: bool = False) -> None:
        """Remove the volume with its data; a bind volume's directory stays. Nothing where there is none.

        force: even where a container still uses its tmpfs. Raises WrongState, KernelRefused.
        """
        real = os.path.realpath(self.path)
        below = sorted(entry["target"] for entry in mounts.table() if entry["target"].startswith(real + "/"))
        own = os.path.realpath(self.data)
        if self.describe().get("type") == "tmpfs" and own in below:
            below.remove(own)
            try:
                syscalls.umount(os.fsencode(own), syscalls.MNT_DETACH if force else 0)
            except OSError as error:
                raise KernelRefused("umount2", own, error.errno, "a process still uses it") from None
        if below:
            raise WrongState("volume %s: something is mounted on %s; unmount it first" % (self.name, below[0]))
        for path in (self.data, self.path):  # in this order: who was killed before the end can be asked again
            if os.path.isdir(path):
                shutil.rmtree(path)
