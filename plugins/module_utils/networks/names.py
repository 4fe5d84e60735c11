# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""What a person may write: names of networks and hosts, addresses, published ports."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

from ..linux.errors import InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

OWN = "ocilab.hosts"  # the key of what is ours in a configuration list; CNI lets a runtime add keys of its own
_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
_NAME_CHARACTERS = _LETTERS | frozenset("_.-")
_PROTOCOLS = ("tcp", "udp", "sctp")


def check_network(name: str) -> None:
    """Refuse what is no network's name (CNI specification 1.0, section 1), at most 63 long. Raises InvalidInput."""
    if not 0 < len(name) <= 63 or set(name) - _NAME_CHARACTERS or name[0] not in _LETTERS:
        raise InvalidInput(
            "network name %r: use 1 to 63 of the characters A-Z a-z 0-9 _ . -, a letter or a digit first" % name
        )


def check_host(name: str) -> None:
    """Refuse what is no name for /etc/hosts (hosts(5)), such as one with a space or a new line. Raises InvalidInput."""
    if not 0 < len(name) <= 253 or set(name) - _NAME_CHARACTERS or name[0] not in _LETTERS:
        raise InvalidInput(
            "alias %r: use 1 to 253 of the characters A-Z a-z 0-9 _ . -, a letter or a digit first" % name
        )


def subnet(text: str) -> IPv4Network:
    """The IPv4 network of '10.1.2.0/24', /8 to /29. Raises InvalidInput."""
    try:
        result = IPv4Network(text)
    except ValueError as error:
        raise InvalidInput("subnet %r: %s; an IPv4 network such as 10.1.2.0/24 is expected" % (text, error)) from None
    if not 8 <= result.prefixlen <= 29:
        raise InvalidInput("subnet %s: a prefix of 8 to 29 bits is expected" % text)
    return result


def address(text: str, inside: IPv4Network, gateway: str) -> str:
    """An address that a container may have in that subnet. Raises InvalidInput."""
    try:
        found = IPv4Address(text)
    except ValueError:
        raise InvalidInput("address %r: an IPv4 address such as 10.1.2.3 is expected" % text) from None
    if found not in inside or found in (inside.network_address, inside.broadcast_address):
        raise InvalidInput("address %s: not a host's address in the subnet %s of the network" % (text, inside))
    if str(found) == gateway:
        raise InvalidInput("address %s: it is the gateway's of the network" % text)
    return str(found)


def wanted(item: Any) -> dict[str, Any]:
    """{"name", "address" ('' for any), "aliases"} for a network's name or a dict of these. Raises InvalidInput."""
    given = item if isinstance(item, dict) else {"name": item}
    strange = set(given) - {"name", "address", "aliases"}
    aliases = given.get("aliases") or []
    if strange or not isinstance(given.get("name"), str) or not isinstance(aliases, list):
        raise InvalidInput(
            "networks: %r: a name, or a dict of name, address and aliases (a list) is expected" % (item,)
        )
    check_network(given["name"])
    for alias in aliases:
        check_host(str(alias))
    return {
        "name": given["name"],
        "address": str(given.get("address") or ""),
        "aliases": [str(alias) for alias in aliases],
    }


def port(text: str) -> dict[str, Any]:
    """A mapping of CNI's capability portMappings for '[ADDRESS:]PORT:CONTAINER_PORT[/tcp|udp|sctp]'.

    {"hostPort", "containerPort", "protocol", "hostIP" ('' for every address)}; IPv4 only. Raises InvalidInput.
    """
    rest, _slash, protocol = text.partition("/")
    parts = rest.split(":")
    ports = parts[-2:]
    if len(parts) not in (2, 3) or (protocol or "tcp") not in _PROTOCOLS or not all(_is_port(item) for item in ports):
        raise InvalidInput(
            "published port %r: [IPv4 ADDRESS:]PORT:CONTAINER_PORT[/tcp|udp|sctp] is expected, as 8080:80" % text
        )
    host_ip = parts[0] if len(parts) == 3 else ""
    try:
        host_ip = host_ip and str(IPv4Address(host_ip))
    except ValueError:
        raise InvalidInput("published port %r: %r is not an IPv4 address" % (text, host_ip)) from None
    return {
        "hostPort": int(ports[0]),
        "containerPort": int(ports[1]),
        "protocol": protocol or "tcp",
        "hostIP": "" if host_ip == "0.0.0.0" else host_ip,
    }


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 5 and 0 < int(text) < 65536


def clash(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two mappings want the same port of the host."""
    same_address = not one["hostIP"] or not other["hostIP"] or one["hostIP"] == other["hostIP"]
    return same_address and (one["hostPort"], one["protocol"]) == (other["hostPort"], other["protocol"])


def shown(mapping: dict[str, Any]) -> str:
    """'127.0.0.1:8080:80/tcp' for a mapping, as it would be written."""
    front = mapping["hostIP"] + ":" if mapping["hostIP"] else ""
    return "%s%d:%d/%s" % (front, mapping["hostPort"], mapping["containerPort"], mapping["protocol"])
