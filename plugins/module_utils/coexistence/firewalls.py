# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""The host's firewall, as far as it decides about what bridges forward."""

from __future__ import annotations

import os

from ..linux import files
from ..packages import traces
from ..provisioning import commands

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Iterator

CHAIN = "OCILAB-FORWARD"
# The two kinds of iptables(8), and how rules of each show where its program is not to be had.
_TOOLS = ("iptables-nft", "iptables-legacy")
_LEGACY = "/proc/net/ip_tables_names"
# Programs that keep a firewall of their own: the unit, by the service that loads it.
_SERVICES = ("ufw", "firewalld", "nftables", "netfilter-persistent")


class Firewall:
    """policies: of the chain FORWARD, by tool; used: the tools that have rules; services: that are active; passes:
    whether the chain CHAIN is there.
    """

    def __init__(self) -> None:
        self.policies: dict[str, str] = {}
        self.used: list[str] = []
        self.services: list[str] = []
        self.passes = False

    def read(self) -> None:
        for tool in _TOOLS:
            # A question of iptables-legacy would load the kernel's modules for it, and make its tables.
            if not commands.has(tool + "-save") or (tool == "iptables-legacy" and not _legacy_tables()):
                continue
            code, text = commands.attempt(tool + "-save")
            if code:
                continue
            tables = traces.parse(text)
            forward = tables.get("filter", {}).get("policies", {}).get("FORWARD", "")
            self.policies[tool] = forward
            if any(table["rules"] for table in tables.values()) or forward == "DROP":
                self.used.append(tool)
            self.passes = self.passes or CHAIN in tables.get("filter", {}).get("chains", [])
        self.services = list(_active())


def _legacy_tables() -> bool:
    try:
        return bool(files.read_text(_LEGACY))
    except OSError:
        return False


def _active() -> Iterator[str]:
    if not os.path.isdir("/run/systemd/system") or not commands.has("systemctl"):
        return
    states = commands.attempt("systemctl", "is-active", *_SERVICES)[1].split()
    for name, state in zip(_SERVICES, states):
        # That of ufw(8) is active also where it does nothing.
        if state == "active" and (name != "ufw" or "ENABLED=yes" in files.read_text("/etc/ufw/ufw.conf")):
            yield name
