# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""What the host keeps of each container: /run/labrun/<id>/ with the journal, the state and the start FIFO.

The journal names every kernel object before it is made, one JSON object a line, so that whoever finds the folder can
undo all of it, whatever moment the runtime was killed at. Who adds to it or removes the folder holds the folder's lock.
Nothing is synchronised to a disk: what the folder tells of does not outlive the kernel that it runs on.
"""

from __future__ import annotations

import errno
import os
import time

from ..linux import processes, syscalls
from ..linux.errors import AlreadyExists, InvalidInput, NotFound, OcilabError, WrongState
from ..spec import document

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

DEFAULT_ROOT = "/run/labrun"
NOTIFY = "notify"  # the only folder in a state folder: notify.py's
_LOCK_TIMEOUT_S = 10.0
_LOCK_POLL_S = 0.005
_ID_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+.-")


def check_id(container_id: str) -> None:
    """Refuse what is not a container id (case R14). Raises InvalidInput."""
    allowed = 0 < len(container_id) <= 255 and not set(container_id) - _ID_CHARACTERS
    if not allowed or container_id in (".", ".."):
        raise InvalidInput(
            "container id %r: use 1 to 255 of the characters A-Z a-z 0-9 _ + . - (not '.' or '..')" % container_id
        )


class Folder:
    """The state folder of one container, which need not exist."""

    def __init__(self, root: str, container_id: str) -> None:
        check_id(container_id)
        self.root = root
        self.id = container_id
        self.path = os.path.join(root, container_id)
        self.fifo = os.path.join(self.path, "exec.fifo")
        self.report_fifo = os.path.join(self.path, "report.fifo")

    def reserve(self) -> int:
        """Make the folder, the one step that decides between concurrent creates (F03); its lock, see lock().

        Raises AlreadyExists.
        """
        try:
            os.mkdir(self.path, 0o700)
            return self.lock()
        except FileNotFoundError:
            os.makedirs(self.root, 0o700, exist_ok=True)
            return self.reserve()
        except FileExistsError:
            raise AlreadyExists("container %s: exists already in %s; delete it first" % (self.id, self.root)) from None
        except OSError as error:
            raise InvalidInput("state folder %s: %s" % (self.path, str(error.strerror).lower())) from None

    def lock(self, timeout_s: float = _LOCK_TIMEOUT_S) -> int:
        """Keep others from removing the folder or adding to it while the descriptor is open; the kernel lets go of it
        with its holder. Raises NotFound, and WrongState when another still holds it after timeout_s seconds.
        """
        try:
            fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise self._missing() from None
        deadline = 0.0
        while True:
            try:
                syscalls.flock(fd, syscalls.LOCK_EX | syscalls.LOCK_NB)
                break
            except OSError as error:
                now = time.monotonic()
                deadline = deadline or now + timeout_s
                if error.errno != errno.EWOULDBLOCK or now >= deadline:
                    os.close(fd)
                    raise WrongState("container %s: another process is creating or deleting it" % self.id) from None
            time.sleep(_LOCK_POLL_S)  # flock(2) has no time-out
        if not self.exists():
            os.close(fd)
            raise self._missing()
        return fd

    def _missing(self) -> NotFound:
        return NotFound("container %s: does not exist in %s" % (self.id, self.root))

    def exists(self) -> bool:
        return os.path.isdir(self.path)

    def note(self, entry: dict[str, Any]) -> None:
        """Append to the journal, before the object is made; the caller holds the lock."""
        self._write("journal", document.dump(entry) + b"\n", os.O_APPEND)

    def keep_config(self, text: bytes) -> None:
        """Keep config.json as it is now: later changes in the bundle do not count (runtime.md, create)."""
        self._write("config.json", text, os.O_TRUNC)

    def config(self) -> dict[str, Any]:
        """What keep_config() kept. Raises NotFound."""
        if not self.exists():
            raise self._missing()
        return document.read(os.path.join(self.path, "config.json"))

    def journal(self) -> list[dict[str, Any]]:
        """The entries, oldest first; a last line cut short by a crash is left out: its object was not made."""
        try:
            fd = os.open(os.path.join(self.path, "journal"), os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return []
        with open(fd, "rb") as file:
            lines = file.read().split(b"\n")[:-1]
        return [document.parse(line, self.path + "/journal", own=True) for line in lines]

    def save(self, state: dict[str, Any]) -> None:
        """Write the state in one piece, which a power cut leaves whole or not there (case F13); free on a tmpfs."""
        self._write("state.json.new", document.dump(state), os.O_TRUNC, sync=True)
        os.rename(os.path.join(self.path, "state.json.new"), os.path.join(self.path, "state.json"))
        fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def load(self) -> dict[str, Any]:
        """What save() wrote; of a container that never got so far, what its journal knows. Raises NotFound."""
        try:
            return document.read(os.path.join(self.path, "state.json"), own=True)
        except OcilabError:
            if not self.exists():
                raise self._missing() from None
            return {"id": self.id, "pid": 0, "started": 0, "bundle": "", "annotations": {}, "half_made": True}

    def process(self) -> tuple[int, int]:
        """(pid, start time) of the init process, from the journal; (0, 0) before it was made."""
        for entry in reversed(self.journal()):
            if entry["object"] == "process":
                return entry["pid"], entry["started"]
        return 0, 0

    def status(self, state: dict[str, Any]) -> str:
        """'creating', 'created', 'running' or 'stopped' (runtime.md, state)."""
        pid, started = (state["pid"], state["started"]) if state["pid"] else self.process()
        if not processes.is_alive(pid, started):
            return "stopped"
        if state.get("half_made"):
            return "creating"
        return "created" if os.path.exists(self.fifo) else "running"

    def remove(self) -> None:
        """Remove the folder, the journal last; the caller holds the lock."""
        names = sorted(os.listdir(self.path), key=lambda name: name == "journal")
        for name in names:
            if name == NOTIFY:
                _remove_flat(os.path.join(self.path, name))
            else:
                os.unlink(os.path.join(self.path, name))
        os.rmdir(self.path)

    def _write(self, name: str, data: bytes, flag: int, sync: bool = False) -> None:
        path = os.path.join(self.path, name)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | flag, 0o600)
        try:
            os.write(fd, data)
            if sync:
                os.fsync(fd)
        finally:
            os.close(fd)


def _remove_flat(path: str) -> None:
    for name in os.listdir(path):
        os.unlink(os.path.join(path, name))
    os.rmdir(path)


def folders(root: str) -> list[Folder]:
    """The folders of all containers below root, by id."""
    try:
        names = sorted(os.listdir(root))
    except OSError:
        return []
    return [Folder(root, name) for name in names if not set(name) - _ID_CHARACTERS]
