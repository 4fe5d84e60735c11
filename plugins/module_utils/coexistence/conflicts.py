# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""Which of the engines that are planned collide, with each other and with what a host has: one list of findings.

Everything is worked out from plain data (Engine, Host); nothing is read here.
"""

from __future__ import annotations

from . import networking
from .plan import CERTAIN, POSSIBLE, RESOLVED, finding, pairs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Iterator

    from .host import Host
    from .plan import Engine

    Findings = Iterator[dict[str, str]]

# Packages that exclude each other: each of the first of each of the second.
_EXCLUSIVE = (
    (("docker.io",), ("docker-ce",)),
    (("containerd",), ("containerd.io",)),
    (("runc",), ("containerd.io",)),  # which has one of its own
    (("podman-docker",), ("docker.io", "docker-cli", "docker-ce", "docker-ce-cli")),
)
_ORDER = (CERTAIN, POSSIBLE, RESOLVED)


def find(engines: list[Engine], host: Host, forward: bool) -> list[dict[str, str]]:
    """All findings, the surest first. forward: whether the own chain in FORWARD is there, or is to be."""
    found = [*packages(engines, host), *networking.check(engines, host, forward), *subordinate_ids(engines, host)]
    found += [*cni_folders(engines, host), *cgroup_drivers(engines, host), *storage(engines), *ports(engines, host)]
    found += [*sockets(engines, host), *units(engines, host), *programs(engines, host)]
    return sorted(found, key=lambda item: _ORDER.index(item["severity"]))


def line(item: dict[str, str]) -> str:
    """A finding for a person."""
    words = (item["severity"], item["kind"], item["engine"] or "this host", item["what"], item["with"], item["advice"])
    return "%s: %s: %s: %s, with %s: %s" % words


def packages(engines: list[Engine], host: Host) -> Findings:
    for one, other in pairs(engines):
        for mine in one.packages:
            for its in other.packages:
                if _exclude(mine, its):
                    with_it = "%s, which %s is to have" % (its, other.name)
                    yield finding("packages", CERTAIN, one.name, mine, with_it, _choice(one.name, other.name))
    for engine in engines:
        for mine in engine.packages:
            for its in sorted(host.installed - set(engine.packages)):
                if _exclude(mine, its):
                    yield _in_the_way(engine, mine, its, its in host.ours or engine.allow_removal)


def _exclude(one: str, other: str) -> bool:
    return any((one in a and other in b) or (one in b and other in a) for a, b in _EXCLUSIVE)


def _choice(one: str, other: str) -> str:
    if "oci_runtimes" in (one, other):
        return (
            "the two exclude each other: containerd.io has a runc of its own, so leave that out of oci_runtimes_names"
        )
    return "the two exclude each other: choose the same source of packages for %s and %s" % (one, other)


def _in_the_way(engine: Engine, mine: str, its: str, goes: bool) -> dict[str, str]:
    advice = "it is removed by the installation" if goes else "remove it first, or set %s_allow_removal" % engine.name
    severity = RESOLVED if goes else CERTAIN
    return finding("packages", severity, engine.name, mine, "%s, which is installed" % its, advice)


def subordinate_ids(engines: list[Engine], host: Host) -> Findings:
    users = {user: engine.name for engine in engines for user in engine.subid_users}
    for one, other in pairs(engines):
        for user in sorted(set(one.subid_users) & set(other.subid_users)):
            what, other_one = "the subordinate ids of %s" % user, "those that containers of %s have" % other.name
            advice = "containers of the two could reach each other's files: give one of them a user of its own"
            yield finding("subordinate ids", POSSIBLE, one.name, what, other_one, advice)
    for path, ranges in sorted(host.subids.items()):
        for number, mine in enumerate(ranges):
            for its in ranges[number + 1 :]:
                if mine.user != its.user and mine.overlaps(its):
                    engine = users.get(mine.user) or users.get(its.user) or ""
                    what, with_it = "%s of %s" % (mine, mine.user), "%s of %s in %s" % (its, its.user, path)
                    advice = "give one of them another range: each could enter the other's containers"
                    yield finding("subordinate ids", CERTAIN if engine else POSSIBLE, engine, what, with_it, advice)
            for user, uid in sorted(host.users.items()):
                if mine.start <= uid < mine.end and path.endswith("subuid"):
                    what, with_it = "%s of %s in %s" % (mine, mine.user, path), "the user %s, number %d" % (user, uid)
                    advice = "a container could act as that user: give one of them other numbers"
                    yield finding("subordinate ids", POSSIBLE, users.get(mine.user, ""), what, with_it, advice)


def cni_folders(engines: list[Engine], host: Host) -> Findings:
    advice = "an engine takes the first file of the folder, whoever's it is: give each a folder of its own"
    for one, other in pairs(engines):
        for folder in sorted(set(one.cni_dirs) & set(other.cni_dirs)):
            with_it = "%s, which reads the same folder" % other.name
            yield finding("networks of CNI", POSSIBLE, one.name, folder, with_it, advice)
    for engine in engines:
        for folder in engine.cni_dirs:
            strange = [name for name in host.cni_files.get(folder, []) if "ocilab" not in name]
            if strange:
                with_it = "%s, which is there already" % ", ".join(strange)
                yield finding("networks of CNI", POSSIBLE, engine.name, folder, with_it, advice)


def cgroup_drivers(engines: list[Engine], host: Host) -> Findings:
    drivers = {engine.name: engine.cgroup_driver for engine in engines if engine.cgroup_driver}
    for name, driver in sorted(host.drivers.items()):
        if name not in {engine.name for engine in engines}:
            drivers[name] = driver
    for engine in engines:
        if engine.cgroup_driver == "systemd" and not host.has_systemd:
            advice = "let it use cgroupfs, or start the host by systemd"
            yield finding("cgroup driver", CERTAIN, engine.name, "systemd", "this host, which has no systemd", advice)
    ways = {driver: sorted(name for name in drivers if drivers[name] == driver) for driver in drivers.values()}
    if len(ways) > 1:
        what, with_it = "systemd of %s" % ", ".join(ways["systemd"]), "cgroupfs of %s" % ", ".join(ways["cgroupfs"])
        advice = "two would manage one tree of cgroups, and limits of the one be lost at the other's: choose one driver"
        yield finding("cgroup driver", POSSIBLE, ways["systemd"][0], what, with_it, advice)


def storage(engines: list[Engine]) -> Findings:
    for one, other in pairs(engines):
        for mine in one.storage:
            for its in other.storage:
                if mine == its or mine.startswith(its + "/") or its.startswith(mine + "/"):
                    with_it, advice = "%s of %s" % (its, other.name), "give one of them another folder"
                    yield finding("storage", CERTAIN, one.name, mine, with_it, advice)


def ports(engines: list[Engine], host: Host) -> Findings:
    for one, other in pairs(engines):
        for mine in one.ports:
            for its in other.ports:
                if _same_port(mine["address"], mine["port"], its["address"], its["port"]):
                    advice = "give one of them another port"
                    yield finding(
                        "ports", CERTAIN, one.name, _shown(mine), "%s of %s" % (_shown(its), other.name), advice
                    )
    for engine in engines:
        for mine in engine.ports:
            for address, port, program in host.listeners:
                its_own = program and any(program in word for word in _programs_of(engine))
                if _same_port(mine["address"], mine["port"], address, port) and not its_own:
                    with_it = "%s, which listens on it" % (program or "a program")
                    advice = "stop it, or give %s another port" % engine.name
                    yield finding("ports", CERTAIN, engine.name, _shown(mine), with_it, advice)


def _programs_of(engine: Engine) -> list[str]:
    """The names of its programs are those of its units and packages, more or less."""
    return [engine.name + "d", engine.name, *engine.packages, *(unit.rpartition(".")[0] for unit in engine.units)]


def _same_port(address: str, port: int, other_address: str, other_port: int) -> bool:
    everywhere = ("", "0.0.0.0", "::")
    same = address == other_address or address in everywhere or other_address in everywhere
    return int(port) == int(other_port) and same


def _shown(port: dict[str, object]) -> str:
    return "port %s%s" % (port["port"], " of %s" % port["address"] if port["address"] else "")


def sockets(engines: list[Engine], host: Host) -> Findings:
    for one, other in pairs(engines):
        for path in sorted(set(one.sockets) & set(other.sockets)):
            yield finding("sockets", CERTAIN, one.name, path, other.name, "only one of them can serve it")
    for engine in engines:
        for path in engine.sockets:
            if path in host.links:
                with_it = "a link there, which leads to %s" % host.links[path]
                goes = "podman-docker" in host.installed and engine.allow_removal
                advice = "remove it with its package, podman-docker for instance"
                yield finding("sockets", RESOLVED if goes else CERTAIN, engine.name, path, with_it, advice)


def units(engines: list[Engine], host: Host) -> Findings:
    for one, other in pairs(engines):
        for name in sorted((set(one.units) & set(other.units)) - {"containerd.service"}):  # which engines share
            yield finding("units", CERTAIN, one.name, name, other.name, "only one of them can have a unit of that name")
    for engine in engines:
        for name in engine.units:
            state = host.units.get(name)
            if state == "masked":
                advice = "it cannot start: systemctl unmask %s" % name
                yield finding("units", CERTAIN, engine.name, name, "this host, where it is masked", advice)
            elif state:
                advice = "it takes the place of the package's: remove it, or see that it does the same"
                yield finding("units", POSSIBLE, engine.name, name, "/etc/systemd/system/%s" % name, advice)


def programs(engines: list[Engine], host: Host) -> Findings:
    names = {"containerd": "containerd", "docker": "docker dockerd", "podman": "podman", "lxc": "lxc-start"}
    names.update({"crio": "crio", "oci_runtimes": "runc crun runsc"})
    for engine in engines:
        for path in host.by_hand:
            if path.rpartition("/")[2] in names.get(engine.name, "").split():
                advice = "it is found before the package's: remove it, or know that commands reach it"
                yield finding("programs", POSSIBLE, engine.name, "its program", path, advice)
