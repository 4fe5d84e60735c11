# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""Networks of containers: a CNI configuration list each, in a directory of our own, and a bridge once one is used.

The list is one that any CNI runtime can use (CNI specification 1.0, section 1): bridge with host-local, portmap, and
firewall, which lets the containers out where another engine has set FORWARD to DROP. IPv4 only.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from ipaddress import IPv4Network

from ..linux import files, netlink
from ..linux.errors import AlreadyExists, NotFound, WrongState
from ..spec import document
from . import attachment, firewall, names, plugins, subnets
from .registry import FOLDER, Registry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

DEFAULT_CONFIG_DIR = "/etc/labrun/networks"
DEFAULT_RUN_DIR = os.path.join("/run/labrun", FOLDER)
_SUFFIX = ".conflist"
_SHOWN = ("subnet", "gateway", "bridge", "internal", "labels")


class Network:
    """A network by its name; it need not exist. run_dir counts for a new one: it then is part of the definition."""

    def __init__(self, name: str, config_dir: str = DEFAULT_CONFIG_DIR, run_dir: str = DEFAULT_RUN_DIR) -> None:
        names.check_network(name)
        self.name = name
        self.config_dir = config_dir
        self.path = os.path.join(config_dir, name + _SUFFIX)
        self.run_dir = run_dir

    def definition(self) -> dict[str, Any] | None:
        """The configuration list, or None where there is no such network. Raises InvalidInput for a broken one."""
        try:
            return document.read(self.path)
        except NotFound:
            return None

    def describe(self) -> dict[str, Any]:
        """name, subnet, gateway ('' for an internal one), bridge, internal, labels; {} where there is none."""
        found = self.definition()
        return dict({key: found[names.OWN][key] for key in _SHOWN}, name=self.name) if found else {}

    def registry(self) -> Registry:
        """Where it is kept who is attached."""
        found = self.definition()
        return Registry(found[names.OWN]["run_dir"] if found else self.run_dir)

    def attached(self, check: bool = False) -> list[dict[str, Any]]:
        """Who uses it: dicts with id, address ('' before it has one) and names, by id.

        check: problem, too, what the plugins find wrong ('' for nothing). Raises WrongState, Unsupported then.
        """
        result = []
        for record in self.registry().attached(self.name):
            entry = {key: record[key] for key in ("id", "address", "names")}
            result.append(dict(entry, problem=attachment.check(record)) if check else entry)
        return result

    def wanted(self, subnet: str = "", internal: bool = False, labels: dict[str, str] | None = None) -> dict[str, Any]:
        """What describe() is to give. Without a subnet a present network keeps its own, a new one gets a free one.

        Raises InvalidInput for a subnet that overlaps another network or route of this host.
        """
        present = self.describe()
        device = bridge_name(self.name)
        taken = self._of_the_others() + subnets.known(present.get("bridge", ""))
        if subnet:
            chosen = names.subnet(subnet)
        else:
            chosen = IPv4Network(present["subnet"]) if present else subnets.choose(taken)
        if str(chosen) != present.get("subnet"):
            subnets.refuse_overlap(chosen, taken)
        return {
            "name": self.name,
            "subnet": str(chosen),
            "gateway": "" if internal else str(chosen[1]),
            "bridge": device,
            "internal": internal,
            "labels": dict(labels or {}),
        }

    def _of_the_others(self) -> list[tuple[IPv4Network, str]]:
        result = []
        for other in networks(self.config_dir):
            described = other.describe()
            if described and other.name != self.name:
                result.append((IPv4Network(described["subnet"]), "the network %s" % other.name))
        return result

    def create(self, wanted: dict[str, Any]) -> None:
        """Make the network that wanted() described, or change a present one into it.

        Raises WrongState (in use), AlreadyExists (the bridge's name is taken), Unsupported (plugins are missing).
        """
        version = plugins.common_version(["bridge", "host-local", "portmap", "firewall", "loopback"])
        present = self.describe()
        if present and differ_in_use(present, wanted):
            self.remove()
            present = {}
        if not present and any(link["name"] == wanted["bridge"] for link in netlink.links()):
            message = "network %s: there is a device %s already, which is not ours; remove or rename it"
            raise AlreadyExists(message % (self.name, wanted["bridge"]))
        run_dir = self.registry().path
        os.makedirs(self.config_dir, mode=0o755, exist_ok=True)
        files.replace(self.path, _pretty(_list(version, wanted, run_dir)))

    def refuse_in_use(self) -> None:
        """Raises WrongState, with their names, while containers or other devices use it."""
        described = self.describe()
        records = self.registry().attached(self.name)
        lost = [record for record in records if attachment.is_lost(record)]
        users = [record["id"] for record in records if record not in lost]
        if described and not users:
            theirs: set[str] = set().union(*(attachment.devices(record, record["result"]) for record in lost))
            users = _ports(described["bridge"], theirs)
        if users:
            raise WrongState("network %s: in use by %s; delete them first" % (self.name, ", ".join(users)))

    def remove(self) -> None:
        """Remove the network, its bridge, and what only our networks needed of the host. Nothing where there is none.

        Raises WrongState while it is in use.
        """
        described = self.describe()
        if not described:
            return
        self.refuse_in_use()
        registry = self.registry()
        attachment.forget_lost(registry, self.name)
        with registry.locked():
            self.refuse_in_use()
            netlink.delete_device(described["bridge"])
            if not described["internal"]:
                firewall.forget_published(self.name, described["bridge"])
            shutil.rmtree(os.path.join(registry.leases, self.name), ignore_errors=True)
            is_last = not registry.leased()
            noted = registry.host()
            if is_last and noted:
                firewall.restore(noted)
            os.unlink(self.path)  # only now: who was killed before can be asked again
            if is_last:
                registry.remove()


def networks(config_dir: str = DEFAULT_CONFIG_DIR) -> list[Network]:
    """All networks of the directory, by name."""
    try:
        files = sorted(os.listdir(config_dir))
    except OSError:
        return []
    return [Network(name[: -len(_SUFFIX)], config_dir) for name in files if name.endswith(_SUFFIX)]


def bridge_name(network: str) -> str:
    """The name of the network's device, at most the 15 characters that the kernel allows."""
    if len(network) <= 12:
        return "lr-" + network
    return "lr-" + hashlib.sha256(network.encode()).hexdigest()[:12]


def differ_in_use(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two descriptions, {} for none, differ in more than labels."""
    return dict(one, labels={}) != dict(other, labels={})


def _ports(bridge: str, lost: set[str]) -> list[str]:
    """Devices of others on the bridge: lost ones go with the network, if the kernel has not removed them before."""
    links = netlink.links()
    index = next((link["index"] for link in links if link["name"] == bridge), -1)
    return ["the device %s" % link["name"] for link in links if link["master"] == index and link["name"] not in lost]


def _list(version: str, wanted: dict[str, Any], run_dir: str) -> dict[str, Any]:
    internal = wanted["internal"]
    address: dict[str, Any] = {
        "type": "host-local",
        "dataDir": os.path.join(run_dir, "leases"),
        "ranges": [[{"subnet": wanted["subnet"]}]],
    }
    bridge: dict[str, Any] = {"type": "bridge", "bridge": wanted["bridge"], "hairpinMode": True, "ipam": address}
    chain = [bridge]
    if not internal:
        # Without an address of the host on the bridge nothing is routed, in or out.
        bridge.update(isGateway=True, ipMasq=True)
        address["routes"] = [{"dst": "0.0.0.0/0"}]
        chain += [{"type": "portmap", "capabilities": {"portMappings": True}}, {"type": "firewall"}]
    own = dict({key: wanted[key] for key in _SHOWN}, run_dir=run_dir)
    return {"cniVersion": version, "name": wanted["name"], names.OWN: own, "plugins": chain}


def _pretty(value: dict[str, Any]) -> bytes:
    import json

    return (json.dumps(value, indent=2) + "\n").encode()
