# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""The engines of a host as they are verified: by which adapter, with which limits, and what each has not."""

from __future__ import annotations

import os

from ..engines import apart, engine, registry
from ..images.store import Store
from ..linux import files
from ..linux.cgroups import manager as cgroups
from ..linux.errors import OcilabError
from ..provisioning import commands
from .installed_labrun import InstalledLabrun

MEMORY_BYTES = 32 << 20
PIDS = 24
_LIMITED = ("--memory", str(MEMORY_BYTES), "--pids-limit", str(PIDS))
_BY_CRI = ("memory=%d" % MEMORY_BYTES,)
_NOT_BY_CRI = {"pids": "the CRI has no field for a limit of processes; Kubernetes sets one for a whole pod"}
_BRIDGES_OF_PODMAN = ("podman0", "cni-podman0")
_SET = "3"  # NET_ADDR_SET: somebody has chosen it
_CONTAINERD_READY = "/etc/containerd/ocilab.toml"


class Subject:
    """An engine to verify.

    program: whose presence tells that it is installed; marker: a file that tells that it is meant for containers, where
    the program alone may be there for another engine; limits: Wanted.options of a container with MEMORY_BYTES and PIDS;
    units: what systemd is to have running, if it is enabled; left_out: {check: the reason}.
    """

    def __init__(
        self,
        adapter: engine.Engine,
        program: str,
        limits: tuple[str, ...] = (),
        units: tuple[str, ...] = (),
        marker: str = "",
        left_out: dict[str, str] | None = None,
    ) -> None:
        self.adapter = adapter
        self.name = adapter.name
        self.program = program
        self.limits = limits
        self.units = units
        self.marker = marker
        self.left_out = dict(left_out or {})
        self.is_found = False

    def absent(self) -> str:
        """Why the host does not have it; empty where it has."""
        return "" if commands.has(self.program) else "%s is not installed" % self.program

    def unready(self) -> str:
        """Why it may be there without being meant for containers; empty where it is meant for them."""
        if self.marker and not os.path.exists(self.marker):
            return "no role has made it ready for containers: there is no %s" % self.marker
        return ""

    def begin(self, workload: engine.Workload) -> None:
        """Make its image ready. Raises OcilabError."""
        self.adapter.detect()
        self.is_found = True
        self.adapter.prepare(workload)

    def settle(self) -> None:
        """Once its first container runs. Raises OcilabError."""

    def connect(self, container_ids: list[str]) -> None:
        """Let containers reach each other, where those of the usual network do not. Raises OcilabError."""

    def peer_address(self, container_id: str) -> str:
        """Where its neighbours reach a container. Raises OcilabError."""
        return self.adapter.address(container_id)

    def end(self, container_ids: list[str]) -> list[str]:
        """Take away the containers and what begin() made; what failed thereby."""
        failures: list[str] = []
        if not self.is_found:
            return failures
        for container_id in container_ids:
            try:
                self.adapter.remove(container_id)
            except OcilabError as error:
                failures.append(str(error))
        try:
            self.adapter.clean_up()
        except OcilabError as error:
            failures.append(str(error))
        return failures


class DockerSubject(Subject):
    """Its default network keeps containers from each other where icc is off: neighbours meet in one of their own."""

    def connect(self, container_ids: list[str]) -> None:
        self._docker("network", "create", self._network)
        for container_id in container_ids:
            self._docker("network", "connect", self._network, container_id)

    @property
    def _network(self) -> str:
        return "ocilab-verify-%d" % os.getpid()

    def _docker(self, *words: str) -> str:
        return commands.run("docker", *words, timeout_s=60)

    def peer_address(self, container_id: str) -> str:
        template = '{{(index .NetworkSettings.Networks "%s").IPAddress}}' % self._network
        return self._docker("container", "inspect", "--format", template, container_id).strip()

    def end(self, container_ids: list[str]) -> list[str]:
        failures = super().end(container_ids)
        if commands.attempt("docker", "network", "inspect", self._network)[0] == 0:
            code, said = commands.attempt("docker", "network", "rm", self._network)
            failures += [said.strip()] if code else []
        return failures


class PodmanSubject(Subject):
    """Where no udev runs, as in lab hosts, its bridge takes another address as containers come and go, and those that
    run lose their way to the host for some seconds. It is held to the one that it has, as udev does elsewhere.
    """

    def settle(self) -> None:
        for name in _BRIDGES_OF_PODMAN:
            folder = "/sys/class/net/%s/" % name
            if os.path.isdir(folder) and files.read_text(folder + "addr_assign_type").strip() != _SET:
                commands.run("ip", "link", "set", "dev", name, "address", files.read_text(folder + "address").strip())


class RootlessSubject(Subject):
    """Podman of a user: it wants one who may have containers."""

    def absent(self) -> str:
        if super().absent():
            return super().absent()
        try:
            self.adapter.detect()
        except engine.Unavailable as error:
            return str(error)
        return ""


def _docker(adapter: engine.Engine) -> Subject:
    return DockerSubject(adapter, "docker", _LIMITED, ("docker.service", "docker.socket", "containerd.service"))


def _podman(adapter: engine.Engine) -> Subject:
    return PodmanSubject(adapter, "podman", _LIMITED, ("podman.socket",))


def _rootless(adapter: engine.Engine) -> Subject:
    left_out = {"neighbour": "each container of a user has a network stack of its own, by a process of the user's"}
    if _is_v2():
        return RootlessSubject(adapter, "podman", _LIMITED, left_out=left_out)
    reason = "with cgroup v1 a user has no cgroups to limit containers by"
    return RootlessSubject(adapter, "podman", left_out=dict(left_out, memory=reason, pids=reason))


def _containerd(adapter: engine.Engine) -> Subject:
    return Subject(adapter, "containerd", _BY_CRI, ("containerd.service",), _CONTAINERD_READY, _NOT_BY_CRI)


def _crio(adapter: engine.Engine) -> Subject:
    return Subject(adapter, "crio", _BY_CRI, ("crio.service",), left_out=_NOT_BY_CRI)


def _lxc(adapter: engine.Engine) -> Subject:
    keys = ("cgroup.memory.limit_in_bytes", "cgroup.pids.max")
    if _is_v2():
        keys = ("cgroup2.memory.max", "cgroup2.pids.max")
    limits = ["lxc.%s=%d" % (key, limit) for key, limit in zip(keys, (MEMORY_BYTES, PIDS))]
    words = tuple(word for limit in limits for word in ("--define", limit))
    without = "LXC has no client for registries: it unpacks root filesystems"
    return Subject(adapter, "lxc-start", words, ("lxc-net.service",), left_out={"cache": without})


def _labrun(adapter: engine.Engine) -> Subject:
    limits = ("memory=%d" % MEMORY_BYTES, "pids_limit=%d" % PIDS)
    without = "labrun has no client for registries: images come to it by the module labrun_image"
    return Subject(adapter, "labrun", limits, left_out={"cache": without})


def _is_v2() -> bool:
    return cgroups.detect().mode == "v2"


_SUBJECTS = {
    "docker": _docker,
    "podman": _podman,
    "podman-rootless": _rootless,
    "containerd": _containerd,
    "crio": _crio,
    "lxc": _lxc,
    "labrun": _labrun,
}
NAMES = tuple(_SUBJECTS)


def subject(name: str, image_name: str, store: Store, layers_root: str) -> Subject:
    """A new one by its name, of NAMES. image_name, store, layers_root: the image as labrun has it."""
    if name == "labrun":
        return _labrun(InstalledLabrun(image_name, store, layers_root))
    (adapter,) = registry.all_engines([name])
    return _SUBJECTS[name](adapter if adapter.forks else apart.EngineApart(adapter))
