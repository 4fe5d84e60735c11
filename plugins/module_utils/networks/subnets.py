# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""Which IPv4 networks this host knows already, and a subnet that is free."""

from __future__ import annotations

import sys
from ipaddress import IPv4Address, IPv4Network

from ..linux import files
from ..linux.errors import InvalidInput
from . import hosts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Iterator

# Where engines put their networks whether they run now or not: Docker's pools, Podman, CRI-O, LXC, libvirt.
_OTHERS = (
    "172.16.0.0/12",
    "10.88.0.0/15",
    "10.90.0.0/15",
    "10.85.0.0/16",
    "10.0.3.0/24",
    "192.168.122.0/24",
)
# The second is for hosts on a network that takes all of 10.0.0.0/8.
_POOLS = ("10.231.0.0/16", "192.168.192.0/19")
_PREFIX = 24


def known(own_device: str) -> list[tuple[IPv4Network, str]]:
    """(network, what it is) of every route but default ones (proc(5), net/route), and of the host's name servers.

    Those of our own device are left out.
    """
    result = []
    for network, device in routes():
        if network.prefixlen and device != own_device:
            result.append((network, "the route %s of this host on %s" % (network, device)))
    for server in hosts.resolvers():
        result.append((IPv4Network(server), "the name server %s of this host" % server))
    return result


def routes() -> Iterator[tuple[IPv4Network, str]]:
    """(network, device) of every route (proc(5), net/route)."""
    for line in files.read_text("/proc/net/route").splitlines()[1:]:
        fields = line.split()
        yield IPv4Network((_address(fields[1]), str(_address(fields[7])))), fields[0]


def _address(hexadecimal: str) -> IPv4Address:
    return IPv4Address(int(hexadecimal, 16).to_bytes(4, sys.byteorder))


def choose(taken: list[tuple[IPv4Network, str]]) -> IPv4Network:
    """A /24 that overlaps none of those, nor what engines use by default. Raises InvalidInput where all are taken."""
    avoided = [network for network, _what in taken] + [IPv4Network(text) for text in _OTHERS]
    for pool in _POOLS:
        for candidate in IPv4Network(pool).subnets(new_prefix=_PREFIX):
            if not any(candidate.overlaps(other) for other in avoided):
                return candidate
    raise InvalidInput("subnet: none of %s is free on this host; give one" % " and ".join(_POOLS))


def refuse_overlap(wanted: IPv4Network, taken: list[tuple[IPv4Network, str]]) -> None:
    """Raises InvalidInput where the subnet overlaps one of those."""
    for network, what in taken:
        if wanted.overlaps(network):
            raise InvalidInput("subnet %s: overlaps %s; choose another" % (wanted, what))
