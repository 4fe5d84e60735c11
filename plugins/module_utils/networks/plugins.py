# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""CNI plugins: finding and calling them (CNI specification 1.0, section 2 to 4)."""

from __future__ import annotations

import os
import subprocess

from ..linux import trace
from ..linux.errors import OcilabError, Unsupported
from ..spec import document

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

PATHS = ("/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni")
_VERSIONS = ("1.0.0", "0.4.0")  # the first with DEL after a failed ADD told in full, and the first with CHECK
_TIMEOUT_S = 60.0
_PROGRAMS = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class PluginFailed(OcilabError):
    """A CNI plugin refused or failed."""


def find(name: str) -> str:
    """The path of the plugin. Raises Unsupported."""
    for folder in PATHS:
        path = os.path.join(folder, name)
        if os.access(path, os.X_OK):
            return path
    raise Unsupported(
        "CNI plugin %s: not in %s; install Debian's containernetworking-plugins" % (name, " or ".join(PATHS))
    )


def common_version(names: list[str]) -> str:
    """The newest version of the specification that we and all these plugins speak. Raises Unsupported."""
    spoken = [set(_run(name, {"CNI_COMMAND": "VERSION"}, {}).get("supportedVersions") or []) for name in names]
    for version in _VERSIONS:
        if all(version in versions for versions in spoken):
            return version
    raise Unsupported("CNI plugins %s: they do not all speak version %s" % (", ".join(names), _VERSIONS[-1]))


class Call:
    """What all calls for one interface of one container share.

    plugins: their configurations, in order; version, network: of the list; busy_fd: a descriptor that plugins and what
    they start keep open, so that its lock tells when they have ended, whatever became of us.
    """

    def __init__(self, entry: dict[str, Any], netns: str, busy_fd: int) -> None:
        self.entry = entry
        self.netns = netns
        self.busy_fd = busy_fd

    def add(self) -> dict[str, Any]:
        """ADD of each plugin; the last result. Raises PluginFailed, Unsupported; the caller has to call delete()."""
        result: dict[str, Any] = {}
        for plugin in self.entry["plugins"]:
            result = self._one("ADD", plugin, result)
        return result

    def check(self, result: dict[str, Any]) -> None:
        """CHECK of each plugin against the result of add(). Raises PluginFailed."""
        for plugin in self.entry["plugins"]:
            self._one("CHECK", plugin, result)

    def delete(self, result: dict[str, Any]) -> list[str]:
        """DEL of each plugin, the last one first, whatever the others say; what went wrong.

        One that has been uninstalled is left out: who calls this sees to what those of our own lists leave.
        """
        problems = []
        for plugin in reversed(self.entry["plugins"]):
            try:
                self._one("DEL", plugin, result)
            except Unsupported:
                pass
            except PluginFailed as error:
                problems.append(str(error))
        return problems

    def _one(self, command: str, plugin: dict[str, Any], previous: dict[str, Any]) -> dict[str, Any]:
        entry = self.entry
        config = dict(plugin, cniVersion=entry["version"], name=entry["network"])
        capabilities = config.pop("capabilities", {})
        if capabilities.get("portMappings") and entry["ports"]:
            config["runtimeConfig"] = {"portMappings": entry["ports"]}
        if previous:
            config["prevResult"] = previous
        environment = {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": entry["cni_id"],
            "CNI_NETNS": self.netns,
            "CNI_IFNAME": entry["interface"],
        }
        if entry["address"]:
            environment["CNI_ARGS"] = "IgnoreUnknown=1;IP=" + entry["address"]
        try:
            return _run(plugin["type"], environment, config, self.busy_fd)
        except PluginFailed as error:
            message = "network %s: container %s: CNI plugin %s: %s: %s"
            detail = (entry["network"], entry["id"], plugin["type"], command, error)
            raise PluginFailed(message % detail) from None


def _run(name: str, environment: dict[str, str], config: dict[str, Any], busy_fd: int = -1) -> dict[str, Any]:
    """Call a plugin; its result, {} for none. Raises PluginFailed with the plugin's own words, Unsupported."""
    path = find(name)
    variables = dict(environment, CNI_PATH=":".join(PATHS), PATH=_PROGRAMS)
    try:
        shown = (path, environment["CNI_COMMAND"])
        done = trace.call("vfork", shown, _spawn, path, variables, document.dump(config), busy_fd)
    except subprocess.TimeoutExpired:
        raise PluginFailed("no answer within %d s" % _TIMEOUT_S) from None
    answer: dict[str, Any] = {}
    try:
        answer = document.parse(done.stdout, "its answer") if done.stdout.strip() else {}
    except OcilabError as error:
        if done.returncode == 0:
            raise PluginFailed(str(error)) from None
    if done.returncode != 0:
        words = " ".join(str(answer.get(key) or "") for key in ("msg", "details")) if answer else ""
        words = words.strip() or (done.stderr or done.stdout).decode("utf-8", "replace")
        raise PluginFailed("; ".join(words.split("\n")).strip("; ") or "exit code %d" % done.returncode)
    return answer


def _spawn(path: str, variables: dict[str, str], given: bytes, busy_fd: int) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [path],
        input=given,
        capture_output=True,
        env=variables,
        cwd="/",
        timeout=_TIMEOUT_S,
        pass_fds=[busy_fd] if busy_fd >= 0 else [],
        check=False,
    )
