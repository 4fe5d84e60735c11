# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""A cgroup's directory in one hierarchy: its files, and errors that name the property of config.json behind a write."""

from __future__ import annotations

import errno
import os

from .. import files
from ..errors import KernelRefused, Unsupported

UNLIMITED = (1 << 64) - 1  # what `max` in a file stands for
_DENIED = (errno.EACCES, errno.EPERM, errno.EROFS)


class Directory:
    """One cgroup in one hierarchy. is_v2: cgroup2, else a v1 hierarchy."""

    def __init__(self, path: str, is_v2: bool) -> None:
        self.path = path
        self.is_v2 = is_v2

    def write(self, name: str, value: object, asked: str) -> None:
        """Write value to the file for linux.resources.<asked>. Raises Unsupported without that file, KernelRefused."""
        try:
            files.write(self.path + "/" + name, str(value).encode())
        except OSError as error:
            raise self.refusal(name, value, asked, error.errno) from None

    def try_write(self, name: str, value: object, tolerated: tuple[int, ...], asked: str) -> bool:
        """As write(), but False where the kernel answers with one of the tolerated errors."""
        try:
            files.write(self.path + "/" + name, str(value).encode())
        except OSError as error:
            if error.errno in tolerated:
                return False
            raise self.refusal(name, value, asked, error.errno) from None
        return True

    def refusal(self, name: str, value: object, asked: str, number: int | None, hint: str = "") -> Exception:
        """The error for a write that failed."""
        if number == errno.ENOENT:
            version = "v2" if self.is_v2 else "v1"
            return Unsupported("linux.resources.%s: this kernel has no %s (cgroup %s)" % (asked, name, version))
        said = "linux.resources.%s asked for %s" % (asked, str(value).replace("\n", " "))
        if number in _DENIED:
            hint = "the caller may not write there; the cgroup must be delegated to it"
        return KernelRefused("write", self.path + "/" + name, number, said + ("; " + hint if hint else ""))

    def has(self, name: str) -> bool:
        return os.path.exists(self.path + "/" + name)

    def text(self, name: str) -> str:
        """The file's content without surrounding white space, "" where there is no such file. Raises KernelRefused."""
        try:
            return files.read_text(self.path + "/" + name)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENODEV, errno.EOPNOTSUPP):
                return ""
            raise KernelRefused("read", self.path + "/" + name, error.errno) from None

    def number(self, name: str) -> int | None:
        """The file as a number, UNLIMITED for `max`; None where there is no such file. Raises KernelRefused."""
        text = self.text(name)
        if text == "max":
            return UNLIMITED
        return max(0, int(text)) if text.lstrip("-").isdigit() else None
