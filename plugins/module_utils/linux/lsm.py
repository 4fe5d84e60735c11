# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""AppArmor profiles and SELinux labels of a process, which it takes on with its next execve(2).

Fail closed (case R20): a label that the host cannot enforce is an error and never left out.
"""

from __future__ import annotations

import errno
import os

from . import files, procfs, trace
from .errors import KernelRefused, Unsupported

_UNCONFINED = "unconfined"


class Prepared:
    """The labels as they are written, and the files to write them to (-1 until open_files())."""

    def __init__(self, profile: str, label: str) -> None:
        self.profile = profile
        self.label = label
        self.profile_data = b"exec " + os.fsencode(profile)
        self.label_data = os.fsencode(label)
        self.profile_fd = self.label_fd = self.key_fd = -1


def prepare(profile: str, label: str) -> Prepared | None:
    """Of process.apparmorProfile and process.selinuxLabel, each may be empty; None where nothing is to be done.

    Raises Unsupported where the host lacks the security module.
    """
    if profile and not has_apparmor():
        if profile != _UNCONFINED:
            message = "process.apparmorProfile: %r cannot be enforced, AppArmor is not enabled on this host; remove it"
            raise Unsupported(message % profile)
        profile = ""
    if label and not _has_selinux():
        message = "process.selinuxLabel: %r cannot be enforced, SELinux is not enabled on this host; remove it"
        raise Unsupported(message % label)
    return Prepared(profile, label) if profile or label else None


def has_apparmor() -> bool:
    try:
        return files.read_text("/sys/module/apparmor/parameters/enabled") == "Y"
    except OSError:
        return False


def _has_selinux() -> bool:
    """selinuxfs is mounted there once a policy is loaded (selinux(8))."""
    return os.path.exists("/sys/fs/selinux/enforce")


def open_files(prepared: Prepared, proc_fd: int) -> None:
    """Open the calling process's own attribute files; only it can write to them, and before it executes anything.

    proc_fd: of procfs.open_root(). Raises KernelRefused.
    """
    try:
        if prepared.profile:
            try:
                prepared.profile_fd = procfs.open_at(proc_fd, "self/attr/apparmor/exec", os.O_WRONLY)
            except FileNotFoundError:  # before Linux 5.1
                prepared.profile_fd = procfs.open_at(proc_fd, "self/attr/exec", os.O_WRONLY)
        if prepared.label:
            prepared.label_fd = procfs.open_at(proc_fd, "self/attr/exec", os.O_WRONLY)
            prepared.key_fd = procfs.open_at(proc_fd, "self/attr/keycreate", os.O_WRONLY)
    except OSError as error:
        raise KernelRefused("open", "/proc/self/attr", error.errno, "something may be mounted over it") from None


def label_keys(prepared: Prepared, on: bool) -> None:
    """Whether the keyrings that are made from here on bear the process's SELinux label. Raises KernelRefused."""
    if prepared.label:
        _write("keycreate", prepared.key_fd, prepared.label_data if on else b"", prepared.label)


def apply(prepared: Prepared) -> None:
    """Take the labels on at the next execve(2). Raises KernelRefused: ENOENT for a profile that is not loaded."""
    if prepared.profile:
        _write("apparmor/exec", prepared.profile_fd, prepared.profile_data, "AppArmor profile " + prepared.profile)
    if prepared.label:
        _write("exec", prepared.label_fd, prepared.label_data, "SELinux label " + prepared.label)


def _write(name: str, fd: int, data: bytes, shown: str) -> None:
    try:
        trace.call("write", ("/proc/self/attr/" + name, shown), os.write, fd, data)
    except OSError as error:
        hint = "load it with apparmor_parser first" if error.errno == errno.ENOENT else ""
        raise KernelRefused("write", shown, error.errno, hint) from None
