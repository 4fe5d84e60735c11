# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""Attaching a container to networks, and detaching it whatever has become of it.

An attachment is one dict, which the container's journal is given before anything is made, and which the registry keeps
with the plugins' result: id, root (of the container's state), network, version and plugins (as the network was defined
then), definition (its path), bridge, internal, run_dir, cni_id (the container for CNI, unique on the host), interface,
address ('' for any), ports, names, hostname, hosts (the path of its hosts file).
"""

from __future__ import annotations

import hashlib
import os
from ipaddress import IPv4Network

from ..linux import netlink, trace
from ..linux.errors import InvalidInput, KernelRefused, NotFound, OcilabError, WrongState
from . import firewall, hosts, names, subnets
from .plugins import Call, PluginFailed
from .registry import Registry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

    Note = Callable[[dict[str, Any]], None]

_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")


def plan(container_id: str, root: str, wish: dict[str, Any]) -> list[dict[str, Any]]:
    """The attachments that a wish asks for, in its order; nothing is changed.

    wish: {"config_dir", "networks": [names.wanted()], "ports": [names.port()], "hosts": path or '', "hostname"}.
    Raises NotFound, InvalidInput, WrongState for what cannot be had: a network, an address, a port of the host.
    """
    found = _defined(wish)
    open_ones = [item["name"] for item, _path, definition in found if not definition[names.OWN]["internal"]]
    if wish["ports"] and not open_ones:
        raise InvalidInput("published ports need a network that is not internal")
    base = {"object": "network", "id": container_id, "root": root, "cni_id": _cni_id(root, container_id)}
    base.update(hostname=wish.get("hostname", ""), hosts=wish.get("hosts", ""))
    result = []
    for number, (item, path, definition) in enumerate(found):
        own = definition[names.OWN]
        is_way_out = item["name"] in open_ones[:1]
        entry = dict(base, network=item["name"], interface="eth%d" % number, definition=path)
        entry.update({key: own[key] for key in ("bridge", "internal", "run_dir")}, version=definition["cniVersion"])
        entry.update(names=_names(container_id, item["aliases"]), ports=wish["ports"] if is_way_out else [])
        address = item["address"]
        entry["address"] = address and names.address(address, IPv4Network(own["subnet"]), own["gateway"])
        entry["plugins"] = [_plugin(plugin, is_way_out) for plugin in definition["plugins"]]
        _refuse_taken(entry)
        if not any(link["name"] == entry["bridge"] for link in netlink.links()):
            # Since the network was defined another may have taken its addresses, which the bridge would now hide.
            subnets.refuse_overlap(IPv4Network(own["subnet"]), subnets.known(entry["bridge"]))
        result.append(entry)
    return result


def _defined(wish: dict[str, Any]) -> list[tuple[dict[str, Any], str, dict[str, Any]]]:
    """(item, path of the definition, definition) of each network of the wish. Raises NotFound, InvalidInput."""
    from .network import Network

    result: list[tuple[dict[str, Any], str, dict[str, Any]]] = []
    for item in wish["networks"]:
        network = Network(item["name"], wish["config_dir"])
        definition = network.definition()
        if definition is None:
            hint = "make it with labrun_network"
            raise NotFound("network %s: does not exist in %s; %s" % (item["name"], wish["config_dir"], hint))
        if any(network.path == path for _item, path, _definition in result):
            raise InvalidInput("networks: %s is named twice" % item["name"])
        result.append((item, network.path, definition))
    return result


def _plugin(plugin: dict[str, Any], is_way_out: bool) -> dict[str, Any]:
    """The plugin's configuration for this container, which has one way out, by the first network that offers one."""
    if plugin["type"] == "bridge" and not is_way_out:
        return dict(plugin, ipam=dict(plugin["ipam"], routes=[]))
    return dict(plugin)


def _cni_id(root: str, container_id: str) -> str:
    """For CNI an id is unique on the host and of fewer characters than ours; a person still knows it by this one."""
    plain = "".join(character if character in _PLAIN else "_" for character in container_id).lstrip("_.-")
    whole = hashlib.sha256(("%s\0%s" % (os.path.realpath(root), container_id)).encode()).hexdigest()
    return "%s-%s" % (plain[:40] or "container", whole[:12])


def _names(container_id: str, aliases: list[str]) -> list[str]:
    """The names that the others know it by: its id, where that is a name, and its aliases."""
    try:
        names.check_host(container_id)
        return [container_id, *aliases]
    except InvalidInput:
        return list(aliases)


def _refuse_taken(entry: dict[str, Any]) -> None:
    """Raises WrongState for an address or a port that another has."""
    registry = Registry(entry["run_dir"])
    for network in registry.used():
        for other in registry.attached(network):
            if other["cni_id"] == entry["cni_id"]:
                continue
            if network == entry["network"] and entry["address"] and other["address"] == entry["address"]:
                raise WrongState("network %s: %s has the address %s" % (network, other["id"], entry["address"]))
            for mapping in entry["ports"]:
                if any(names.clash(mapping, taken) for taken in other["ports"]):
                    raise WrongState("published port %s: container %s has it" % (names.shown(mapping), other["id"]))
    for number, mapping in enumerate(entry["ports"]):
        if any(names.clash(mapping, earlier) for earlier in entry["ports"][:number]):
            raise InvalidInput("published port %s: given twice" % names.shown(mapping))
        _refuse_listened(mapping)


def _refuse_listened(mapping: dict[str, Any]) -> None:
    """A program that listens there would no longer be reached, and would not be told."""
    import socket

    kind = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}.get(mapping["protocol"])
    if kind is None:
        return
    probe = socket.socket(socket.AF_INET, kind | socket.SOCK_CLOEXEC)
    try:
        if kind == socket.SOCK_STREAM:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # an old connection's end is no obstacle
        probe.bind((mapping["hostIP"], mapping["hostPort"]))
    except OSError as error:
        reason = str(error.strerror).lower()
        raise WrongState("published port %s: cannot be had on this host: %s" % (names.shown(mapping), reason)) from None
    finally:
        probe.close()


def attach(entries: list[dict[str, Any]], netns: str, note: Note) -> dict[str, dict[str, str]]:
    """Attach the container whose network namespace is at the path netns; {"addresses": {network: address},
    "interfaces": {network: name}}.

    note is given each entry before anything is made for it. Raises WrongState, OcilabError; what was added is taken
    back then.
    """
    trace.step("attach_networks")
    begun: list[dict[str, Any]] = []
    try:
        for entry in entries:
            note(entry)
            begun.append(entry)
            _add(entry, netns)
    except BaseException:
        for entry in reversed(begun):
            try:
                detach(entry, netns)
            except OcilabError:
                pass  # the first problem is the one to tell, and the journal still knows of this one
        raise
    records = [Registry(entry["run_dir"]).load(entry["network"], entry["cni_id"]) for entry in entries]
    return {
        "addresses": {record["network"]: record["address"] for record in records},
        "interfaces": {record["network"]: record["interface"] for record in records},
    }


def _add(entry: dict[str, Any], netns: str) -> None:
    registry = Registry(entry["run_dir"])
    with registry.locked():
        if not os.path.exists(entry["definition"]):
            raise NotFound("network %s: was removed meanwhile" % entry["network"])
        if not entry["internal"] and not registry.host():
            noted = firewall.before()
            registry.note_host(noted)
            firewall.make_shared(noted)
        _refuse_taken(entry)
        registry.save(dict(entry, result={}, netns=netns))
    busy = registry.busy(entry)
    try:
        _loopback(entry, netns, busy)
        if entry["ports"]:
            firewall.hide_loopback(entry["network"], entry["bridge"])
        result = Call(entry, netns, busy).add()
        if entry["ports"]:
            firewall.admit_published(entry["network"], entry["bridge"])
    finally:
        os.close(busy)
    address = result["ips"][0]["address"].partition("/")[0]
    with registry.locked():
        registry.save(dict(entry, result=result, netns=netns, address=address))
        _tell_names(registry, [entry["network"]])


def _loopback(entry: dict[str, Any], netns: str, busy: int) -> None:
    """The namespace's own device up, once; it needs no DEL, for it goes with the namespace."""
    if entry["interface"] == "eth0":
        Call(dict(entry, plugins=[{"type": "loopback"}], interface="lo", ports=[], address=""), netns, busy).add()


def detach(entry: dict[str, Any], netns: str = "") -> None:
    """Undo an attachment, whether it was finished or not; netns is '' once the namespace has gone with its container.

    Raises OcilabError where something could not be undone; the rest has been.
    """
    registry = Registry(entry["run_dir"])
    busy = registry.busy(entry)  # a plugin that outlived who called it has ended then
    try:
        record = registry.load(entry["network"], entry["cni_id"])
        result = record.get("result") or _guessed(entry, registry)
        problems = Call(entry, netns, busy).delete(result)
        _delete_devices(entry, result)
        if not entry["internal"]:
            addresses = [found["address"].partition("/")[0] for found in result.get("ips", [])]
            firewall.sweep(entry["cni_id"], addresses[0] if addresses else "")
        registry.release(entry)
        if problems:
            raise OcilabError("; ".join(problems))
        with registry.locked():
            registry.forget(entry["network"], entry["cni_id"])
            _tell_names(registry, [entry["network"]])
        registry.remove_busy(entry)
    finally:
        os.close(busy)


def _guessed(entry: dict[str, Any], registry: Registry) -> dict[str, Any]:
    """A result for DEL where ADD was cut short: the address that host-local has noted, for the plugin firewall."""
    address = registry.leased_by(entry)
    if not address:
        return {}
    subnet = next(plugin["ipam"]["ranges"][0][0]["subnet"] for plugin in entry["plugins"] if "ipam" in plugin)
    found = {"address": "%s/%d" % (address, IPv4Network(subnet).prefixlen)}
    if entry["version"] == "0.4.0":
        found["version"] = "4"
    return {"cniVersion": entry["version"], "interfaces": [], "ips": [found]}


def _delete_devices(entry: dict[str, Any], result: dict[str, Any]) -> None:
    """The host's end of the pair: the kernel removes it some time after the namespace, which another may still hold."""
    ours = devices(entry, result)
    links = netlink.links()
    bridge = next((link["index"] for link in links if link["name"] == entry["bridge"]), -1)
    for link in links:
        if link["name"] in ours and link["kind"] == "veth" and link["master"] == bridge:
            try:
                netlink.delete_device(link["name"])
            except OSError as error:
                raise KernelRefused("RTM_DELLINK", link["name"], error.errno) from None


def devices(entry: dict[str, Any], result: dict[str, Any]) -> set[str]:
    """The names of the devices on the host that the plugins' result tells of, but for the bridge."""
    return {item["name"] for item in result.get("interfaces", []) if not item.get("sandbox")} - {entry["bridge"]}


def check(record: dict[str, Any]) -> str:
    """What the plugins find wrong with an attachment (CHECK), '' for nothing. Raises WrongState, Unsupported."""
    registry = Registry(record["run_dir"])
    busy = registry.busy(record)
    try:
        record = registry.load(record["network"], record["cni_id"]) or dict(record, result={})
        if not record["result"]:
            return "network %s: container %s: not attached" % (record["network"], record["id"])
        if not os.path.exists(record["netns"]):
            return "network %s: container %s: has ended" % (record["network"], record["id"])
        Call(record, record["netns"], busy).check(record["result"])
    except PluginFailed as error:
        return str(error)
    finally:
        os.close(busy)
    return ""


def is_lost(record: dict[str, Any]) -> bool:
    """Whether its container's state is gone without us, as after rm -r of /run/labrun/<id>."""
    return not os.path.isdir(os.path.join(record["root"], record["id"]))


def forget_lost(registry: Registry, network: str) -> None:
    """Detach those that are lost. Raises OcilabError."""
    for record in registry.attached(network):
        if is_lost(record):
            detach(record)


def _tell_names(registry: Registry, changed: list[str]) -> None:
    """Rewrite the hosts file of everyone in these networks; the caller holds the registry's lock."""
    everyone = {network: registry.attached(network) for network in registry.used()}
    told = {record["cni_id"]: record for network in changed for record in everyone.get(network, []) if record["hosts"]}
    for cni_id, member in told.items():
        lines = []
        for records in everyone.values():
            if any(record["cni_id"] == cni_id for record in records):
                lines += [(record["address"], _known_as(record, member)) for record in records if record["result"]]
        hosts.update(member["hosts"], [(address, found) for address, found in lines if found])


def _known_as(record: dict[str, Any], member: dict[str, Any]) -> list[str]:
    own = record["cni_id"] == member["cni_id"] and record["hostname"] not in ("", *record["names"])
    return [*record["names"], record["hostname"]] if own else list(record["names"])
