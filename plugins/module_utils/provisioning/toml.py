# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""TOML for the configuration of engines, from plain dictionaries: Python 3.8 reads none, and no version writes any."""

from __future__ import annotations

import re

from ..linux.errors import InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_BARE = re.compile(r"[A-Za-z0-9_-]+\Z")
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}


def dump(tree: dict[str, Any]) -> str:
    """The text of the dictionary (toml.io, 1.0): values first, then tables. Raises InvalidInput for what TOML lacks."""
    lines: list[str] = []
    _table(tree, [], lines)
    return "\n".join(lines).strip("\n") + "\n"


def _table(table: dict[str, Any], path: list[str], lines: list[str]) -> None:
    tables = {}
    for key, value in table.items():
        if isinstance(value, dict) or (
            value and isinstance(value, list) and all(isinstance(one, dict) for one in value)
        ):
            tables[key] = value
        elif value is not None:
            lines.append("%s = %s" % (_key(key), _value(value, [*path, str(key)])))
    for key, value in tables.items():
        below = [*path, str(key)]
        name = ".".join(_key(word) for word in below)
        for one in [value] if isinstance(value, dict) else value:
            lines += ["", ("[%s]" if isinstance(value, dict) else "[[%s]]") % name]
            _table(one, below, lines)


def _key(key: Any) -> str:
    return str(key) if _BARE.match(str(key)) else _string(str(key))


def _string(text: str) -> str:
    return '"%s"' % "".join(
        _ESCAPES.get(char) or (char if char.isprintable() else "\\U%08x" % ord(char)) for char in text
    )


def _value(value: Any, path: list[str]) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, list):
        return "[%s]" % ", ".join(_value(one, path) for one in value)
    if isinstance(value, dict):
        return "{%s}" % ", ".join("%s = %s" % (_key(key), _value(one, path)) for key, one in value.items())
    raise InvalidInput("%s: TOML has no value as %r" % (".".join(path), value))
