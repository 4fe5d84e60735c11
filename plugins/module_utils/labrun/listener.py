# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""A seccomp listener on its way from the process that loaded the filter to the agent (config-linux.md, seccomp)."""

from __future__ import annotations

import os

from ..linux import seccomp, syscalls
from ..linux.errors import OcilabError
from ..spec import document
from ..spec.runtime import VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

TAKEN = b"2"


def give(report_fd: int, answer_fd: int, listener: int) -> None:
    """In the child: name the listener to the runtime and wait until that has it.

    The filter is on, and whatever it asks the agent about would wait for ever before that: hence two calls only.
    """
    os.write(report_fd, b'{"listener":%d}\n' % listener)
    if os.read(answer_fd, 1) != TAKEN:
        os._exit(1)  # the runtime was killed


def forward(pid: int, number: int, prepared: seccomp.Prepared | None, state: dict[str, Any], answer_fd: int) -> None:
    """In the runtime: take the listener that process pid holds as that number, and send it to the agent.

    state is that of the container (runtime.md); the child waits on the other end of answer_fd. Raises OcilabError.
    """
    if not prepared:
        raise OcilabError("the container's init reports a seccomp listener that no profile asks for")
    pidfd = syscalls.pidfd_open(pid)
    try:
        listener = seccomp.take_listener(pidfd, number)
    finally:
        os.close(pidfd)
    try:
        os.write(answer_fd, TAKEN)
        message: dict[str, Any] = {"ociVersion": VERSION, "fds": ["seccompFd"], "pid": pid}
        if prepared.metadata:
            message["metadata"] = prepared.metadata
        seccomp.send_listener(listener, prepared, document.dump(dict(message, state=state)))
    finally:
        os.close(listener)
