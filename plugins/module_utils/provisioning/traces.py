# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""What engines leave in the kernel when their last container is gone: chains and tables of the firewall, interfaces."""

from __future__ import annotations

import os
import re
import shlex

from ..linux.errors import InvalidInput
from . import commands

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Iterable

# Both kinds of iptables: which of them an engine has used is the choice of the host's alternatives at that time.
_PROGRAMS = ("iptables-nft", "ip6tables-nft", "iptables-legacy", "ip6tables-legacy")
_LEGACY_TABLES = {"iptables-legacy": "/proc/net/ip_tables_names", "ip6tables-legacy": "/proc/net/ip6_tables_names"}
_NAME = re.compile(r"[A-Za-z0-9_.-]+\Z")


def check(names: Iterable[str]) -> None:
    """Raise InvalidInput where one is no name of a chain, a table or an interface."""
    for name in names:
        if not _NAME.match(name):
            raise InvalidInput("%r: a name of letters, digits, '_', '.' and '-' is expected" % name)


class Traces:
    """chains: how names of iptables chains begin; tables: nftables' tables, as "inet lxc"; interfaces: their names."""

    def __init__(self, chains: list[str], tables: list[str], interfaces: list[str]) -> None:
        check([*chains, *interfaces, *(word for table in tables for word in table.split())])
        self._chains = tuple(chains)
        self._tables = tables
        self._interfaces = interfaces

    def commands(self) -> list[list[str]]:
        """The commands that remove what is there now. Raises OcilabError."""
        found = [
            ["ip", "link", "delete", name] for name in self._interfaces if os.path.exists("/sys/class/net/" + name)
        ]
        if self._chains:
            for program in _PROGRAMS:
                found += self._of(program)
        if self._tables and commands.has("nft"):
            there = set(commands.run("nft", "list", "tables").split("\n"))
            found += [["nft", "delete", "table", *table.split()] for table in self._tables if "table " + table in there]
        return found

    def _of(self, program: str) -> list[list[str]]:
        """Rules that name such a chain (jumps to it, and its own) first, then the chains."""
        if not commands.has(program) or not _in_use(program):
            return []
        code, output = commands.attempt(program + "-save")
        rules: list[list[str]] = []
        chains: list[list[str]] = []
        table = ""
        for line in output.splitlines() if code == 0 else []:
            words = shlex.split(line) if line[:1] in ("-", ":") else []
            if line.startswith("*"):
                table = line[1:]
            elif line.startswith(":") and words[0][1:].startswith(self._chains):
                chains.append([program, "-w", "-t", table, "-X", words[0][1:]])
            elif line.startswith("-A") and any(word.startswith(self._chains) for word in (words[1], *_target(words))):
                rules.append([program, "-w", "-t", table, "-D", *words[1:]])
        return rules + chains


def _target(words: list[str]) -> list[str]:
    return [words[at + 1] for at, word in enumerate(words[:-1]) if word in ("-j", "-g")]


def _in_use(program: str) -> bool:
    """Asking legacy iptables loads its kernel modules, with tables that nobody has made."""
    path = _LEGACY_TABLES.get(program)
    if path is None:
        return True
    try:
        with open(path, encoding="ascii") as file:
            return bool(file.read().strip())
    except OSError:
        return False
