# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""A small D-Bus client (D-Bus Specification, dbus.freedesktop.org): one Unix socket, calls, and signals to await.

Values are plain Python: int, float, bool, str, bytes for `ay`, lists for arrays, lists of pairs for dictionaries,
tuples for structures, and (signature, value) for a variant. Only what systemd's interface needs is here.
"""

from __future__ import annotations

import _socket
import os
import select
import time

from .errors import OcilabError, Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

METHOD_CALL = 1
METHOD_RETURN = 2
ERROR = 3
SIGNAL = 4

_FIELDS = {
    "path": (1, "o"),
    "interface": (2, "s"),
    "member": (3, "s"),
    "error_name": (4, "s"),
    "reply_serial": (5, "u"),
}
_FIELDS.update({"destination": (6, "s"), "sender": (7, "s"), "signature": (8, "g")})
_NAMES = {code: name for name, (code, _kind) in _FIELDS.items()}
# type -> (size and alignment in bytes, may be negative)
_NUMBERS = {"y": (1, False), "n": (2, True), "q": (2, False), "i": (4, True), "u": (4, False)}
_NUMBERS.update({"x": (8, True), "t": (8, False)})
_ALIGNMENT = {"b": 4, "s": 4, "o": 4, "g": 1, "v": 1, "a": 4, "(": 8, "{": 8, "d": 8}
_MAX_MESSAGE = 1 << 27
_TIMEOUT_S = 30.0


class CallFailed(OcilabError):
    """The other side answered with an error. name: its D-Bus name, as org.freedesktop.systemd1.UnitExists."""

    def __init__(self, member: str, name: str, text: str) -> None:
        self.name = name
        super().__init__("D-Bus call %s: %s (%s)" % (member, text or "refused", name))


def split_signature(signature: str) -> list[str]:
    """The single complete types of a signature: ['s', 'a(sv)'] for 'sa(sv)'. Raises ValueError."""
    result = []
    position = 0
    while position < len(signature):
        end = _end_of_type(signature, position)
        result.append(signature[position:end])
        position = end
    return result


def _end_of_type(signature: str, position: int) -> int:
    kind = signature[position : position + 1]
    if kind == "a":
        return _end_of_type(signature, position + 1)
    if kind in ("(", "{"):
        closing = ")" if kind == "(" else "}"
        position += 1
        while signature[position : position + 1] != closing:
            position = _end_of_type(signature, position)
        return position + 1
    if kind not in _NUMBERS and (kind not in _ALIGNMENT or not kind):
        raise ValueError("D-Bus signature %r: %r is no type" % (signature, kind))
    return position + 1


def alignment(kind: str) -> int:
    return _NUMBERS[kind[0]][0] if kind[0] in _NUMBERS else _ALIGNMENT[kind[0]]


class Writer:
    """Marshals values, little-endian. Raises ValueError, TypeError, OverflowError for what does not fit its type."""

    def __init__(self) -> None:
        self.data = bytearray()

    def pad(self, size: int) -> None:
        self.data += bytes(-len(self.data) % size)

    def write(self, kind: str, value: Any) -> None:
        """Append a value of a single complete type."""
        self.pad(alignment(kind))
        first = kind[0]
        if first in _NUMBERS:
            size, signed = _NUMBERS[first]
            self.data += int(value).to_bytes(size, "little", signed=signed)
        elif first == "b":
            self.data += (1 if value else 0).to_bytes(4, "little")
        elif first in ("s", "o"):
            encoded = value.encode()
            self.data += len(encoded).to_bytes(4, "little") + encoded + b"\0"
        elif first == "g":
            self.data += bytes([len(value)]) + value.encode() + b"\0"
        elif first == "v":
            self.write("g", value[0])
            self.write(value[0], value[1])
        elif first == "a":
            self._array(kind[1:], value)
        elif first == "d":
            from struct import pack

            self.data += pack("<d", value)
        else:
            for item_kind, item in zip(split_signature(kind[1:-1]), value):
                self.write(item_kind, item)

    def _array(self, kind: str, items: Any) -> None:
        position = len(self.data)
        self.data += bytes(4)
        self.pad(alignment(kind))
        start = len(self.data)
        for item in items:
            self.write(kind, item)
        self.data[position : position + 4] = (len(self.data) - start).to_bytes(4, "little")


class Reader:
    """Unmarshals what another peer sent, in its byte order. Raises ValueError for what is cut short or is no type."""

    def __init__(self, data: bytes, order: str = "little", position: int = 0) -> None:
        self.data = data
        self.order = order
        self.position = position

    def pad(self, size: int) -> None:
        self.position += -self.position % size

    def take(self, size: int) -> bytes:
        end = self.position + size
        if size < 0 or end > len(self.data):
            raise ValueError("D-Bus message: cut short")
        taken = self.data[self.position : end]
        self.position = end
        return bytes(taken)

    def read(self, kind: str) -> Any:
        """The next value, of a single complete type."""
        self.pad(alignment(kind))
        first = kind[0]
        if first in _NUMBERS:
            size, signed = _NUMBERS[first]
            return int.from_bytes(self.take(size), self.order, signed=signed)  # type: ignore[arg-type]
        if first == "b":
            return self.read("u") != 0
        if first in ("s", "o"):
            return self._text(self.read("u"))
        if first == "g":
            return self._text(self.read("y"))
        if first == "v":
            inner = self.read("g")
            if len(split_signature(inner)) != 1:
                raise ValueError("D-Bus message: a variant of %r" % inner)
            return inner, self.read(inner)
        if first == "a":
            return self._array(kind[1:])
        if first == "d":
            from struct import unpack

            return unpack("<d" if self.order == "little" else ">d", self.take(8))[0]
        return tuple(self.read(item) for item in split_signature(kind[1:-1]))

    def _text(self, size: int) -> str:
        return self.take(size + 1)[:-1].decode("utf-8", "replace")

    def _array(self, kind: str) -> Any:
        size = self.read("u")
        self.pad(alignment(kind))
        if kind == "y":
            return self.take(size)
        end = self.position + size
        if end > len(self.data):
            raise ValueError("D-Bus message: cut short")
        result = []
        while self.position < end:
            result.append(self.read(kind))
        return result


class Message:
    """One message. fields: path, interface, member, destination, sender, reply_serial, error_name; body: its values."""

    def __init__(self, kind: int, fields: dict[str, Any], signature: str = "", body: list[Any] | None = None) -> None:
        self.kind = kind
        self.fields = fields
        self.signature = signature
        self.body = body or []
        self.serial = 0

    def encode(self, serial: int) -> bytes:
        content = Writer()
        for kind, value in zip(split_signature(self.signature), self.body):
            content.write(kind, value)
        fields = dict(self.fields)
        if self.signature:
            fields["signature"] = self.signature
        header = Writer()
        header.data += bytes([ord("l"), self.kind, 0, 1])
        header.write("u", len(content.data))
        header.write("u", serial)
        header.write("a(yv)", [(_FIELDS[name][0], (_FIELDS[name][1], value)) for name, value in fields.items()])
        header.pad(8)
        return bytes(header.data + content.data)


def decode(data: bytes) -> tuple[Message | None, int]:
    """(message, its length in bytes) at the start of data; (None, 0) while it is not complete. Raises ValueError."""
    if len(data) < 16:
        return None, 0
    order = "little" if data[:1] == b"l" else "big"
    body_size = int.from_bytes(data[4:8], order)  # type: ignore[arg-type]
    fields_size = int.from_bytes(data[12:16], order)  # type: ignore[arg-type]
    start = 16 + fields_size + -fields_size % 8
    if body_size + start > _MAX_MESSAGE or data[:1] not in (b"l", b"B"):
        raise ValueError("D-Bus message: not one")
    if len(data) < start + body_size:
        return None, 0
    fields = {_NAMES.get(code, code): value for code, (_kind, value) in Reader(data, order, 12).read("a(yv)")}
    signature = str(fields.pop("signature", ""))
    reader = Reader(data[start : start + body_size], order)
    message = Message(data[1], fields, signature, [reader.read(kind) for kind in split_signature(signature)])
    message.serial = int.from_bytes(data[8:12], order)  # type: ignore[arg-type]
    return message, start + body_size


class Connection:
    """A connection to a bus, or straight to a service. Raises OcilabError from each method when it breaks."""

    def __init__(self, path: str, is_bus: bool) -> None:
        """Connect to the socket at path ('@name' for an abstract one). Raises Unsupported when nobody listens there."""
        self.path = path
        self.is_bus = is_bus
        self._serial = 0
        self._received = b""
        self._waiting: list[Message] = []
        self._socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
        try:
            self._socket.connect("\0" + path[1:] if path.startswith("@") else path)
        except OSError as error:
            self._socket.close()
            raise Unsupported("D-Bus socket %s: %s" % (path, str(error.strerror).lower())) from None
        try:
            self._authenticate()
            if is_bus:
                self.name = self.call("org.freedesktop.DBus", "/org/freedesktop/DBus", "Hello")[0]
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._socket.close()

    def _authenticate(self) -> None:
        """SASL EXTERNAL without naming a uid: in a user namespace ours is not the one that the other side sees.

        systemd leaves a message that it reads together with BEGIN unread until more comes: BEGIN has to be there before
        the answer that we wait for. A bus daemon takes one word at a time.
        """
        deadline = time.monotonic() + _TIMEOUT_S
        at_once = b"" if self.is_bus else b"DATA\r\nBEGIN\r\n"
        self._send(b"\0AUTH EXTERNAL\r\n" + at_once)
        answer = self._line(deadline)
        if answer.startswith(b"DATA"):
            self._send(b"" if at_once else b"DATA\r\n")
            answer = self._line(deadline)
        if not answer.startswith(b"OK"):
            raise OcilabError(
                "D-Bus socket %s: the caller was not let in: %s" % (self.path, answer.decode("ascii", "replace"))
            )
        self._send(b"" if at_once else b"BEGIN\r\n")

    def _line(self, deadline: float) -> bytes:
        while b"\r\n" not in self._received:
            self._receive(deadline)
        line, _separator, self._received = self._received.partition(b"\r\n")
        return line

    def _send(self, data: bytes) -> None:
        try:
            while data:
                data = data[self._socket.send(data, _socket.MSG_NOSIGNAL) :]
        except OSError as error:
            raise OcilabError("D-Bus socket %s: send: %s" % (self.path, str(error.strerror).lower())) from None

    def _receive(self, deadline: float) -> None:
        poll = select.poll()
        poll.register(self._socket.fileno(), select.POLLIN)
        if not poll.poll(max(0, int((deadline - time.monotonic()) * 1000))):
            raise OcilabError("D-Bus socket %s: no answer in time" % self.path)
        try:
            data = self._socket.recv(65536)
        except OSError as error:
            raise OcilabError("D-Bus socket %s: receive: %s" % (self.path, str(error.strerror).lower())) from None
        if not data:
            raise OcilabError("D-Bus socket %s: the other side hung up" % self.path)
        self._received += data

    def send(self, message: Message) -> int:
        """Send the message; its serial. Raises OcilabError."""
        self._serial += 1
        self._send(message.encode(self._serial))
        return self._serial

    def receive(self, timeout_s: float = _TIMEOUT_S) -> Message:
        """The next message that nobody has taken yet. Raises OcilabError after timeout_s."""
        if self._waiting:
            return self._waiting.pop(0)
        return self._read(time.monotonic() + timeout_s)

    def _read(self, deadline: float) -> Message:
        while True:
            try:
                message, size = decode(self._received)
            except (ValueError, IndexError) as error:
                raise OcilabError("D-Bus socket %s: %s" % (self.path, error)) from None
            if message:
                self._received = self._received[size:]
                return message
            self._receive(deadline)

    def call(
        self,
        destination: str,
        path: str,
        member: str,
        signature: str = "",
        arguments: list[Any] | None = None,
        interface: str = "",
    ) -> list[Any]:
        """Call a method and return the values of its answer. interface: the destination's name unless given.

        Raises CallFailed for an error of the other side.
        """
        fields = {
            "path": path,
            "interface": interface or destination,
            "member": member,
            "destination": destination,
        }
        serial = self.send(Message(METHOD_CALL, fields, signature, arguments))
        deadline = time.monotonic() + _TIMEOUT_S
        while True:
            message = self._read(deadline)
            if message.fields.get("reply_serial") == serial:
                if message.kind == ERROR:
                    text = message.body[0] if message.signature.startswith("s") else ""
                    raise CallFailed(member, str(message.fields.get("error_name")), text)
                return message.body
            self._waiting.append(message)

    def wait_signal(self, member: str, accept: Callable[[list[Any]], bool], timeout_s: float) -> list[Any]:
        """The values of the first signal of that name which accept() takes; others are dropped. Raises OcilabError."""
        deadline = time.monotonic() + timeout_s
        while True:
            message = self._waiting.pop(0) if self._waiting else self._read(deadline)
            if message.kind == SIGNAL and message.fields.get("member") == member and accept(message.body):
                return message.body


def socket_path(address: str) -> str:
    """The socket of a D-Bus address, as unix:path=/run/dbus/system_bus_socket. Raises Unsupported for another kind."""
    for item in address.split(";"):
        transport, _colon, rest = item.partition(":")
        pairs = dict(pair.partition("=")[::2] for pair in rest.split(","))
        for key, prefix in (("path", ""), ("abstract", "@")):
            if transport == "unix" and key in pairs:
                return prefix + _unescape(pairs[key])
    raise Unsupported("D-Bus address %r: only unix:path and unix:abstract are supported" % address)


def _unescape(text: str) -> str:
    """%2c and the like as the bytes that they stand for."""
    if "%" not in text:
        return text
    first, *rest = text.split("%")
    data = os.fsencode(first)
    for part in rest:
        data += bytes([int(part[:2], 16)]) + os.fsencode(part[2:])
    return os.fsdecode(data)
