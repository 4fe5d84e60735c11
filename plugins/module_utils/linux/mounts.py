# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""Mounts: the words of runtime-spec as flags of mount(2) and mount_setattr(2), and mounting by file descriptor."""

from __future__ import annotations

import errno
import os

from . import files, paths, syscalls, trace

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
    "iversion": (0x800000, 0),
    "lazytime": (0x2000000, 0),
    "loud": (0, 0x8000),
    "mand": (0x40, 0),
    "noatime": (0x400, 0),
    "nodev": (syscalls.MS_NODEV, 0),
    "nodiratime": (0x800, 0),
    "noexec": (syscalls.MS_NOEXEC, 0),
    "noiversion": (0, 0x800000),
    "nolazytime": (0, 0x2000000),
    "nomand": (0, 0x40),
    "norelatime": (0, 0x200000),
    "nostrictatime": (0, 0x1000000),
    "nosuid": (syscalls.MS_NOSUID, 0),
    "nosymfollow": (0x100, 0),
    "rbind": (syscalls.MS_BIND | syscalls.MS_REC, 0),
    "relatime": (0x200000, 0),
    "remount": (syscalls.MS_REMOUNT, 0),
    "ro": (syscalls.MS_RDONLY, 0),
    "rw": (0, syscalls.MS_RDONLY),
    "silent": (0x8000, 0),
    "strictatime": (0x1000000, 0),
    "suid": (0, syscalls.MS_NOSUID),
    "symfollow": (0, 0x100),
    "sync": (0x10, 0),
}
PROPAGATION = {
    "private": syscalls.MS_PRIVATE,
    "rprivate": syscalls.MS_PRIVATE | syscalls.MS_REC,
    "slave": syscalls.MS_SLAVE,
    "rslave": syscalls.MS_SLAVE | syscalls.MS_REC,
    "shared": syscalls.MS_SHARED,
    "rshared": syscalls.MS_SHARED | syscalls.MS_REC,
    "unbindable": syscalls.MS_UNBINDABLE,
    "runbindable": syscalls.MS_UNBINDABLE | syscalls.MS_REC,
}
# linux/mount.h: how a mount treats access times is one field of three bits, 0 of which is relatime.
_ATTR_ATIME = 0x70
_ATTR_RDONLY = 0x1
# word -> (attributes to set, to clear) of mount_setattr(2), with AT_RECURSIVE
_RECURSIVE = {
    "ratime": (0, _ATTR_ATIME),
    "rdev": (0, 0x4),
    "rdiratime": (0, 0x80),
    "rexec": (0, 0x8),
    "rnoatime": (0x10, _ATTR_ATIME),
    "rnodev": (0x4, 0),
    "rnodiratime": (0x80, 0),
    "rnoexec": (0x8, 0),
    "rnorelatime": (0, 0),
    "rnostrictatime": (0, _ATTR_ATIME),
    "rnosuid": (0x2, 0),
    "rnosymfollow": (0x200000, 0),
    "rrelatime": (0, _ATTR_ATIME),
    "rro": (_ATTR_RDONLY, 0),
    "rrw": (0, _ATTR_RDONLY),
    "rstrictatime": (0x20, _ATTR_ATIME),
    "rsuid": (0, 0x2),
    "rsymfollow": (0, 0x200000),
}
_MS_NOATIME, _MS_STRICTATIME = 0x400, 0x1000000
_ST_NOATIME, _ST_RELATIME = 0x400, 0x1000
_EXTENSIONS = ("idmap", "ridmap", "tmpcopyup")
# (flag of mount(2), attribute to set, attributes to clear first)
_ATTRIBUTES = (
    (syscalls.MS_RDONLY, _ATTR_RDONLY, 0),
    (syscalls.MS_NOSUID, 0x2, 0),
    (syscalls.MS_NODEV, 0x4, 0),
    (syscalls.MS_NOEXEC, 0x8, 0),
    (0x200000, 0, _ATTR_ATIME),
    (_MS_NOATIME, 0x10, _ATTR_ATIME),
    (_MS_STRICTATIME, 0x20, _ATTR_ATIME),
    (0x800, 0x80, 0),
    (0x100, 0x200000, 0),
)
# Flags of a superblock as the words that fsconfig(2) takes
_SUPERBLOCK_WORDS = ((0x1, b"ro"), (0x10, b"sync"), (0x40, b"mand"), (0x80, b"dirsync"), (0x2000000, b"lazytime"))
# What remount must keep (mount(2)): ro nosuid nodev noexec noatime nodiratime relatime nosymfollow
_KEPT = 0x1 | 0x2 | 0x4 | 0x8 | 0x400 | 0x800 | 0x200000 | 0x100


class Options:
    """Mount options taken apart.

    flags, cleared: of mount(2), as the words set and clear them; propagation: changes that follow the mount, in order;
    recursive: (attributes to set, to clear) for the whole tree or None; data: the file system's own options, joined by
    commas; id_map: '', 'idmap' or 'ridmap'; copy_up: whether a tmpfs is to begin with what it covers.
    """

    def __init__(self, words: list[str]) -> None:
        self.flags = 0
        self.cleared = 0
        self.propagation: list[int] = []
        self.recursive: tuple[int, int] | None = None
        self.id_map = ""
        self.copy_up = False
        data = []
        for word in words:
            if word in _FLAGS:
                set_flags, clear_flags = _FLAGS[word]
                self.flags = (self.flags | set_flags) & ~clear_flags
                self.cleared = (self.cleared | clear_flags) & ~set_flags
            elif word in PROPAGATION:
                self.propagation.append(PROPAGATION[word])
            elif word in _RECURSIVE:
                self._add_recursive(*_RECURSIVE[word])
            elif word in _EXTENSIONS:
                self.copy_up = self.copy_up or word == "tmpcopyup"
                self.id_map = self.id_map if word == "tmpcopyup" else word
            else:
                data.append(word)
        self.data = ",".join(data)

    def _add_recursive(self, set_bits: int, clear_bits: int) -> None:
        """A later word wins over an earlier one; access times are replaced as a whole."""
        old_set, old_clear = self.recursive or (0, 0)
        self.recursive = (old_set & ~clear_bits | set_bits, old_clear & ~set_bits | clear_bits)

    @property
    def is_bind(self) -> bool:
        return bool(self.flags & syscalls.MS_BIND)

    @property
    def is_remount(self) -> bool:
        return bool(self.flags & syscalls.MS_REMOUNT)

    @property
    def is_recursive_bind(self) -> bool:
        return bool(self.flags & syscalls.MS_REC)

    def attributes(self) -> tuple[int, int]:
        """(to set, to clear) for mount_setattr(2): what the words say of this mount alone, and nothing else.

        Words that only end a treatment of access times (atime, nostrictatime) are left out: see ends_atime().
        """
        set_bits = clear_bits = 0
        for flag, attribute, replaced in _ATTRIBUTES:
            if self.flags & flag:
                set_bits = set_bits & ~replaced | attribute  # of several, the kernel takes the strictest, which is last
                clear_bits |= replaced
            elif self.cleared & flag and not replaced:
                clear_bits |= attribute
        return set_bits, clear_bits

    def ends_atime(self, flag: int) -> bool:
        """Whether a mount with these flags of statvfs(3) is to lose its noatime or strictatime."""
        noatime, relatime = bool(flag & _ST_NOATIME), bool(flag & _ST_RELATIME)
        strict = not noatime and not relatime
        return bool((self.cleared & _MS_NOATIME and noatime) or (self.cleared & _MS_STRICTATIME and strict))


def known_words() -> list[str]:
    """Every mount option that is not left to the file system, sorted (features.md, mountOptions)."""
    return sorted([*_FLAGS, *PROPAGATION, *_RECURSIVE, *_EXTENSIONS])


def mount_on(source: str, target_fd: int, shown: str, kind: str, flags: int, data: str) -> None:
    """mount(2) of a file system on the open directory; shown is its path as the container sees it. Raises OSError."""
    target = paths.fd_path(target_fd)
    syscalls.mount(os.fsencode(source), target, kind.encode(), flags, os.fsencode(data), shown)


def new_filesystem(kind: str, source: str, flags: int, data: str) -> int:
    """A detached mount of a file system, for those that are changed once they are mounted: its descriptor stays theirs.

    flags are those of mount(2), data is 'key=value,word'. Raises OSError.
    """
    return trace.call("fsmount", (kind, hex(flags), data), _new_filesystem, kind, source, flags, data)


def _new_filesystem(kind: str, source: str, flags: int, data: str) -> int:
    context = syscalls.fsopen(kind.encode())
    try:
        syscalls.fsconfig(context, 1, b"source", os.fsencode(source))
        for flag, word in _SUPERBLOCK_WORDS:
            if flags & flag:
                syscalls.fsconfig(context, 0, word, None)
        for item in _split_data(data):
            key, equals, value = item.partition("=")
            syscalls.fsconfig(context, 1 if equals else 0, key.encode(), os.fsencode(value) if equals else None)
        syscalls.fsconfig(context, 6, None, None)
        attributes = 0
        for flag, attribute, replaced in _ATTRIBUTES:
            if flags & flag:
                attributes = attributes & ~replaced | attribute
        return syscalls.fsmount(context, attributes)
    finally:
        os.close(context)


def _split_data(data: str) -> list[str]:
    """The items between the commas, but those within double quotes (a SELinux context)."""
    items = [""]
    quoted = False
    for character in data:
        if character == '"':
            quoted = not quoted
        elif character == "," and not quoted:
            items.append("")
        else:
            items[-1] += character
    return [item for item in items if item]


def change(mount_fd: int, shown: str, options: Options) -> None:
    """Apply to the mount whose root mount_fd is what options say of attributes and propagation. Raises OSError."""
    set_bits, clear_bits = options.attributes()
    if options.cleared & (_MS_NOATIME | _MS_STRICTATIME) and options.ends_atime(os.fstatvfs(mount_fd).f_flag):
        clear_bits |= _ATTR_ATIME
    if set_bits or clear_bits:
        set_attributes(mount_fd, shown, set_bits, clear_bits)
    for flags in options.propagation:
        set_propagation(mount_fd, shown, flags)
    if options.recursive is not None:
        syscalls.mount_setattr(mount_fd, True, options.recursive[0], options.recursive[1], 0, 0, shown)


def set_attributes(mount_fd: int, shown: str, set_bits: int, clear_bits: int) -> None:
    """Change these attributes (MOUNT_ATTR_*) of the attached mount and keep all others. Raises OSError."""
    try:
        syscalls.mount_setattr(mount_fd, False, set_bits, clear_bits, 0, 0, shown)
    except OSError as error:
        if error.errno != errno.ENOSYS:
            raise
        _remount(mount_fd, shown, set_bits, clear_bits)  # before Linux 5.12


def make_readonly(mount_fd: int, shown: str) -> None:
    """Make the attached mount read-only, and keep its other attributes. Raises OSError."""
    set_attributes(mount_fd, shown, _ATTR_RDONLY, 0)


def _remount(mount_fd: int, shown: str, set_bits: int, clear_bits: int) -> None:
    """The same by mount(2), which replaces all flags of a mount and so must be told those that it has."""
    flags = _from_statvfs(os.fstatvfs(mount_fd).f_flag) & _KEPT
    for flag, attribute, replaced in _ATTRIBUTES:
        if clear_bits & (replaced or attribute):
            flags &= ~flag
    for flag, attribute, _replaced in _ATTRIBUTES:
        if set_bits & attribute:
            flags |= flag
    flags |= syscalls.MS_REMOUNT | syscalls.MS_BIND
    syscalls.mount(b"", paths.fd_path(mount_fd), b"", flags, b"", shown)


def _from_statvfs(flag: int) -> int:
    """ST_* of statvfs(3) as MS_*: the low four bits agree, those of access times lie elsewhere."""
    result = flag & 0xF
    for statvfs_bit, mount_bit in ((0x400, 0x400), (0x800, 0x800), (0x1000, 0x200000), (0x2000, 0x100)):
        if flag & statvfs_bit:
            result |= mount_bit
    return result


def set_propagation(mount_fd: int, shown: str, flags: int) -> None:
    """Change how mounts propagate at the open root of a mount (mount_namespaces(7)). Raises OSError."""
    syscalls.mount(b"", paths.fd_path(mount_fd), b"", flags, b"", shown)


def table(path: str = "/proc/self/mountinfo") -> list[dict[str, str]]:
    """The mounts of this mount namespace, as parse() tells them."""
    return parse(files.read(path, 1 << 24).decode("utf-8", "surrogateescape"))


def parse(text: str) -> list[dict[str, str]]:
    """A mountinfo file (proc(5)): dicts with root, target, options, propagation, kind, source, super_options.

    propagation: the optional fields, as "shared:1 master:2"; empty for a private mount.
    """
    result = []
    for line in text.splitlines():
        left, _separator, right = line.partition(" - ")
        fields = left.split(" ")
        kind, source, super_options = right.split(" ", 2)
        result.append(
            {
                "root": _unescape(fields[3]),
                "target": _unescape(fields[4]),
                "options": fields[5],
                "propagation": " ".join(fields[6:]),
                "kind": kind,
                "source": _unescape(source),
                "super_options": super_options,
            }
        )
    return result


def count_at(target: str) -> int:
    """How many mounts lie on one another on exactly that path, which has no symbolic link in it."""
    return sum(entry["target"] == target for entry in table())


def take_away(target: str, keep: int) -> None:
    """Unmount what lies on the path, with all below it, until only keep mounts are left there. Raises OSError."""
    for _index in range(count_at(target) - keep):
        syscalls.umount(os.fsencode(target), syscalls.MNT_DETACH)


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
