# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""Lab hosts as virtual machines under QEMU: with a kernel and cgroup v2 of their own, reached by ssh."""

from __future__ import annotations

import errno
import hashlib
import os
import shlex
import shutil
import subprocess
import time

from ..linux.errors import OcilabError, WrongState
from . import guest, image, qemu

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .building import Progress
    from .lab import Definition

# What Ansible needs there besides the base: become, the module apt, and a name that resolves to the machine itself.
_PACKAGES = ("libnss-myhostname", "python3-apt", "sudo")
_MEMORY_MIB = 1024
_CPUS = 2
_CONNECT_S = 300  # by emulation, and while others boot, sudo alone may take a minute
_FILES = ("disk.raw", "host_key.pub", "id_ed25519", "initrd", "vmlinuz")


class VirtualHost:
    """The backend "vm" of lab.Lab, which tells what the methods are for.

    All of it is in the folder machine of the lab host's: the machine's own files (qemu.py), and image/, hard links to
    the files of a built image (image.py), whose cache may be pruned therefore.
    """

    BOOT_TIMEOUT_S = 600.0  # 20 s by emulation on an idle host

    def __init__(self, definition: Definition, folder: str) -> None:
        self.definition = definition
        self.folder = os.path.join(folder, "machine")
        self._image = os.path.join(self.folder, "image")

    def source(self) -> str:
        """No base: the image's links are the machine's own."""
        return ""

    def create(self, progress: Progress) -> None:
        definition = self.definition
        recipe = image.Recipe(definition.release, [*_PACKAGES, *definition.packages], mirror=definition.mirror)
        built = image.get(recipe, progress)
        self.remove()  # what a creation that was cut short has left
        os.makedirs(self._image, 0o700)
        held = built.hold()
        try:
            for name in _FILES:
                _link(os.path.join(built.folder, name), os.path.join(self._image, name))
        finally:
            os.close(held)

    def machine(self) -> qemu.Machine:
        """The machine of a lab host that was created."""
        return qemu.Machine(image.Image(self._image), self.folder)

    def start(self) -> None:
        machine = self.machine()
        machine.stop()  # one whose start was cut short
        # All machines of an image have its machine-id; some programs take it for a name.
        number = hashlib.sha256(os.fsencode(self.folder)).hexdigest()[:32]
        memory_mib = self.definition.memory >> 20 or _MEMORY_MIB
        machine.boot(
            _silent,
            hostname=self.definition.name,
            memory_mib=memory_mib,
            cpus=int(self.definition.cpus) or _CPUS,
            words="systemd.machine_id=" + number,
        )

    def await_ready(self, deadline: float) -> None:
        try:
            self.machine().wait_ready(_silent, deadline - time.monotonic())
        except OcilabError as error:
            raise OcilabError("lab host %s: %s" % (self.definition.name, error)) from None

    def stop(self, timeout_s: float) -> None:
        machine = self.machine()
        if machine.is_ready():
            machine.shut_down(timeout_s)
        else:
            machine.stop()

    def remove(self) -> None:
        if os.path.isdir(self._image):
            self._end()
        if os.path.isdir(self.folder):
            shutil.rmtree(self.folder)

    def _end(self) -> None:
        """End the machine; nothing runs where its image is not whole, as a removal that was cut short leaves it."""
        try:
            machine = self.machine()
        except FileNotFoundError:
            return
        machine.stop()

    def status(self) -> str:
        machine = self.machine()
        if machine.is_ready():
            return "running"
        return "starting" if machine.is_running() else "stopped"

    def address(self) -> str:
        """Of this host's side, for the machine's network is QEMU's own."""
        return "127.0.0.1"

    def vars(self) -> dict[str, Any]:
        """ssh as an ordinary user, who becomes root by sudo without a password; a port only while it runs."""
        result = {
            "ansible_connection": "ssh",
            "ansible_host": self.address(),
            "ansible_user": guest.USER,
            "ansible_ssh_private_key_file": os.path.join(self._image, "id_ed25519"),
            "ansible_ssh_timeout": _CONNECT_S,
            "ansible_python_interpreter": "/usr/bin/python3",
        }
        try:
            machine = self.machine()
            result["ansible_ssh_common_args"] = " ".join(shlex.quote(word) for word in machine.ssh_options())
            result["ansible_port"] = machine.ssh_port()
        except (FileNotFoundError, WrongState):
            pass
        return result


def _silent(_line: str) -> None:
    """Who starts several at once tells of them itself."""


def _link(source: str, target: str) -> None:
    """A hard link, or a copy where the target is on another file system. Raises OcilabError, OSError."""
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EMLINK, errno.EPERM):
            raise
        words = ["cp", "--sparse=always", "--reflink=auto", "--preserve=mode", source, target]
        result = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if result.returncode:
            raise OcilabError("copy %s to %s: %s" % (source, target, result.stderr.strip()[-300:]))
