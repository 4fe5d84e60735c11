# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""Protocol buffers, version 3, to and from plain dictionaries: what the CRI's messages need of the encoding.

https://protobuf.dev/programming-guides/encoding/. A table names the fields of each message, as "1 name string, 2 sizes
int64*, 3 labels map, 4 inner Message": a type is string, bytes, bool, int32, int64, uint32, uint64 (an enumeration is
an int32), map (of strings by strings) or a message's name; an asterisk repeats it. Fields that the table has not are
skipped when they are read.
"""

from __future__ import annotations

from ..linux.errors import InvalidInput, OcilabError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_VARINT, _EIGHT_BYTES, _LENGTH, _FOUR_BYTES = 0, 1, 2, 5
_BITS = {"int32": 32, "int64": 64, "uint32": 32, "uint64": 64}
_DEFAULTS = {"string": "", "bytes": b"", "bool": False, "map": {}}
_DEEPEST = 20


class _Field:
    def __init__(self, described: str) -> None:
        number, self.name, kind = described.split()
        self.number = int(number)
        self.repeated = kind.endswith("*")
        self.kind = kind.rstrip("*")
        self.message = self.kind[0].isupper()

    def default(self) -> Any:
        if self.repeated:
            return []
        if self.message:
            return None
        return {} if self.kind == "map" else _DEFAULTS.get(self.kind, 0)


class Codec:
    """The messages of a table."""

    def __init__(self, table: dict[str, str]) -> None:
        self._table = table
        self._read: dict[str, list[_Field]] = {}

    def _fields(self, message: str) -> list[_Field]:
        if message not in self._table:
            raise InvalidInput("message %s: is not one that is known here" % message)
        if message not in self._read:
            parts = self._table[message].split(",")
            self._read[message] = [_Field(part) for part in parts if part.strip()]
        return self._read[message]

    def encode(self, message: str, values: dict[str, Any]) -> bytes:
        """The bytes of the message; None is a field that is not there. Raises InvalidInput for what does not fit."""
        fields = self._fields(message)
        unknown = set(values) - {field.name for field in fields}
        if unknown:
            raise InvalidInput("message %s: has no field %s" % (message, ", ".join(sorted(unknown))))
        result = bytearray()
        for field in fields:
            value = values.get(field.name)
            if value is not None:
                self._append(result, field, value, "%s.%s" % (message, field.name))
        return bytes(result)

    def _append(self, result: bytearray, field: _Field, value: Any, where: str) -> None:
        if field.kind == "map":
            for key in sorted(value):
                entry = {"key": key, "value": value[key]}
                _append_bytes(result, field.number, _ENTRY.encode("Entry", entry))
        elif field.repeated and field.kind in _BITS:
            if value:
                packed = b"".join(_varint(_checked(one, field.kind, where)) for one in value)
                _append_bytes(result, field.number, packed)
        elif field.repeated:
            for one in value:
                _append_bytes(result, field.number, self._body(field, one, where))
        elif field.message:
            _append_bytes(result, field.number, self._body(field, value, where))
        elif value != field.default():
            if field.kind in ("string", "bytes"):
                _append_bytes(result, field.number, self._body(field, value, where))
            else:
                number = int(value) if field.kind == "bool" else _checked(value, field.kind, where)
                result += _varint(field.number << 3 | _VARINT) + _varint(number)

    def _body(self, field: _Field, value: Any, where: str) -> bytes:
        if field.message:
            return self.encode(field.kind, value)
        if field.kind == "bytes" and isinstance(value, bytes):
            return value
        if field.kind == "string" and isinstance(value, str):
            return value.encode("utf-8", "surrogateescape")
        raise InvalidInput("%s: wants %s, and %r is none" % (where, field.kind, value))

    def decode(self, message: str, data: bytes, depth: int = 0) -> dict[str, Any]:
        """The values of all fields: with its default where one is not there, None for a message.

        Raises OcilabError for bytes that are no such message.
        """
        if depth > _DEEPEST:
            raise OcilabError("message %s: is nested too deeply" % message)
        fields = {field.number: field for field in self._fields(message)}
        result = {field.name: field.default() for field in fields.values()}
        at = 0
        try:
            while at < len(data):
                tag, at = _read_varint(data, at)
                value, at = _read_value(data, at, tag & 7)
                field = fields.get(tag >> 3)
                if field is not None:
                    self._take(result, field, value, depth)
        except (IndexError, ValueError):
            raise OcilabError("message %s: is damaged" % message) from None
        return result

    def _take(self, result: dict[str, Any], field: _Field, value: Any, depth: int) -> None:
        if isinstance(value, int):
            found = [_number(value, field.kind)]
        elif field.repeated and field.kind in _BITS:
            found, at = [], 0
            while at < len(value):
                number, at = _read_varint(value, at)
                found.append(_number(number, field.kind))
        elif field.kind == "map":
            entry = _ENTRY.decode("Entry", value, depth + 1)
            found = [dict(result[field.name], **{entry["key"]: entry["value"]})]
        else:
            found = [self._decoded(field, value, depth)]
        result[field.name] = result[field.name] + found if field.repeated else found[-1]

    def _decoded(self, field: _Field, value: bytes, depth: int) -> Any:
        if field.message:
            return self.decode(field.kind, value, depth + 1)
        if field.kind == "bytes":
            return value
        if field.kind == "string":
            return value.decode("utf-8", "surrogateescape")
        raise ValueError("a number was expected")


def _append_bytes(result: bytearray, number: int, data: bytes) -> None:
    result += _varint(number << 3 | _LENGTH) + _varint(len(data)) + data


def _checked(value: Any, kind: str, where: str) -> int:
    bits = _BITS[kind]
    lowest, highest = (0, 2**bits - 1) if kind[0] == "u" else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    if isinstance(value, bool) or not isinstance(value, int) or not lowest <= value <= highest:
        raise InvalidInput("%s: wants %s, and %r is none" % (where, kind, value))
    return value


def _varint(value: int) -> bytes:
    value &= 2**64 - 1  # negative numbers take all ten bytes
    result = bytearray()
    while value > 127:
        result.append(value & 127 | 128)
        value >>= 7
    result.append(value)
    return bytes(result)


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value & 2**64 - 1, at
    raise IndexError


def _read_value(data: bytes, at: int, wire: int) -> tuple[Any, int]:
    """(a number, or the bytes, what follows). Raises IndexError."""
    if wire == _VARINT:
        return _read_varint(data, at)
    length = {_EIGHT_BYTES: 8, _FOUR_BYTES: 4}.get(wire, -1)
    if wire == _LENGTH:
        length, at = _read_varint(data, at)
    if length < 0 or at + length > len(data):
        raise IndexError
    return data[at : at + length], at + length


def _number(value: int, kind: str) -> Any:
    if kind == "bool":
        return bool(value)
    if kind not in _BITS:
        raise ValueError("a number was not expected")
    bits = _BITS[kind]
    value &= 2**bits - 1
    return value - 2**bits if kind[0] != "u" and value >> (bits - 1) else value


_ENTRY = Codec({"Entry": "1 key string, 2 value string"})
