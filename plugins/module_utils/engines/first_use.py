# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""What an engine makes on a host when it is first used, and leaves there: a bridge, empty cgroups, a mount."""

from __future__ import annotations

import json
import os

from ..linux import mounts, netlink, syscalls
from ..linux.cgroups import manager as cgroups
from . import held

_CNI = "/etc/cni/net.d"
_NAMESPACES = "/run/netns"  # which whoever keeps a network namespace by a name makes a mount of its own


class FirstUse:
    """What is there before an engine is used; end() takes away what has come since and nobody uses.

    Several columns may have an engine in common: what was before the first of them goes for all, and the last one's
    end() is the end. bridges: names of network devices; cgroup: the name of a cgroup in every hierarchy, by which the
    engine is known here; mounted: a path that becomes a mount, empty for none.
    """

    _begun: dict[str, FirstUse] = {}

    @classmethod
    def begin(cls, bridges: set[str], cgroup: str, mounted: str = "") -> FirstUse:
        """The one of the engine, for one more column."""
        held.take("first use", cgroup)
        if cgroup not in cls._begun:
            cls._begun[cgroup] = cls(bridges, cgroup, mounted)
        return cls._begun[cgroup]

    def __init__(self, bridges: set[str], cgroup: str, mounted: str) -> None:
        self.name = cgroup
        present = {link["name"] for link in netlink.links()}
        self.bridges = bridges - present
        self.cgroups = [path for path in _cgroups(cgroup) if not os.path.isdir(path)]
        self.mounted = [path for path in (mounted, _NAMESPACES) if path and not mounts.is_mounted(path)]

    def end(self) -> None:
        """One column less; after the last what came is taken away, but for what is in use meanwhile."""
        if held.give("first use", self.name):
            del self._begun[self.name]
            self._undo()

    def _undo(self) -> None:
        for path in filter(mounts.is_mounted, self.mounted):
            try:
                syscalls.umount(os.fsencode(path), 0)
            except OSError:
                pass  # something is mounted below: another container's root filesystem, or its network namespace
        links = netlink.links()
        used = {link["master"] for link in links}
        for link in links:
            if link["name"] in self.bridges and link["index"] not in used:
                netlink.delete_device(link["name"])
        for path in self.cgroups:
            for directory, _names, _files in os.walk(path, topdown=False):
                try:
                    os.rmdir(directory)
                except OSError:
                    pass  # a container lives there meanwhile


def _cgroups(name: str) -> list[str]:
    return [item.mount_point + "/" + name for item in cgroups.detect().hierarchies]


def cni_bridges() -> set[str]:
    """The bridges of the networks that the host's CNI configuration names."""
    found = set()
    for name in os.listdir(_CNI) if os.path.isdir(_CNI) else []:
        try:
            with open(os.path.join(_CNI, name)) as file:
                plugins = json.load(file).get("plugins") or []
            found |= {plugin["bridge"] for plugin in plugins if plugin.get("bridge")}
        except (OSError, ValueError, AttributeError, TypeError):
            continue  # no configuration of a network, or a broken one, which is not ours to judge
    return found
