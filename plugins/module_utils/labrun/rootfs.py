# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""Step 4 of a start: the root filesystem, built in the container's own mount namespace before anything of it runs.

Everything is done before pivot_root, through descriptors that were resolved inside the root filesystem: an image may
hold any symbolic link it likes (cases R05 to R10), and after pivot_root nothing of the host can be reached.
"""

from __future__ import annotations

import errno
import os

from ..linux import mounts, paths, syscalls
from ..linux.errors import InvalidInput, KernelRefused, Unsupported
from . import devices, entries, masks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

_PRIVATE = syscalls.MS_REC | syscalls.MS_PRIVATE
_SLAVE = syscalls.MS_REC | syscalls.MS_SLAVE
_UNREACHABLE = (
    "root of the container's user namespace must be able to pass each directory above it: chmod o+x them, or put it"
    " elsewhere"
)
_SELINUX = "/sys/fs/selinux/enforce"


class Built:
    """The root filesystem while it is being built.

    root_fd: its root, in which every path is resolved; base: its path; readonly: (descriptor, path) of the mounts that
    become read-only at the end; pty: of linux/terminal.py, for a process with a terminal, or None.
    """

    def __init__(self, root_fd: int, label: str) -> None:
        self.root_fd = root_fd
        self.base = paths.location(root_fd)
        self.label = label
        self.readonly: list[tuple[int, str]] = []
        self.pty: Any = None


def prepare(config: dict[str, Any], name: str, rootfs: str) -> None:
    """In the runtime, before anything is made: refuse what cannot be done, and load what only some mounts need (R22).

    name is the path of the configuration, for errors; rootfs the root filesystem's. The destinations of mounts become
    absolute. Raises InvalidInput and Unsupported.
    """
    linux = config.get("linux") or {}
    propagation = linux.get("rootfsPropagation")
    if propagation and propagation not in mounts.PROPAGATION:
        message = "%s: linux.rootfsPropagation: %r is not one of %s"
        raise InvalidInput(message % (name, propagation, ", ".join(mounts.PROPAGATION)))
    if linux.get("mountLabel") and not os.path.exists(_SELINUX):
        raise Unsupported("%s: linux.mountLabel: SELinux is not enabled on this host; remove the label" % name)
    has_user_namespace = any(item["type"] == "user" for item in linux.get("namespaces") or [])
    for index, item in enumerate(config.get("mounts") or []):
        # "..", as runc takes it: it takes back the word before it, whatever link that is
        place = os.path.normpath("/" + item["destination"].lstrip("/"))
        if rootfs != "/" and place.startswith(rootfs + "/"):  # as seen from the host, which runc takes, too
            place = place[len(rootfs) :]
        item["destination"] = place
        entries.prepare(item, "%s: mounts[%d]" % (name, index), has_user_namespace)


def mount_all(plan: Any, source: Callable[[int], int]) -> Built:
    """All mounts and devices of plan.config (create.Plan), on plan.rootfs; the hooks of createContainer fit behind it.

    source: gives the descriptor that sources.send() makes for an index in mounts, for those that sources.needed()
    named, and -1 for the others. Raises KernelRefused and InvalidInput.
    """
    config = plan.config
    linux = config.get("linux") or {}
    os.umask(0)
    built = Built(_isolate(plan, linux.get("rootfsPropagation")), linux.get("mountLabel") or "")
    entry = entries.Entries(built, plan, linux)
    for index, item in enumerate(config.get("mounts") or []):
        entry.mount(item, source(index))
    if devices.are_wanted(config):
        devices.make(built.root_fd, linux)
    if config["process"].get("terminal"):
        built.pty = devices.open_console(built.root_fd, plan.console)
    return built


def enter_root(plan: Any, built: Built) -> None:
    """What is done when all is mounted, and then the way in. Raises KernelRefused, InvalidInput."""
    config = plan.config
    linux = config.get("linux") or {}
    root_fd = built.root_fd
    masks.make_readonly(root_fd, linux.get("readonlyPaths") or [])
    masks.mask(root_fd, linux.get("maskedPaths") or [], built.label)
    _make_cwd(root_fd, config["process"]["cwd"])
    for mount_fd, shown in built.readonly:
        _readonly(mount_fd, shown)
    if devices.are_wanted(config):
        devices.replace_null_streams(root_fd)
    if config["root"].get("readonly"):
        _readonly(root_fd, "the root filesystem")
    _enter(plan, built, linux.get("rootfsPropagation") or "")


def _make_cwd(root_fd: int, cwd: str) -> None:
    try:
        os.close(paths.mkdirs_in_root(root_fd, cwd, links=0))
    except OSError as error:
        hint = "it is, or passes, a link that leads nowhere" if error.errno == errno.ELOOP else ""
        raise KernelRefused("mkdir", "process.cwd " + cwd, error.errno, hint) from None


def _readonly(mount_fd: int, shown: str) -> None:
    try:
        mounts.make_readonly(mount_fd, shown)
    except OSError as error:
        raise KernelRefused("mount", shown + " read-only", error.errno) from None


def _has_own_mounts(plan: Any) -> bool:
    """Whether the mount namespace is the container's alone, so that its root may be changed."""
    return "mount" in plan.new_kinds


def _isolate(plan: Any, propagation: str | None) -> int:
    """Cut mount events off from the host and make rootfs a mount of its own, as pivot_root(2) wants; its descriptor.

    In a mount namespace that others use too only what lies below rootfs is changed.
    """
    path = os.fsencode(plan.rootfs)
    own = _has_own_mounts(plan)
    if own:
        _set_all(mounts.PROPAGATION[propagation] if propagation else _SLAVE)
        if propagation:
            _detach_parent(path, _SLAVE if mounts.PROPAGATION[propagation] & syscalls.MS_SLAVE else _PRIVATE)
    try:
        target_fd = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        hint = _UNREACHABLE if error.errno == errno.EACCES else ""
        raise KernelRefused("open", "the root filesystem " + plan.rootfs, error.errno, hint) from None
    try:
        root_fd = syscalls.open_tree(target_fd, b"", True, plan.rootfs)
        syscalls.move_mount(root_fd, target_fd, plan.rootfs)
        if not own:
            mounts.set_propagation(root_fd, plan.rootfs, _PRIVATE)
    except OSError as error:
        raise KernelRefused("mount", "the root filesystem " + plan.rootfs, error.errno) from None
    os.close(target_fd)
    return root_fd


def _set_all(flags: int) -> None:
    try:
        syscalls.mount(b"", b"/", b"", flags)
    except OSError as error:
        hint = "in a chroot whose root is no mount no container can start: bind it on itself and pivot_root into it"
        raise KernelRefused("mount", "/ as rslave", error.errno, hint if error.errno == errno.EINVAL else "") from None


def _detach_parent(path: bytes, flags: int) -> None:
    """The mount that rootfs lies on: were it shared, the container's root would be mounted on the host as well. Of a
    slave the root becomes one, too: what is mounted on the host later is seen in it.
    """
    while True:
        try:
            syscalls.mount(b"", path, b"", flags & ~syscalls.MS_REC)
            return
        except OSError as error:
            if error.errno != errno.EINVAL or path == b"/":  # EINVAL: path is no mount
                raise KernelRefused("mount", "%s as private or slave" % os.fsdecode(path), error.errno) from None
        path = path.rpartition(b"/")[0] or b"/"


def _enter(plan: Any, built: Built, propagation: str) -> None:
    try:
        os.fchdir(built.root_fd)
        if not _has_own_mounts(plan):
            _chroot(built.root_fd)
        elif plan.no_pivot:
            _move(built)
        else:
            _pivot(built.root_fd, bool(propagation))
        # Only now: a shared root could not have been entered.
        if propagation and not mounts.PROPAGATION[propagation] & (syscalls.MS_PRIVATE | syscalls.MS_SLAVE):
            syscalls.mount(b"", b"/", b"", mounts.PROPAGATION[propagation])
    except OSError as error:
        hint = ""
        if error.errno == errno.EINVAL and not plan.no_pivot:
            hint = "where / is the initial ramfs it cannot be done; use --no-pivot"
        raise KernelRefused("pivot_root", "the root filesystem", error.errno, hint) from None


def _pivot(root_fd: int, detach_events: bool) -> None:
    """pivot_root onto the root itself: the old root lies below the new one and is then taken away (pivot_root(2))."""
    os.close(root_fd)
    old_fd = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC) if detach_events else -1
    syscalls.pivot_root(b".", b".")
    if detach_events:  # else taking away the old root would unmount the host's own file systems
        os.fchdir(old_fd)  # "." alone is the new root, though the old one covers it
        os.close(old_fd)
        syscalls.mount(b"", b".", b"", _SLAVE)
    syscalls.umount(b".", syscalls.MNT_DETACH)
    os.chdir("/")


def _chroot(root_fd: int) -> None:
    os.close(root_fd)
    os.chroot(".")
    os.chdir("/")


def _move(built: Built) -> None:
    """The root filesystem over / (runc's --no-pivot), for a root that cannot be pivoted; the old one stays below it.

    The host's own procfs and sysfs are taken away first: while they can be reached, the kernel lets the container mount
    new ones without masks.
    """
    for entry in mounts.table():
        target = os.fsencode(entry["target"])
        inside = target == built.base or target.startswith(built.base.rstrip(b"/") + b"/")
        if entry["root"] == "/" and entry["kind"] in ("proc", "sysfs") and not inside:
            _take_away(target)
    _attach_over_root(built.root_fd)
    _chroot(built.root_fd)


def _take_away(target: bytes) -> None:
    try:
        syscalls.umount(target, syscalls.MNT_DETACH)
    except OSError as error:
        if error.errno == errno.ENOENT:
            return  # it lay below one that was taken away
        syscalls.mount(b"tmpfs", target, b"tmpfs", 0)


def _attach_over_root(root_fd: int) -> None:
    slash = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    syscalls.move_mount(root_fd, slash, "/")
    os.close(slash)
