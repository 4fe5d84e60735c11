# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""An engine's place in a process of its own, so that no engine is measured in what another has made of a process.

A client in Python leaves threads there, and a process with threads may join no mount namespace, as labrun does.
"""

from __future__ import annotations

import json
import os
import socket

from ..linux import sockets
from ..linux.errors import OcilabError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .place import Place


class Apart:
    """The same steps as the place's. Its process ends by close(), or when this one ends, and cleans up in any case."""

    def __init__(self, place: Place) -> None:
        self.name = place.name
        self._connection, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self._pid = os.fork()
        if self._pid == 0:
            self._connection.close()
            _serve(theirs, place)
        theirs.close()

    def detect(self) -> dict[str, Any]:
        return self._ask("detect")  # type: ignore[no-any-return]

    def prepare(self) -> dict[str, Any]:
        return self._ask("prepare")  # type: ignore[no-any-return]

    def sample(self, case: str) -> dict[str, Any]:
        return self._ask("sample", case)  # type: ignore[no-any-return]

    def components(self, keeps: bool) -> list[dict[str, Any]]:
        return self._ask("components", keeps)  # type: ignore[no-any-return]

    def dismiss(self) -> None:
        self._ask("dismiss")

    def clean_up(self) -> str:
        return self._ask("clean_up")  # type: ignore[no-any-return]

    def close(self) -> None:
        """End the process, which cleans up what is still to be."""
        self._connection.close()
        os.waitpid(self._pid, 0)

    def _ask(self, step: str, *arguments: object) -> Any:
        try:
            sockets.send(self._connection, json.dumps([step, arguments]).encode(), [])
            data = sockets.receive(self._connection)[0]
        except OSError:
            data = b""
        if not data:
            raise OcilabError("%s: the process that measures it was killed" % self.name)
        told = json.loads(data)
        if told["error"]:
            raise OcilabError("%s: %s" % (self.name, told["error"]))
        return told["value"]


def _serve(connection: socket.socket, place: Place) -> None:
    """The process' whole life, which is not to end as its parent's would."""
    try:
        while True:
            data = sockets.receive(connection)[0]
            if not data:
                break
            step, arguments = json.loads(data)
            sockets.send(connection, json.dumps(_answer(place, step, arguments)).encode(), [])
    finally:
        try:
            place.clean_up()
        finally:
            os._exit(0)


def _answer(place: Place, step: str, arguments: list[object]) -> dict[str, Any]:
    try:
        return {"value": getattr(place, step)(*arguments), "error": ""}
    except Exception as error:  # a fault in an adapter costs its engine, not the others
        return {"value": None, "error": "%s: %s" % (type(error).__name__, error)}
