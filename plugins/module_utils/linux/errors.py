# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""The one family of exceptions of this package: each is one line for a person, never a traceback."""

from __future__ import annotations

import errno as errno_names
import os


class OcilabError(Exception):
    """Base of every error that this package raises; str() is one line: what was tried, on what, why, what to do.

    exit_code is what a command that fails with it returns to its shell.
    """

    exit_code = 1


class InvalidInput(OcilabError):
    """What the caller gave cannot be used; nothing was changed."""


class NotFound(OcilabError):
    """A container, image or file that was named does not exist."""


class AlreadyExists(OcilabError):
    """The name is taken."""


class WrongState(OcilabError):
    """The object exists, but the operation is not allowed in the state that it is in."""


class Unsupported(OcilabError):
    """This kernel, this host or this version of the collection lacks what was asked for."""


class HookFailed(OcilabError):
    """A hook of config.json could not be executed, failed, or did not end in time: the container is destroyed."""


class CommandNotFound(OcilabError):
    """The program to run does not exist in the container (as a shell: 127)."""

    exit_code = 127


class CommandNotExecutable(OcilabError):
    """The program to run exists and cannot be executed (as a shell: 126)."""

    exit_code = 126


class KernelRefused(OcilabError):
    """A system call failed.

    call: the system call's name; target: what it was applied to; errno: the kernel's answer (errno(3));
    hint: what a person can do about it, or an empty string.
    """

    def __init__(self, call: str, target: str, errno: int | None, hint: str = "") -> None:
        self.call = call
        self.target = target
        self.errno = errno
        self.hint = hint
        reason = errno_text(errno)
        super().__init__("%s %s: %s%s" % (call, target, reason, ": " + hint if hint else ""))


def errno_text(number: int | None) -> str:
    """'operation not permitted (EPERM)' for 1: the words of strerror(3), and the name that manual pages use."""
    number = number or 0
    return "%s (%s)" % (os.strerror(number).lower(), errno_names.errorcode.get(number, str(number)))
