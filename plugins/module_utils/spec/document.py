# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""Strict JSON documents (RFC 8259, I-JSON of RFC 7493) from sources that are not trusted."""

from __future__ import annotations

import os

from ..linux.errors import InvalidInput, NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MAX_BYTES = 4 * 1024 * 1024
MAX_DEPTH = 64


def parse(data: bytes, name: str, max_bytes: int = MAX_BYTES, own: bool = False) -> dict[str, Any]:
    """The JSON object in data; name says in errors where it came from.

    Raises InvalidInput for anything but one JSON object in UTF-8 without duplicate keys, lone surrogates, NaN or
    Infinity, at most max_bytes long and MAX_DEPTH deep. own: what labrun wrote itself (its state, a child's report)
    may hold lone surrogates, in which Python keeps the bytes of a path or an argument that is not UTF-8.
    """
    if len(data) > max_bytes:
        raise InvalidInput("%s: %d bytes of JSON; at most %d are read" % (name, len(data), max_bytes))
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidInput("%s: not UTF-8 at byte %d; JSON is UTF-8 (RFC 8259)" % (name, error.start)) from None
    _check_depth(data, name)
    try:
        value = _decode(text, name)
    except ValueError as error:
        raise InvalidInput("%s: not valid JSON: %s" % (name, error)) from None
    if not isinstance(value, dict):
        raise InvalidInput("%s: a JSON object is expected, not %s" % (name, type(value).__name__))
    if not own and "\\u" in text:  # as UTF-8 it holds none: they only come by an escape
        _refuse_surrogates(value, name)
    return value


def _refuse_surrogates(value: object, name: str) -> None:
    if isinstance(value, str):
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            raise InvalidInput("%s: %.60r holds half a surrogate pair (RFC 7493)" % (name, value)) from None
    elif isinstance(value, dict):
        for key, item in value.items():
            _refuse_surrogates(key, name)
            _refuse_surrogates(item, name)
    elif isinstance(value, list):
        for item in value:
            _refuse_surrogates(item, name)


def read(path: str, name: str = "", max_bytes: int = MAX_BYTES, own: bool = False) -> dict[str, Any]:
    """The JSON object in the file at path, as parse() reads it. Raises NotFound and InvalidInput."""
    return parse(read_bytes(path, name, max_bytes), name or path, max_bytes, own)


def read_bytes(path: str, name: str = "", max_bytes: int = MAX_BYTES) -> bytes:
    """What the file at path holds, at most one byte more than max_bytes. Raises NotFound and InvalidInput."""
    name = name or path
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise NotFound("%s: cannot be read: %s" % (name, str(error.strerror).lower())) from None
    try:
        chunks = []
        left = max_bytes + 1
        while left > 0:
            chunk = os.read(fd, min(left, 1 << 20))
            if not chunk:
                break
            chunks.append(chunk)
            left -= len(chunk)
    except OSError as error:
        raise InvalidInput("%s: cannot be read: %s" % (name, str(error.strerror).lower())) from None
    finally:
        os.close(fd)
    return b"".join(chunks)


class _DecoderContext:
    """What CPython's C scanner asks of a decoder.

    The json package is only imported where the scanner is missing: importing it compiles regular expressions, which
    costs a start of labrun 5 ms (a quarter of its budget).
    """

    strict = True
    object_hook = None
    parse_float = float
    parse_int = int
    memo: dict[str, str] = {}

    def __init__(self, name: str) -> None:
        self.name = name

    def object_pairs_hook(self, pairs: list[tuple[str, object]]) -> dict[str, object]:
        result = dict(pairs)
        if len(result) != len(pairs):
            seen = set()
            for key, _value in pairs:
                if key in seen:
                    raise InvalidInput("%s: the key %r stands twice in one object" % (self.name, key))
                seen.add(key)
        return result

    def parse_constant(self, constant: str) -> object:
        raise InvalidInput("%s: %s is not a JSON number" % (self.name, constant))


def _decode(text: str, name: str) -> object:
    context = _DecoderContext(name)
    try:
        from _json import make_scanner
    except ImportError:
        import json

        return json.loads(text, object_pairs_hook=context.object_pairs_hook, parse_constant=context.parse_constant)
    stripped = text.strip(" \t\r\n")
    try:
        scan: Any = make_scanner
        value, end = scan(context)(stripped, 0)
    except StopIteration as stop:
        raise ValueError("a value is expected at character %d" % stop.value) from None
    except SystemError:  # the scanner finds no class for its error unless the json package is there already
        import json

        json.loads(text)
        raise
    if end != len(stripped):
        raise ValueError("something follows the value at character %d" % end)
    return value


_NO_BRACKETS = bytes(set(range(256)) - set(b"{}[]"))


def _check_depth(data: bytes, name: str) -> None:
    """Refuse deep nesting before the recursive scanner meets it (case R17); brackets in strings are not counted.

    Where something else is wrong with the document the strings may be other ones than it seems, but only behind that.
    """
    if data.count(b"{") + data.count(b"[") <= MAX_DEPTH:
        return
    unescaped = data.replace(b"\\\\", b"").replace(b'\\"', b"")
    depth = 0
    for bracket in b"".join(unescaped.split(b'"')[::2]).translate(None, _NO_BRACKETS):
        depth += 1 if bracket in b"{[" else -1
        if depth > MAX_DEPTH:
            raise InvalidInput("%s: nested deeper than %d levels" % (name, MAX_DEPTH))


def dump(value: object) -> bytes:
    """value as compact JSON in ASCII, keys in their own order (state files, digests of documents that we write)."""
    return _encode(value).encode("ascii")


def _encode(value: object) -> str:
    if value is None:
        return "null"
    if value is True:
        return "true"
    if value is False:
        return "false"
    if isinstance(value, str):
        return _encode_string(value)
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, dict):
        return "{%s}" % ",".join(["%s:%s" % (_encode_string(str(key)), _encode(item)) for key, item in value.items()])
    if isinstance(value, (list, tuple)):
        return "[%s]" % ",".join([_encode(item) for item in value])
    raise TypeError("a JSON document cannot hold %s" % type(value).__name__)


try:
    from _json import encode_basestring_ascii as _encode_string
except ImportError:
    from json.encoder import py_encode_basestring_ascii as _encode_string
