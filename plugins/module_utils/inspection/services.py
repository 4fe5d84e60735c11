# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""Services as systemd has them, all by one question; none is started by it."""

from __future__ import annotations

import os

from ..engines import engine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_PROPERTIES = (
    "Id,LoadState,ActiveState,SubState,UnitFileState,MainPID,MemoryCurrent,ActiveEnterTimestamp,Listen,Triggers"
)
_NOT_SET = (1 << 64) - 1


class Units:
    """Of the answer to show(): the named services, in that order, and behind them all sockets that systemd knows."""

    def __init__(self, services: list[str], text: str) -> None:
        found = _blocks(text)
        self._services = dict(zip(services, found))
        self._sockets = found[len(services) :]

    def service(self, name: str) -> dict[str, Any] | None:
        """{"unit", "load", "active", "enabled", "main_pid", "memory_bytes", "since"}; None without systemd."""
        if name not in self._services:
            return None
        known = self._services[name]
        memory = int(known["MemoryCurrent"]) if known.get("MemoryCurrent", "").isdigit() else _NOT_SET
        return {
            "unit": name,
            "load": known["LoadState"],
            "active": known["ActiveState"],
            "enabled": known.get("UnitFileState") or None,
            "main_pid": int(known.get("MainPID") or 0) or None,
            "memory_bytes": memory if memory != _NOT_SET else None,
            "since": _moment(known.get("ActiveEnterTimestamp", "")),
        }

    def asleep_behind(self, path: str) -> str:
        """The service that is down, and that systemd would start for whoever connects to the socket; or empty."""
        wanted = os.path.realpath(path)
        for unit in self._sockets:
            listens = [line.rpartition(" (")[0] for line in unit.get("Listen", "").splitlines()]
            # While its service runs, a socket's own state is "running".
            if unit.get("SubState") == "listening" and wanted in [os.path.realpath(one) for one in listens if one]:
                return unit.get("Triggers") or unit["Id"]
        return ""


def show(services: list[str], timeout_s: float) -> Units:
    """What systemd knows of the services now; of nothing on a host without systemd. Raises EngineFailed."""
    if not os.path.isdir("/run/systemd/system"):
        return Units([], "")
    words = ["env", "LC_ALL=C", "TZ=UTC", "systemctl", "show", "--property", _PROPERTIES]
    return Units(services, engine.run([*words, *services, "*.socket"], timeout_s))


def _blocks(text: str) -> list[dict[str, str]]:
    """The properties of each unit; lines of one property, as of several addresses, together."""
    result = []
    for block in filter(None, text.strip().split("\n\n")):
        known: dict[str, str] = {}
        for line in block.splitlines():
            name, _separator, value = line.partition("=")
            known[name] = known[name] + "\n" + value if name in known else value
        result.append(known)
    return result


def _moment(text: str) -> str | None:
    """What systemd writes as Wed 2026-11-25 21:40:30 UTC, empty for never."""
    words = text.split()
    if len(words) < 3:
        return None
    return "%sT%sZ" % (words[1], words[2])
