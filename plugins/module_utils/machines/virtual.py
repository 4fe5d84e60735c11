# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""Lab hosts that are virtual machines: a Debian machine under QEMU with cgroup v2, that ssh reaches and that stays.

A host is a folder of the lab, LAB/NAME: image/ (hard links to the files of a built image, so that the cache of images
may be pruned), vm.json (what it was made of), and the machine's own files (qemu.py). Every step of its making is one
rename, so that whatever moment a caller was killed at, the next start completes it and the next removal removes it. A
removal renames the folder to LAB/.gone-NAME first.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
from contextlib import contextmanager

from ..linux.errors import InvalidInput, OcilabError, WrongState
from . import guest, qemu
from .image import Image, Recipe, get

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Iterator, Sequence

    from .image import Progress

LAB = "/var/lib/labrun/lab"
# What Ansible needs there besides the base: become, the module apt, and a name that resolves to the machine itself.
PACKAGES = ("libnss-myhostname", "python3-apt", "sudo")
_SHUT_DOWN_S = 60.0
_NAME = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-")
_FILES = ("disk.raw", "host_key.pub", "id_ed25519", "initrd", "vmlinuz")


class VirtualMachine:
    """The lab host of that name. Each method can be called again; errors are OcilabError, OSError.

    release and packages: as of image.Recipe; memory_mib, cpus: of the machine at its next start; cache, mirror: where
    images are kept, and the archive that they are made of ("" for the defaults).
    """

    def __init__(
        self,
        name: str,
        lab: str = LAB,
        release: str = "bookworm",
        packages: Sequence[str] = (),
        memory_mib: int = 1024,
        cpus: int = 2,
        cache: str = "",
        mirror: str = "",
    ) -> None:
        if not name or len(name) > 63 or not set(name) <= _NAME or name.startswith("-") or name.endswith("-"):
            raise InvalidInput("lab host: %r is no host name: use a-z, 0-9 and - within, at most 63" % name)
        self.name = name
        self.lab = lab
        self.folder = os.path.join(lab, name)
        self._gone = os.path.join(lab, ".gone-" + name)
        self.recipe = Recipe(release, [*PACKAGES, *packages], mirror=mirror)
        self.memory_mib = memory_mib
        self.cpus = cpus
        self.cache = cache

    def create(self, progress: Progress) -> None:
        """Make what is missing: the image, which takes a minute or two when nobody has built it yet, and the folder."""
        with self._locked(make=True):
            self._create(progress)

    def start(self, progress: Progress, timeout_s: float = 300.0) -> None:
        """Boot it where it is off, and return when ssh answers. What is missing is made."""
        with self._locked(make=True):
            self._create(progress)
            machine = self.machine()
            if machine.is_running():  # a killed caller may have left it in the midst of its boot
                machine.wait_ready(progress, timeout_s)
                return
            # All machines of an image have its machine-id; some programs take it for a name.
            number = hashlib.sha256(os.fsencode(self.folder)).hexdigest()[:32]
            machine.start(
                progress, self.name, self.memory_mib, self.cpus, True, timeout_s, words="systemd.machine_id=" + number
            )

    def stop(self) -> None:
        """Shut it down; it is powered off when it takes too long, or does not answer."""
        if os.path.isdir(self.folder):
            with self._locked():
                if self._is_whole():
                    self.machine().shut_down(_SHUT_DOWN_S)

    def remove(self) -> None:
        """Power it off, and remove its folder; nothing of it is left."""
        self._remove_gone()
        if os.path.isdir(self.folder):
            with self._locked():
                if self._is_whole():
                    self.machine().stop()
                os.rename(self.folder, self._gone)
        self._remove_gone()

    def _remove_gone(self) -> None:
        """Remove what a removal renamed, this one or one that was killed."""
        if os.path.isdir(self._gone):
            shutil.rmtree(self._gone)

    def state(self) -> dict[str, Any]:
        """Its name, backend, release, status, address and vars, what Ansible needs to reach it.

        status: "absent", "stopped", "starting" (ssh does not answer yet) or "running"; address is where the caller's
        host reaches it ("" unless it is running), and vars is empty then, too.
        """
        result = {"name": self.name, "backend": "vm", "release": "", "status": "absent", "address": "", "vars": {}}
        if not self._is_whole():
            return result
        with open(os.path.join(self.folder, "vm.json"), encoding="utf-8") as file:
            result["release"] = json.load(file)["release"]
        machine = self.machine()
        result["status"] = "running" if machine.is_ready() else "starting" if machine.is_running() else "stopped"
        if result["status"] == "running":
            try:
                result.update(address="127.0.0.1", vars=_variables(machine))
            except WrongState:
                result["status"] = "stopped"  # since a moment
        return result

    def machine(self) -> qemu.Machine:
        """The machine in its folder. Raises WrongState where it was not created."""
        if not self._is_whole():
            raise WrongState("lab host %s: it was not created" % self.name)
        return qemu.Machine(Image(os.path.join(self.folder, "image")), self.folder)

    def _is_whole(self) -> bool:
        return all(os.path.exists(os.path.join(self.folder, name)) for name in ("image", "vm.json"))

    def _create(self, progress: Progress) -> None:
        if self._is_whole():
            return
        self._remove_gone()
        image = get(self.recipe, progress, self.cache)
        held = image.hold()
        try:
            _link(image.folder, os.path.join(self.folder, "image"))
        finally:
            os.close(held)
        path = os.path.join(self.folder, "vm.json")
        with open(path + ".new", "w", encoding="utf-8") as file:
            json.dump({"release": self.recipe.release, "packages": self.recipe.packages}, file)
        os.rename(path + ".new", path)

    @contextmanager
    def _locked(self, make: bool = False) -> Iterator[None]:
        """Hold the folder, so that two callers do not meet in it; it is made where make says so."""
        while True:
            if make:
                os.makedirs(self.folder, 0o700, exist_ok=True)
            fd = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX)
                if os.path.isdir(self.folder) and os.path.samestat(os.fstat(fd), os.stat(self.folder)):
                    yield
                    return
                if not make:
                    raise OcilabError("lab host %s: another process has just removed it" % self.name)
            finally:
                os.close(fd)


def _link(source: str, target: str) -> None:
    """The image's files in the folder target, by hard links, or as copies where it is another file system."""
    if os.path.isdir(target):
        return
    new = target + ".new"
    shutil.rmtree(new, ignore_errors=True)
    os.mkdir(new, 0o700)
    for name in _FILES:
        try:
            os.link(os.path.join(source, name), os.path.join(new, name))
        except OSError as error:
            if error.errno not in (errno.EXDEV, errno.EMLINK, errno.EPERM):
                raise
            words = ["cp", "--sparse=always", "--reflink=auto", "--preserve=mode", os.path.join(source, name), new]
            result = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
            if result.returncode:
                raise OcilabError("lab host: copying its image: " + result.stderr.strip()[-300:])
    os.rename(new, target)


def _variables(machine: qemu.Machine) -> dict[str, Any]:
    """Ansible's variables for a running machine: ssh as an ordinary user, who may become root by sudo."""
    key = os.path.join(machine.folder, "image", "id_ed25519")
    return {
        "ansible_connection": "ssh",
        "ansible_host": "127.0.0.1",
        "ansible_port": machine.ssh_port(),
        "ansible_user": guest.USER,
        "ansible_ssh_private_key_file": key,
        "ansible_ssh_common_args": " ".join(_shell_word(word) for word in machine.ssh_options()),
        "ansible_python_interpreter": "/usr/bin/python3",
    }


def _shell_word(word: str) -> str:
    """A word of ansible_ssh_common_args, which shlex takes apart."""
    from shlex import quote

    return quote(word)
