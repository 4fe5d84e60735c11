# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""The mount option tmpcopyup: a tmpfs that begins with what the directory under it holds."""

from __future__ import annotations

import os
import stat

_CHUNK = 1 << 20
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def copy(from_fd: int, to_fd: int) -> None:
    """Copy the content of one open directory into another, with owners, modes and times of change; links stay links.

    Nothing is looked up by more than a name in an open directory, so what is copied may change meanwhile without harm.
    Sockets are left out. Raises OSError.
    """
    source, target = os.open(".", _DIRECTORY, dir_fd=from_fd), os.open(".", _DIRECTORY, dir_fd=to_fd)
    try:
        status = os.fstat(source)
        os.fchown(target, status.st_uid, status.st_gid)
        _copy_directory(source, target)
    finally:
        os.close(source)
        os.close(target)


def _copy_directory(source: int, target: int) -> None:
    for name in os.listdir(source):
        status = os.stat(name, dir_fd=source, follow_symlinks=False)
        kind = stat.S_IFMT(status.st_mode)
        if kind == stat.S_IFSOCK:
            continue
        if kind == stat.S_IFLNK:
            os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=target)
        elif kind == stat.S_IFDIR:
            os.mkdir(name, 0o700, dir_fd=target)
        elif kind == stat.S_IFREG:
            _copy_file(source, target, name)
        else:
            os.mknod(name, status.st_mode, status.st_rdev, dir_fd=target)
        os.chown(name, status.st_uid, status.st_gid, dir_fd=target, follow_symlinks=False)
        if kind != stat.S_IFLNK:
            os.chmod(name, stat.S_IMODE(status.st_mode), dir_fd=target)  # after chown, which drops setuid
        if kind == stat.S_IFDIR:
            _descend(source, target, name)
        os.utime(name, ns=(status.st_atime_ns, status.st_mtime_ns), dir_fd=target, follow_symlinks=False)


def _descend(source: int, target: int, name: str) -> None:
    inner_source, inner_target = os.open(name, _DIRECTORY, dir_fd=source), os.open(name, _DIRECTORY, dir_fd=target)
    try:
        _copy_directory(inner_source, inner_target)
    finally:
        os.close(inner_source)
        os.close(inner_target)


def _copy_file(source: int, target: int, name: str) -> None:
    read_flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    write_flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    reader, writer = os.open(name, read_flags, dir_fd=source), os.open(name, write_flags, 0o600, dir_fd=target)
    try:
        while True:
            data = os.read(reader, _CHUNK)
            if not data:
                return
            while data:
                data = data[os.write(writer, data) :]
    finally:
        os.close(reader)
        os.close(writer)
