# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""<root>/@networks/: who is attached to which network, and how the host was before the first one.

attachments/NETWORK/CNI_ID   one JSON object for each interface, there before the interface is
leases/NETWORK/              the plugin host-local's
busy/CNI_ID@NETWORK          locked by us and the plugins of one attachment as long as one of them runs
host.json                    firewall.before()
lock                         held while any of these is changed
"""

from __future__ import annotations

import errno
import os
import shutil
import time
from contextlib import contextmanager

from ..linux import files, syscalls
from ..linux.errors import NotFound, WrongState
from ..spec import document

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Iterator

FOLDER = "@networks"
_TIMEOUT_S = 90.0
_POLL_S = 0.01


class Registry:
    """The folder, which need not exist."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.leases = os.path.join(path, "leases")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """While the others wait. Raises WrongState when another holds the lock for too long."""
        fd = lock(os.path.join(self.path, "lock"))
        try:
            yield
        finally:
            os.close(fd)

    def _busy_path(self, entry: dict[str, Any]) -> str:
        return os.path.join(self.path, "busy", "%s@%s" % (entry["cni_id"], entry["network"]))

    def busy(self, entry: dict[str, Any]) -> int:
        """The lock of one attachment's plugins; they are given it, so that it outlives us with them."""
        return lock(self._busy_path(entry))

    def remove_busy(self, entry: dict[str, Any]) -> None:
        """By who holds it."""
        try:
            os.unlink(self._busy_path(entry))
        except FileNotFoundError:
            pass  # with the whole folder

    def _file(self, network: str, cni_id: str) -> str:
        return os.path.join(self.path, "attachments", network, cni_id)

    def save(self, record: dict[str, Any]) -> None:
        path = self._file(record["network"], record["cni_id"])
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        files.replace(path, document.dump(record), 0o600)

    def load(self, network: str, cni_id: str) -> dict[str, Any]:
        """The record, {} for none."""
        try:
            return document.read(self._file(network, cni_id), own=True)
        except NotFound:
            return {}

    def forget(self, network: str, cni_id: str) -> None:
        path = self._file(network, cni_id)
        for remove, name in ((os.unlink, path), (os.rmdir, os.path.dirname(path))):
            try:
                remove(name)
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.ENOTEMPTY):
                    raise

    def attached(self, network: str) -> list[dict[str, Any]]:
        """The records of one network, by container."""
        folder = os.path.join(self.path, "attachments", network)
        try:
            names = os.listdir(folder)
        except OSError:
            return []
        records = [self.load(network, name) for name in names if not name.endswith(".new")]
        return sorted([record for record in records if record], key=lambda record: str(record["id"]))

    def used(self) -> list[str]:
        """The networks that have a record."""
        try:
            return sorted(os.listdir(os.path.join(self.path, "attachments")))
        except OSError:
            return []

    def leased(self) -> list[str]:
        """The networks that have had an address taken, and so a bridge."""
        try:
            return sorted(os.listdir(self.leases))
        except OSError:
            return []

    def leased_by(self, entry: dict[str, Any]) -> str:
        """The address that the plugin host-local keeps for an attachment, '' for none: files named after addresses."""
        folder = os.path.join(self.leases, entry["network"])
        try:
            names = [name for name in os.listdir(folder) if name[:1].isdigit()]
        except OSError:
            return ""
        for name in names:
            words = document.read_bytes(os.path.join(folder, name)).decode("ascii", "replace").split()
            if words == [entry["cni_id"], entry["interface"]]:
                return name
        return ""

    def release(self, entry: dict[str, Any]) -> None:
        """Give the address back where the plugin host-local has not."""
        address = self.leased_by(entry)
        if address:
            os.unlink(os.path.join(self.leases, entry["network"], address))

    def host(self) -> dict[str, Any]:
        """What note_host() kept, {} for nothing."""
        try:
            return document.read(os.path.join(self.path, "host.json"), own=True)
        except NotFound:
            return {}

    def note_host(self, noted: dict[str, Any]) -> None:
        files.replace(os.path.join(self.path, "host.json"), document.dump(noted), 0o600)

    def remove(self) -> None:
        """Remove the folder; the caller holds the lock."""
        shutil.rmtree(self.path, ignore_errors=True)


def lock(path: str) -> int:
    """A descriptor that holds the lock of that file, which is made where it is missing. Raises WrongState."""
    deadline = time.monotonic() + _TIMEOUT_S
    while True:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            continue  # the folder was removed in between
        if _taken(fd) and _is_at(fd, path):
            return fd
        os.close(fd)
        if time.monotonic() > deadline:
            raise WrongState("%s: another process has held it for %d s" % (path, _TIMEOUT_S))
        time.sleep(_POLL_S)  # flock(2) has no time-out


def _taken(fd: int) -> bool:
    try:
        syscalls.flock(fd, syscalls.LOCK_EX | syscalls.LOCK_NB)
    except OSError as error:
        if error.errno != errno.EWOULDBLOCK:
            raise
        return False
    return True


def _is_at(fd: int, path: str) -> bool:
    """Whether the locked file is still the one of that name: who held it before may have removed it."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return False
    return (found.st_dev, found.st_ino) == (os.fstat(fd).st_dev, os.fstat(fd).st_ino)
