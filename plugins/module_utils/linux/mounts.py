# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""Mounts: the words of /etc/fstab and runtime-spec as flags of mount(2), and mounting by file descriptor."""

from __future__ import annotations

import os

from . import files, paths, syscalls

# word -> (flags to set, flags to clear); config.md, mount options of Linux
_FLAGS = {
    "defaults": (0, 0),
    "async": (0, 0x10),
    "atime": (0, 0x400),
    "bind": (syscalls.MS_BIND, 0),
    "dev": (0, syscalls.MS_NODEV),
    "diratime": (0, 0x800),
    "dirsync": (0x80, 0),
    "exec": (0, syscalls.MS_NOEXEC),
    "mand": (0x40, 0),
    "noatime": (0x400, 0),
    "nodev": (syscalls.MS_NODEV, 0),
    "nodiratime": (0x800, 0),
    "noexec": (syscalls.MS_NOEXEC, 0),
    "nomand": (0, 0x40),
    "norelatime": (0, 0x200000),
    "nostrictatime": (0, 0x1000000),
    "nosuid": (syscalls.MS_NOSUID, 0),
    "rbind": (syscalls.MS_BIND | syscalls.MS_REC, 0),
    "relatime": (0x200000, 0),
    "remount": (syscalls.MS_REMOUNT, 0),
    "ro": (syscalls.MS_RDONLY, 0),
    "rw": (0, syscalls.MS_RDONLY),
    "silent": (0x8000, 0),
    "strictatime": (0x1000000, 0),
    "suid": (0, syscalls.MS_NOSUID),
    "sync": (0x10, 0),
}
_PROPAGATION = {
    "private": syscalls.MS_PRIVATE,
    "rprivate": syscalls.MS_PRIVATE | syscalls.MS_REC,
    "slave": syscalls.MS_SLAVE,
    "rslave": syscalls.MS_SLAVE | syscalls.MS_REC,
    "shared": 1 << 20,
    "rshared": 1 << 20 | syscalls.MS_REC,
    "unbindable": 1 << 17,
    "runbindable": 1 << 17 | syscalls.MS_REC,
}
# Defined by runtime-spec, not done yet: they must not pass for file system options, which some kernels ignore.
LATER = ("idmap", "ridmap", "tmpcopyup", "rro", "rrw", "rsuid", "rnosuid", "rnodev", "rdev", "rexec", "rnoexec")
# What remount must keep (mount(2)): ro nosuid nodev noexec noatime nodiratime relatime
_KEPT = 0x1 | 0x2 | 0x4 | 0x8 | 0x400 | 0x800 | 0x200000


class Options:
    """Mount options taken apart: flags and data for mount(2), and the propagation changes that follow it."""

    def __init__(self, words: list[str]) -> None:
        self.flags = 0
        self.propagation: list[int] = []
        data = []
        for word in words:
            if word in _FLAGS:
                set_flags, clear_flags = _FLAGS[word]
                self.flags = (self.flags | set_flags) & ~clear_flags
            elif word in _PROPAGATION:
                self.propagation.append(_PROPAGATION[word])
            else:
                data.append(word)
        self.data = ",".join(data)

    @property
    def is_bind(self) -> bool:
        return bool(self.flags & syscalls.MS_BIND)


def mount_at(source: str, target_fd: int, shown: str, kind: str, options: Options) -> None:
    """Mount on the open file or directory; shown is its path as the container sees it. Raises OSError.

    A bind mount takes its flags in a second call, as mount(2) wants it; the caller reopens shown to reach the mount.
    """
    flags = options.flags
    kind = "" if options.is_bind else kind
    data = "" if options.is_bind else options.data
    if options.is_bind:
        flags &= syscalls.MS_BIND | syscalls.MS_REC
    syscalls.mount(source.encode(), paths.fd_path(target_fd), kind.encode(), flags, data.encode(), shown)


def remount_bind(target_fd: int, shown: str, flags: int) -> None:
    """Give the bind mount at the open directory these flags besides those that it already has. Raises OSError."""
    flags |= _from_statvfs(os.fstatvfs(target_fd).f_flag) & _KEPT
    bind = syscalls.MS_REMOUNT | syscalls.MS_BIND
    syscalls.mount(b"", paths.fd_path(target_fd), b"", flags & ~syscalls.MS_REC | bind, b"", shown)


def _from_statvfs(flag: int) -> int:
    """ST_* of statvfs(3) as MS_*: the low four bits agree, those of access times lie elsewhere."""
    result = flag & 0xF
    for statvfs_bit, mount_bit in ((0x400, 0x400), (0x800, 0x800), (0x1000, 0x200000)):
        if flag & statvfs_bit:
            result |= mount_bit
    return result


def set_propagation(target_fd: int, shown: str, flags: int) -> None:
    """Change how mounts propagate at the open directory (mount_namespaces(7)). Raises OSError."""
    syscalls.mount(b"", paths.fd_path(target_fd), b"", flags, b"", shown)


def table(path: str = "/proc/self/mountinfo") -> list[dict[str, str]]:
    """The mounts of this mount namespace: dicts with root, target, options, kind, source, super_options (proc(5))."""
    result = []
    for line in files.read(path, 1 << 24).decode("utf-8", "surrogateescape").splitlines():
        left, _separator, right = line.partition(" - ")
        fields = left.split(" ")
        kind, source, super_options = right.split(" ", 2)
        result.append(
            {
                "root": _unescape(fields[3]),
                "target": _unescape(fields[4]),
                "options": fields[5],
                "kind": kind,
                "source": _unescape(source),
                "super_options": super_options,
            }
        )
    return result


def is_mounted(target: str) -> bool:
    """True when something is mounted on exactly that path."""
    real = os.path.realpath(target)
    return any(entry["target"] == real for entry in table())


def _unescape(text: str) -> str:
    if "\\" not in text:
        return text
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, character)
    return text
