# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""What an engine is to have on a host, and a finding about two that want the same thing."""

from __future__ import annotations

import fnmatch
from ipaddress import IPv4Interface, IPv4Network

from ..linux.errors import InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Iterable

# How sure a collision is: it will be; it may be, or somebody should look at it; it would be, but is provided for.
CERTAIN, POSSIBLE, RESOLVED = "certain", "possible", "resolved"
# Whose a network device is, by its name, where it is none of a planned engine.
_DEVICES = {
    "docker": ("docker0", "docker_gwbridge", "br-????????????"),
    "podman": ("podman[0-9]*", "cni-podman[0-9]*"),
    "lxc": ("lxcbr0",),
    "labrun": ("lr-*",),
    "libvirt": ("virbr*",),
    "kubernetes": ("cni0", "flannel.*", "cali*", "cilium*"),
}


class Engine:
    """What is planned for one engine.

    packages; allow_removal: whether others may go for them; subnets; pools: subnets that it takes networks from where
    they are free; bridges: patterns of their names; ports: [{"port", "address"}], of TCP; sockets, storage, cni_dirs:
    paths; units: their names; cgroup_driver: systemd, cgroupfs or ''; subid_users: whose subordinate ids its containers
    have. Raises InvalidInput.
    """

    def __init__(self, name: str, plan: dict[str, Any]) -> None:
        self.name = name
        self.packages: list[str] = list(plan.get("packages") or [])
        self.allow_removal = bool(plan.get("allow_removal"))
        self.subnets = [_network(name, text) for text in plan.get("subnets") or []]
        self.pools = [_network(name, text) for text in plan.get("pools") or []]
        self.bridges: list[str] = list(plan.get("bridges") or [])
        self.ports: list[dict[str, Any]] = list(plan.get("ports") or [])
        self.sockets: list[str] = list(plan.get("sockets") or [])
        self.storage: list[str] = list(plan.get("storage") or [])
        self.cni_dirs: list[str] = list(plan.get("cni_dirs") or [])
        self.units: list[str] = list(plan.get("units") or [])
        self.cgroup_driver: str = plan.get("cgroup_driver") or ""
        self.subid_users: list[str] = list(plan.get("subid_users") or [])

    def owns(self, device: str) -> bool:
        return any(fnmatch.fnmatchcase(device, pattern) for pattern in [*self.bridges, *_DEVICES.get(self.name, ())])


def _network(engine: str, text: str) -> IPv4Network:
    try:
        return IPv4Interface(text).network
    except ValueError:
        raise InvalidInput("%s: %r is no subnet of IPv4" % (engine, text)) from None


def whose(device: str, engines: Iterable[Engine]) -> str:
    """The engine that a network device belongs to by its name; '' for none."""
    for engine in engines:
        if engine.owns(device):
            return engine.name
    for name, patterns in _DEVICES.items():
        if any(fnmatch.fnmatchcase(device, pattern) for pattern in patterns):
            return name
    return ""


def finding(kind: str, severity: str, engine: str, what: str, other: str, advice: str) -> dict[str, str]:
    """One collision: of what kind, how sure, of which engine; what of it collides with what; what to do about it."""
    return {"kind": kind, "severity": severity, "engine": engine, "what": what, "with": other, "advice": advice}


def pairs(engines: list[Engine]) -> Iterable[tuple[Engine, Engine]]:
    """Each two of them once."""
    for number, one in enumerate(engines):
        for other in engines[number + 1 :]:
            yield one, other
