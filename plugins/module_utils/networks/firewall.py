# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""What the plugins leave on the host, and setting it back: iptables chains that they share, forwarding, the bridge.

Podman's CNI uses chains of the same names: none is removed that still holds a rule, or that was there before us.
"""

from __future__ import annotations

import subprocess

from ..linux import files, netlink
from ..linux.errors import OcilabError, Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_FORWARD = "/proc/sys/net/ipv4/ip_forward"
# (table, chain, the target of the rule that it always has, twice where two plugins made it at once) of the plugins
# firewall and portmap
_SHARED = (
    ("filter", "CNI-FORWARD", "CNI-ADMIN"),
    ("filter", "CNI-ADMIN", ""),
    ("nat", "CNI-HOSTPORT-DNAT", ""),
    ("nat", "CNI-HOSTPORT-SETMARK", "MARK"),
    ("nat", "CNI-HOSTPORT-MASQ", "MASQUERADE"),
)
# Those that go together: the second and the later ones only where the first is unused.
_GROUPS = (_SHARED[:2], _SHARED[2:])
_TIMEOUT_S = 30.0


def _iptables(*words: str) -> tuple[int, str]:
    """(exit code, output) of iptables, which waits for its lock. Raises Unsupported where there is none."""
    try:
        done = subprocess.run(
            ["iptables", "-w", "10", *words],
            capture_output=True,
            timeout=_TIMEOUT_S,
            env={"PATH": "/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin", "LC_ALL": "C"},
            check=False,
        )
    except FileNotFoundError:
        raise Unsupported("iptables: not on this host, and CNI's plugins need it; install it") from None
    return done.returncode, (done.stdout or done.stderr).decode("utf-8", "replace").strip()


def _change(*words: str) -> None:
    code, output = _iptables(*words)
    if code:
        raise OcilabError("iptables %s: %s" % (" ".join(words), " ".join(output.split("\n"))))


def _rules(table: str) -> list[list[str]]:
    """Every line of iptables -S as its words, which a comment's quotes hold together."""
    import shlex

    return [shlex.split(line) for line in _iptables("-t", table, "-S")[1].splitlines() if line.startswith("-")]


def before() -> dict[str, Any]:
    """How the host is: {"ip_forward": "0" or "1", "chains": ["TABLE CHAIN" of those that plugins share]}."""
    chains = []
    for table in ("filter", "nat"):
        present = {rule[1] for rule in _rules(table) if rule[0] == "-N"}
        chains += ["%s %s" % (table, chain) for name, chain, _target in _SHARED if name == table and chain in present]
    return {"ip_forward": files.read_text(_FORWARD), "chains": chains}


def make_shared(noted: dict[str, Any]) -> None:
    """Make the chains that plugins share, but for those that were there before; noted is before()'s.

    Of two plugins that find a chain missing at the same time one would fail, as neither holds a lock meanwhile.
    """
    for table, chain, _target in _SHARED:
        if "%s %s" % (table, chain) not in noted["chains"]:
            _iptables("-t", table, "-N", chain)  # exit 1: another engine has made it meanwhile


def hide_loopback(network: str, bridge: str) -> None:
    """Drop what comes from the bridge for the loopback network. Raises OcilabError.

    The plugin portmap lets the bridge route to it (route_localnet), for ports that are reached at 127.0.0.1; containers
    would reach by that what listens on the host's loopback device only (CVE-2020-8558).
    """
    _ensure(*_hiding(network, bridge))


def admit_published(network: str, bridge: str) -> None:
    """Accept what published ports lead into the network, where FORWARD is DROP by default, as Docker sets it.

    The plugin firewall, which has made the chain, accepts only what the containers begin. Raises OcilabError.
    """
    _ensure(*_admission(network, bridge))


def _hiding(network: str, bridge: str) -> tuple[str, str, list[str]]:
    return "raw", "PREROUTING", ["-i", bridge, "-d", "127.0.0.0/8", *_comment(network), "-j", "DROP"]


def _admission(network: str, bridge: str) -> tuple[str, str, list[str]]:
    rule = ["-o", bridge, "-m", "conntrack", "--ctstate", "DNAT", *_comment(network), "-j", "ACCEPT"]
    return "filter", "CNI-FORWARD", rule


def _comment(network: str) -> list[str]:
    return ["-m", "comment", "--comment", "labrun network %s: published ports" % network]


def _ensure(table: str, chain: str, rule: list[str]) -> None:
    if _iptables("-t", table, "-C", chain, *rule)[0]:
        _change("-t", table, "-A", chain, *rule)


def forget_published(network: str, bridge: str) -> None:
    """Take back hide_loopback() and admit_published()."""
    for table, chain, rule in (_hiding(network, bridge), _admission(network, bridge)):
        while _iptables("-t", table, "-D", chain, *rule)[0] == 0:
            pass


def sweep(cni_id: str, address: str) -> None:
    """Remove the rules and chains of one container that its plugins' DEL has left, as where one was uninstalled.

    The plugin bridge leaves its masquerading where the namespace is gone before DEL; those of bridge and portmap bear
    the container in a comment, those of firewall its address, '' for none. Raises OcilabError.
    """
    mark = 'id: "%s"' % cni_id
    for table in ("nat", "filter"):
        rules = _rules(table)
        chains = set()
        for rule in rules:
            if rule[0] == "-A" and (any(mark in word for word in rule) or _is_about(rule, address)):
                _change("-t", table, "-D", *rule[1:])
                chains |= {rule[1], rule[-1]}
        shared = {chain for _table, chain, _target in _SHARED}
        for chain in sorted(chains):
            if chain.startswith("CNI-") and chain not in shared and ["-N", chain] in rules:
                _change("-t", table, "-F", chain)
                _change("-t", table, "-X", chain)


def _is_about(rule: list[str], address: str) -> bool:
    return bool(address) and rule[1] == "CNI-FORWARD" and address + "/32" in rule


def restore(noted: dict[str, Any]) -> None:
    """Set the host back to what before() noted, as far as nobody else needs what is there now."""
    for group in _GROUPS:
        table = group[0][0]
        rules = _rules(table)
        if any("%s %s" % (table, chain) in noted["chains"] for _table, chain, _target in group):
            continue
        if any(_is_used(rules, chain, target) for _table, chain, target in group):
            continue
        for _table, chain, _target in group:
            _remove_chain(table, chain, rules)
    if noted["ip_forward"] == "0" and not any(link["kind"] == "bridge" for link in netlink.links()):
        files.write(_FORWARD, b"0")


def _is_used(rules: list[list[str]], chain: str, target: str) -> bool:
    """Whether the chain has a rule that leads elsewhere than the one that it always has."""
    return any(rule[:2] == ["-A", chain] and (not target or ["-j", target] != _jump(rule)) for rule in rules)


def _jump(rule: list[str]) -> list[str]:
    return rule[rule.index("-j") :][:2] if "-j" in rule else []


def _remove_chain(table: str, chain: str, rules: list[list[str]]) -> None:
    if ["-N", chain] not in rules:
        return
    for rule in rules:
        if rule[0] == "-A" and rule[1] != chain and rule[-2:] == ["-j", chain]:
            _iptables("-t", table, "-D", *rule[1:])
    _change("-t", table, "-F", chain)
    _change("-t", table, "-X", chain)
