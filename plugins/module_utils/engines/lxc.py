# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""LXC: commands over a library, which start a monitor for each container; no daemon, no images, and its own format.

One program is run by lxc-execute, what goes on by itself by lxc-create, lxc-start and so on. Containers are configured
as LXC's templates and the host's default.conf say, and their root filesystem is the workload's, unpacked once.
"""

from __future__ import annotations

import ipaddress
import os
import shutil

from ..linux.errors import OcilabError, Unsupported
from . import components, engine
from .first_use import FirstUse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

_COMMON = "/usr/share/lxc/config/common.conf"  # what templates include
_USERNS = "/usr/share/lxc/config/userns.conf"  # and for containers with ids of their own
_DEFAULT = "/etc/lxc/default.conf"
_CGROUP = "lxc.pivot"
_STOP_TIMEOUT_S = 10
_COPY_TIMEOUT_S = 120.0
_NO_SYS = ("lxc.mount.auto =", "lxc.mount.auto = proc:mixed cgroup:mixed")
_SHARED = "its containers share a root filesystem, as the runtimes' do, for LXC has no images"
_NO_IMAGES = "lxc: has no images and no registry client; it unpacks a root filesystem for each container"


class Lxc(engine.Engine):
    """LXC of root, with ids of the containers' own where default.conf gives them."""

    kind = "daemonless"

    def __init__(self) -> None:
        self.name = self.engine = "lxc"
        self.first_use: FirstUse | None = None
        self.usual: list[str] = []  # lines of every container's configuration
        self.addresses: dict[str, str] = {}

    def detect(self) -> str:
        self.path = engine.find_command("lxc-start")
        for name in ("lxc-execute", "lxc-create", "lxc-attach"):
            engine.find_command(name)
        if os.geteuid() != 0:
            raise engine.Unavailable("it is driven as root here")
        return engine.run([self.path, "--version"], 20).strip()

    def prepare(self, workload: engine.Workload) -> None:
        self.workload = workload
        self.first_use = FirstUse.begin(set(), _CGROUP)
        self.folder = os.path.join(workload.work_dir, "lxc")
        self.rootfs = os.path.join(self.folder, "rootfs")
        self.host_id = _first_id(_lines(_DEFAULT))
        # The containers' root goes through both on its way to what it may use.
        os.makedirs(self.folder, exist_ok=True)
        for path in (workload.work_dir, self.folder):
            os.chmod(path, 0o711)  # whatever the umask is, which in a module is 077
        _copy(os.path.join(workload.bundle, "rootfs"), self.rootfs, self.host_id)
        self._settle()

    def _settle(self) -> None:
        """Find a configuration with which it runs here: a host that is a container itself may refuse to mount /sys."""
        included = [path for path in (_COMMON, _USERNS) if path != _USERNS or self.host_id]
        usual = ["lxc.include = " + path for path in [*included, _DEFAULT] if os.path.exists(path)]
        failures: list[str] = []
        for more in ((), _NO_SYS):
            self.usual = [*usual, *more]
            try:
                self.run_true("lxc-probe")
                break
            except engine.EngineFailed as error:
                failures.append(str(error))
                self.remove("lxc-probe")
        else:
            raise engine.Unavailable("it cannot run a container on this host: " + failures[0])
        self.notes = _SHARED + ("; run without /sys, which this host does not let them mount" if failures else "")

    def clean_up(self) -> None:
        if self.first_use:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.first_use.end()
            self.first_use = None

    # A container's life

    def _run(self, command: str, container_id: str, *words: str) -> str:
        found = engine.find_command(command)
        arguments = [found, "--lxcpath", self.folder, "--name", container_id, *words]
        return engine.run(arguments, self.workload.timeout_s)

    def _configured(self, container_id: str, wanted: engine.Wanted) -> str:
        """The path of a new container's configuration."""
        lines = [*self.usual, "lxc.rootfs.path = dir:" + self.rootfs, "lxc.rootfs.managed = 0"]
        lines += ["lxc.uts.name = " + container_id[:64], "lxc.console.path = none", "lxc.signal.halt = SIGTERM"]
        lines += self._networked(container_id) if wanted.network else ["lxc.net =", "lxc.net.0.type = empty"]
        if wanted.volume:
            os.chown(wanted.volume, self.host_id, self.host_id)
            bind = (wanted.volume, engine.VOLUME.lstrip("/"))
            lines.append("lxc.mount.entry = %s %s none bind,create=dir 0 0" % bind)
        path = os.path.join(self.folder, container_id + ".conf")
        with open(path, "w") as file:
            file.write("\n".join(lines) + "\n")
        return path

    def _networked(self, container_id: str) -> list[str]:
        """An address on the default network's bridge: what runs in the container asks for none itself."""
        bridge = _value(_lines(_DEFAULT), "lxc.net.0.link")
        if not bridge:
            raise Unsupported("lxc: %s has no network with a bridge" % _DEFAULT)
        words = engine.run([engine.find_command("ip"), "-4", "-oneline", "address", "show", "dev", bridge], 20).split()
        if "inet" not in words:
            raise engine.EngineFailed("lxc: the bridge %s has no address; start lxc-net" % bridge)
        own = ipaddress.IPv4Interface(words[words.index("inet") + 1])
        taken = {str(own.ip), *self.addresses.values()}
        # From the end: the bridge's DHCP server asks around before it gives an address away.
        free = (str(one) for one in reversed(list(own.network.hosts())) if str(one) not in taken)
        self.addresses[container_id] = next(free)
        address = "%s/%d" % (self.addresses[container_id], own.network.prefixlen)
        return ["lxc.net.0.ipv4.address = " + address, "lxc.net.0.ipv4.gateway = %s" % own.ip]

    def _forget_configuration(self, container_id: str) -> None:
        self.addresses.pop(container_id, None)
        try:
            os.unlink(os.path.join(self.folder, container_id + ".conf"))
        except FileNotFoundError:
            pass
        # Where the root filesystem is not LXC's own, it leaves the folder.
        shutil.rmtree(os.path.join(self.folder, container_id), ignore_errors=True)

    def run_true(self, container_id: str) -> None:
        self.output(container_id, engine.Wanted([engine.PROGRAM]))

    def phases(self, container_id: str) -> list[tuple[str, Callable[[], None]]]:
        def step(command: str, *words: str) -> Callable[[], None]:
            return lambda: _discard(self._run(command, container_id, *words))

        def create() -> None:
            self._create(container_id, engine.Wanted([engine.PROGRAM]))

        def delete() -> None:
            self._run("lxc-destroy", container_id)
            self._forget_configuration(container_id)

        timeout = str(int(self.workload.timeout_s))
        return [
            ("create", create),
            ("start", step("lxc-start", "--daemon", "--", engine.PROGRAM)),
            ("wait", step("lxc-wait", "--state", "STOPPED", "--timeout", timeout)),
            ("delete", delete),
        ]

    def _create(self, container_id: str, wanted: engine.Wanted) -> None:
        path = self._configured(container_id, wanted)
        self._run("lxc-create", container_id, "--config", path, "--template", "none")

    def output(self, container_id: str, wanted: engine.Wanted) -> str:
        path = self._configured(container_id, wanted)
        try:
            return self._run("lxc-execute", container_id, "--rcfile", path, *wanted.options, "--", *wanted.words)
        finally:
            self._forget_configuration(container_id)

    def start(self, container_id: str, wanted: engine.Wanted) -> None:
        self._create(container_id, wanted)
        self._run("lxc-start", container_id, "--daemon", *wanted.options, "--", *wanted.words)

    def execute(self, container_id: str, words: list[str]) -> str:
        return self._run("lxc-attach", container_id, "--", *words)

    def stop(self, container_id: str) -> None:
        self._run("lxc-stop", container_id, "--timeout", str(_STOP_TIMEOUT_S))

    def remove(self, container_id: str) -> None:
        for command, option in (("lxc-stop", "--kill"), ("lxc-destroy", "--force")):
            try:
                self._run(command, container_id, option)
            except OcilabError:
                pass  # there was nothing of it
        self._forget_configuration(container_id)

    # What stands behind it

    def process(self, container_id: str) -> int:
        told = self._run("lxc-info", container_id, "--pid", "--no-humanize").strip()
        if not told.isdigit() or told == "0":
            raise engine.EngineFailed("container %s: does not run" % container_id)
        return int(told)

    def address(self, container_id: str) -> str:
        if container_id not in self.addresses:
            raise Unsupported("lxc: container %s is in no network" % container_id)
        return self.addresses[container_id]

    def daemons(self) -> list[int]:
        return []

    def components(self, container_id: str) -> list[dict[str, Any]]:
        parts = [components.program("client", self.path)]
        if container_id:
            pid = self.process(container_id)
            parts += [*components.monitor(pid), components.container(pid)]
        return parts

    # Images

    def pull(self, reference: str) -> None:
        raise Unsupported(_NO_IMAGES)

    def load(self, archive: str) -> None:
        raise Unsupported(_NO_IMAGES)

    def forget(self, image: str) -> None:
        raise Unsupported(_NO_IMAGES)

    def image_bytes(self, image: str) -> int:
        raise Unsupported(_NO_IMAGES)


def _discard(_output: str) -> None:
    """What a step says is for people."""


def _lines(path: str) -> list[str]:
    try:
        with open(path) as file:
            return file.read().splitlines()
    except OSError:
        return []


def _value(lines: list[str], key: str) -> str:
    found = [line.partition("=")[2].strip() for line in lines if line.partition("=")[0].strip() == key]
    return found[-1] if found else ""


def _first_id(lines: list[str]) -> int:
    """The host's number for the containers' root (lxc.idmap = u 0 HOST COUNT); 0 where they have the host's ids."""
    for line in lines:
        key, _equals, value = line.partition("=")
        words = value.split()
        if key.strip() == "lxc.idmap" and words[:2] in (["u", "0"], ["b", "0"]) and len(words) == 4:
            return int(words[2])
    return 0


def _copy(source: str, target: str, host_id: int) -> None:
    """Copy a root filesystem, its files' owners moved to the containers' ids; what was set-user-id stays so."""
    engine.run([engine.find_command("cp"), "--archive", source, target], _COPY_TIMEOUT_S)
    for folder, names, files in os.walk(target):
        for name in [".", *names, *files] if folder == target else [*names, *files]:
            path = os.path.join(folder, name)
            found = os.lstat(path)
            os.lchown(path, found.st_uid + host_id, found.st_gid + host_id)
            if not os.path.islink(path):
                os.chmod(path, found.st_mode & 0o7777)
