# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""A virtual machine under QEMU: boots an image (image.py), runs commands in it over ssh, and ends it.

With KVM where a guest boots under it, else by emulation. A machine is a folder: disk.qcow2 (what the guest wrote over
the image), console.log, qemu.log, known_hosts, monitor, the socket by which QEMU is asked and ended, and alive, a file
that QEMU holds a lock on from its first moment to its last. That lock, and no process id, says whether the machine
runs, so that another process can take it over, wherever the one that started it was killed.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import socket
import subprocess
import time

from ..linux import syscalls
from ..linux.errors import AlreadyExists, OcilabError, Unsupported, WrongState
from . import guest, initrd
from .image import Image, default_cache

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
_SIGKILL = 9
_PROGRESS_S = 10.0


class Machine:
    """The machine in a folder of its own. Errors are OcilabError."""

    def __init__(self, image: Image, folder: str) -> None:
        self.image = image
        self.folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def boot(
        self,
        progress: Progress,
        hostname: str = "machine",
        memory_mib: int = 1024,
        cpus: int = 2,
        words: str = "",
    ) -> None:
        """Start QEMU, which stays when the caller ends, and return at once. A disk that is there is used again.

        words: more for the kernel's command line.
        """
        qemu = _qemu()
        accelerator = _accelerator(self.image, progress)
        os.makedirs(self.folder, 0o700, exist_ok=True)
        if self.is_running():
            raise AlreadyExists("machine %s: it runs already" % self.folder)
        disk = os.path.join(self.folder, "disk.qcow2")
        if not os.path.exists(disk):
            # By a rename: what a killed caller leaves is never taken for a disk.
            _run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", self.image.disk, disk + ".new"])
            os.rename(disk + ".new", disk)
        with open(os.path.join(self.folder, "known_hosts"), "w", encoding="ascii") as file:
            file.write("machine %s\n" % self.image.host_key)
        arguments = _arguments(
            qemu, self.image, accelerator, "systemd.hostname=%s %s" % (hostname, words), memory_mib, cpus
        )
        arguments += ["-drive", "file=disk.qcow2,if=virtio,cache=unsafe,discard=unmap", "-device", "virtio-rng-pci"]
        arguments += ["-netdev", "user,id=net,net=%s,hostfwd=tcp:127.0.0.1:0-:22" % guest.NETWORK]
        arguments += ["-device", "virtio-net-pci,netdev=net,romfile=", "-serial", "file:console.log"]
        arguments += ["-qmp", "unix:monitor,server=on,wait=off"]
        progress("machine %s: booting, %s" % (hostname, "with KVM" if accelerator == "kvm" else "by emulation"))
        self._spawn(arguments)

    def _spawn(self, arguments: list[str]) -> None:
        """Start QEMU, which inherits the locks on the image and on the file that says that the machine runs.

        Its sockets and files are named relative to the folder: the path of a Unix socket is limited to 107 bytes.
        """
        # What an earlier QEMU wrote there must not be taken for this one's, before this one has opened it anew.
        with open(os.path.join(self.folder, "console.log"), "wb"):
            pass
        held = [self.image.hold()]
        try:
            held.append(os.open(os.path.join(self.folder, "alive"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            self._lock(held[1])
            with open(os.path.join(self.folder, "qemu.log"), "wb") as log:
                self._process = subprocess.Popen(
                    arguments,
                    cwd=self.folder,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                    pass_fds=held,
                )
        finally:
            for fd in held:
                os.close(fd)

    def _lock(self, fd: int) -> None:
        """Take the lock that says that the machine runs; who asks for it, as is_running(), has it for a moment."""
        for _attempt in range(50):
            try:
                return fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(0.01)
        raise AlreadyExists("machine %s: another process starts it just now" % self.folder)

    def wait_ready(self, progress: Progress, timeout_s: float = 300.0) -> None:
        """Return when ssh answers in a machine that was started, by whomever. It is off after an error."""
        try:
            self._wait(progress, timeout_s)
        except BaseException:
            self.stop()
            raise

    def is_ready(self) -> bool:
        """True when the machine runs and ssh has answered in it."""
        return self.is_running() and guest.READY in self.console()

    def _wait(self, progress: Progress, timeout_s: float) -> None:
        begun = told = time.monotonic()
        while guest.READY not in self.console():
            now = time.monotonic()
            code = self._process.poll() if self._process else None
            if code is not None or not self.is_running():
                said = "" if code is None else " with %s" % code
                raise OcilabError("machine %s: QEMU ended%s: %s" % (self.folder, said, self._tail("qemu.log")))
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
        """True from the moment that QEMU is executed until it has ended."""
        try:
            fd = os.open(os.path.join(self.folder, "alive"), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(fd)
        return False

    def ssh_port(self) -> int:
        """The port of 127.0.0.1 that leads to the guest's ssh."""
        answer = str(self._monitor("human-monitor-command", {"command-line": "info usernet"}))
        for line in answer.splitlines():
            fields = line.split()  # TCP[HOST_FORWARD]  12  127.0.0.1  41234  10.213.0.15  22
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

    def shut_down(self, timeout_s: float) -> None:
        """Have the guest shut down, as by its power button, and power it off when that takes more than timeout_s."""
        deadline = time.monotonic() + timeout_s
        try:
            self._monitor("system_powerdown")
            while self.is_running() and time.monotonic() < deadline:
                time.sleep(0.2)
        except WrongState:
            pass  # off, or not yet to be spoken to
        self.stop()

    def stop(self) -> None:
        """Power off at once, as by pulling the plug; the disk stays. Nothing happens when the machine is off."""
        deadline = time.monotonic() + _MONITOR_TIMEOUT_S
        try:
            self._monitor("quit")
            while self.is_running() and time.monotonic() < deadline:
                time.sleep(0.02)  # it says farewell before it removes its files
        except WrongState:
            pass  # it is off, or has no monitor yet
        self._kill()
        if self._process:
            self._process.wait(_MONITOR_TIMEOUT_S)

    def _kill(self) -> None:
        """End QEMU where it does not answer on its monitor: the processes that hold the machine's lock open."""
        deadline = time.monotonic() + _MONITOR_TIMEOUT_S
        while self.is_running():
            if time.monotonic() > deadline:
                raise OcilabError("machine %s: its QEMU does not end on SIGKILL" % self.folder)
            wanted = os.stat(os.path.join(self.folder, "alive"))
            for pid in [int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) != os.getpid()]:
                _kill_holder(pid, (wanted.st_dev, wanted.st_ino))
            time.sleep(0.05)

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


def _kill_holder(pid: int, file: tuple[int, int]) -> None:
    """SIGKILL for the process when it has the file (device, inode) open; by a pidfd, for its pid may be another's."""
    try:
        pidfd = syscalls.pidfd_open(pid)
    except OSError:
        return
    try:
        folder = "/proc/%d/fd/" % pid
        for name in os.listdir(folder):
            try:
                found = os.stat(folder + name)
            except OSError:
                continue  # closed meanwhile
            if (found.st_dev, found.st_ino) == file:
                syscalls.pidfd_send_signal(pidfd, _SIGKILL)
                return
    except OSError:
        pass  # it has ended, or is another user's, and then not the machine
    finally:
        os.close(pidfd)


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
    needed += [name for name in ("qemu-img", "ssh") if not shutil.which(name)]
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
    path = os.path.join(default_cache(), "accelerator")
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
