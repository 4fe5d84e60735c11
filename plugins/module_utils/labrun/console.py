# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""Where a container's terminal goes: to a console socket, or to the terminal of whoever called us (run -t, exec -t)."""

from __future__ import annotations

import _signal
import os
import select
import termios

from ..linux import processes, syscalls, terminal
from ..linux.errors import InvalidInput, OcilabError, Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_CHUNK = 1 << 16
_TURN_CHUNKS = 16
_LAST_CHUNKS = 64  # many times what a terminal holds
_EDGES = select.EPOLLIN | select.EPOLLOUT | select.EPOLLET
# Of a fault of our own, of our own children and terminal, or not to be caught: the container does not get these.
_OURS = "KILL STOP CHLD WINCH URG PIPE SEGV BUS FPE ILL TRAP SYS ABRT TSTP TTIN TTOU"
_NOT_FORWARDED = frozenset(getattr(_signal, "SIG" + name) for name in _OURS.split())


def check(wants_terminal: bool, detached: bool, socket_path: str) -> None:
    """What of a terminal, a console socket and a start that returns at once goes together. Raises InvalidInput."""
    if wants_terminal and detached and not socket_path:
        raise InvalidInput(
            "cannot allocate tty if labrun will detach without setting console socket: give --console-socket, or set"
            " process.terminal to false"
        )
    if socket_path and not (wants_terminal and detached):
        raise InvalidInput(
            "cannot use console socket if labrun will not detach or allocate tty: leave --console-socket out, or set"
            " process.terminal to true and detach"
        )


def open_console(
    process: dict[str, Any], detached: bool, socket_path: str, relays: list[Relay]
) -> terminal.Console | None:
    """What the child needs for the terminal of a process object; None where it asks for none.

    Without a console socket the terminal is the caller's: the Relay for it is appended to relays. Raises OcilabError.
    """
    check(bool(process.get("terminal")), detached, socket_path)
    if not process.get("terminal"):
        return None
    configured = process.get("consoleSize") or {}
    size = (configured.get("height", 0), configured.get("width", 0)) if configured else None
    if socket_path:
        return terminal.Console(terminal.connect_console(socket_path), size)
    relay = Relay()
    relays.append(relay)
    # The caller's terminal makes \r\n of \n, as it does for every program; in a file nothing is to do so.
    return terminal.Console(relay.child_socket, relay.size() or size, is_relayed=True)


class Relay:
    """The container's terminal, copied to and from the caller's for as long as a process runs.

    Made before the clone; child_socket is for the child's Pty.send_master(). Raises Unsupported without a terminal.
    """

    def __init__(self) -> None:
        self.host_fd = _host_terminal()
        self.own_socket, self.child_socket = terminal.socket_pair()
        self.master_fd = -1
        self._saved: list[Any] = []

    def receive(self) -> None:
        """Take the master that the child has sent, and give it the caller's size. Raises OcilabError."""
        self._close("child_socket")
        self.master_fd = terminal.receive_fd(self.own_socket)
        self._close("own_socket")
        os.set_blocking(self.master_fd, False)
        self.resize()

    def size(self) -> tuple[int, int] | None:
        """(rows, columns) of the caller's terminal."""
        try:
            return terminal.size(self.host_fd)
        except OSError:
            return None

    def resize(self) -> None:
        """Give the container's terminal the size of the caller's."""
        try:
            terminal.set_size(self.master_fd, *terminal.size(self.host_fd))
        except (OSError, OcilabError):
            pass  # one of the two is gone already

    def run(self, pid: int) -> int:
        """Copy until our child pid has ended; its exit code. The caller's terminal is raw meanwhile, and restored.

        Signals that ask us for something go to pid; SIGWINCH resizes.
        """
        pidfd = syscalls.pidfd_open(pid)
        signal_read, signal_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            _catch_signals(signal_write)
            self._set_raw()
            _Copy(self, pid, pidfd, signal_read).run()
        finally:
            self.close()
            _signal.set_wakeup_fd(-1)
            for fd in (pidfd, signal_read, signal_write):
                os.close(fd)
        return processes.wait(pid)

    def close(self) -> None:
        """Restore the caller's terminal and hang up the container's; may be called at any time, and again."""
        if self._saved:
            try:
                termios.tcsetattr(self.host_fd, termios.TCSANOW, self._saved)
            except termios.error:
                pass  # it was hung up
            self._saved = []
        self._close("own_socket", "child_socket", "master_fd", "host_fd")

    def hang_up(self) -> None:
        """Close the master: what is left in the container gets SIGHUP."""
        self._close("master_fd")

    def _close(self, *names: str) -> None:
        for name in names:
            if getattr(self, name) >= 0:
                os.close(getattr(self, name))
            setattr(self, name, -1)

    def _set_raw(self) -> None:
        """As cfmakeraw(3), but for what the terminal does to output."""
        modes = termios.tcgetattr(self.host_fd)
        self._saved = list(modes)
        self._saved[6] = list(modes[6])
        modes[0] &= ~_bits("IGNBRK BRKINT PARMRK ISTRIP INLCR IGNCR ICRNL IXON")
        modes[1] |= termios.OPOST
        modes[2] = modes[2] & ~_bits("CSIZE PARENB") | termios.CS8
        modes[3] &= ~_bits("ECHO ECHONL ICANON ISIG IEXTEN")
        modes[6][termios.VMIN] = 1
        modes[6][termios.VTIME] = 0
        termios.tcsetattr(self.host_fd, termios.TCSANOW, modes)


def _bits(names: str) -> int:
    bits = 0
    for name in names.split():
        bits |= getattr(termios, name)
    return bits


def _host_terminal() -> int:
    """A descriptor of our own of the caller's terminal: of a standard stream, or else the controlling one."""
    for fd in (2, 1, 0):
        if os.isatty(fd):
            return os.dup(fd)
    try:
        return os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError as error:
        raise Unsupported(
            "open /dev/tty: %s: process.terminal is set, and there is no terminal here: run labrun in one, or set"
            " process.terminal to false" % str(error.strerror).lower()
        ) from None


def _ignore_signal(_number: int, _frame: object) -> None:
    """Its number arrives through the wakeup descriptor, and wakes poll(2) without a race."""


def _catch_signals(write_fd: int) -> None:
    _signal.set_wakeup_fd(write_fd, warn_on_full_buffer=False)
    for number in range(1, 65):
        if number not in _NOT_FORWARDED or number == _signal.SIGWINCH:
            try:
                _signal.signal(number, _ignore_signal)
            except (OSError, ValueError):
                continue  # those that the C library keeps to itself


class _Copy:
    """One run of a relay: poll(2) over the caller's input, the master, our signals and the process.

    The master tells of changes only (EPOLLET): without an open slave it would be ready for ever, and yet a process may
    open its console again, as systemd does.
    """

    def __init__(self, relay: Relay, pid: int, pidfd: int, signal_fd: int) -> None:
        self.relay = relay
        self.pid = pid
        self.pidfd = pidfd
        self.signal_fd = signal_fd
        self.input_open = True
        self.pending = b""  # read from the caller, and not yet taken by the container
        self.edges = select.epoll()
        self.edges.register(relay.master_fd, _EDGES)

    def run(self) -> None:
        with self.edges:
            ended = False
            while not ended:
                ready = self._wait()
                if self.signal_fd in ready:
                    self._handle_signals()
                if self.edges.fileno() in ready:
                    self.edges.poll(0)
                    self._pass_input()
                    self._copy_output(_TURN_CHUNKS)
                if 0 in ready:
                    self._read_input()
                ended = self.pidfd in ready
            # What it had written when it ended; others may hold the terminal open and write on for ever.
            self._copy_output(_LAST_CHUNKS)

    def _wait(self) -> list[int]:
        poll = select.poll()
        for fd in (self.pidfd, self.signal_fd, self.edges.fileno()):
            poll.register(fd, select.POLLIN)
        if self.input_open and not self.pending:
            poll.register(0, select.POLLIN)
        return [fd for fd, _events in poll.poll()]

    def _handle_signals(self) -> None:
        for number in os.read(self.signal_fd, 512):
            if number == _signal.SIGWINCH:
                self.relay.resize()
                continue
            try:
                os.kill(self.pid, number)
            except OSError:
                pass  # it has ended meanwhile

    def _read_input(self) -> None:
        """The end of the input ends the copying alone, as in runc: a raw terminal knows no end of file."""
        try:
            self.pending = os.read(0, _CHUNK)
        except BlockingIOError:
            return
        except OSError:
            self.pending = b""
        self.input_open = bool(self.pending)
        self._pass_input()

    def _pass_input(self) -> None:
        try:
            while self.pending:
                self.pending = self.pending[os.write(self.relay.master_fd, self.pending) :]
        except BlockingIOError:
            pass  # the container reads slower than the caller writes: the master tells when it goes on
        except OSError:
            self.pending = b""
            self.input_open = False

    def _copy_output(self, chunks: int) -> None:
        """All that is there, up to so many chunks; then the master is asked to tell of the rest at once."""
        for _chunk in range(chunks):
            try:
                data = os.read(self.relay.master_fd, _CHUNK)
            except OSError:
                return  # EAGAIN: nothing more for now; EIO: nobody has the slave open; EBADF: hung up below
            if not data or not _write_out(data):
                self.relay.hang_up()
                return
        self.edges.modify(self.relay.master_fd, _EDGES)


def _write_out(data: bytes) -> bool:
    """All of data to standard output, which somebody may have set to not block; False when nobody reads it any more."""
    while data:
        try:
            data = data[os.write(1, data) :]
        except BlockingIOError:
            poll = select.poll()
            poll.register(1, select.POLLOUT)
            poll.poll()
        except OSError:
            return False
    return True
