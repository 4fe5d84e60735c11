# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""What containers call on the host: a process that answers each connection with one word."""

from __future__ import annotations

import os
import signal
import socket


class Listener:
    """A context; port: where it listens, on all addresses.

    A process, not a thread: labrun's containers are forked from this one.
    """

    def __init__(self, token: str) -> None:
        self.token = token
        self.port = 0

    def __enter__(self) -> Listener:
        listening = socket.create_server(("0.0.0.0", 0), backlog=64)
        self.port = listening.getsockname()[1]
        parent = os.getpid()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                self._answer(listening, parent)
            finally:
                os._exit(1)
        listening.close()
        return self

    def _answer(self, listening: socket.socket, parent: int) -> None:
        """Until the parent has gone."""
        listening.settimeout(1)
        while os.getppid() == parent:
            try:
                connection, _address = listening.accept()
                with connection:
                    connection.sendall(self.token.encode() + b"\n")
            except OSError:
                pass  # nobody has called, or who did has gone already

    def __exit__(self, *_exception: object) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
