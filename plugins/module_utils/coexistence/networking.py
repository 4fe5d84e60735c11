# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""Collisions of bridges, of subnets, and of firewalls."""

from __future__ import annotations

from ipaddress import IPv4Network

from . import firewalls
from .plan import CERTAIN, POSSIBLE, RESOLVED, finding, pairs, whose

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Iterator

    from .host import Host
    from .plan import Engine

    Findings = Iterator[dict[str, str]]

# Where a Docker that is not told otherwise takes its networks from (daemon's ipamutils).
_DOCKERS_POOLS = (
    "172.17.0.0/16",
    "172.18.0.0/16",
    "172.19.0.0/16",
    "172.20.0.0/14",
    "172.24.0.0/14",
    "172.28.0.0/14",
    "192.168.0.0/16",
)
_DOCKERS = ("docker.io", "docker-ce")
_RELOAD = "after a reload of it systemctl restart docker lxc-net, podman network reload --all"


def check(engines: list[Engine], host: Host, forward: bool) -> Findings:
    yield from bridges(engines, host)
    yield from subnets(engines, host)
    yield from firewall(engines, host, forward)


def bridges(engines: list[Engine], host: Host) -> Findings:
    for one, other in pairs(engines):
        for name in sorted(set(one.bridges) & set(other.bridges)):
            yield finding("bridges", CERTAIN, one.name, name, "the bridge of %s" % other.name, "give one another name")
    for engine in engines:
        for name in engine.bridges:
            kind = host.devices.get(name, "bridge")
            if kind != "bridge":
                with_it = "a device of that name (%s)" % (kind or "physical")
                yield finding("bridges", CERTAIN, engine.name, name, with_it, "give one of them another name")


def subnets(engines: list[Engine], host: Host) -> Findings:
    for one, other in pairs(engines):
        for mine in [*one.subnets, *one.pools]:
            for its in [*other.subnets, *other.pools]:
                if mine.overlaps(its):
                    sure = CERTAIN if mine in one.subnets and its in other.subnets else POSSIBLE
                    with_it = "%s of %s" % (its, other.name)
                    yield finding("subnets", sure, one.name, str(mine), with_it, "give one of them another subnet")
    for engine in engines:
        for mine in engine.subnets:
            yield from _taken(engine, mine, host, engines)
        for mine in engine.pools:
            for item in _taken(engine, mine, host, engines):
                yield dict(item, severity=POSSIBLE)
    yield from _of_a_docker_without_pools(engines, host)


def _taken(engine: Engine, mine: IPv4Network, host: Host, engines: list[Engine]) -> Findings:
    advice = "give %s another subnet" % engine.name
    for network, device in host.routes:
        # A default route, or one of a provider's whole network, is less exact, and loses to the bridge's.
        if network.prefixlen and mine.overlaps(network) and whose(device, engines) != engine.name:
            sure = CERTAIN if network.prefixlen >= 16 or network.subnet_of(mine) else POSSIBLE
            yield finding("subnets", sure, engine.name, str(mine), "the route %s on %s" % (network, device), advice)
    for address in host.resolvers:
        if ":" not in address and IPv4Network(address).subnet_of(mine):
            with_it = "the host's name server %s" % address
            yield finding("subnets", CERTAIN, engine.name, str(mine), with_it, advice)
    planned = {one.name for one in engines}
    seen = {network for network, _device in host.routes}
    for network, owner, path in host.definitions:
        # Of an engine that is planned, the plan counts; what is up was named above.
        if owner not in planned and "ocilab" not in path and network not in seen and mine.overlaps(network):
            with_it = "the network %s that %s defines" % (network, path)
            yield finding("subnets", POSSIBLE, engine.name, str(mine), with_it, advice)


def _of_a_docker_without_pools(engines: list[Engine], host: Host) -> Findings:
    if any(engine.name == "docker" for engine in engines) or not host.installed & set(_DOCKERS):
        return
    for engine in engines:
        for mine in engine.subnets:
            if any(mine.overlaps(IPv4Network(pool)) for pool in _DOCKERS_POOLS):
                advice = "give %s another subnet, or Docker default-address-pools" % engine.name
                with_it = "the networks that the host's Docker makes by default"
                yield finding("subnets", POSSIBLE, engine.name, str(mine), with_it, advice)


def firewall(engines: list[Engine], host: Host, forward: bool) -> Findings:
    found, names = host.firewall, [engine.name for engine in engines]
    has_docker = "docker" in names or bool(host.installed & set(_DOCKERS))
    others = [name for name in names if name not in ("docker", "registry", "oci_runtimes")]
    drops = sorted(tool for tool, policy in found.policies.items() if policy == "DROP")
    if others and (has_docker or drops):
        what = "containers of %s" % ", ".join(others)
        with_it = "FORWARD, which %s" % ("drops what no rule accepts" if drops else "Docker sets to DROP")
        yield finding("firewall", RESOLVED if forward else POSSIBLE, others[0], what, with_it, _passing(forward))
    if len(found.used) > 1:
        advice = (
            "a packet has to pass both: move the rules to one, and choose it by update-alternatives --config iptables"
        )
        yield finding("firewall", POSSIBLE, "", "rules of iptables-nft", "rules of iptables-legacy", advice)
    if names and "firewalld" in found.services:
        advice = "put the bridges into its zone trusted; %s" % _RELOAD
        yield finding("firewall", POSSIBLE, names[0], "bridges of engines", "firewalld", advice)
    for service in found.services:
        if names and service != "firewalld":
            advice = "it flushes the engines' rules when it is reloaded; %s" % _RELOAD
            yield finding("firewall", POSSIBLE, names[0], "rules of engines", service, advice)


def _passing(forward: bool) -> str:
    if forward:
        return "the chain %s lets their bridges pass" % firewalls.CHAIN
    return "let the role coexistence set up its chain, or accept their bridges in FORWARD"
