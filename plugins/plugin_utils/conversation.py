# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""What is said to a command and what it says, where another process runs it: pipes, and become's questions."""

from __future__ import annotations

import os
import selectors
import time

from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.module_utils.common.text.converters import to_bytes, to_text

_CHUNK = 1 << 16


class Conversation:
    """Three pipes. theirs: the ends for the command, closed by whoever passes them on; hold() is all that is said.

    become: Ansible's plugin whose command it is, or None; timeout_s: how long it may take to become another user.
    """

    def __init__(self, become, timeout_s: float) -> None:
        self.become = become
        self.timeout_s = timeout_s
        stdin, self.stdin = os.pipe()
        self.stdout, stdout = os.pipe()
        self.stderr, stderr = os.pipe()
        self.theirs = [stdin, stdout, stderr]
        self.said = {self.stdout: bytearray(), self.stderr: bytearray()}
        self.speaking = set(self.said)
        self.unsent = memoryview(b"")
        self.asked_at = {self.stdout: 0, self.stderr: 0}
        self.answered = False

    def close(self) -> None:
        for fd in (self.stdin, self.stdout, self.stderr):
            if fd >= 0:
                os.close(fd)
        self.stdin = self.stdout = self.stderr = -1

    def hold(self, given: bytes) -> tuple[bytes, bytes]:
        """Give the bytes to the command, once it is who it is to be; what it writes, to the end of both streams.

        Raises AnsibleError and AnsibleConnectionFailure where it does not become that user.
        """
        waiting = self.become is not None
        self.unsent = memoryview(b"" if waiting else given)
        deadline = time.monotonic() + self.timeout_s
        os.set_blocking(self.stdin, False)
        with selectors.DefaultSelector() as selector:
            for fd in self.said:
                selector.register(fd, selectors.EVENT_READ)
            while self.speaking or self.unsent:
                self._offer(selector, waiting)
                events = selector.select(max(0.0, deadline - time.monotonic()) if waiting else None)
                if not events:
                    raise AnsibleConnectionFailure(self._problem("nothing came for %g s" % self.timeout_s))
                for key, _events in events:
                    if key.fd == self.stdin:
                        self._write()
                    else:
                        self._read(key.fd, selector)
                if waiting and self._has_become():
                    waiting = False
                    self.unsent = memoryview(bytes(self.unsent) + given)
        return self._stripped(self.stdout), self._stripped(self.stderr)

    def _offer(self, selector, waiting: bool) -> None:
        """Watch the command's standard input while there is something for it; close it when there will be no more."""
        if self.stdin < 0:
            return
        watched = self.stdin in selector.get_map()
        if self.unsent and not watched:
            selector.register(self.stdin, selectors.EVENT_WRITE)
        elif watched and not self.unsent:
            selector.unregister(self.stdin)
        if not self.unsent and not waiting:
            os.close(self.stdin)
            self.stdin = -1

    def _write(self) -> None:
        try:
            self.unsent = self.unsent[os.write(self.stdin, self.unsent) :]
        except BlockingIOError:
            pass
        except BrokenPipeError:  # it does not care to read
            self.unsent = memoryview(b"")

    def _read(self, fd: int, selector) -> None:
        chunk = os.read(fd, _CHUNK)
        self.said[fd] += chunk
        if not chunk:
            selector.unregister(fd)
            self.speaking.remove(fd)

    def _has_become(self) -> bool:
        """Whether the command is who it is to be; a question for the password is answered."""
        if any(self.become.check_success(bytes(said)) for said in self.said.values()):
            return True
        for fd, said in self.said.items():
            if self.become.expect_prompt() and self.become.check_password_prompt(bytes(said[self.asked_at[fd] :])):
                if self.answered:
                    raise AnsibleError(self._problem("the password was not accepted"))
                self.asked_at[fd] = len(said)
                self.answered = True
                password = to_bytes(self.become.get_option("become_pass") or "") + b"\n"
                self.unsent = memoryview(bytes(self.unsent) + password)
        if not self.speaking:
            raise AnsibleError(self._problem("it ended before"))
        return False

    def _problem(self, reason: str) -> str:
        told = " ".join(to_text(bytes(said)).strip() for said in self.said.values() if said).strip()
        return f"become {self.become.name}: {reason}" + (f": {told}" if told else "")

    def _stripped(self, fd: int) -> bytes:
        """Without what become said."""
        said = bytes(self.said[fd])
        if self.become is None:
            return said
        before, mark, after = self.become.strip_become_prompt(said).partition(to_bytes(self.become.success))
        return after.partition(b"\n")[2] if mark else before
