# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""How the engines of a host are hardened: items as the CIS benchmarks have them, with their reasons. It only reads."""

from __future__ import annotations

import glob
import os
import re

from ..linux import files, lsm
from ..linux.errors import OcilabError
from ..provisioning import commands, subids
from . import hardening_docker, items

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Iterable

_PROGRAMS = {"lxc": "lxc-start"}
_LXC_DEFAULT = "/etc/lxc/default.conf"
_WRITTEN_BY_ROOT = "the configuration is root's alone to write"
_RUNS_AS_ROOT = "who writes it runs programs as root"
_KEPT = "images and containers are nobody else's to read"
_SECRETS = "files of containers may be secret, and setuid"


def report(engine: str) -> list[dict[str, str]]:
    """[{"engine", "id", "title", "state", "reason", "found"}] of an engine by its name. Raises OcilabError."""
    return [dict(item, engine=engine) for item in _REPORTS[engine]()]


def of_host(names: Iterable[str]) -> list[dict[str, str]]:
    """Of all engines among the names that are installed. Raises OcilabError."""
    installed = [engine for engine in ENGINES if engine in names and commands.has(_PROGRAMS.get(engine, engine))]
    return [item for engine in installed for item in report(engine)]


def _podman() -> list[items.Item]:
    driver = _told("podman", "info", "--format", "{{.Host.LogDriver}}")
    ranges = [subids.read(path) for path in subids.FILES.values()]
    shared = [
        "%s %s and %s %s" % (one.user, one, other.user, other)
        for of_file in ranges
        for number, one in enumerate(of_file)
        for other in of_file[number + 1 :]
        if one.overlaps(other)
    ]
    return [
        items.path(
            "podman-socket",
            "the socket is root's alone",
            "/run/podman/podman.sock",
            0o660,
            "who opens it is root of the host",
        ),
        items.listening("podman-tcp", ["podman"], False, "who reaches the API of root's Podman is root of the host"),
        items.judged(
            "podman-logs",
            "logs of containers are rotated",
            driver in ("journald", "none", "passthrough"),
            "a container that talks does not fill the disk",
            "driver %s" % driver,
        ),
        items.judged(
            "podman-subids",
            "no two users have the same subordinate ids",
            not shared,
            "containers of one user would be those of another to the host",
            "; ".join(shared),
        ),
        items.paths("podman-configuration", _WRITTEN_BY_ROOT, _configuration("containers"), 0o644, _RUNS_AS_ROOT),
        items.path("podman-data", _KEPT, "/var/lib/containers/storage", 0o711, _SECRETS),
        items.not_applicable(
            "podman-no-new-privileges",
            "processes of containers gain no new privileges",
            "Podman has it for a container (--security-opt no-new-privileges), not for all",
        ),
    ]


def _containerd() -> list[items.Item]:
    socket = "/run/containerd/containerd.sock"
    return [
        items.path(
            "containerd-socket", "the socket is root's alone", socket, 0o660, "who opens it is root of the host"
        ),
        items.listening("containerd-tcp", ["containerd"], _streams_by_tls(), "it runs whatever it is asked to as root"),
        items.paths("containerd-configuration", _WRITTEN_BY_ROOT, _configuration("containerd"), 0o644, _RUNS_AS_ROOT),
        items.path("containerd-state", "its folder of state is nobody else's", "/run/containerd", 0o711, _SECRETS),
        items.path("containerd-data", _KEPT, "/var/lib/containerd", 0o711, _SECRETS),
    ]


def _streams_by_tls() -> bool:
    found = re.search(r"^\s*enable_tls_streaming = (\w+)", _told("containerd", "config", "dump"), re.MULTILINE)
    return bool(found) and found.group(1) == "true"  # type: ignore[union-attr]


def _crio() -> list[items.Item]:
    socket = "/run/crio/crio.sock"
    return [
        items.path("crio-socket", "the socket is root's alone", socket, 0o660, "who opens it is root of the host"),
        items.listening("crio-tcp", ["crio"], False, "it runs whatever it is asked to as root"),
        items.paths("crio-configuration", _WRITTEN_BY_ROOT, _configuration("crio"), 0o644, _RUNS_AS_ROOT),
        items.path("crio-data", _KEPT, "/var/lib/containers/crio", 0o711, _SECRETS),
    ]


def _lxc() -> list[items.Item]:
    settings = _settings(_LXC_DEFAULT)
    maps = settings.get("lxc.idmap", [])
    mapped = bool(maps) and all(line.split()[2:3] != ["0"] for line in maps)
    confined = settings.get("lxc.apparmor.profile", ["generated"])[-1] != "unconfined"
    label, why = "containers are confined by AppArmor", "what a container's root may still do to the host ends there"
    return [
        items.judged(
            "lxc-idmap",
            "root of a new container is nobody on the host",
            mapped,
            "whoever breaks out is no root",
            "; ".join(maps) or "no lxc.idmap",
        ),
        items.judged("lxc-apparmor", label, confined, why)
        if lsm.has_apparmor()
        else items.not_applicable("lxc-apparmor", label, "this kernel has no AppArmor"),
        items.path("lxc-configuration", _WRITTEN_BY_ROOT, _LXC_DEFAULT, 0o644, _RUNS_AS_ROOT),
        items.path("lxc-data", "containers are root's alone to write", "/var/lib/lxc", 0o755, _RUNS_AS_ROOT),
        items.listening("lxc-tcp", ["lxc-start", "lxc-monitord"], False, "nothing of LXC wants a network"),
    ]


def _settings(path: str) -> dict[str, list[str]]:
    """A configuration of LXC: the values of each key."""
    found: dict[str, list[str]] = {}
    for line in files.read_text(path).splitlines() if os.path.exists(path) else []:
        key, equals, value = line.partition("=")
        if equals and not line.lstrip().startswith("#"):
            found.setdefault(key.strip(), []).append(value.strip())
    return found


def _labrun() -> list[items.Item]:
    return [
        items.path("labrun-command", "the command is root's alone to write", _path("labrun"), 0o755, _RUNS_AS_ROOT),
        items.path("labrun-state", "its state is root's alone to write", "/run/labrun", 0o755, _RUNS_AS_ROOT),
        items.path("labrun-data", _KEPT, "/var/lib/labrun", 0o711, _SECRETS),
        items.listening("labrun-tcp", ["labrun"], False, "nothing of labrun wants a network"),
    ]


def _configuration(name: str) -> list[str]:
    return [path for path in glob.glob("/etc/%s/**" % name, recursive=True) if os.path.isfile(path)]


def _path(program: str) -> str:
    return next(
        (path for path in ("/usr/local/bin/" + program, "/usr/bin/" + program) if os.path.exists(path)), program
    )


def _told(*words: str) -> str:
    """What a command says of its engine; nothing where it does not work, which is no matter of hardening."""
    try:
        return commands.run(*words, timeout_s=30).strip()
    except OcilabError:
        return ""


_REPORTS: dict[str, Callable[[], list[items.Item]]] = {
    "docker": hardening_docker.report,
    "podman": _podman,
    "containerd": _containerd,
    "crio": _crio,
    "lxc": _lxc,
    "labrun": _labrun,
}
ENGINES = tuple(_REPORTS)
