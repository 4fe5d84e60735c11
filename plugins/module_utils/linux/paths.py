# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""Paths inside a directory that is not trusted, resolved by the kernel so that none leads out of it (openat2(2))."""

from __future__ import annotations

import ctypes
import errno
import os
import stat

from . import syscalls

_NO_MAGICLINKS = 0x02
_NO_SYMLINKS = 0x04
_BENEATH = 0x08
_IN_ROOT = 0x10
_RETRIES = 128
_LINKS = 40  # as many as the kernel follows (path_resolution(7))


class _OpenHow(ctypes.Structure):
    _fields_ = [("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64)]


_SIZE = ctypes.sizeof(_OpenHow)
_hows: dict[tuple[int, int, int], tuple[_OpenHow, object]] = {}


def _openat2(dir_fd: int, path: str, flags: int, mode: int, resolve: int) -> int:
    key = (flags, mode, resolve)
    known = _hows.get(key)
    if known is None:
        how = _OpenHow(flags | os.O_CLOEXEC, mode, resolve)
        known = _hows[key] = (how, ctypes.byref(how))
    encoded = os.fsencode(path) or b"."
    for _attempt in range(_RETRIES):
        try:
            return syscalls.openat2(dir_fd, encoded, known[1], _SIZE)
        except OSError as error:
            # EAGAIN: a rename or a mount meanwhile, so that the kernel could not prove that the path stays inside.
            if error.errno != errno.EAGAIN:
                raise OSError(error.errno, error.strerror, path) from None
    raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN), path)


def open_in_root(root_fd: int, path: str, flags: int, mode: int = 0) -> int:
    """Open path as a process whose root directory is root_fd would: '..' and absolute links stay inside.

    The descriptor is close-on-exec. Raises OSError.
    """
    return _openat2(root_fd, path, flags, mode, _IN_ROOT | _NO_MAGICLINKS)


def open_beneath(dir_fd: int, path: str, flags: int, mode: int = 0) -> int:
    """Open the relative path below dir_fd, which passes no symbolic link. Raises OSError: ELOOP at a link, EXDEV."""
    return _openat2(dir_fd, path, flags, mode, _BENEATH | _NO_SYMLINKS | _NO_MAGICLINKS)


def mkdirs_in_root(root_fd: int, path: str, mode: int = 0o755, links: int = _LINKS) -> int:
    """Open the directory at path inside the root (O_PATH), making what is missing. Raises OSError.

    A symbolic link that leads nowhere is followed, inside the root, and what it leads to is made; links: how many of
    them may be passed. A missing part behind '..' is refused (EINVAL): where it would lie depends on what is made
    before it.
    """
    flags = os.O_PATH | os.O_DIRECTORY
    try:
        return open_in_root(root_fd, path, flags)
    except FileNotFoundError:
        pass
    parent, name = split(path)
    parent_fd = mkdirs_in_root(root_fd, parent, mode, links)
    try:
        try:
            os.mkdir(name, mode, dir_fd=parent_fd)
        except FileExistsError:
            target = _link_target(root_fd, parent_fd, name, links)
            if target:
                return mkdirs_in_root(root_fd, target, mode, links - 1)
        return os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent_fd)
    finally:
        os.close(parent_fd)


def _link_target(root_fd: int, parent_fd: int, name: str, links: int) -> str:
    """The path inside the root that the link of that name leads to; "" where it is none. Raises OSError."""
    try:
        target = os.readlink(name, dir_fd=parent_fd)
    except OSError as error:
        if error.errno == errno.EINVAL:
            return ""
        raise
    if links <= 0:
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), name)
    if target.startswith("/"):
        return target
    root, parent = location(root_fd).rstrip(b"/"), location(parent_fd)
    if parent != root and not parent.startswith(root + b"/"):
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), name)  # moved out of the root meanwhile
    return os.fsdecode(parent[len(root) :]) + "/" + target


def make_file_in_root(root_fd: int, path: str, links: int = _LINKS) -> int:
    """Open the file at path inside the root (O_PATH), making what is missing, an empty file last; links: see
    mkdirs_in_root(). Raises OSError.
    """
    try:
        return open_in_root(root_fd, path, os.O_PATH)
    except FileNotFoundError:
        pass
    parent, name = split(path)
    parent_fd = mkdirs_in_root(root_fd, parent, links=links)
    try:
        fd = make_file_at(parent_fd, name, 0o644)
        if stat.S_ISLNK(os.fstat(fd).st_mode):
            os.close(fd)
            return make_file_in_root(root_fd, _link_target(root_fd, parent_fd, name, links) or path, links - 1)
        return fd
    finally:
        os.close(parent_fd)


def make_file_at(directory_fd: int, name: str, mode: int) -> int:
    """Open the entry of that name in the directory (O_PATH, no link is followed), making an empty file when missing."""
    flags = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, mode, dir_fd=directory_fd))
    except FileExistsError:
        pass
    return os.open(name, flags, dir_fd=directory_fd)


def split(path: str) -> tuple[str, str]:
    """(parent, name) of a path that is to be made. Raises OSError (EINVAL) where its last part is none or '..'."""
    parent, _slash, name = path.rstrip("/").rpartition("/")
    if name in ("", ".", ".."):
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), path)
    return parent or "/", name


def location(fd: int) -> bytes:
    """The path of an open file as the kernel knows it now, from the caller's root (proc(5), /proc/PID/fd)."""
    return os.readlink(fd_path(fd))


def fd_path(fd: int) -> bytes:
    """The path by which another system call reaches an open file, without a second look-up of its name (proc(5))."""
    return b"/proc/self/fd/%d" % fd
