# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""What an engine changes in the kernel and no package takes back: firewall rules, bridges, forwarding.

The note, network.json beside the ledger: {"engines": [those that have noted], "ip_forward": "0" or "1", "tools": {tool:
its rules in the form of iptables-save(8) before the first engine}}.
"""

from __future__ import annotations

import fnmatch
import os
import shlex

from ..linux import files
from ..provisioning import commands
from ..provisioning.kept import FOLDER, Kept
from .apt import check_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Iterable

    # table: {"policies": {chain: policy}, "chains": [own chains], "rules": [the words of each rule, after -A]}
    Tables = dict[str, dict[str, Any]]

_TOOLS = ("iptables", "ip6tables")
_IP_FORWARD = "/proc/sys/net/ipv4/ip_forward"
_NET = "/sys/class/net"
_LABRUN = "lr-*"  # the bridges of its networks


class Traces:
    """Of one engine.

    chains: beginnings of the names of its chains; shared_chains: of those that all engines share, and that go with the
    last one; interfaces: patterns of the names of its bridges.
    """

    def __init__(
        self,
        engine: str,
        chains: Iterable[str] = (),
        interfaces: Iterable[str] = (),
        shared_chains: Iterable[str] = (),
        folder: str = FOLDER,
    ) -> None:
        self.engine = check_name(engine, "engine")
        self.interfaces = list(interfaces)
        self._own_chains = list(chains)
        self._shared_chains = list(shared_chains)
        self._kept = Kept(os.path.join(folder, "network.json"), "remove it, and forwarding stays as it is now")
        self.note = self._read()

    @property
    def chains(self) -> list[str]:
        """Beginnings of the names of the chains that go with the engine."""
        return self._own_chains + (self._shared_chains if self._is_last() else [])

    def _is_last(self) -> bool:
        """Whether nobody else needs what engines share: no other has noted, and none of labrun's networks is up."""
        has_labrun = any(fnmatch.fnmatchcase(name, _LABRUN) for name in os.listdir(_NET))
        return self.note.get("engines") == [self.engine] and not has_labrun

    def _read(self) -> dict[str, Any]:
        note = self._kept.read()
        if not note:
            return {}
        try:
            return {"engines": list(note["engines"]), "ip_forward": note["ip_forward"], "tools": dict(note["tools"])}
        except (ValueError, KeyError, TypeError):
            raise self._kept.damaged() from None

    def _lock(self) -> None:
        self._kept.lock()
        self.note = self._read()

    def noted(self) -> bool:
        """Whether the engine has noted what was before it."""
        return self.engine in self.note.get("engines", [])

    def take(self) -> None:
        """Note what is there, unless another engine has done so before; the tools are installed by then."""
        self._lock()
        if not self.note:
            tools = {tool: commands.run(tool + "-save") for tool in _TOOLS if commands.has(tool)}
            self.note = {"engines": [], "ip_forward": files.read_text(_IP_FORWARD), "tools": tools}
        self.note["engines"] = sorted({*self.note["engines"], self.engine})
        self._write()

    def _write(self) -> None:
        self._kept.write(self.note if self.note.get("engines") else {})

    def commands(self) -> list[list[str]]:
        """What takes the engine's traces away, in order; empty when there are none."""
        found: list[list[str]] = []
        names = sorted(os.listdir(_NET))
        bridges = [name for name in names if os.path.isdir(os.path.join(_NET, name, "bridge")) and self._ours(name)]
        for tool in _TOOLS:
            if commands.has(tool):
                before = parse(self.note.get("tools", {}).get(tool, "")) if self.noted() else None
                for table, now in parse(commands.run(tool + "-save")).items():
                    found += [[tool, "-w", "-t", table, *words] for words in self._table(table, now, before)]
        found += [["ip", "link", "delete", name] for name in bridges]
        return found

    def _ours(self, interface: str) -> bool:
        return any(fnmatch.fnmatchcase(interface, pattern) for pattern in self.interfaces)

    def _table(self, table: str, now: dict[str, Any], before: Tables | None) -> list[list[str]]:
        chains = [name for name in now["chains"] if self.chains and name.startswith(tuple(self.chains))]
        found = [
            ["-D", *rule]
            for rule in now["rules"]
            if rule[0] not in chains
            and (_jumps_to(rule, chains) or any(self._ours(name) for name in _interfaces(rule)))
        ]
        rest = len(now["rules"]) - len(found) - len([rule for rule in now["rules"] if rule[0] in chains])
        found += [["-F", name] for name in chains] + [["-X", name] for name in chains]
        if before is None:
            return found
        if table not in before and not rest and len(chains) == len(now["chains"]):
            policies = [["-P", chain, "ACCEPT"] for chain, policy in now["policies"].items() if policy != "ACCEPT"]
            return (
                found + policies + [["-X"]]
            )  # of nftables' tables this takes the empty chains of the kernel's hooks too
        earlier = before.get(table, {}).get("policies", {})
        for chain, policy in now["policies"].items():
            if earlier.get(chain, "ACCEPT") != policy:
                found.append(["-P", chain, earlier.get(chain, "ACCEPT")])
        return found

    def forwarding(self) -> str:
        """What ip_forward is to be again: only when the last engine leaves."""
        before = self.note.get("ip_forward", "")
        return before if self._is_last() and before not in ("", files.read_text(_IP_FORWARD)) else ""

    def remove(self) -> None:
        """Take the traces away, and the note with the last engine."""
        self._lock()
        wanted, forwarding = self.commands(), self.forwarding()
        for words in wanted:
            commands.run(*words)
        if forwarding:
            files.write(_IP_FORWARD, forwarding.encode())
        if self.noted():
            self.note["engines"].remove(self.engine)
            self._write()


def parse(text: str) -> Tables:
    """The tables in what iptables-save(8) writes."""
    tables: Tables = {}
    now: dict[str, Any] = {}
    for line in text.splitlines():
        if line.startswith("*"):
            now = tables.setdefault(line[1:], {"policies": {}, "chains": [], "rules": []})
        elif line.startswith(":"):
            chain, policy = line[1:].split()[:2]
            now["chains"].append(chain) if policy == "-" else now["policies"].update({chain: policy})
        elif line.startswith("-A "):
            now["rules"].append(shlex.split(line)[1:])
    return tables


def _jumps_to(rule: list[str], chains: list[str]) -> bool:
    return any(word in ("-j", "-g") and target in chains for word, target in zip(rule, rule[1:]))


def _interfaces(rule: list[str]) -> list[str]:
    return [name for word, name in zip(rule, rule[1:]) if word in ("-i", "-o")]
