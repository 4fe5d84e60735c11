# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""Processes as the kernel identifies them: by pid and start time, so that a reused pid is never taken for another."""

from __future__ import annotations

import os
import select
import time
from _signal import SIG_DFL, SIGKILL, SIGPIPE
from _signal import signal as set_signal

from . import files, syscalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable


def start_time(pid: int) -> int:
    """When the process started, in clock ticks since boot (proc(5), stat field 22); 0 when it is gone or a zombie."""
    try:
        stat = files.read("/proc/%d/stat" % pid)
    except OSError:
        return 0
    # The name in parentheses may hold spaces and parentheses itself: the fields are counted from its end.
    fields = stat[stat.rfind(b")") + 2 :].split()
    if fields[0] in (b"Z", b"X"):
        return 0
    return int(fields[19])


def is_alive(pid: int, started: int) -> bool:
    """True while the process that had this pid and start time lives; a zombie does not."""
    return pid > 0 and started != 0 and start_time(pid) == started


def open_process(pid: int, started: int) -> int:
    """A pidfd of that very process, or -1 when it is gone; the caller closes it."""
    try:
        pidfd = syscalls.pidfd_open(pid)
    except OSError:
        return -1
    if is_alive(pid, started):
        return pidfd
    os.close(pidfd)
    return -1


def wait_gone(pidfd: int, timeout_s: float) -> bool:
    """Wait until the process of the pidfd has ended; False when it still lives after timeout_s seconds."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(int(timeout_s * 1000)))


def exit_code(status: int) -> int:
    """A wait status (wait(2)) as shells and runc report it: the code itself, or 128 plus the signal's number."""
    if os.WIFSIGNALED(status):
        return 128 + os.WTERMSIG(status)
    return os.WEXITSTATUS(status)


def wait(pid: int) -> int:
    """Wait for a child and return its exit code. Raises ChildProcessError when it is not ours."""
    return exit_code(os.waitpid(pid, 0)[1])


_OUTPUT_BYTES = 4096
_POLL_S = 0.01


def run(
    path: bytes,
    args: list[bytes],
    environment: dict[bytes, bytes],
    stdin: bytes,
    timeout_s: float | None,
    launch: Callable[[int, bytes, list[bytes], dict[bytes, bytes]], None] | None = None,
    directory: bytes = b"",
) -> tuple[int, bytes]:
    """Run a program to its end: (exit code, what it printed, at most 4 KiB of it).

    It leads a process group of its own, which is killed as a whole when it has not ended after timeout_s seconds.
    Files in memory serve as its standard streams: unlike pipes they never fill up, and nobody waits for their end.
    Should the caller be killed, so is the program: nothing else knows of it (case F01). launch stands in for execve(2)
    and is given the pipe, too, that takes the number of the error where it fails. directory: where it runs, if that can
    be entered; else, and where it is empty, where the caller is.
    Raises TimeoutError, and OSError where it cannot be executed.
    """
    given = os.memfd_create("stdin")
    output = os.memfd_create("output")
    try:
        os.write(given, stdin)
        os.lseek(given, 0, os.SEEK_SET)
        pid = _spawn(path, args, environment, (given, output, output), launch, directory)
        if timeout_s is not None and not _ends_within(pid, timeout_s):
            os.killpg(pid, SIGKILL)
            os.waitpid(pid, 0)
            raise TimeoutError
        return wait(pid), os.pread(output, _OUTPUT_BYTES, 0)
    finally:
        os.close(given)
        os.close(output)


def _spawn(
    path: bytes,
    args: list[bytes],
    environment: dict[bytes, bytes],
    streams: tuple[int, int, int],
    launch: Callable[[int, bytes, list[bytes], dict[bytes, bytes]], None] | None,
    directory: bytes,
) -> int:
    """What posix_spawn(3) does, with a parent death signal, which that one lacks. Raises OSError."""
    failed_read, failed_write = os.pipe()  # execve closes it
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        try:
            os.setpgid(0, 0)
            syscalls.prctl(syscalls.PR_SET_PDEATHSIG, SIGKILL, "PR_SET_PDEATHSIG")
            if os.getppid() == parent:
                for number, fd in enumerate(streams):
                    os.dup2(fd, number)
                set_signal(SIGPIPE, SIG_DFL)
                _enter(directory)
                if launch:
                    launch(failed_write, path, args, environment)
                os.execve(path, args, environment)
        except OSError as error:
            os.write(failed_write, b"%d" % (error.errno or 0))
        finally:
            os._exit(1)
    os.close(failed_write)
    answer = os.read(failed_read, 16)
    os.close(failed_read)
    if answer:
        os.waitpid(pid, 0)
        raise OSError(int(answer), os.strerror(int(answer)))
    return pid


def _enter(directory: bytes) -> None:
    if directory:
        try:
            os.chdir(directory)
        except OSError:
            pass  # a bundle may be gone when its container is deleted


def _ends_within(pid: int, timeout_s: float) -> bool:
    """Whether our child ends within timeout_s seconds; it is not reaped."""
    try:
        pidfd = syscalls.pidfd_open(pid)
    except OSError:  # a container's filter may refuse it to a hook's parent
        deadline = time.monotonic() + timeout_s
        while os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL_S)
        return True
    try:
        return wait_gone(pidfd, timeout_s)
    finally:
        os.close(pidfd)
