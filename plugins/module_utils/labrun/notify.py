# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""sd_notify(3) from within a container, as runc has it: who starts labrun with NOTIFY_SOCKET hears when it is ready.

The container gets a socket of its own, at /run/notify; of what its program writes there only READY= is passed on, with
the pid to watch. Nothing of this is loaded without NOTIFY_SOCKET.
"""

from __future__ import annotations

import _socket
import os
import select

from ..linux import processes
from ..linux.errors import KernelRefused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_INSIDE = "/run/notify"
_NAME = "notify.sock"
_BARRIER_TIMEOUT_MS = 30000  # as long as runc waits
_DATAGRAM_BYTES = 4096


def add(config: dict[str, Any], directory: str) -> None:
    """The mount and the variable, to a configuration that has been checked; directory: the state folder's `notify`."""
    options = ["bind", "nosuid", "noexec", "nodev", "ro"]
    mount = {"destination": _INSIDE, "type": "bind", "source": directory, "options": options}
    config["mounts"] = [*(config.get("mounts") or []), mount]
    process = config["process"]
    process["env"] = [*(process.get("env") or []), "NOTIFY_SOCKET=%s/%s" % (_INSIDE, _NAME)]


class Listener:
    """The socket that the container's program writes to; to be made before that starts."""

    def __init__(self, directory: str, caller: str) -> None:
        """caller: NOTIFY_SOCKET of the environment, a path or, with @, an abstract address. Raises KernelRefused."""
        self.caller = caller
        self.socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC)
        try:
            fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)  # an address may be short only
            try:
                path = "/proc/self/fd/%d/%s" % (fd, _NAME)
                self.socket.bind(path)
                os.chmod(path, 0o777)
            finally:
                os.close(fd)
        except OSError as error:
            self.socket.close()
            raise KernelRefused("bind", "%s/%s" % (directory, _NAME), error.errno) from None

    def forward(self, pid: int, started: int, told_pid: int) -> None:
        """Wait until the program says that it is ready, or has ended; tell the caller, with told_pid as MAINPID.

        pid and started are those of the container's first process. Raises KernelRefused.
        """
        pidfd = processes.open_process(pid, started)
        poll = select.poll()
        poll.register(self.socket.fileno(), select.POLLIN)
        if pidfd >= 0:
            poll.register(pidfd, select.POLLIN)
        try:
            while self.socket.fileno() in dict(poll.poll(None if pidfd >= 0 else 0)):  # what was said before the end
                for line in self.socket.recv(_DATAGRAM_BYTES).split(b"\n"):
                    if line.startswith(b"READY="):
                        self._tell(line, told_pid)
                        return
        finally:
            self.socket.close()
            if pidfd >= 0:
                os.close(pidfd)

    def _tell(self, ready: bytes, told_pid: int) -> None:
        address = "\0" + self.caller[1:] if self.caller.startswith("@") else self.caller
        client = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC)
        try:
            client.connect(address)
            client.send(ready + b"\n")
            client.send(b"MAINPID=%d\n" % told_pid)
            _barrier(client)
        except OSError as error:
            raise KernelRefused("send", "to NOTIFY_SOCKET " + self.caller, error.errno) from None
        finally:
            client.close()


def _barrier(client: _socket.socket) -> None:
    """sd_notify_barrier(3): wait until all has been read, which closes the pipe; whoever does not know it is let be."""
    read_fd, write_fd = os.pipe()
    try:
        rights = (_socket.SOL_SOCKET, _socket.SCM_RIGHTS, write_fd.to_bytes(4, "little"))
        client.sendmsg([b"BARRIER=1"], [rights])
    finally:
        os.close(write_fd)
    poll = select.poll()
    poll.register(read_fd, select.POLLIN)
    poll.poll(_BARRIER_TIMEOUT_MS)
    os.close(read_fd)
