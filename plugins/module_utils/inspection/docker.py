# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""Docker by its REST API, over its unix socket or over TLS; also Docker Desktop, whose daemon is in a machine."""

from __future__ import annotations

import contextlib
import json
import os
import shutil

from ..engines import components, engine
from . import shape, sockets
from .http import Certificates, Client
from .inspector import Inspector

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from .services import Units

_SOCKET = "/var/run/docker.sock"
_NOBODY = "unix:///nonexistent/docker.sock"
_DEFAULT = "default"  # the context without a file
_COMMAND_TIMEOUT_S = 20.0
_NEWEST_API = (1, 51)  # after it /system/df has another form
_RUNNING = ("running", "paused", "restarting")
_LOCAL = ("localhost", "127.0.0.1", "[::1]")
_DESKTOP = "Docker Desktop"
_DESKTOP_NOTE = (
    "Docker Desktop: its daemon, its containers and their processes are in a virtual machine of its own, so that this"
    " host sees only the client and its socket"
)
_REMOTE_NOTE = "Docker is at %s: its service, its files and its processes are not this host's"


class Docker(Inspector):
    kind = "client-server"
    unit = "docker.service"
    monitor = "containerd-shim-runc-v2"

    def __init__(self, name: str, settings: Any) -> None:
        super().__init__(name, settings)
        self.context = ""
        self.client: str | None = None
        self.version: dict[str, Any] = {}
        self.told_of = False  # whether its parts are those that it tells of, not those that are seen on this host

    def _address(self) -> str:
        """The address that is given, or else the one that Docker's command would use."""
        address = self.settings.docker_host or os.environ.get("DOCKER_HOST", "")
        if address:
            return str(address)
        self.context = os.environ.get("DOCKER_CONTEXT") or _current_context() or _DEFAULT
        if self.context == _DEFAULT:
            return "unix://" + _SOCKET
        return _command("context", "inspect", "--format", "{{.Endpoints.docker.Host}}", self.context).strip()

    def _certificates(self) -> Certificates:
        """Those that are given, or else those that the environment names for Docker's command."""
        folder = os.environ.get("DOCKER_CERT_PATH", "")
        if self.settings.certificates.given() or not folder or not os.environ.get("DOCKER_TLS_VERIFY"):
            return self.settings.certificates
        return Certificates(*(os.path.join(folder, name) for name in ("ca.pem", "cert.pem", "key.pem")))

    def fill(self, found: dict[str, Any], units: Units) -> None:
        self.client = found["version"]["client"] = _client_version()
        self.address = self._address()
        path = self.address[len("unix://") :] if self.address.startswith("unix://") else ""
        found["sockets"] = [one for one in [sockets.describe(path)] if one] if path else []
        asleep = units.asleep_behind(path) if path else ""
        if asleep:
            raise engine.Unavailable("its daemon is down (%s), and to ask its socket would start it; start it" % asleep)
        with contextlib.closing(Client(self.address, self.settings.timeout_s, self._certificates())) as client:
            self._ask(client, found)
        if not path:
            found["sockets"] = [sockets.remote(self.address)]
        desktop = found["system"]["desktop"]
        self.told_of = desktop or not path
        if path and found["service"] and components.listener(path) != found["service"]["main_pid"]:
            found["service"] = None  # another daemon of this host, as a user's
        if desktop or not _is_local(self.address):
            found["service"] = None
            found["notes"].append(_DESKTOP_NOTE if desktop else _REMOTE_NOTE % self.address)

    def _ask(self, client: Client, found: dict[str, Any]) -> None:
        self.version = client.get("/version")
        newest = tuple(int(word) for word in self.version["ApiVersion"].split("."))
        base = "/v%d.%d" % min(newest, _NEWEST_API)
        describe(found, self.version, client.get(base + "/info"), self.context)
        found["disk_usage"] = disk_usage(client.get(base + "/system/df"))
        found["objects"] = {
            "containers": [_container(item) for item in client.get(base + "/containers/json?all=true")],
            "images": [_image(item) for item in client.get(base + "/images/json")],
            "networks": [_network(item) for item in client.get(base + "/networks")],
            "volumes": [_volume(item) for item in client.get(base + "/volumes")["Volumes"] or []],
        }

    def components(self) -> list[dict[str, Any]]:
        if not self.told_of:
            with _environment("DOCKER_HOST", self.address):
                return super().components()
        path = shutil.which("docker")
        parts = [components.part("client", "docker", self.client, path, socket=self.address)] if path else []
        return parts + parts_told(self.version)


def describe(found: dict[str, Any], version: dict[str, Any], info: dict[str, Any], context: str = "") -> None:
    """Fill in version and system of the answers to /version and /info, or to the commands docker version and info."""
    client = version.get("Client") or {}
    server = version.get("Server") or version
    context = context or client.get("Context") or (info.get("ClientInfo") or {}).get("Context") or ""
    platform = (server.get("Platform") or {}).get("Name") or ""
    details = {item["Name"]: item["Version"] for item in server.get("Components") or [] if item["Name"] != "Engine"}
    details.update({key: value for key, value in (("platform", platform), ("context", context)) if value})
    known = found["version"]
    known["client"] = known["client"] or client.get("Version")
    known.update(server=server["Version"], api=server["ApiVersion"], details=details)
    options = [str(option) for option in info.get("SecurityOptions") or []]
    found["system"].update(
        storage_driver=info["Driver"],
        cgroup_driver=info["CgroupDriver"],
        cgroup_version="v" + info["CgroupVersion"] if info.get("CgroupVersion") else None,
        default_runtime=info["DefaultRuntime"],
        runtimes=sorted(info["Runtimes"] or {}),
        root_dir=info["DockerRootDir"],
        rootless="name=rootless" in options,
        security_options=options,
        kernel=info["KernelVersion"],
        os=info["OperatingSystem"],
        desktop=info["OperatingSystem"] == _DESKTOP or platform.startswith(_DESKTOP),
    )


def disk_usage(answer: dict[str, Any]) -> dict[str, Any]:
    """Of the answer to /system/df, counted as docker system df counts."""
    images = answer.get("Images") or []
    alone = [(item["Containers"] > 0, max(0, item["Size"] - max(0, item["SharedSize"]))) for item in images]
    containers = [(item["State"] in _RUNNING, item.get("SizeRw") or 0) for item in answer.get("Containers") or []]
    measured = [item.get("UsageData") or {} for item in answer.get("Volumes") or []]
    volumes = [(item.get("RefCount", 0) > 0, max(0, item.get("Size", 0))) for item in measured]
    cache = answer.get("BuildCache") or []
    steps = [(item["InUse"], 0 if item["Shared"] else item["Size"]) for item in cache]
    return {
        "images": shape.usage(alone, answer.get("LayersSize") or 0),
        "containers": shape.usage(containers),
        "volumes": shape.usage(volumes),
        "build_cache": shape.usage(steps),
    }


def parts_told(version: dict[str, Any]) -> list[dict[str, Any]]:
    """The parts of a daemon that may be anywhere, as it tells of them."""
    server = version.get("Server") or version
    roles = {"Engine": ("daemon", "dockerd"), "containerd": ("high-level runtime", "containerd")}
    parts = []
    for item in server.get("Components") or []:
        role, name = roles.get(item["Name"], ("low-level runtime", item["Name"]))
        if item["Name"] != "docker-init":
            parts.append(components.part(role, name, item["Version"]))
    return parts


def _command(*words: str) -> str:
    """What Docker's command answers to what needs no daemon. Older ones ask it all the same, and could wake it up."""
    return engine.run(["env", "DOCKER_HOST=" + _NOBODY, engine.find_command("docker"), *words], _COMMAND_TIMEOUT_S)


def _client_version() -> str | None:
    try:
        return components.version_in(_command("--version"))
    except (engine.Unavailable, engine.EngineFailed):
        return None  # what counts is the daemon


def _current_context() -> str:
    """The one that the user has chosen (docker context use), by Docker's documented file of settings."""
    folder = os.environ.get("DOCKER_CONFIG") or os.path.expanduser("~/.docker")
    try:
        with open(os.path.join(folder, "config.json")) as file:
            return str(json.load(file).get("currentContext") or "")
    except (OSError, ValueError, AttributeError):
        return ""


def _is_local(address: str) -> bool:
    place = address.partition("://")[2]
    return address.startswith("unix://") or place.rpartition(":")[0] in _LOCAL or place in _LOCAL


def _container(item: dict[str, Any]) -> dict[str, Any]:
    name = (item["Names"] or [""])[0].lstrip("/")
    return shape.container(item["Id"], name, item["Image"], item["State"], shape.moment(item["Created"]))


def _image(item: dict[str, Any]) -> dict[str, Any]:
    names = [name for name in item["RepoTags"] or [] if name != "<none>:<none>"]
    return shape.image(item["Id"], names, item["Size"])


def _network(item: dict[str, Any]) -> dict[str, Any]:
    ranges = (item.get("IPAM") or {}).get("Config") or []
    return shape.network(item["Name"], item["Driver"], [one["Subnet"] for one in ranges if one.get("Subnet")])


def _volume(item: dict[str, Any]) -> dict[str, Any]:
    return shape.volume(item["Name"], item["Driver"], item["Mountpoint"])


@contextlib.contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
