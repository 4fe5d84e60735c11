# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""Seccomp programs kept from one start to the next, since compiling one takes as long as a third of a start.

A folder that only its owner can write to, a file for each profile: the whole profile (a sum of it could collide), which
libseccomp compiled it, and the program. Whatever does not fit exactly is compiled again. Who could write here could
start containers as well: the folder lies in the state root, and is used only where it is the caller's alone.
"""

from __future__ import annotations

import marshal
import os
import stat
from binascii import crc32

from . import syscalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_FORMAT = 3  # of what is kept, and of what seccomp_compile.py puts before libseccomp's program
_MAX_FILES = 32
_MAX_BYTES = 1 << 20
_LIBRARY = "libseccomp.so"


def _key(profile: dict[str, Any]) -> bytes:
    # Version 2 of marshal has no references, so that equal profiles are equal bytes. The kernel matters to libseccomp.
    return marshal.dumps((_FORMAT, os.uname().release, syscalls.machine, profile), 2)


def _name(key: bytes) -> str:
    return "%08x" % crc32(key)


def _identity(path: str) -> tuple[str, int, int, int]:
    found = os.stat(path)
    return path, found.st_ino, found.st_size, found.st_mtime_ns


def _open_folder(folder: str) -> int:
    """The folder's descriptor. Raises OSError, PermissionError where somebody else could write to it."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    found = os.fstat(fd)
    if found.st_uid != os.geteuid() or found.st_mode & 0o022:
        os.close(fd)
        raise PermissionError("%s is not the caller's alone" % folder)
    return fd


def find(folder: str, profile: dict[str, Any]) -> tuple[bytes, list[str]] | None:
    """What compile_profile() made of the profile before, or None."""
    key = _key(profile)
    try:
        folder_fd = _open_folder(folder)
        try:
            fd = os.open(_name(key), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder_fd)
        finally:
            os.close(folder_fd)
        try:
            found = os.fstat(fd)
            own = stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o077
            data = os.read(fd, _MAX_BYTES) if own and found.st_nlink == 1 else b""
        finally:
            os.close(fd)
        kept_key, library, code, skipped = marshal.loads(data)
        if kept_key == key and _identity(library[0]) == library:
            return code, skipped
    except (OSError, ValueError, EOFError, TypeError):
        pass  # none, another libseccomp since, or half a file
    return None


def keep(folder: str, profile: dict[str, Any], code: bytes, skipped: list[str]) -> None:
    """Keep the program; silent where that is not possible."""
    key = _key(profile)
    try:
        data = marshal.dumps((key, _identity(_loaded_library()), code, skipped), 2)
        os.makedirs(os.path.dirname(folder), 0o700, exist_ok=True)
        try:
            os.mkdir(folder, 0o700)
        except FileExistsError:
            pass
        folder_fd = _open_folder(folder)
        try:
            _write(folder_fd, _name(key), data)
        finally:
            os.close(folder_fd)
    except (OSError, ValueError):
        pass  # a state root that cannot be written to fails the start by itself


def _loaded_library() -> str:
    """The file of the libseccomp that this process has loaded. Raises ValueError."""
    with open("/proc/self/maps", "rb") as file:
        for line in file:
            path = os.fsdecode(line.rstrip(b"\n").split(b" ")[-1])
            if os.path.basename(path).startswith(_LIBRARY):
                return path
    raise ValueError("libseccomp is not loaded")


def _write(folder_fd: int, name: str, data: bytes) -> None:
    """In one piece, under a name of our own first: other starts may do the same at this moment."""
    names = os.listdir(folder_fd)
    if len(names) >= _MAX_FILES:
        for old in names:
            os.unlink(old, dir_fd=folder_fd)
    temporary = "%s.%d" % (name, os.getpid())
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=folder_fd)
    try:
        os.write(fd, data)
    finally:
        os.close(fd)
    os.rename(temporary, name, src_dir_fd=folder_fd, dst_dir_fd=folder_fd)
