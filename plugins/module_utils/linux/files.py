# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""Small files of the kernel's own file systems (procfs, sysfs, cgroupfs) and of our state: one call each, traced."""

from __future__ import annotations

import os

from . import trace


def write(path: str, data: bytes) -> None:
    """Write data to the existing file at path in one write(2), as the kernel's own files ask. Raises OSError."""
    trace.call("write", (path, data.decode("ascii", "replace").strip()), _write, path, data)


def _write(path: str, data: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, data)
    finally:
        os.close(fd)


def replace(path: str, data: bytes, mode: int = 0o644, group: int = -1) -> None:
    """Put a file of that content and mode at path by one rename, which a power cut leaves whole or undone.

    group: its number; -1 for the process's own. Raises OSError; nothing is left beside it then.
    """
    temporary = "%s.%d.new" % (path, os.getpid())
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with open(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fchown(fd, -1, group)
            os.fchmod(fd, mode)
            os.fsync(fd)
        os.rename(temporary, path)
    except BaseException:
        if os.path.lexists(temporary):
            os.unlink(temporary)
        raise


def mkdir(path: str, mode: int = 0o755) -> None:
    """mkdir(2). Raises OSError."""
    trace.call("mkdir", (path, "0%o" % mode), os.mkdir, path, mode)


def rmdir(path: str) -> None:
    """rmdir(2). Raises OSError."""
    trace.call("rmdir", (path,), os.rmdir, path)


def read(path: str, max_bytes: int = 1 << 20) -> bytes:
    """Up to max_bytes of the file at path; reads are not traced. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        chunks = []
        left = max_bytes
        while left > 0:
            chunk = os.read(fd, min(left, 1 << 16))
            if not chunk:
                break
            chunks.append(chunk)
            left -= len(chunk)
        return b"".join(chunks)
    finally:
        os.close(fd)


def read_text(path: str) -> str:
    """The file's text without surrounding white space (kernel files are ASCII). Raises OSError."""
    return read(path).decode("utf-8", "replace").strip()
