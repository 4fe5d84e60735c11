# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""The attendant: a small process that holds labrun's exec ready while another one, a run of Ansible, goes on.

Starting Python and labrun for every command would cost more than the command, and forking Ansible's own large and
threaded processes for it as well. So the first task starts the attendant, and it ends with the run. Each connection to
its socket has a process of its own, which does one request after the other:

    {"do": "exec", "root": path, "container": id, "args": [...], "user": text or ""} with stdin, stdout and stderr
        -> {"started": true} when it has become the program, and {"code": exit code} when it has ended
    {"do": "open", "root": path, "container": id, "path": path, "writing": bool, "user": text or ""}
        -> {"opened": true} with the file

or {"error": class, "message": text}. Bytes that are no text pass as os.fsdecode's surrogates. Only root is served.
"""

from __future__ import annotations

import json
import os
import select
import socket
from _signal import SIG_DFL, SIG_IGN, SIGCHLD, SIGTERM
from _signal import signal as set_signal

from ..linux import processes, sockets, syscalls
from ..linux.errors import InvalidInput, OcilabError
from . import execute, opening, running
from .container import Container
from .create import Settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_NAME = b"labrun-attend"
READY = b"ready\n"


def main(path: str, pid: int) -> None:
    """Serve at the socket path until the process of that pid has ended; for a process of its own.

    READY is written to standard output, which is closed then, when connections are taken.
    """
    # What a request imports late, here once for all of them.
    from ..linux import seccomp_kept  # noqa: F401
    from ..linux.cgroups import manager  # noqa: F401

    watched = processes.open_process(pid, processes.start_time(pid))
    if watched < 0:
        return
    os.umask(0o077)
    os.chdir("/")
    syscalls.set_process_name(_NAME)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(path)
    listener.listen(64)
    set_signal(SIGCHLD, SIG_IGN)  # nobody waits for the processes of connections
    os.write(1, READY)
    null = os.open("/dev/null", os.O_RDWR)
    os.dup2(null, 1)
    os.close(null)
    try:
        _serve(listener, watched)
    finally:
        os.unlink(path)


def _serve(listener: socket.socket, watched: int) -> None:
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    poll.register(watched, select.POLLIN)
    while watched not in dict(poll.poll()):
        connection, _address = listener.accept()
        if os.fork() == 0:
            try:
                listener.close()
                set_signal(SIGCHLD, SIG_DFL)
                if sockets.peer_uid(connection) == os.geteuid():
                    _attend(connection)
            finally:
                os._exit(0)
        connection.close()


def _attend(connection: socket.socket) -> None:
    while True:
        data, fds = sockets.receive(connection)
        if not data:
            return
        try:
            answer, given = _answer(connection, json.loads(data), fds)
        except OcilabError as error:
            answer, given = {"error": type(error).__name__, "message": str(error)}, []
        except OSError as error:
            message = "%s: %s" % (error.filename or "system call", str(error.strerror).lower())
            answer, given = {"error": "OcilabError", "message": message}, []
        sockets.send(connection, json.dumps(answer).encode(), given)
        for fd in fds + given:
            os.close(fd)


def _answer(connection: socket.socket, wanted: dict[str, Any], fds: list[int]) -> tuple[dict[str, Any], list[int]]:
    container = Container(wanted["container"], wanted["root"])
    process = running.described(container, wanted.get("args") or ["/"], {}, wanted["user"], None)
    if wanted["do"] == "open":
        path = os.fsencode(wanted["path"])
        return {"opened": True}, [opening.open_file(container, process, path, wanted["writing"])]
    if len(fds) != 3:
        raise InvalidInput("exec: %d open files came with the request, 3 are expected" % len(fds))
    pid = execute.execute(container, process, Settings(stdio=fds), _ignore, _ignore)
    for fd in fds:
        os.close(fd)
    fds.clear()
    try:
        sockets.send(connection, b'{"started": true}', [])
    except OSError:
        pass  # whoever asked has gone: the wait ends the command for that
    return {"code": _wait(connection, pid)}, []


def _wait(connection: socket.socket, pid: int) -> int:
    """The exit code of our child. Where nobody is left to be told, its session gets SIGTERM, and we end."""
    pidfd = syscalls.pidfd_open(pid)
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    poll.register(connection, select.POLLIN)
    if pidfd not in dict(poll.poll()):
        os.killpg(pid, SIGTERM)
        os._exit(0)
    os.close(pidfd)
    return processes.wait(pid)


def _ignore(_text: str) -> None:
    """Debug lines and warnings are those of the container's start."""
