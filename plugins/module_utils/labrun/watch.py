# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""What a monitor does while its container runs: its output to the log, and its exit code.

Also run as a program of its own, by its source alone: a monitor is forked from a module, with all that this holds, and
a bare interpreter in its place takes a sixth of the memory. So nothing of the collection is imported here.
"""

from __future__ import annotations

import os
import select
import sys
import time

_LINE_BYTES = 16384  # a longer line is logged in parts, as the CRI asks


class Watch:
    """pid: a child; pidfd: of it; out_fd and err_fd: pipes with its output; log_fd: the log; folder: of its state."""

    def __init__(self, pid: int, pidfd: int, out_fd: int, err_fd: int, log_fd: int, folder: str) -> None:
        self.pid = pid
        self.pidfd = pidfd
        self.fds = [pidfd, out_fd, err_fd, log_fd]
        self.folder = folder
        self.streams = {out_fd: _Stream(log_fd, b"stdout"), err_fd: _Stream(log_fd, b"stderr")}
        self.open_streams = set(self.streams)

    def run(self, limit_s: float | None = None) -> bool:
        """Copy the output to the log until the process has ended and its output is read, and record its exit code.

        False where limit_s seconds have passed before, and another may take over: nothing is half read then.
        """
        poll = select.poll()
        for fd in [*self.streams, self.pidfd]:
            poll.register(fd, select.POLLIN)
        deadline = time.monotonic() + (limit_s or 0)
        patience = None if limit_s is None else int(limit_s * 1000)
        ended = False
        while not ended or self.open_streams:
            # Once the process has ended, only what is already in the pipes counts: a descendant may hold them open.
            events = poll.poll(0 if ended else patience)
            if ended and not events:
                break
            for fd, _event in events:
                if fd == self.pidfd:
                    ended = True
                    poll.unregister(fd)
                elif not self._copy(fd):
                    poll.unregister(fd)
                    self.open_streams.discard(fd)
            if patience is not None and not ended and time.monotonic() >= deadline and self._can_be_left():
                return False
        self._record_exit()
        return True

    def _can_be_left(self) -> bool:
        return len(self.open_streams) == len(self.streams) and not any(one.rest for one in self.streams.values())

    def _copy(self, fd: int) -> bool:
        """Log what the pipe holds; False at its end."""
        data = os.read(fd, 1 << 16)
        if data:
            self.streams[fd].write(data)
        else:
            self.streams[fd].end()
        return bool(data)

    def _record_exit(self) -> None:
        for stream in self.streams.values():
            stream.end()
        status = os.waitpid(self.pid, 0)[1]
        code = 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
        temporary = os.path.join(self.folder, "exit.new")
        try:
            fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            os.write(fd, b"%d" % code)
            os.close(fd)
            os.rename(temporary, temporary[:-4])
        except FileNotFoundError:
            pass  # the container has been deleted, and with it all that would ask


class _Stream:
    """One stream in the CRI's log format: time, stream, F for a full line or P for a part of one, and the text."""

    def __init__(self, log_fd: int, name: bytes) -> None:
        self.log_fd = log_fd
        self.name = name
        self.rest = b""

    def write(self, data: bytes) -> None:
        lines = (self.rest + data).split(b"\n")
        self.rest = lines.pop()
        now = _now()
        output = [b"%s %s F %s\n" % (now, self.name, line) for line in lines]
        while len(self.rest) >= _LINE_BYTES:
            output.append(b"%s %s P %s\n" % (now, self.name, self.rest[:_LINE_BYTES]))
            self.rest = self.rest[_LINE_BYTES:]
        os.write(self.log_fd, b"".join(output))

    def end(self) -> None:
        """Log a last line that has no end."""
        if self.rest:
            os.write(self.log_fd, b"%s %s P %s\n" % (_now(), self.name, self.rest))
            self.rest = b""


def _now() -> bytes:
    seconds, rest = divmod(time.time_ns(), 1000000000)
    return (time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + ".%09dZ" % rest).encode()


def take_over(source: str, watch: Watch, name: str) -> None:
    """Go on as a bare interpreter that runs this module's source; returns where that cannot be executed."""
    if not sys.executable:
        return
    source_fd = os.memfd_create(name, 0)
    os.write(source_fd, source.encode())
    for fd in watch.fds:
        os.set_inheritable(fd, True)
    numbers = [str(number) for number in (watch.pid, *watch.fds)]
    script = "/proc/self/fd/%d" % source_fd
    try:
        os.execve(sys.executable, [sys.executable, "-IS", script, *numbers, watch.folder, name], {})
    except OSError:
        os.close(source_fd)  # the interpreter's file is gone: this one is still here


if __name__ == "__main__":
    with open("/proc/self/comm", "w") as comm:
        comm.write(sys.argv[-1])
    pid, pidfd, out_fd, err_fd, log_fd = map(int, sys.argv[1:6])
    Watch(pid, pidfd, out_fd, err_fd, log_fd, sys.argv[6]).run()
