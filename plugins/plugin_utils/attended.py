# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""The connection's way into a container of this machine, by the attendant (module_utils/labrun/attendant.py)."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import subprocess
import sys

from ansible_collections.ocilab.hosts.plugins.module_utils.linux import errors, sockets

# '@' is no character of a container's id.
FOLDER = "/run/labrun/@connection"
_START = "import sys; sys.path.insert(0, sys.argv[1]); from module_utils.labrun import attendant; attendant.main(%s)"
_READY = b"ready\n"


class Attended:
    """A connection to the attendant of a run of Ansible, for one container.

    run_pid: the process that the attendant lives as long as. Raises OcilabError, as do the methods; of those NotFound
    and WrongState where the container is not there or does not run.
    """

    def __init__(self, run_pid: int, root: str, container: str, user: str) -> None:
        self.wanted = {"root": root, "container": container, "user": user}
        self.connection = _connect(run_pid)

    def execute(self, args: list[str], stdio: list[int]) -> None:
        """Start the args with the three descriptors, which are closed here; exit_code() tells of the end."""
        try:
            self._ask({"do": "exec", "args": args}, stdio)
        finally:
            for fd in stdio:
                os.close(fd)
        self._answer()

    def exit_code(self) -> int:
        code: int = self._answer()[0]["code"]
        return code

    def open(self, path: str, writing: bool) -> int:
        """The descriptor of a regular file of the container; for writing it is made or emptied."""
        self._ask({"do": "open", "path": path, "writing": writing}, [])
        return self._answer()[1][0]

    def close(self) -> None:
        self.connection.close()

    def _ask(self, what: dict, fds: list[int]) -> None:
        sockets.send(self.connection, json.dumps(dict(self.wanted, **what)).encode(), fds)

    def _answer(self) -> tuple[dict, list[int]]:
        data, fds = sockets.receive(self.connection)
        told = json.loads(data or b'{"message": "its attendant was killed", "error": "OcilabError"}')
        if "error" in told:
            raise getattr(errors, told["error"], errors.OcilabError)(told["message"])
        return told, fds


def _connect(run_pid: int) -> socket.socket:
    path = os.path.join(FOLDER, f"{run_pid}.socket")
    try:
        return _dial(path)
    except (FileNotFoundError, ConnectionRefusedError):
        pass
    os.makedirs(FOLDER, mode=0o700, exist_ok=True)
    folder = os.open(FOLDER, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        status = os.fstat(folder)
        if status.st_uid != os.geteuid() or status.st_mode & 0o077:
            raise errors.OcilabError(f"{FOLDER}: it must be the user's own, with mode 0700; remove it")
        fcntl.flock(folder, fcntl.LOCK_EX)  # of several tasks at the same time one starts it
        with contextlib.suppress(FileNotFoundError, ConnectionRefusedError):
            return _dial(path)
        _remove_stale()
        _start(path, run_pid)
        return _dial(path)
    finally:
        os.close(folder)


def _dial(path: str) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.connect(path)
        if sockets.peer_uid(connection) != os.geteuid():
            raise errors.OcilabError(f"{path}: another user listens there")
    except BaseException:
        connection.close()
        raise
    return connection


def _remove_stale() -> None:
    """What attendants left that were killed."""
    for name in os.listdir(FOLDER):
        path = os.path.join(FOLDER, name)
        try:
            _dial(path).close()
        except OSError:
            os.unlink(path)


def _start(path: str, run_pid: int) -> None:
    spec = errors.__spec__
    plugins = os.path.dirname(os.path.dirname(os.path.dirname(spec.origin)))
    words = [sys.executable, "-IS", *(["-B"] if sys.dont_write_bytecode else [])]
    words += ["-c", _START % f"{path!r}, {run_pid}", plugins]
    read, write = os.pipe()
    try:
        # Not a child of the worker's session: what is typed at the terminal is not for it.
        process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=write, stderr=subprocess.PIPE, start_new_session=True, cwd="/"
        )
    finally:
        os.close(write)
    with open(read, "rb") as ready, process.stderr as problems:
        if ready.read() != _READY:
            lines = problems.read().decode("utf-8", "replace").splitlines()
            raise errors.OcilabError("the attendant does not start: " + (lines[-1] if lines else "it was killed"))
    process.returncode = 0  # it outlives the worker, which is not to warn of it
