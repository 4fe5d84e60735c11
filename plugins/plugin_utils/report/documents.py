# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""Documents of results (docs/results.schema.json), read, checked, and made small: a fleet is to fit in memory."""

from __future__ import annotations

import gc
import json
import marshal
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SCHEMA_VERSION = 2
_TOP = {
    "schema_version": int,
    "host": str,
    "environment": dict,
    "plan": dict,
    "engines": dict,
    "order": list,
    "info": dict,
    "machine": dict,
}
_OPTIONAL = (str, type(None))
_ENGINE = {
    "available": bool,
    "version": _OPTIONAL,
    "unavailable_reason": _OPTIONAL,
    "kind": str,
    "engine": str,
    "runtime": _OPTIONAL,
    "rootless": bool,
    "notes": str,
    "components": list,
    "benchmarks": dict,
    "isolation": (dict, type(None)),
}


class BadResults(Exception):
    """A file of results cannot be used; the text is one line."""


Key = tuple[str, str, str]  # engine, case, measure


@dataclass
class Host:
    """A host that was measured. Samples lie one after the other: those of keys[i] are the next lengths[i] values."""

    name: str
    environment: dict[str, Any]
    plan: dict[str, Any]
    machine: dict[str, Any]
    info: dict[str, Any]
    engines: dict[str, dict[str, Any]]  # as in the document, without benchmarks
    failures: list[tuple[str, str, int, str]]  # engine, case, index, message
    left_out: dict[tuple[str, str], str]  # (engine, case) -> why
    keys: list[Key] = field(default_factory=list)
    units: list[str] = field(default_factory=list)
    lengths: array[int] = field(default_factory=lambda: array("l"))
    values: array[float] = field(default_factory=lambda: array("d"))


@dataclass
class Unreached:
    """A host that was not reached."""

    name: str
    why: str
    time: str


@dataclass
class Run:
    """One run: the documents of a folder."""

    path: str
    hosts: list[Host]
    unreached: list[Unreached]

    @property
    def time(self) -> str:
        """When its first host was measured."""
        return min(
            [host.environment["time"] for host in self.hosts] + [item.time for item in self.unreached if item.time],
            default="",
        )


def load(results_dir: str) -> Run:
    """The documents of a folder, by the host's name. Raises BadResults."""
    paths = sorted(Path(results_dir).glob("*.json"))
    if not paths:
        raise BadResults(f"{results_dir}: there is no HOST.json in it; run the playbook ocilab.hosts.compare first")
    run = Run(results_dir, [], [])
    shared: dict[bytes, Any] = {}
    with _no_collector():
        for path in paths:
            _add(run, path, shared)
    return run


@contextmanager
def _no_collector() -> Iterator[None]:
    """Documents hold no cycles, and the collector would look through all of them again and again."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _add(run: Run, path: Path, shared: dict[bytes, Any]) -> None:
    document = _read(path)
    try:
        if "unreachable" in document:
            why, time = document["unreachable"], document.get("time", "")
            run.unreached.append(Unreached(_typed(document, "host", str), str(why), str(time)))
        else:
            run.hosts.append(_host(document, shared))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise BadResults(f"{path}: {_reason(error)}; docs/results.schema.json says what it must hold") from None


def _read(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise BadResults(f"{path}: not a JSON document: {error}; remove it or measure again") from None
    if not isinstance(document, dict) or document.get("schema_version") != SCHEMA_VERSION:
        raise BadResults(f"{path}: not results of schema version {SCHEMA_VERSION}; remove it or measure again")
    return document


def _reason(error: Exception) -> str:
    return f"{error} is missing" if isinstance(error, KeyError) else f"malformed: {error}"


def _typed(table: dict[str, Any], name: str, kind: Any) -> Any:
    if not isinstance(table[name], kind):
        raise TypeError(f"{name} is of the wrong type")
    return table[name]


def _host(document: dict[str, Any], shared: dict[bytes, Any]) -> Host:
    top = {name: _typed(document, name, kind) for name, kind in _TOP.items()}
    engines = {name: _engine(engine, shared) for name, engine in top["engines"].items()}
    host = Host(top["host"], top["environment"], top["plan"], top["machine"], top["info"], engines, [], {})
    for name in ("kernel", "distribution", "cgroup_mode", "cpu_model", "cpu_count", "storage", "load_average", "time"):
        host.environment[name]
    host.plan["profile"], host.plan["sizes"], host.machine["measured_alone"], host.machine["shared_with"]
    for name, engine in top["engines"].items():
        for case, result in engine["benchmarks"].items():
            _take(host, name, case, result)
    return host


def _engine(engine: dict[str, Any], shared: dict[bytes, Any]) -> dict[str, Any]:
    result = {name: _typed(engine, name, kind) for name, kind in _ENGINE.items() if name != "benchmarks"}
    if result["isolation"] is not None:
        # Most hosts find the same: one copy of each serves all.
        result["isolation"] = shared.setdefault(marshal.dumps(result["isolation"]), result["isolation"])
        _typed(result["isolation"], "findings", dict)
    return result


def _take(host: Host, engine: str, case: str, result: dict[str, Any]) -> None:
    for measure, found in result["measures"].items():
        if found["values"]:
            host.keys.append((engine, case, measure))
            host.units.append(found["unit"])
            host.lengths.append(len(found["values"]))
            host.values.extend(found["values"])
    for failure in result["failures"]:
        host.failures.append((engine, case, failure["index"], failure["message"]))
    if result["left_out"]:
        host.left_out[engine, case] = result["left_out"]
