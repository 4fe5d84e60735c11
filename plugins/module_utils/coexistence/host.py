# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""What a host has that engines could collide with. It is only read, also where no engine is installed."""

from __future__ import annotations

import glob
import json
import os
import pwd
import re
from ipaddress import IPv4Interface, IPv4Network

from ..linux import files, netlink
from ..networks import hosts, subnets
from ..packages.ledger import Ledger
from ..provisioning import commands, subids
from . import firewalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Iterator

CNI_DIRS = ("/etc/cni/net.d", "/etc/containerd/net.d", "/etc/labrun/networks")
# Where programs are that somebody has installed by hand, and where those of packages are looked for only afterwards.
_BY_HAND = ("/usr/local/sbin", "/usr/local/bin", "/snap/bin")
_PROGRAMS = ("containerd", "crio", "crun", "docker", "dockerd", "lxc-start", "podman", "runc", "runsc")
_UNITS = "/etc/systemd/system"


class Host:
    """What was found, as plain attributes; read() fills them, and tests do."""

    def __init__(self) -> None:
        self.installed: set[str] = set()
        self.ours: set[str] = set()  # of those, what a role has brought
        self.owners: list[str] = []  # the roles that have
        self.devices: dict[str, str] = {}  # name: kind
        self.routes: list[tuple[IPv4Network, str]] = []  # and the device
        self.resolvers: list[str] = []
        self.definitions: list[tuple[IPv4Network, str, str]] = []  # and whose, and the file
        self.cni_files: dict[str, list[str]] = {}  # folder: those that the engine would read
        self.subids: dict[str, list[subids.Range]] = {}  # by file
        self.users: dict[str, int] = {}
        self.listeners: list[tuple[str, int, str]] = []  # address, port, program
        self.links: dict[str, str] = {}  # path: where it leads to
        self.units: dict[str, str] = {}  # name: masked, or own for one that is no package's
        self.by_hand: list[str] = []
        self.drivers: dict[str, str] = {}  # engine: cgroup driver
        self.has_systemd = True
        self.firewall = firewalls.Firewall()

    def read(self, sockets: list[str], units: list[str]) -> Host:
        """Look at the host; sockets, units: those that are planned. Raises OcilabError."""
        ledger = Ledger()
        self.installed = _installed()
        self.ours = ledger.brought & self.installed
        self.owners = sorted(ledger.owners)
        self.devices = {link["name"]: link["kind"] for link in netlink.links()}
        self.routes = list(subnets.routes())
        self.resolvers = hosts.resolvers()
        self.definitions = [*_of_docker(), *_of_podman(), *_of_cni(), *_of_lxc()]
        self.cni_files = {folder: _cni_names(folder) for folder in CNI_DIRS}
        self.subids = {path: subids.read(path) for path in subids.FILES.values()}
        self.users = {entry.pw_name: entry.pw_uid for entry in pwd.getpwall()}
        self.listeners = list(listeners())
        self.links = {path: os.path.realpath(path) for path in sockets if os.path.islink(path)}
        self.units = {name: state for name in units for state in [_unit(name)] if state}
        self.by_hand = [path for path in _hand_made() if os.access(path, os.X_OK)]
        driver = _json("/etc/docker/daemon.json").get("exec-opts") or []
        for option in driver if "docker.io" in self.installed or "docker-ce" in self.installed else []:
            if str(option).startswith("native.cgroupdriver="):
                self.drivers["docker"] = str(option).partition("=")[2]
        self.has_systemd = os.path.isdir("/run/systemd/system")
        self.firewall.read()
        return self


def _installed() -> set[str]:
    """Names of packages, by dpkg or rpm; none where there is neither."""
    for words in (
        ["dpkg-query", "-W", "-f", "${db:Status-Status} ${Package}\n"],
        ["rpm", "-qa", "--qf", "installed %{NAME}\n"],
    ):
        if commands.has(words[0]):
            rows = [line.split() for line in commands.run(*words).splitlines()]
            return {row[1] for row in rows if len(row) == 2 and row[0] == "installed"}
    return set()


def _json(path: str) -> Any:
    """What is in the file; {} where it cannot be read, for a program that reads it says so itself."""
    try:
        read = json.loads(files.read(path))
    except (OSError, ValueError):
        return {}
    return read if isinstance(read, dict) else {}


def _networks(texts: list[Any], whose: str, path: str) -> Iterator[tuple[IPv4Network, str, str]]:
    for text in texts:
        try:
            yield IPv4Interface(str(text)).network, whose, path
        except ValueError:
            pass  # of IPv6, or none at all


def _of_docker() -> Iterator[tuple[IPv4Network, str, str]]:
    path = "/etc/docker/daemon.json"
    read = _json(path)
    yield from _networks([read["bip"]] if "bip" in read else [], "docker", path)


def _of_podman() -> Iterator[tuple[IPv4Network, str, str]]:
    for path in glob.glob("/etc/containers/networks/*.json"):
        yield from _networks([one.get("subnet") for one in _json(path).get("subnets") or []], "podman", path)


def _cni_names(folder: str) -> list[str]:
    names = os.listdir(folder) if os.path.isdir(folder) else []
    return sorted(name for name in names if name.endswith((".conf", ".conflist", ".json")))


def _of_cni() -> Iterator[tuple[IPv4Network, str, str]]:
    for folder in CNI_DIRS:
        for name in _cni_names(folder):
            path = os.path.join(folder, name)
            text = json.dumps(_json(path))
            yield from _networks(
                re.findall(r'"subnet": "([^"]*)"', text), {"labrun": "labrun"}.get(folder.split("/")[2], ""), path
            )


def _of_lxc() -> Iterator[tuple[IPv4Network, str, str]]:
    path = "/etc/default/lxc-net"
    try:
        text = files.read(path).decode("utf-8", "replace")
    except OSError:
        return
    yield from _networks(re.findall(r"^LXC_NETWORK=['\"]?([^'\"\s]+)", text, re.MULTILINE), "lxc", path)


def listeners() -> Iterator[tuple[str, int, str]]:
    """Sockets of TCP that wait for connections (proc(5), net/tcp): address, port, and the program whose they are."""
    found = []
    for path in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = files.read_text(path).splitlines()[1:]
        except OSError:
            continue  # a kernel without IPv6
        for line in lines:
            words = line.split()
            address, port = words[1].split(":")
            if words[3] == "0A":
                found.append((address, int(port, 16), words[9]))
    programs = _programs({inode for _address, _port, inode in found}) if found else {}
    for address, number, inode in found:
        yield _address(address), number, programs.get(inode, "")


def _address(hexadecimal: str) -> str:
    """Of IPv4 as people write it; '' for all addresses, and for those of IPv6."""
    if len(hexadecimal) > 8 or not int(hexadecimal, 16):
        return ""
    return ".".join(str(byte) for byte in bytes.fromhex(hexadecimal)[::-1])


def _programs(inodes: set[str]) -> dict[str, str]:
    wanted = {"socket:[%s]" % inode: inode for inode in inodes}
    found = {}
    for path in glob.iglob("/proc/[0-9]*/fd/*"):
        try:
            target = os.readlink(path)
            if target in wanted:
                found[wanted[target]] = files.read_text("/proc/%s/comm" % path.split("/")[2])
        except OSError:
            pass  # it has ended
    return found


def _unit(name: str) -> str:
    path = os.path.join(_UNITS, name)
    if os.path.islink(path):
        return "masked" if os.path.realpath(path) == "/dev/null" else ""
    return "own" if os.path.isfile(path) else ""


def _hand_made() -> Iterator[str]:
    for folder in _BY_HAND:
        for name in _PROGRAMS:
            yield os.path.join(folder, name)
