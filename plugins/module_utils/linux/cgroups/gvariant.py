# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""Values in GVariant's text form (docs.gtk.org/glib/gvariant-text-format.html), as annotations for systemd have them.

What runc takes: numbers, true and false, strings, byte strings, arrays, dictionaries, variants, and types before them
by keyword (uint32 5) or as @signature. The result is (D-Bus signature, value) as linux/dbus.py marshals it.
"""

from __future__ import annotations

from ..dbus import Writer, split_signature

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_KEYWORDS = {
    "boolean": "b",
    "byte": "y",
    "int16": "n",
    "uint16": "q",
    "int32": "i",
    "uint32": "u",
    "int64": "x",
    "uint64": "t",
    "double": "d",
    "string": "s",
    "objectpath": "o",
    "signature": "g",
}
_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "\n": ""}
_WORD_ENDS = " \t\n\r,:;[]{}()<>'\"@"
_INTEGERS = "ynqiuxt"


class Parser:
    """One text. Raises ValueError with what is wrong and where."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.position = 0

    def whole(self) -> tuple[str, Any]:
        """The value that the whole text is."""
        result = self.value("")
        if self.peek():
            raise self.error("unexpected %r" % self.peek())
        try:
            Writer().write(*result)
        except (ValueError, TypeError, OverflowError, AttributeError):
            raise ValueError("a value that does not fit its type %r" % result[0]) from None
        return result

    def error(self, what: str) -> ValueError:
        return ValueError("%s at character %d" % (what, self.position + 1))

    def peek(self) -> str:
        """The next character that is no blank; '' at the end."""
        while self.text[self.position : self.position + 1].isspace():
            self.position += 1
        return self.text[self.position : self.position + 1]

    def skip(self, character: str) -> None:
        if self.peek() != character:
            raise self.error("%r is expected" % character)
        self.position += 1

    def word(self) -> str:
        self.peek()
        start = self.position
        while self.text[self.position : self.position + 1] not in _WORD_ENDS:
            self.position += 1
        if start == self.position:
            raise self.error("a value is expected")
        return self.text[start : self.position]

    def value(self, kind: str) -> tuple[str, Any]:
        """The next value; kind: its signature where the text or its surroundings told, or ''."""
        character = self.peek()
        if character == "@":
            self.position += 1
            return self.value(self.signature())
        if character in ("'", '"'):
            return kind if kind in ("o", "g") else self.expect(kind, "s"), self.quoted(character)
        if character == "[":
            return self.array(kind)
        if character == "{":
            return self.dictionary(kind)
        if character == "<":
            self.position += 1
            inner = self.value("")
            self.skip(">")
            return self.expect(kind, "v"), inner
        if self.text.startswith(("b'", 'b"'), self.position):
            self.position += 1
            return self.expect(kind, "ay"), self.quoted(self.peek()).encode("latin-1") + b"\0"
        return self.plain(kind, self.word())

    def expect(self, kind: str, found: str) -> str:
        if kind not in ("", found):
            raise self.error("a value of type %r is expected, not %r" % (kind, found))
        return found

    def signature(self) -> str:
        start = self.position
        while self.text[self.position : self.position + 1].strip():
            self.position += 1
        signature = self.text[start : self.position]
        if len(split_signature(signature)) != 1:
            raise self.error("%r is not one type" % signature)
        return signature

    def plain(self, kind: str, word: str) -> tuple[str, Any]:
        """A keyword and the value after it, true or false, or a number (0x.. in base 16, 0.. in base 8)."""
        if word in _KEYWORDS:
            return self.value(self.expect(kind, _KEYWORDS[word]))
        if word in ("true", "false"):
            return self.expect(kind, "b"), word == "true"
        digits = word.lstrip("+-").lower()
        is_hexadecimal = digits.startswith("0x")
        if not kind:
            kind = "d" if not is_hexadecimal and ("." in word or "e" in digits) else "i"
        try:
            if kind == "d":
                return kind, float(word)
            if kind not in _INTEGERS:
                raise self.error("a value of type %r is expected, not %r" % (kind, word))
            base = 16 if is_hexadecimal else 8 if len(digits) > 1 and digits[0] == "0" else 10
            return kind, int(word, base)
        except ValueError:
            raise self.error("%r is no value of type %r" % (word, kind)) from None

    def quoted(self, quote: str) -> str:
        self.skip(quote)
        result: list[Any] = []
        while True:
            character = self.text[self.position : self.position + 1]
            self.position += 1
            if not character:
                raise self.error("the closing %s is missing" % quote)
            if character == quote:
                return "".join(result)
            if character == "\\":
                character = self.escape()
            result.append(character)

    def escape(self) -> str:
        character = self.text[self.position : self.position + 1]
        self.position += 1
        size = {"u": 4, "U": 8, "x": 2}.get(character)
        if size is None:
            return _ESCAPES.get(character, character)
        digits = self.text[self.position : self.position + size]
        self.position += size
        try:
            return chr(int(digits, 16))
        except (ValueError, OverflowError):
            raise self.error("%r is no character's number" % digits) from None

    def array(self, kind: str) -> tuple[str, Any]:
        """The items are of the type that the text tells of any of them, or of the first one's own."""
        if kind and kind[0] != "a":
            raise self.error("a value of type %r is expected, not an array" % kind)
        self.skip("[")
        start = self.position
        items = self.items("]", kind[1:])
        if not kind:
            if not items:
                raise self.error("an empty array needs a type, as @as []")
            found = sorted({item[0] for item in items}, key=lambda one: one == "i")
            if len(found) > 1:
                self.position = start
                items = self.items("]", found[0])
            kind = "a" + found[0]
        values = [item[1] for item in items]
        return kind, bytes(values) if kind == "ay" else values

    def items(self, closing: str, kind: str) -> list[tuple[str, Any]]:
        result: list[Any] = []
        while self.peek() != closing:
            if result:
                self.skip(",")
            result.append(self.value(kind))
        self.skip(closing)
        return result

    def dictionary(self, kind: str) -> tuple[str, Any]:
        if kind and not kind.startswith("a{"):
            raise self.error("a value of type %r is expected, not a dictionary" % kind)
        key_kind, value_kind = split_signature(kind[2:-1]) if kind else ("", "")
        self.skip("{")
        result: list[Any] = []
        while self.peek() != "}":
            if result:
                self.skip(",")
            key_kind, key = self.value(key_kind)
            self.skip(":")
            value_kind, value = self.value(value_kind)
            result.append((key, value))
        self.skip("}")
        if not result and not kind:
            raise self.error("an empty dictionary needs a type, as @a{sv} {}")
        return "a{%s%s}" % (key_kind, value_kind), result


def parse(text: str) -> tuple[str, Any]:
    """(signature, value) of the text. Raises ValueError."""
    return Parser(text).whole()
