# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""Terminals (pty(7), ioctl_tty(2)): a pair from a container's own devpts, and its master on the way to whoever uses it.

Imported before the clone, and only where a terminal is asked for: in the container nothing is looked up (R22).
"""

from __future__ import annotations

import _socket
import errno
import fcntl
import os
import stat
import sys

from . import paths, syscalls, trace
from .errors import InvalidInput, KernelRefused

_TCGETS = 0x5401
_TCSETS = 0x5402
_TERMIOS_BYTES = 36  # the kernel's struct termios: four words, the line discipline, 19 control characters
_OUTPUT_MODES = 4  # the low byte of c_oflag
_ONLCR = 4
_TIOCSCTTY = 0x540E
_TIOCGWINSZ = 0x5413
_TIOCSWINSZ = 0x5414
_TIOCSPTLCK = 0x40045431
_TIOCGPTPEER = 0x5441

_DEVPTS_SUPER_MAGIC = 0x1CD1
_PTMX_INODE = 2
_PTMX_DEVICE = os.makedev(5, 2)
# openat2(2): one name in a directory, that is no link and that nothing is mounted on
_RESOLVE_ONE_NAME = 0x01 | 0x02 | 0x04 | 0x08
_HINT = "process.terminal needs a file system of type devpts on /dev/pts"

# What runc calls the master that it sends; receivers show it, and do not open it.
MASTER_NAME = "/dev/ptmx"
_MAX_NAME = 4096
_RIGHTS = (_socket.SOL_SOCKET, _socket.SCM_RIGHTS)
_MAX_SOCKET_PATH = 107  # unix(7): sun_path with its final NUL is 108 bytes


class Pty:
    """A new terminal: the descriptors of its master and of its slave, both close-on-exec."""

    def __init__(self, master_fd: int, slave_fd: int) -> None:
        self.master_fd = master_fd
        self.slave_fd = slave_fd

    def set_size(self, height: int, width: int) -> None:
        """The size in rows and columns (config.md, consoleSize). Raises KernelRefused."""
        set_size(self.master_fd, height, width)

    def leave_newlines(self) -> None:
        """Keep it from making CR LF of LF (termios(3), ONLCR), as a terminal behind it does. Raises KernelRefused."""
        try:
            modes = bytearray(fcntl.ioctl(self.master_fd, _TCGETS, bytes(_TERMIOS_BYTES)))
            modes[_OUTPUT_MODES] &= ~_ONLCR
            fcntl.ioctl(self.master_fd, _TCSETS, bytes(modes))
        except OSError as error:
            raise KernelRefused("ioctl", "TCSETS of the container's terminal", error.errno) from None

    def send_master(self, socket_fd: int) -> None:
        """Hand the master to whoever listens on the socket, and close both here. Raises KernelRefused."""
        send_fd(socket_fd, self.master_fd, MASTER_NAME)
        os.close(socket_fd)
        os.close(self.master_fd)
        self.master_fd = -1

    def take(self, uid: int) -> None:
        """Make the slave the calling session leader's controlling terminal and its descriptors 0 to 2.

        It is given to uid, a number inside the container, who is to be able to open it again; where that is not
        possible (its owner is not mapped, a read-only /dev) it stays as it is, as in runc. Raises KernelRefused.
        """
        try:
            trace.call("ioctl", ("the terminal", "TIOCSCTTY"), fcntl.ioctl, self.slave_fd, _TIOCSCTTY, 0)
        except OSError as error:
            raise KernelRefused("ioctl", "TIOCSCTTY of the container's terminal", error.errno) from None
        try:
            if os.fstat(self.slave_fd).st_uid != uid:
                trace.call("fchown", ("the terminal", uid), os.fchown, self.slave_fd, uid, -1)
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.EROFS):
                raise KernelRefused("fchown", "the container's terminal", error.errno) from None
        for number in range(3):
            os.dup2(self.slave_fd, number)
        os.close(self.slave_fd)
        self.slave_fd = -1


class Console:
    """Where the master of a terminal that is yet to be made goes: a connected socket; and its size or None.

    size: (rows, columns); is_relayed: whether what is written to it goes to another terminal.
    """

    def __init__(self, socket_fd: int, size: tuple[int, int] | None, is_relayed: bool = False) -> None:
        self.socket_fd = socket_fd
        self.size = size
        self.is_relayed = is_relayed

    def open(self, root_fd: int) -> Pty:
        """Called by the child, once: a new terminal, see open_pty(), whose master is on its way."""
        pty = open_pty(root_fd)
        if self.size:
            pty.set_size(*self.size)
        if self.is_relayed:
            pty.leave_newlines()  # before a program can write to it
        pty.send_master(self.socket_fd)
        return pty


def open_pty(root_fd: int) -> Pty:
    """A new terminal of the devpts on /dev/pts of the root directory root_fd.

    Nothing of an image can stand in its place (case R08): the directory is reached without a link and proven to be a
    devpts, in which the kernel alone makes files, and the name in it is opened only where nothing is mounted on it.
    Raises InvalidInput and KernelRefused.
    """
    try:
        directory = paths.open_beneath(root_fd, "dev/pts", os.O_PATH | os.O_DIRECTORY)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EXDEV):
            raise InvalidInput("root filesystem: /dev/pts is or passes a symbolic link; make it a directory") from None
        raise KernelRefused("open", "/dev/pts", error.errno, _HINT) from None
    try:
        if syscalls.filesystem_magic(directory) != _DEVPTS_SUPER_MAGIC:
            raise InvalidInput("process.terminal: /dev/pts is not a devpts; mount one on it, of type devpts")
        master = trace.call("openat2", ("/dev/pts/ptmx",), _open_ptmx, directory)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EXDEV):
            raise InvalidInput("process.terminal: something is mounted on /dev/pts/ptmx; remove that mount") from None
        raise KernelRefused("open", "/dev/pts/ptmx", error.errno, _HINT) from None
    finally:
        os.close(directory)
    try:
        _check_ptmx(master)
        fcntl.ioctl(master, _TIOCSPTLCK, (0).to_bytes(4, sys.byteorder))
        flags = os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC
        return Pty(
            master, trace.call("ioctl", ("the terminal", "TIOCGPTPEER"), fcntl.ioctl, master, _TIOCGPTPEER, flags)
        )
    except OSError as error:
        os.close(master)
        raise KernelRefused("ioctl", "TIOCGPTPEER of the container's terminal", error.errno) from None
    except InvalidInput:
        os.close(master)
        raise


def _open_ptmx(directory: int) -> int:
    flags = os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC
    how = b"".join(number.to_bytes(8, sys.byteorder) for number in (flags, 0, _RESOLVE_ONE_NAME))
    return syscalls.raw("openat2", directory, b"ptmx", how, len(how))


def _check_ptmx(fd: int) -> None:
    status = os.fstat(fd)
    if not stat.S_ISCHR(status.st_mode) or (status.st_rdev, status.st_ino) != (_PTMX_DEVICE, _PTMX_INODE):
        raise InvalidInput("process.terminal: /dev/pts/ptmx is not the device that makes terminals")


def size(fd: int) -> tuple[int, int]:
    """(rows, columns) of a terminal. Raises OSError."""
    answer = fcntl.ioctl(fd, _TIOCGWINSZ, b"\0" * 8)
    return int.from_bytes(answer[0:2], sys.byteorder), int.from_bytes(answer[2:4], sys.byteorder)


def set_size(fd: int, height: int, width: int) -> None:
    """Rows and columns, from 0 to 65535 each. Raises InvalidInput and KernelRefused."""
    if not (0 <= height <= 0xFFFF and 0 <= width <= 0xFFFF):
        raise InvalidInput("consoleSize %d x %d: at most 65535 rows and columns" % (height, width))
    numbers = height.to_bytes(2, sys.byteorder) + width.to_bytes(2, sys.byteorder) + b"\0" * 4
    try:
        trace.call("ioctl", ("the terminal", "TIOCSWINSZ", height, width), fcntl.ioctl, fd, _TIOCSWINSZ, numbers)
    except OSError as error:
        raise KernelRefused("ioctl", "TIOCSWINSZ of the container's terminal", error.errno) from None


def connect_console(path: str) -> int:
    """A connection to the stream socket of --console-socket, close-on-exec; '@name' is an abstract one (unix(7)).

    A path that is longer than an address may be is reached through its directory. Raises InvalidInput.
    """
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    address = os.fsencode(path)
    directory = -1
    try:
        if address.startswith(b"@"):
            address = b"\0" + address[1:]
        elif len(address) > _MAX_SOCKET_PATH:
            parent, _slash, name = address.rpartition(b"/")
            directory = os.open(parent or b"/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            address = paths.fd_path(directory) + b"/" + name
        connection.connect(address)
        return connection.detach()
    except OSError as error:
        connection.close()
        reason = str(error.strerror or error).lower()
        raise InvalidInput("--console-socket %s: %s: give a unix stream socket that listens" % (path, reason)) from None
    finally:
        if directory >= 0:
            os.close(directory)


def socket_pair() -> tuple[int, int]:
    """Two connected stream sockets, close-on-exec, for a master that stays in the family. Raises OSError."""
    left, right = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    return left.detach(), right.detach()


def send_fd(socket_fd: int, fd: int, name: str) -> None:
    """Send an open file with its name over a unix socket, in one message, as runc does. Raises KernelRefused."""
    connection = _socket.socket(fileno=socket_fd)
    try:
        rights = (_socket.SOL_SOCKET, _socket.SCM_RIGHTS, fd.to_bytes(4, sys.byteorder))
        trace.call("sendmsg", ("the console socket", name), connection.sendmsg, [os.fsencode(name)], [rights])
    except OSError as error:
        hint = "whoever listens on the console socket closed it"
        raise KernelRefused("sendmsg", "the terminal's master", error.errno, hint) from None
    finally:
        connection.detach()


def receive_fd(socket_fd: int) -> int:
    """The one open file that comes over a unix socket, close-on-exec. Raises KernelRefused and InvalidInput."""
    connection = _socket.socket(fileno=socket_fd)
    try:
        space = _socket.CMSG_SPACE(4)
        _name, messages, _flags, _address = connection.recvmsg(_MAX_NAME, space, _socket.MSG_CMSG_CLOEXEC)
    except OSError as error:
        raise KernelRefused("recvmsg", "the terminal's master", error.errno) from None
    finally:
        connection.detach()
    received = b"".join(data for level, kind, data in messages if (level, kind) == _RIGHTS)
    numbers = [int.from_bytes(received[at : at + 4], sys.byteorder) for at in range(0, len(received) // 4 * 4, 4)]
    if len(numbers) != 1:
        for number in numbers:
            os.close(number)
        raise InvalidInput(
            "console socket: %d descriptors came where the terminal's master was expected" % len(numbers)
        )
    return numbers[0]
