# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""The commands of a container's life: create, start, run, state, kill, delete."""

from __future__ import annotations

import os

from ..linux import processes, syscalls
from ..linux.errors import InvalidInput, KernelRefused, WrongState, errno_text
from . import container as life
from .options import Command
from .state import NOTIFY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TextIO

    from .log import Log
    from .options import Parsed

# Of a fault of our own, or of our children and our terminal: the container does not get these.
_OURS = "KILL STOP CHLD URG PIPE SEGV BUS FPE ILL TRAP SYS ABRT TSTP TTIN TTOU WINCH"


def _create(parsed: Parsed, log: Log, _output: TextIO) -> int:
    create_container(parsed, log, True, [])
    return 0


def create_container(parsed: Parsed, log: Log, detached: bool, relays: list[Any]) -> life.Container:
    """Create as the options say; where the caller's own terminal is to be used, a Relay is appended to relays."""
    preserved = inherited(parsed)

    def open_console(described: dict[str, Any]) -> Any:
        return console_for(parsed, described, detached, relays)

    settings = life.Settings(
        preserved=preserved,
        open_console=open_console,
        no_pivot="--no-pivot" in parsed.options,
        no_new_keyring="--no-new-keyring" in parsed.options,
        systemd_cgroup=parsed.systemd_cgroup,
        rootless=parsed.rootless,
        listen_fds=int(os.environ.get("LISTEN_FDS") or 0),
        notify_directory=_notify_directory(parsed) if os.environ.get("NOTIFY_SOCKET") else "",
    )
    bundle = parsed.options.get("--bundle", ".")
    made = life.create(parsed.words[0], bundle, parsed.root, settings, log.debug, log.warn)
    pid = made.folder.process()[0]
    log.debug("container %s: created of %s, its init is process %d" % (made.id, bundle, pid))
    try:
        tell_pid(parsed, pid)
    except BaseException:
        made.delete(force=True)
        raise
    return made


def _notify_directory(parsed: Parsed) -> str:
    return os.path.join(os.path.abspath(life.Container(parsed.words[0], parsed.root).folder.path), NOTIFY)


def _listener(parsed: Parsed) -> Any:
    """A notify.Listener where the caller has NOTIFY_SOCKET and the container a folder for it; else None."""
    caller = os.environ.get("NOTIFY_SOCKET")
    if not caller or not os.path.isdir(_notify_directory(parsed)):
        return None
    from . import notify

    return notify.Listener(_notify_directory(parsed), caller)


def inherited(parsed: Parsed) -> int:
    """How many descriptors from 3 on the container gets: those of LISTEN_FDS (sd_listen_fds(3)), then --preserve-fds.

    Of the latter only those that are open, as crun does it: what is not open is filled, so that nothing of ours comes
    to lie there, with what execve(2) closes. Raises InvalidInput for one of LISTEN_FDS that is not open.
    """
    listening = os.environ.get("LISTEN_FDS") or "0"
    if not (listening.isascii() and listening.isdigit()):
        raise InvalidInput("LISTEN_FDS %r in the environment: a number is expected" % listening)
    count = int(listening) + parsed.number("--preserve-fds", "0")
    if not count:
        return 0
    given = [fd for fd in map(int, os.listdir("/proc/self/fd")) if 3 <= fd < 3 + count and _is_given(fd)]
    for fd in range(3, 3 + int(listening)):
        if fd not in given:
            raise InvalidInput("LISTEN_FDS: descriptor %d is to be passed to the container and is not open" % fd)
    last = max(given, default=2)
    for fd in range(3, last):
        if fd not in given and not _is_open(fd):
            os.dup2(2, fd, inheritable=False)
    return last - 2


def _is_given(fd: int) -> bool:
    """Whether the caller gave it to us: what we open ourselves is closed by execve(2)."""
    return _is_open(fd) and os.get_inheritable(fd)


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
        return True
    except OSError:
        return False


def console_for(parsed: Parsed, described: dict[str, Any], detached: bool, relays: list[Any]) -> Any:
    """A terminal.Console for a process that wants a terminal; None for one that does not. Raises InvalidInput."""
    path = parsed.options.get("--console-socket", "")
    if not path and not described.get("terminal"):
        return None
    from . import console

    return console.open_console(described, detached, path, relays)


def tell_pid(parsed: Parsed, pid: int) -> None:
    """--pid-file, in one piece, since its reader may be waiting for it to appear; and --pidfd-socket.

    Raises InvalidInput, KernelRefused.
    """
    path = parsed.options.get("--pid-file")
    if path:
        try:
            fd = os.open(path + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
            os.write(fd, b"%d" % pid)
            os.close(fd)
            os.rename(path + ".new", path)
        except OSError as error:
            raise InvalidInput("--pid-file %s: cannot be written: %s" % (path, errno_text(error.errno))) from None
    path = parsed.options.get("--pidfd-socket")
    if path:
        from ..linux import terminal

        pidfd, connection = syscalls.pidfd_open(pid), terminal.connect_console(path)
        terminal.send_fd(connection, pidfd, "pidfd")
        os.close(connection)
        os.close(pidfd)


def _start(parsed: Parsed, _log: Log, _output: TextIO) -> int:
    found = life.Container(parsed.words[0], parsed.root)
    listener = _listener(parsed)
    found.start()
    if listener:
        pid, started = found.folder.process()
        listener.forward(pid, started, pid)
    return 0


def _run(parsed: Parsed, log: Log, _output: TextIO) -> int:
    detached = "--detach" in parsed.options
    relays: list[Any] = []
    if "--no-subreaper" not in parsed.options and not detached:
        syscalls.prctl(syscalls.PR_SET_CHILD_SUBREAPER, 1, "PR_SET_CHILD_SUBREAPER")
    made = create_container(parsed, log, detached, relays)
    try:
        pid, started = made.folder.process()
        for relay in relays:
            relay.receive()
        listener = _listener(parsed)
        made.start()
        log.debug("container %s: started" % made.id)
        if listener and detached:
            listener.forward(pid, started, pid)
        if detached:
            return 0
        if listener:
            _forward_meanwhile(listener, pid, started, log)
        code = wait_forwarding(pid, relays)
        log.debug("container %s: ended with exit code %d" % (made.id, code))
    except BaseException:
        if made.folder.exists():  # a hook that failed after the start has destroyed it
            made.delete(force=True)
        raise
    finally:
        for relay in relays:
            relay.close()
    if "--keep" not in parsed.options:
        made.delete(warn=log.warn)
    return code


def _forward_meanwhile(listener: Any, pid: int, started: int, log: Log) -> None:
    """In a thread, while we wait for the container; it is us whom the caller has to watch."""
    import _thread

    def run() -> None:
        try:
            listener.forward(pid, started, os.getpid())
        except KernelRefused as error:
            log.warn(str(error))

    _thread.start_new_thread(run, ())


def wait_forwarding(pid: int, relays: list[Any]) -> int:
    """Wait for our child, relaying its terminal where it has one; the signals that we get are passed on to it."""
    if relays:
        code: int = relays[0].run(pid)
        return code
    import _signal

    def forward(number: int, _frame: object) -> None:
        os.kill(pid, number)

    ours = {getattr(_signal, "SIG" + name) for name in _OURS.split()}
    for number in range(1, 32):
        if number not in ours:
            _signal.signal(number, forward)
    return processes.wait(pid)


def _state(parsed: Parsed, _log: Log, output: TextIO) -> int:
    import json  # for people: indented

    output.write(json.dumps(life.Container(parsed.words[0], parsed.root).state(), indent=2) + "\n")
    return 0


def _kill(parsed: Parsed, _log: Log, _output: TextIO) -> int:
    from ..linux import signals

    number = signals.number(parsed.words[1] if len(parsed.words) > 1 else "SIGTERM")
    everyone = "--all" in parsed.options
    try:
        life.Container(parsed.words[0], parsed.root).kill(number, everyone)
    except WrongState:
        if not everyone:  # with --all nobody may be left, as with runc
            raise
    return 0


def _delete(parsed: Parsed, log: Log, _output: TextIO) -> int:
    life.Container(parsed.words[0], parsed.root).delete("--force" in parsed.options, log.warn)
    return 0


_CREATION = {
    "--bundle": "DIR  the bundle's directory (default: the current one)",
    "--console-socket": "PATH  a unix socket that takes the master of the container's terminal",
    "--pidfd-socket": "PATH  a unix socket that takes a pidfd of the container's process",
    "--pid-file": "FILE  write the init process's pid to FILE",
    "--no-pivot": "move the root file system in place instead of pivot_root; for a host whose root is a ramdisk",
    "--no-new-keyring": "let the container have the caller's session keyring",
    "--preserve-fds": "N  pass N further file descriptors to the container, behind those of $LISTEN_FDS",
}
_SHORT = {"-b": "--bundle", "-d": "--detach"}
COMMANDS = {
    "create": (Command("create", "ID", "create a container, which waits for start", _CREATION, _SHORT), _create),
    "start": (Command("start", "ID", "run the process of a created container", {}, {}), _start),
    "run": (
        Command(
            "run",
            "ID",
            "create and start a container, wait for it and delete it",
            dict(
                _CREATION,
                **{
                    "--detach": "return when the container has started",
                    "--keep": "do not delete the container when it has ended",
                    "--no-subreaper": "do not adopt what the container's processes leave behind",
                },
            ),
            _SHORT,
        ),
        _run,
    ),
    "state": (Command("state", "ID", "print the state of a container as JSON", {}, {}), _state),
    "kill": (
        Command(
            "kill",
            "ID [SIGNAL]",
            "send a signal (default: SIGTERM) to a container's process",
            {"--all": "send it to all of the container's processes"},
            {"-a": "--all"},
        ),
        _kill,
    ),
    "delete": (
        Command("delete", "ID", "delete a container", {"--force": "kill it first if it is running"}, {"-f": "--force"}),
        _delete,
    ),
}
