# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""The channels between a runtime and the child that it cloned: one lets the child go on, the other takes its reports.

The child writes JSON lines: {"mounted": true} where hooks wait for it, {"entered": true} where an observer does,
{"ready": true, "trace": [...]} when it only waits for its start, or {"error": class, "message": text}. execve(2) closes
the channel: what follows is the program's.
"""

from __future__ import annotations

import gc
import os
import select

from ..linux import errors, syscalls, trace
from ..linux.errors import KernelRefused, OcilabError
from ..spec import document

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

GO = b"1"
_CHUNK = 65536


class Channel:
    """Both channels; close_parent_ends() is for the child, close_child_ends() for the runtime.

    report_fifo: a path where the reports are a FIFO, so that another process, the one that starts the container, hears
    of a failed execve(2) too; without one they are a pipe.
    """

    def __init__(self, report_fifo: str = "") -> None:
        self.go_read, self.go_write = os.pipe()
        if report_fifo:
            trace.call("mkfifo", (report_fifo,), os.mkfifo, report_fifo, 0o600)
            # Open for reading too, neither end waits for the other (fifo(7)), and nobody who listens is no error.
            self.report_write = os.open(report_fifo, os.O_RDWR | os.O_CLOEXEC)
            self.report_read = os.open(report_fifo, os.O_RDONLY | os.O_CLOEXEC)
        else:
            self.report_read, self.report_write = os.pipe()

    def close_parent_ends(self) -> None:
        self._close("go_write", "report_read")

    def close_child_ends(self) -> None:
        self._close("go_read", "report_write")

    def close_all(self) -> None:
        self._close("go_read", "go_write", "report_read", "report_write")

    def _close(self, *names: str) -> None:
        """Each once: a number that was closed may be another file's by now."""
        for name in names:
            if getattr(self, name) >= 0:
                os.close(getattr(self, name))
            setattr(self, name, -1)

    def go(self) -> None:
        """Called by the runtime: the child may go on. A child that has died says so by the lack of a report."""
        try:
            os.write(self.go_write, GO)
        except BrokenPipeError:
            pass

    def await_go(self) -> None:
        """Called by the child; ends it when the runtime has been killed, for then nobody knows of the child."""
        if os.read(self.go_read, 1) != GO:
            os._exit(1)

    def report(self, message: dict[str, Any]) -> None:
        """Called by the child."""
        report(self.report_write, message)

    def receive(self) -> dict[str, Any]:
        """Called by the runtime; see receive_report()."""
        return receive_report(self.report_read)


def run_child(channel: Channel, keep: list[int], stdio: list[int] | None, body: Callable[[], None]) -> None:
    """Run body() in the forked child and report how it fails; never returns.

    keep: descriptors that body needs; every other one above 2 is closed first, for whatever the caller had open must
    not be in reach of the container (case R03). stdio: three descriptors for 0 to 2, or None to inherit them.
    """
    gc.disable()  # its rounds would write to, and so copy, each page that is shared with the runtime
    try:
        channel.close_parent_ends()
        trace.take()  # those before the clone are the runtime's own
        if stdio:
            for number, fd in enumerate(stdio):
                os.dup2(fd, number)
        syscalls.close_others(keep + [channel.go_read, channel.report_write])
        channel.await_go()
        body()
    except OcilabError as error:
        channel.report({"error": type(error).__name__, "message": str(error)})
        os._exit(error.exit_code)
    except OSError as error:
        shown = os.fsdecode(error.filename) if isinstance(error.filename, (str, bytes)) else "a system call"
        message = "in the container: %s: %s" % (shown, errors.errno_text(error.errno))
        channel.report({"error": "OcilabError", "message": message})
    except BaseException as error:
        channel.report({"error": "OcilabError", "message": "in the container: %r (a bug of labrun)" % error})
    os._exit(1)


def report(fd: int, message: dict[str, Any]) -> None:
    """Write one line to a report channel; silent where nobody listens any more."""
    data = document.dump(message) + b"\n"
    try:
        while data:
            data = data[os.write(fd, data) :]
    except OSError:
        pass  # nobody is left to hear it


def receive_report(fd: int) -> dict[str, Any]:
    """Read one line of the child's report; {} when it ended without one (or by execve, which closes the channel)."""
    chunks = []
    while True:
        chunk = os.read(fd, _CHUNK)
        chunks.append(chunk)
        if not chunk or chunk.endswith(b"\n"):
            break
    data = b"".join(chunks)
    return document.parse(data, "the report of the container's init", own=True) if data else {}


def listen(fifo: str) -> int:
    """Open the report FIFO of a container that was created by another process, for await_execve()."""
    return os.open(fifo, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)


def await_execve(fd: int) -> None:
    """Wait until the child has become its program, or raise the error that it reports; closes fd, of listen()."""
    try:
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        poll.poll()
        told = receive_report(fd)
    finally:
        os.close(fd)
    if told:
        raise_reported(told)


def raise_reported(told: dict[str, Any]) -> None:
    """Raise the error that a child reported."""
    kind = getattr(errors, str(told.get("error")), OcilabError)
    if not isinstance(kind, type) or not issubclass(kind, OcilabError) or kind is KernelRefused:
        kind = OcilabError
    raise kind(str(told["message"]))
