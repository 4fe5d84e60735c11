# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""How Docker's daemon is hardened: by what it tells of itself, its configuration, and its files."""

from __future__ import annotations

import json
import os

from ..linux import files
from ..linux.errors import OcilabError
from ..provisioning import commands
from . import items

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

CONFIGURATION = "/etc/docker/daemon.json"
_SOCKET = "/run/docker.sock"
_NO_ANSWER = "the daemon does not answer"
# Drivers that keep no file which only grows.
_ROTATED = ("local", "journald", "syslog", "none")


def report() -> list[items.Item]:
    """The items of Docker. Raises OcilabError."""
    settings, info = _settings(), _info()
    return [*_containers(settings, info), *_daemon(settings, info), *_files(settings, info)]


def _settings() -> dict[str, Any]:
    """daemon.json, with what the daemon's command line says beside it."""
    try:
        read = json.loads(files.read(CONFIGURATION))
    except (OSError, ValueError):
        read = {}
    settings = read if isinstance(read, dict) else {}
    for word in _command_line():
        name, equals, value = word.lstrip("-").partition("=")
        if word.startswith("--"):
            settings.setdefault(name, value if equals else True)
    return settings


def _command_line() -> list[str]:
    code, output = commands.attempt("systemctl", "show", "--property", "MainPID", "--value", "docker.service")
    pid = output.strip()
    if code or not pid.isdigit() or pid == "0":
        return []
    return files.read("/proc/%s/cmdline" % pid).decode("utf-8", "replace").split("\0")[1:]


def _info() -> dict[str, Any]:
    """What the daemon tells; {} where it does not answer."""
    try:
        told = json.loads(_docker("info", "--format", "{{json .}}"))
    except (OcilabError, ValueError):
        return {}
    return dict(told) if told.get("ServerVersion") else {}


def _docker(*words: str) -> str:
    return commands.run("docker", *words, timeout_s=20)


def _containers(settings: dict[str, Any], info: dict[str, Any]) -> list[items.Item]:
    """What concerns the containers that it makes."""
    icc = not _is_false(settings.get("icc"))
    if info:
        options = json.loads(_docker("network", "inspect", "bridge", "--format", "{{json .Options}}"))
        icc = options.get("com.docker.network.bridge.enable_icc") != "false"
    remapped = any("name=userns" in option for option in info.get("SecurityOptions") or [])
    rootless = any("name=rootless" in option for option in info.get("SecurityOptions") or [])
    profile = [option for option in info.get("SecurityOptions") or [] if option.startswith("name=seccomp")]
    return [
        items.judged(
            "docker-icc",
            "containers of the default bridge do not reach each other",
            not icc,
            "a container that was broken into does not see its neighbours; networks of one's own connect on purpose",
            "icc is %s" % ("on" if icc else "off"),
        ),
        items.judged(
            "docker-no-new-privileges",
            "processes of containers gain no new privileges",
            settings.get("no-new-privileges") is True,
            "a setuid program in an image makes nobody root",
        ),
        items.judged(
            "docker-userns",
            "root of a container is nobody on the host",
            remapped or rootless,
            "whoever breaks out is no root; it is an option (userns-remap), as volumes have other owners then",
            "remapped" if remapped else "rootless" if rootless else "not remapped",
        ),
        items.judged(
            "docker-seccomp",
            "containers have a seccomp profile",
            bool(profile) and "unconfined" not in profile[0],
            "system calls that containers do not need are not theirs to try",
            profile[0] if profile else "none",
        )
        if info
        else items.not_applicable("docker-seccomp", "containers have a seccomp profile", _NO_ANSWER),
    ]


def _daemon(settings: dict[str, Any], info: dict[str, Any]) -> list[items.Item]:
    driver = str(info.get("LoggingDriver") or settings.get("log-driver") or "json-file")
    rotated = driver in _ROTATED or (driver == "json-file" and "max-size" in (settings.get("log-opts") or {}))
    live = info.get("LiveRestoreEnabled", settings.get("live-restore") is True)
    trusted = [
        name
        for name in (info.get("RegistryConfig") or {}).get("InsecureRegistryCIDRs") or []
        if not str(name).startswith("127.") and str(name) != "::1/128"
    ] + list(settings.get("insecure-registries") or [])
    return [
        items.judged(
            "docker-live-restore",
            "containers outlive a restart of the daemon",
            bool(live),
            "an update of the daemon stops nothing; a swarm wants it off",
        ),
        items.judged(
            "docker-logs",
            "logs of containers are rotated",
            rotated,
            "a container that talks does not fill the disk",
            "driver %s" % driver,
        ),
        items.judged(
            "docker-userland-proxy",
            "published ports have no process each",
            _is_false(settings.get("userland-proxy")),
            "the kernel forwards them, and a container sees who calls",
        ),
        items.judged(
            "docker-registries",
            "registries are spoken to by TLS",
            not trusted,
            "an image that was changed on its way would run",
            "without TLS: " + ", ".join(map(str, trusted)) if trusted else "",
        ),
        items.listening(
            "docker-tcp", ["dockerd"], bool(settings.get("tlsverify")), "who reaches the API is root of the host"
        ),
    ]


def _files(settings: dict[str, Any], info: dict[str, Any]) -> list[items.Item]:
    key = str(settings.get("tlskey") or "/etc/docker/tls/server-key.pem")
    root = str(info.get("DockerRootDir") or settings.get("data-root") or "/var/lib/docker")
    return [
        items.path(
            "docker-configuration",
            "the configuration is root's alone to write",
            CONFIGURATION,
            0o644,
            "who writes it runs programs as root",
        ),
        items.path(
            "docker-socket",
            "the socket is for root and the group docker",
            _SOCKET,
            0o660,
            "who opens it is root of the host",
            group="docker",
        ),
        items.path(
            "docker-key",
            "the server's key is root's alone to read",
            key,
            0o600,
            "who has it is the server to every client",
        ),
        items.path(
            "docker-data",
            "images and containers are nobody else's to read",
            # With remapped users it is a folder of that name below, and the one above is what keeps others out.
            os.path.dirname(root) if os.path.basename(root).replace(".", "").isdigit() else root,
            0o711,
            "files of containers may be secret, and setuid",
        ),
    ]


def _is_false(value: Any) -> bool:
    return value is False or value == "false"
