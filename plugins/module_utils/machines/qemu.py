# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""A virtual machine under QEMU: boots an image (image.py), runs commands in it over ssh, and ends it.

With KVM where a guest boots under it, else by emulation. A machine is a folder: disk.qcow2 (what the guest wrote over
the image), console.log, qemu.log, known_hosts, and monitor, the socket by which QEMU is asked and ended. That socket,
and no process id, says whether the machine runs, so another process can take it over.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time

from ..linux.errors import AlreadyExists, OcilabError, Unsupported, WrongState
from . import guest, initrd
from .image import Image

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Sequence

    from .building import Progress

# QEMU's machine and its first serial line, as Linux names it.
_BOARDS = {"x86_64": ("pc", "ttyS0"), "aarch64": ("virt,gic-version=max", "ttyAMA0")}
_COMMAND_LINE = (
    "rw root=/dev/vda console=%s quiet net.ifnames=0 mitigations=off apparmor=1 security=apparmor"
    " systemd.unified_cgroup_hierarchy=1 cgroup_no_v1=all"
)
_PROBE_TIMEOUT_S = 10.0
_MONITOR_TIMEOUT_S = 30.0
_PROGRESS_S = 10.0


class Machine:
    """The machine in a folder of its own, which destroy() removes. Errors are OcilabError."""

    def __init__(self, image: Image, folder: str) -> None:
        self.image = image
        self.folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(
        self,
        progress: Progress,
        hostname: str = "machine",
        memory_mib: int = 1024,
        cpus: int = 2,
        outlives: bool = False,
        timeout_s: float = 300.0,
    ) -> None:
        """Boot, and return when ssh answers: 20 s by emulation on an idle host. A disk that is there is used again.

        outlives: the machine stays when the caller ends; otherwise it is killed with it. It is off after an error.
        """
        qemu = _qemu()
        accelerator = _accelerator(self.image, progress)
        os.makedirs(self.folder, 0o700, exist_ok=True)
        if self.is_running():
            raise AlreadyExists("machine %s: it runs already" % self.folder)
        disk = os.path.join(self.folder, "disk.qcow2")
        if not os.path.exists(disk):
            _run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", self.image.disk, disk])
        with open(os.path.join(self.folder, "known_hosts"), "w", encoding="ascii") as file:
            file.write("machine %s\n" % self.image.host_key)
        words = [] if outlives else ["setpriv", "--pdeathsig", "KILL", "--"]
        words += _arguments(qemu, self.image, accelerator, "systemd.hostname=" + hostname, memory_mib, cpus)
        words += ["-drive", "file=disk.qcow2,if=virtio,cache=unsafe,discard=unmap", "-device", "virtio-rng-pci"]
        words += ["-netdev", "user,id=net,hostfwd=tcp:127.0.0.1:0-:22"]
        words += ["-device", "virtio-net-pci,netdev=net,romfile=", "-serial", "file:console.log"]
        words += ["-qmp", "unix:monitor,server=on,wait=off"]
        progress("machine %s: booting, %s" % (hostname, "with KVM" if accelerator == "kvm" else "by emulation"))
        held = self.image.hold()
        try:
            # QEMU inherits the lock on the image. Its sockets and files are named relative to the folder: the path of a
            # Unix socket is limited to 107 bytes.
            with open(os.path.join(self.folder, "qemu.log"), "wb") as log:
                self._process = subprocess.Popen(
                    words,
                    cwd=self.folder,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                    pass_fds=(held,),
                )
        finally:
            os.close(held)
        try:
            self._wait(progress, timeout_s)
        except BaseException:
            self._process.kill()
            self._process.wait()
            raise

    def _wait(self, progress: Progress, timeout_s: float) -> None:
        begun = told = time.monotonic()
        while guest.READY not in self.console():
            now = time.monotonic()
            code = self._process.poll() if self._process else None
            if code is not None:
                raise OcilabError("machine %s: QEMU ended with %d: %s" % (self.folder, code, self._tail("qemu.log")))
            if now - begun > timeout_s or "Kernel panic" in self.console():
                raise OcilabError(
                    "machine %s: not up after %.0f s; its console ends with: %s"
                    % (self.folder, now - begun, self._tail("console.log"))
                )
            if now - told > _PROGRESS_S:
                told = now
                progress("machine: still booting after %.0f s" % (now - begun))
            time.sleep(0.2)
        progress("machine: up after %.0f s" % (time.monotonic() - begun))

    def console(self) -> str:
        """What the guest wrote to its console since it was started."""
        try:
            with open(os.path.join(self.folder, "console.log"), encoding="utf-8", errors="replace") as file:
                return file.read()
        except FileNotFoundError:
            return ""

    def _tail(self, name: str) -> str:
        with open(os.path.join(self.folder, name), encoding="utf-8", errors="replace") as file:
            return " / ".join(file.read().split("\n")[-6:])[-600:].strip()

    def is_running(self) -> bool:
        """True when QEMU answers on the machine's monitor."""
        try:
            self._monitor("query-status")
        except OcilabError:
            return False
        return True

    def ssh_port(self) -> int:
        """The port of 127.0.0.1 that leads to the guest's ssh."""
        answer = str(self._monitor("human-monitor-command", {"command-line": "info usernet"}))
        for line in answer.splitlines():
            fields = line.split()  # TCP[HOST_FORWARD]  12  127.0.0.1  41234  10.0.2.15  22
            if fields and fields[0] == "TCP[HOST_FORWARD]" and fields[5] == "22":
                return int(fields[3])
        raise OcilabError("machine %s: QEMU forwards no port to ssh" % self.folder)

    def ssh_options(self) -> list[str]:
        """The options for ssh, scp and sftp but the port: they trust this machine's key only, and no configuration."""
        pairs = {
            "IdentityFile": _quoted(self.image.key),
            "IdentitiesOnly": "yes",
            "UserKnownHostsFile": _quoted(os.path.join(self.folder, "known_hosts")),
            "GlobalKnownHostsFile": "none",
            "HostKeyAlias": "machine",
            "StrictHostKeyChecking": "yes",
            "BatchMode": "yes",
            "ConnectTimeout": "60",
            "LogLevel": "ERROR",
        }
        return ["-F", "none"] + [word for key, value in pairs.items() for word in ("-o", "%s=%s" % (key, value))]

    def run(
        self, script: str, stdin: bytes = b"", user: str = "root", timeout_s: float = 600.0
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a line of shell in the guest: .returncode (255 also when ssh itself failed), .stdout, .stderr (bytes)."""
        words = ["ssh", *self.ssh_options(), "-p", str(self.ssh_port()), user + "@127.0.0.1", script]
        try:
            return subprocess.run(words, input=stdin, capture_output=True, check=False, timeout=timeout_s)
        except subprocess.TimeoutExpired as error:
            said = (error.stdout or b"")[-300:].decode("utf-8", "replace")
            raise OcilabError("machine: %s: no end after %.0f s; it said: %s" % (script[:80], timeout_s, said))

    def stop(self) -> None:
        """Power off at once, as by pulling the plug; the disk stays. Nothing happens when the machine is off."""
        try:
            self._monitor("quit")
        except WrongState:
            pass  # it is off
        if self._process:
            self._process.wait(_MONITOR_TIMEOUT_S)

    def destroy(self) -> None:
        """Power off, and remove the machine's folder."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _monitor(self, command: str, arguments: dict[str, Any] | None = None) -> Any:
        """Ask QEMU (QMP: one JSON object a line); waits for the connection's end after "quit".

        Raises WrongState when the machine is off, OcilabError when QEMU refuses.
        """
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(_MONITOR_TIMEOUT_S)
            try:
                folder = os.open(self.folder, os.O_PATH | os.O_CLOEXEC)
                try:
                    connection.connect("/proc/self/fd/%d/monitor" % folder)
                finally:
                    os.close(folder)
                lines = connection.makefile("r", encoding="utf-8")
                lines.readline()  # the greeting
                for request in ({"execute": "qmp_capabilities"}, {"execute": command, "arguments": arguments or {}}):
                    connection.sendall(json.dumps(request).encode("utf-8") + b"\n")
                    answer = _answer(lines)
                if command == "quit":
                    lines.read()
            except OSError as error:
                raise WrongState("machine %s: it does not run (%s)" % (self.folder, error.strerror or error))
        if "error" in answer:
            raise OcilabError("machine %s: QEMU refuses %s: %s" % (self.folder, command, answer["error"].get("desc")))
        return answer["return"]


def _answer(lines: Any) -> dict[str, Any]:
    """The next line that is an answer, and no event."""
    for line in lines:
        answer: dict[str, Any] = json.loads(line)
        if "return" in answer or "error" in answer:
            return answer
    raise OSError("QEMU closed its monitor")


def _quoted(path: str) -> str:
    """A path as a value in ssh's configuration."""
    return '"%s"' % path.replace("%", "%%")


def _arguments(qemu: str, image: Image, accelerator: str, words: str, memory_mib: int, cpus: int) -> list[str]:
    board, console = _BOARDS[os.uname().machine]
    result = [qemu, "-machine", board, "-accel", accelerator, "-cpu", "max", "-smp", str(cpus), "-m", str(memory_mib)]
    result += ["-nodefaults", "-no-user-config", "-display", "none", "-kernel", image.kernel, "-initrd", image.initrd]
    return [*result, "-append", _COMMAND_LINE % console + " " + words]


def _qemu() -> str:
    """QEMU's program for this host's own architecture. Raises Unsupported."""
    machine = os.uname().machine
    program = shutil.which("qemu-system-" + machine)
    needed = [] if program else ["qemu-system-" + machine]
    needed += [name for name in ("qemu-img", "setpriv", "ssh") if not shutil.which(name)]
    if needed or not program or machine not in _BOARDS:
        package = "qemu-system-arm" if machine == "aarch64" else "qemu-system-x86"
        raise Unsupported(
            "machine: no %s here; on Debian: apt-get install %s qemu-utils openssh-client"
            % (", ".join(needed), package)
        )
    return program


def _accelerator(image: Image, progress: Progress) -> str:
    """ "kvm" where a guest boots under it, else "tcg": /dev/kvm may exist, and the guest end at once or hang.

    The answer is kept beside the images until this host is booted anew.
    """
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "tcg"
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        boot = file.read().strip()
    path = os.path.join(os.path.dirname(image.folder), "accelerator")
    try:
        with open(path, encoding="ascii") as file:
            seen, answer = file.read().split()
        if seen == boot and answer in ("kvm", "tcg"):
            return answer
    except (OSError, ValueError):
        pass
    progress("machine: trying whether a guest boots with KVM")
    words = _arguments(_qemu(), image, "kvm", initrd.PROBE_WORD, 256, 1)
    try:
        result = subprocess.run(
            [*words, "-no-reboot", "-serial", "stdio"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PROBE_TIMEOUT_S,
            check=False,
        )
        answer = "kvm" if initrd.PROBE_ANSWER.encode("ascii") in result.stdout else "tcg"
    except subprocess.TimeoutExpired:
        answer = "tcg"
    try:
        with open(path, "w", encoding="ascii") as file:
            file.write("%s %s\n" % (boot, answer))
    except OSError:
        pass  # another user's cache: asked again next time
    return answer


def _run(words: Sequence[str]) -> None:
    result = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if result.returncode:
        raise OcilabError("machine: %s: %s" % (words[0], result.stderr.strip()[-300:] or "failed"))
