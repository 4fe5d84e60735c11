# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""Running a command in a container to its end, with what it is given and what it writes (for labrun_exec)."""

from __future__ import annotations

import os
import select
import time
from _signal import SIGKILL

from ..linux import paths, processes, syscalls
from ..linux.errors import NotFound, OcilabError
from . import execute, users
from .container import Container
from .create import Settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

    Warn = Callable[[str], None]

_CHUNK = 1 << 16


def described(
    container: Container, args: list[str], env: dict[str, str], user: str | None, cwd: str | None
) -> dict[str, Any]:
    """The process object for args: the container's own, with env added to its, and the user and cwd in place of its.

    user: USER[:GROUP] by the container's passwd and group. Raises NotFound, InvalidInput.
    """
    changes: dict[str, Any] = {"env": ["%s=%s" % item for item in env.items()]}
    pid = container.pid
    if user and pid:
        changes["user"] = users.of_container(user, container.id, pid)
    if cwd:
        changes["cwd"] = cwd
    found = execute.process_for(container, args, changes)
    if user and "HOME" not in env:  # of the user that it is, which the container's passwd tells
        found["env"] = [item for item in found["env"] if not item.startswith("HOME=")]
    return found


def exists(container: Container, path: str) -> bool:
    """Whether the path leads anywhere in the container, whose links stay in it. Raises NotFound."""
    try:
        root_fd = os.open("/proc/%d/root" % container.pid, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        raise NotFound("container %s: it is not running, so that no path can be looked for" % container.id) from None
    try:
        os.close(paths.open_in_root(root_fd, path, os.O_PATH))
        return True
    except OSError:
        return False
    finally:
        os.close(root_fd)


def start(container: Container, process: dict[str, Any], warn: Warn) -> int:
    """Start it with nothing to read and nobody to read it; its pid, which is no longer ours to wait for soon."""
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    try:
        return execute.execute(container, process, Settings(stdio=[null, null, null]), _ignore, warn)
    finally:
        os.close(null)


def run(
    container: Container, process: dict[str, Any], given: bytes, timeout_s: float | None, warn: Warn
) -> tuple[int, bytes, bytes]:
    """Run it to its end: (exit code, stdout, stderr). At a time limit it and its process group are killed.

    Raises what execute() raises, and OcilabError at the limit.
    """
    stdin, own_in = os.pipe()
    own_out, stdout = os.pipe()
    own_err, stderr = os.pipe()
    theirs = [stdin, stdout, stderr]
    try:
        pid = execute.execute(container, process, Settings(stdio=theirs), _ignore, warn)
    except BaseException:
        for fd in (own_in, own_out, own_err):
            os.close(fd)
        raise
    finally:
        for fd in theirs:
            os.close(fd)
    said: dict[int, list[bytes]] = {own_out: [], own_err: []}
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    if _exchange(own_in, given, said, deadline) and _has_ended(pid, deadline):
        return processes.wait(pid), b"".join(said[own_out]), b"".join(said[own_err])
    os.killpg(pid, SIGKILL)
    processes.wait(pid)
    raise OcilabError("container %s: the command was killed, for it took longer than %s s" % (container.id, timeout_s))


def _has_ended(pid: int, deadline: float | None) -> bool:
    """Whether our child ends before the deadline: it may have closed its streams long before."""
    if deadline is None:
        return True
    pidfd = syscalls.pidfd_open(pid)
    try:
        return processes.wait_gone(pidfd, max(0.0, deadline - time.monotonic()))
    finally:
        os.close(pidfd)


def _exchange(stdin: int, given: bytes, said: dict[int, list[bytes]], deadline: float | None) -> bool:
    """Write what is given and read what is said, to the end of both streams; False when the deadline came before."""
    os.set_blocking(stdin, False)
    poll = select.poll()
    for fd in said:
        poll.register(fd, select.POLLIN)
    poll.register(stdin, select.POLLOUT)
    waiting = set(said) | {stdin}
    unsent = memoryview(given)
    try:
        while waiting:
            left = None if deadline is None else max(0.0, deadline - time.monotonic()) * 1000
            events = poll.poll(left)
            if not events:
                return False
            for fd, _event in events:
                if fd == stdin:
                    unsent = _write(stdin, unsent)
                    ended = not unsent
                else:
                    chunk = os.read(fd, _CHUNK)
                    said[fd].append(chunk)
                    ended = not chunk
                if ended:
                    poll.unregister(fd)
                    waiting.discard(fd)
                    os.close(fd)
        return True
    finally:
        for fd in waiting:
            os.close(fd)


def _write(fd: int, unsent: memoryview) -> memoryview:
    try:
        return unsent[os.write(fd, unsent) :]
    except BlockingIOError:
        return unsent
    except BrokenPipeError:  # it does not care to read
        return unsent[len(unsent) :]


def _ignore(_text: str) -> None:
    """Debug lines are for the command."""
