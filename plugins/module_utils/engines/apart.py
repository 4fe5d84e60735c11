# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""An object in a process of its own, so that what it does to its process is no other's.

A client of gRPC has threads: a process with threads may join no mount namespace, as labrun does, and some versions of
gRPC (Debian 13's) keep a process with a connection from forking for ever.
"""

from __future__ import annotations

import os
import pickle
import socket

from ..linux import sockets
from ..linux.errors import OcilabError, Unsupported
from .engine import Engine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

    from .engine import Wanted, Workload

_END = b"end"


class Apart:
    """What target does is done in a process that is forked here.

    It ends by close(), or with this one, and calls at_end in any case.
    """

    def __init__(self, target: object, at_end: Callable[[], object]) -> None:
        self._connection, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self._pid = os.fork()
        if self._pid == 0:
            self._connection.close()
            _serve(theirs, target, at_end)
        theirs.close()

    def ask(self, method: str, *arguments: object) -> Any:
        """What the method of the target returns, both plain data. Raises Unsupported as it does, else OcilabError."""
        try:
            sockets.send(self._connection, pickle.dumps((method, arguments)), [])
            data = sockets.receive(self._connection)[0]
        except OSError:
            data = b""
        if not data:
            raise OcilabError("the process that works with it was killed")
        value, error, is_lack = pickle.loads(data)
        if error:
            raise Unsupported(error) if is_lack else OcilabError(error)
        return value

    def close(self) -> None:
        """End the process. By a word: others that were forked later have the connection, too, and keep it open."""
        try:
            sockets.send(self._connection, _END, [])
        except OSError:
            pass  # it has ended
        self._connection.close()
        os.waitpid(self._pid, 0)


def _serve(connection: socket.socket, target: object, at_end: Callable[[], object]) -> None:
    """The process' whole life, which is not to end as its parent's would."""
    try:
        while True:
            data = sockets.receive(connection)[0]
            if data in (b"", _END):
                break
            method, arguments = pickle.loads(data)
            sockets.send(connection, pickle.dumps(_answer(target, method, arguments)), [])
    finally:
        try:
            at_end()
        finally:
            os._exit(0)


def _answer(target: object, method: str, arguments: list[object]) -> tuple[object, str, bool]:
    try:
        return getattr(target, method)(*arguments), "", False
    except OcilabError as error:
        return None, str(error), isinstance(error, Unsupported)
    except Exception as error:  # a fault in an adapter costs its engine, not the others
        return None, "%s: %s" % (type(error).__name__, error), False


class EngineApart(Engine):
    """What a container's user does with an adapter, in a process that lives from detect() to clean_up()."""

    def __init__(self, adapter: Engine) -> None:
        self.name = adapter.name
        self._adapter = adapter

    def detect(self) -> str:
        self._apart = Apart(self._adapter, self._adapter.clean_up)
        try:
            return str(self._apart.ask("detect"))
        except OcilabError:
            self._apart.close()
            raise

    def prepare(self, workload: Workload) -> None:
        self._apart.ask("prepare", workload)

    def start(self, container_id: str, wanted: Wanted) -> None:
        self._apart.ask("start", container_id, wanted)

    def execute(self, container_id: str, words: list[str]) -> str:
        return str(self._apart.ask("execute", container_id, words))

    def remove(self, container_id: str) -> None:
        self._apart.ask("remove", container_id)

    def address(self, container_id: str) -> str:
        return str(self._apart.ask("address", container_id))

    def pull(self, reference: str) -> None:
        self._apart.ask("pull", reference)

    def forget(self, image: str) -> None:
        self._apart.ask("forget", image)

    def clean_up(self) -> None:
        try:
            self._apart.ask("clean_up")
        finally:
            self._apart.close()
