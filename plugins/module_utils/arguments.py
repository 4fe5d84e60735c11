# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""The arguments that several modules share, and what they mean to the floors below."""

from __future__ import annotations

from .linux.errors import InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

STORE = {
    "store": {"type": "path", "default": "/var/lib/labrun/images"},
    "layers": {"type": "path", "default": "/var/lib/labrun/layers"},
}
BUNDLE: dict[str, Any] = {
    "command": {"type": "list", "elements": "str"},
    "env": {"type": "dict", "default": {}},
    "user": {"type": "str"},
    "working_dir": {"type": "path"},
    "hostname": {"type": "str"},
    "read_only": {"type": "bool", "default": False},
    "memory": {"type": "str"},
    "cpus": {"type": "float"},
    "pids_limit": {"type": "int"},
    "mounts": {
        "type": "list",
        "elements": "dict",
        "options": {
            "destination": {"type": "path", "required": True},
            "source": {"type": "str"},
            "type": {"type": "str", "default": "bind"},
            "options": {"type": "list", "elements": "str", "default": ["rbind"]},
        },
    },
    "config": {"type": "dict", "default": {}},
}
_UNITS = {"K": 10, "M": 20, "G": 30, "T": 40}


def bundle_options(params: dict[str, Any]) -> dict[str, Any]:
    """The options of labrun/bundle.py from a module's parameters. Raises InvalidInput."""
    options = {name: params[name] for name in BUNDLE}
    options["env"] = {name: str(value) for name, value in options["env"].items()}
    if options["memory"]:
        options["memory"] = memory_bytes(options["memory"])
    if options["cpus"] is not None and options["cpus"] <= 0:
        raise InvalidInput("cpus: %s is not above 0" % options["cpus"])
    mounts = options["mounts"] or []
    options["mounts"] = [{key: value for key, value in item.items() if value is not None} for item in mounts]
    return options


def memory_bytes(text: str) -> int:
    """Bytes for a number with an optional unit K, M, G or T, powers of 1024. Raises InvalidInput."""
    number, unit = (text[:-1], text[-1].upper()) if text[-1:].isalpha() else (text, "")
    if not number.isdigit() or (unit and unit not in _UNITS):
        raise InvalidInput("memory: %r is not a number of bytes, such as 67108864 or 64M" % text)
    return int(number) << _UNITS.get(unit, 0)
