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
CONNECTED: dict[str, Any] = {
    "networks": {"type": "list", "elements": "raw"},
    "published_ports": {"type": "list", "elements": "str"},
    "volumes": {"type": "list", "elements": "str"},
    "labels": {"type": "dict", "default": {}},
    "network_config_dir": {"type": "path", "default": "/etc/labrun/networks"},
}
_LABEL_LENGTH = 255
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


def connected_options(params: dict[str, Any]) -> dict[str, Any]:
    """The further options of labrun/bundle.py from the parameters of CONNECTED. Raises InvalidInput."""
    from .networks import names
    from .volumes import volume

    options: dict[str, Any] = {"labels": labels(params["labels"])}
    options["volumes"] = [volume.parse(text) for text in params["volumes"] or []]
    wanted = [names.wanted(item) for item in params["networks"] or []]
    ports = [names.port(text) for text in params["published_ports"] or []]
    if ports and not wanted:
        raise InvalidInput("published_ports: a container without networks has no ports to publish")
    if wanted:
        options["networks"] = {"config_dir": params["network_config_dir"], "networks": wanted, "ports": ports}
    return options


def labels(given: dict[str, Any]) -> dict[str, str]:
    """Labels as text. Raises InvalidInput for a key that is empty, too long, or holds what is not printable."""
    for key in given:
        if not 0 < len(key) <= _LABEL_LENGTH or not key.isprintable() or " " in key:
            raise InvalidInput(
                "label %r: 1 to %d printable characters without spaces are expected" % (key, _LABEL_LENGTH)
            )
    return {key: str(value) for key, value in given.items()}


def memory_bytes(text: str, name: str = "memory") -> int:
    """Bytes for a number with an optional unit K, M, G or T, powers of 1024. Raises InvalidInput, with the name."""
    number, unit = (text[:-1], text[-1].upper()) if text[-1:].isalpha() else (text, "")
    if not number.isdigit() or (unit and unit not in _UNITS):
        raise InvalidInput("%s: %r is not a number of bytes, such as 67108864 or 64M" % (name, text))
    return int(number) << _UNITS.get(unit, 0)
