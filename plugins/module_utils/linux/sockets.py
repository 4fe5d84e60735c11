# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""Open files that pass through a unix socket beside a message (unix(7), SCM_RIGHTS)."""

from __future__ import annotations

import os
import socket
import struct
import sys

from .errors import OcilabError

_LENGTH = struct.Struct("=I")
_MAX_FDS = 3
_MAX_BYTES = 16 << 20
_CREDENTIALS = struct.Struct("=3i")


def send(connection: socket.socket, data: bytes, fds: list[int]) -> None:
    """Send a message with open files over a stream socket. Raises OSError."""
    message = _LENGTH.pack(len(data)) + data
    rights = b"".join(fd.to_bytes(4, sys.byteorder) for fd in fds)
    control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)] if fds else []
    sent = connection.sendmsg([message], control)
    if sent < len(message):  # what would be empty is no message to a peer that has read the whole and gone
        connection.sendall(message[sent:])


def receive(connection: socket.socket) -> tuple[bytes, list[int]]:
    """What send() sent, its files close-on-exec; (b"", []) at the connection's end. Raises OSError, OcilabError."""
    space = socket.CMSG_SPACE(4 * _MAX_FDS)
    flags = socket.MSG_CMSG_CLOEXEC | socket.MSG_WAITALL
    header, control, _flags, _address = connection.recvmsg(_LENGTH.size, space, flags)
    rights = b"".join(item for level, kind, item in control if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS))
    fds = [int.from_bytes(rights[at : at + 4], sys.byteorder) for at in range(0, len(rights) // 4 * 4, 4)]
    if len(header) == _LENGTH.size:
        (length,) = _LENGTH.unpack(header)
        if length > _MAX_BYTES:
            raise OcilabError("a message of %d bytes is announced: at most %d are expected" % (length, _MAX_BYTES))
        data = connection.recv(length, socket.MSG_WAITALL)
        if len(data) == length:
            return data, fds
    for fd in fds:
        os.close(fd)
    return b"", []


def peer_uid(connection: socket.socket) -> int:
    """The user of the process at the other end (SO_PEERCRED)."""
    data = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    uid: int = _CREDENTIALS.unpack(data)[1]
    return uid
