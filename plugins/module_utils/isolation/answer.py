# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""The answer of the script, as topic -> item -> value; docs/isolation.md tells what each means.

What differs from one container to the next of the same engine, as ids, is replaced by what it is.
"""

from __future__ import annotations

import re

from ..linux import capabilities, mounts
from ..linux.errors import OcilabError
from . import calls, mounted, script

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable

    Findings = dict[str, dict[str, str]]

MODES = {"0": "disabled", "1": "strict", "2": "filter"}
_UNLIMITED_BYTES = 1 << 60  # cgroup v1 writes no limit as the largest number of pages
_ID = re.compile(r"[0-9a-f]{12,}")
_RLIMITS = {
    "Max cpu time": "cpu",
    "Max file size": "fsize",
    "Max data size": "data",
    "Max stack size": "stack",
    "Max core file size": "core",
    "Max resident set": "rss",
    "Max processes": "nproc",
    "Max open files": "nofile",
    "Max locked memory": "memlock",
    "Max address space": "as",
    "Max file locks": "locks",
    "Max pending signals": "sigpending",
    "Max msgqueue size": "msgqueue",
    "Max nice priority": "nice",
    "Max realtime priority": "rtprio",
    "Max realtime timeout": "rttime",
}


class IncompleteAnswer(OcilabError):
    """The container did not tell all; findings holds what it told."""

    def __init__(self, message: str, findings: Findings) -> None:
        super().__init__(message)
        self.findings = findings


def findings(output: str, container_id: str, host_namespaces: dict[str, str], machine: str) -> Findings:
    """What the output of the script tells. host_namespaces: the links below /proc/self/ns of the host, by kind.

    Raises IncompleteAnswer.
    """
    answer = _sections(output)
    status = fields(answer.get("status", ""))
    table = mounts.parse(answer.get("mountinfo", ""))
    devices = _devices(answer.get("devices", ""))
    found: Findings = {
        "capability": _capabilities(status),
        "seccomp": {"mode": MODES.get(status.get("Seccomp", ""), "unknown")},
        "syscall": _calls(answer.get("calls", ""), machine),
        "process": _process(status),
        "namespace": _namespaces(answer.get("namespaces", ""), host_namespaces),
        "id_map": {kind: id_map(answer[kind + "_map"]) for kind in ("uid", "gid") if kind + "_map" in answer},
        "path": mounted.paths(answer.get("paths", "").split(), table),
        "device": devices,
        "mount": mounted.others(table, devices),
        "sysctl": _sysctls(answer),
        "lsm": {"label": label(answer.get("attr/current", ""))},
        "cgroup": _cgroup(answer, table, container_id),
        "rlimit": _rlimits(answer.get("limits", "")),
        "environment": _environment(answer.get("environment", ""), answer.get("hostname", "")),
    }
    found = {topic: dict(sorted(items.items())) for topic, items in found.items() if items}
    if not status:
        raise IncompleteAnswer("the container told nothing of its process: /proc or a shell is missing in it", found)
    if len(found.get("syscall", {})) != len(calls.of(machine)):
        raise IncompleteAnswer("the system calls could not be tried in the container", found)
    return found


def _sections(output: str) -> dict[str, str]:
    """Name -> text; what an environment holds is the last, and may hold anything."""
    result: dict[str, str] = {}
    name = ""
    for line in output.splitlines():
        if line.startswith(script.MARK) and name != "environment":
            name = line[len(script.MARK) :]
            result[name] = ""
        else:
            result[name] = result.get(name, "") + line + "\n"
    return {name: text.strip() for name, text in result.items()}


def fields(text: str) -> dict[str, str]:
    """The lines 'Name: value' of a status file (proc(5))."""
    pairs = (line.partition(":") for line in text.splitlines())
    return {name: value.strip() for name, _colon, value in pairs}


def _capabilities(status: dict[str, str]) -> dict[str, str]:
    effective, bounding = (int(status.get(name, "0"), 16) for name in ("CapEff", "CapBnd"))
    result = {}
    for number, name in enumerate(capabilities.NAMES):
        held = "bounding" if bounding >> number & 1 else "absent"
        result["CAP_" + name] = "effective" if effective >> number & 1 else held
    return result if "CapEff" in status else {}


def _calls(text: str, machine: str) -> dict[str, str]:
    answers = zip(calls.of(machine), text.split())
    told = {call.name: call.answer(int(word, 16)) for call, word in answers}
    return {name: answer for name, answer in told.items() if answer}


def _process(status: dict[str, str]) -> dict[str, str]:
    if not status:
        return {}
    result = {name: status[field].split()[1] for name, field in (("uid", "Uid"), ("gid", "Gid")) if field in status}
    result["groups"] = status.get("Groups", "") or "none"
    result["no_new_privs"] = yes(status.get("NoNewPrivs"))
    if "Umask" in status:
        result["umask"] = status["Umask"]
    return result


def yes(flag: str | None) -> str:
    """A flag of a status file as a word."""
    return {"0": "no", "1": "yes"}.get(flag or "", "unknown")


def _namespaces(text: str, host: dict[str, str]) -> dict[str, str]:
    pairs = (line.partition(" ") for line in text.splitlines())
    return {kind: "shared" if link == host.get(kind) else "own" for kind, _space, link in pairs}


def id_map(text: str) -> str:
    """'0 100000 65536; ...' for the lines of a uid_map."""
    return "; ".join(" ".join(line.split()) for line in text.splitlines())


def _devices(text: str) -> dict[str, str]:
    """'c 1:3 666' by path, from lines of stat(1), with numbers as it writes them, hexadecimal."""
    result = {}
    for line in text.splitlines():
        parts = line.split("|")
        if len(parts) == 5:
            path, kind, major, minor, mode = parts
            result[path] = "%s %d:%d %s" % (kind[0], int(major, 16), int(minor, 16), mode)
    return result


def _sysctls(answer: dict[str, str]) -> dict[str, str]:
    names = ((name, "sysctl:" + name.replace(".", "/")) for name in script.SYSCTLS)
    return {name: " ".join(answer[section].split()) for name, section in names if answer.get(section)}


def label(text: str) -> str:
    """The label of an LSM; none without one."""
    return text.strip("\0 \n") or "none"


def _cgroup(answer: dict[str, str], table: list[dict[str, str]], container_id: str) -> dict[str, str]:
    result = mounted.cgroups(table)
    result["view"] = cgroup_path(answer.get("cgroup", ""), container_id)
    for name, files in script.LIMITS.items():
        told = [answer["limit:" + file] for file in files if answer.get("limit:" + file)]
        if told:
            result[name] = _LIMIT_FORMS.get(name, _plain)(told[0])
    return result


def cgroup_path(text: str, container_id: str) -> str:
    """The path in a cgroup file (proc(5)): of the hierarchy with memory, else of v2; what is the container's is ID."""
    paths: dict[str, str] = {}
    for line in text.splitlines():
        _number, controllers, path = line.split(":", 2)
        paths.update((name, path) for name in controllers.split(","))
    found = next((paths[name] for name in ("memory", "pids", "") if name in paths), "none")
    return _ID.sub("ID", found.replace(container_id, "ID"))


def _plain(text: str) -> str:
    return "; ".join(sorted(text.splitlines()))


def _bytes(text: str) -> str:
    return "max" if text.isdigit() and int(text) >= _UNLIMITED_BYTES else text


def _quota(text: str) -> str:
    """cpu.max; v1's quota alone, -1 for none."""
    return "max" if text.split(maxsplit=1)[0] in ("-1", "max") else text


_LIMIT_FORMS: dict[str, Callable[[str], str]] = {
    "memory.max": _bytes,
    "memory.swap.max": _bytes,
    "cpu.max": _quota,
}


def _rlimits(text: str) -> dict[str, str]:
    result = {}
    for title, name in _RLIMITS.items():
        found = re.search(r"^%s +(\S+) +(\S+)" % title, text, re.MULTILINE)
        if found:
            result[name] = "%s:%s" % found.groups()
    return result


def _environment(text: str, hostname: str) -> dict[str, str]:
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line)
    return {name: _value(name, value, hostname) for name, _equals, value in pairs}


def _value(name: str, value: str, hostname: str) -> str:
    if name == "HOSTNAME" and (value == hostname or _ID.fullmatch(value)):
        return "the container's name"
    if name == "container_uuid":
        return "an id"
    return re.sub(r"://[^/@\s]*@", "://***@", value)  # an engine passes on the host's proxy with its password
