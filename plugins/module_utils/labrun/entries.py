# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""One entry of config.json's mounts: where it goes inside the root filesystem, what is mounted, how it is changed."""

from __future__ import annotations

import errno
import os
import stat

from ..linux import mounts, paths, syscalls
from ..linux.errors import InvalidInput, KernelRefused, Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

_PROC_MAGIC = 0x9FA0
# What lxcfs and others may cover inside procfs, as in runc
_WITHIN_PROC = (
    "cpuinfo",
    "diskstats",
    "meminfo",
    "stat",
    "swaps",
    "uptime",
    "loadavg",
    "slabinfo",
    "sys/kernel/ns_last_pid",
    "sys/crypto/fips_enabled",
)
_NO_LABEL = ("proc", "sysfs", "mqueue", "cgroup", "cgroup2")
_HINTS = {
    (
        "proc",
        errno.EPERM,
    ): "the container has no pid namespace of its own, or this host's /proc is covered in parts; add"
    " a pid namespace or bind /proc from the host",
    ("sysfs", errno.EPERM): "the container has no network namespace of its own; add one or bind /sys from the host",
    ("mqueue", errno.EPERM): "the container has no ipc namespace of its own; add one",
    ("overlay", errno.EINVAL): "an overlay on an overlay may be refused; use a directory on another file system",
    ("bind", errno.EPERM): "the mount is locked in this user namespace: what restricts it cannot be taken away",
    ("bind", errno.ENOTDIR): "the destination, or something above it, is a file or a link that leads nowhere",
    ("bind", errno.EINVAL): "where a user namespace may not uncover what is mounted below the source, use rbind",
    ("bind", errno.ENOSYS): "options for a whole tree (rro ...) need Linux 5.12",
    ("", errno.ENODEV): "it needs a type, or the option bind",
    ("none", errno.ENODEV): "it needs a type, or the option bind",
}


def prepare(item: dict[str, Any], where: str, has_user_namespace: bool) -> None:
    """In the runtime: refuse what the entry cannot mean, and load what it needs. Raises InvalidInput, Unsupported."""
    options = mounts.Options(item.get("options") or [])
    bind = is_bind(item, options)
    mapped = item.get("uidMappings") or item.get("gidMappings")
    if bind and not item.get("source") and not options.is_remount:
        raise InvalidInput("%s.source: missing; a bind mount needs what it shows" % where)
    if (options.id_map or mapped) and not bind:
        raise InvalidInput("%s: only a bind mount can have id mappings; remove them" % where)
    if bool(item.get("uidMappings")) != bool(item.get("gidMappings")):
        raise InvalidInput("%s: uidMappings and gidMappings come together; add the other" % where)
    if options.id_map and not mapped and not has_user_namespace:
        message = "%s.options: %s needs uidMappings and gidMappings, or a user namespace of the container; add them"
        raise InvalidInput(message % (where, options.id_map))
    if options.copy_up:
        if item.get("type") != "tmpfs":
            raise InvalidInput("%s.options: tmpcopyup is for a tmpfs; remove it" % where)
        from . import copyup  # noqa: F401
    if item.get("type") == "cgroup":
        from . import cgroupfs  # noqa: F401
    if options.recursive is not None and not bind:
        raise Unsupported("%s.options: options for a whole tree (rro ...) are for bind mounts; remove them" % where)


def is_bind(item: dict[str, Any], options: mounts.Options) -> bool:
    """Whether the entry shows something again rather than mount a file system (config.md, source)."""
    return options.is_bind or item.get("type") in ("bind", "rbind")


class Target:
    """A mount point: its descriptor, whether it existed before, whether it is the root itself."""

    def __init__(self, fd: int, existed: bool, is_root: bool) -> None:
        self.fd = fd
        self.existed = existed
        self.is_root = is_root


class Entries:
    """The entries of mounts, one after the other, into built (rootfs.Built)."""

    def __init__(self, built: Any, plan: Any, linux: dict[str, Any]) -> None:
        self.built = built
        self.plan = plan
        self.kinds = [item["type"] for item in linux.get("namespaces") or []]

    def mount(self, item: dict[str, Any], source_fd: int) -> None:
        """Mount one; source_fd is what the runtime opened for it, or -1. Raises KernelRefused and InvalidInput."""
        options = mounts.Options(item.get("options") or [])
        kind = item.get("type") or ""
        try:
            if is_bind(item, options):
                kind = "bind"
                self._bind(item, options, source_fd)
            elif options.is_remount:
                self._remount(item, options)
            elif kind == "cgroup":
                from . import cgroupfs

                cgroupfs.mount(self, item["destination"], options)
            else:
                self._new(item, kind, options)
        except OSError as error:
            source = item.get("source") or "none"
            what = "%s on %s" % (source if kind == "bind" else kind, item["destination"])
            raise KernelRefused("mount", what, error.errno, _HINTS.get((kind, error.errno or 0), "")) from None

    def _new(self, item: dict[str, Any], kind: str, options: mounts.Options) -> None:
        destination, source = item["destination"], item.get("source") or kind
        target = self.directory(destination, kind)
        flags, data = options.flags, options.data
        later_readonly = flags & syscalls.MS_RDONLY and (kind == "tmpfs" or is_dev(destination))
        if later_readonly:  # mount points and devices are yet to be made in it
            flags &= ~syscalls.MS_RDONLY
        if kind == "tmpfs" and target.existed and "mode=" not in data:
            data = "mode=%04o%s" % (stat.S_IMODE(os.fstat(target.fd).st_mode), "," + data if data else "")
        if self.built.label and kind not in _NO_LABEL:
            data += '%scontext="%s"' % ("," if data else "", self.built.label)
        keep = later_readonly or options.propagation or options.copy_up or target.is_root
        if not keep:
            mounts.mount_on(source, target.fd, destination, kind, flags, data)
        else:
            mount_fd = mounts.new_filesystem(kind, source, flags, data)
            if options.copy_up:
                from . import copyup

                copyup.copy(target.fd, mount_fd)
            self.attach(mount_fd, target, destination)
            for propagation in options.propagation:
                mounts.set_propagation(mount_fd, destination, propagation)
            if later_readonly:
                self.built.readonly.append((mount_fd, destination))
            elif mount_fd != self.built.root_fd:
                os.close(mount_fd)
        if kind == "mqueue" and self.built.label:
            mounted_fd = paths.open_in_root(self.built.root_fd, destination, os.O_PATH)
            os.setxattr(paths.fd_path(mounted_fd), "security.selinux", self.built.label.encode())
            os.close(mounted_fd)
        os.close(target.fd)

    def _bind(self, item: dict[str, Any], options: mounts.Options, source_fd: int) -> None:
        destination = item["destination"]
        if options.is_remount:
            mount_fd = paths.open_in_root(self.built.root_fd, destination, os.O_PATH)
            mounts.change(mount_fd, destination, options)
            os.close(mount_fd)
            return
        mount_fd = source_fd
        if source_fd < 0:
            recursive = options.is_recursive_bind or item.get("type") == "rbind"
            path = os.path.join(self.plan.bundle, item["source"])
            mount_fd = syscalls.open_tree(syscalls.AT_FDCWD, os.fsencode(path), recursive)
        self.bind(mount_fd, destination)
        mounts.change(mount_fd, destination, options)
        if mount_fd != self.built.root_fd:
            os.close(mount_fd)

    def bind(self, mount_fd: int, destination: str) -> None:
        """Attach a detached mount, of a file or a directory, at a path that is made when it is missing."""
        if stat.S_ISDIR(os.fstat(mount_fd).st_mode):
            target = self.directory(destination, "bind", mount_fd)
        else:
            fd = _made(lambda: paths.make_file_in_root(self.built.root_fd, destination), destination)
            if stat.S_ISDIR(os.fstat(fd).st_mode):
                raise InvalidInput("mounts: %s: a file cannot be bound on a directory" % destination)
            target = self._checked(fd, True, destination, "bind", mount_fd)
        self.attach(mount_fd, target, destination)
        os.close(target.fd)

    def _remount(self, item: dict[str, Any], options: mounts.Options) -> None:
        destination = item["destination"]
        target_fd = paths.open_in_root(self.built.root_fd, destination, os.O_PATH)
        mounts.mount_on("", target_fd, destination, "", options.flags, options.data)
        for propagation in options.propagation:
            mounts.set_propagation(target_fd, destination, propagation)
        os.close(target_fd)

    def directory(self, destination: str, kind: str, source_fd: int = -1) -> Target:
        """The mount point, a directory that is made when it is missing."""
        root_fd = self.built.root_fd
        existed = True
        if kind in ("proc", "sysfs") or is_dev(destination):
            fd = _open_plain(root_fd, destination)
        else:
            try:
                fd = paths.open_in_root(root_fd, destination, os.O_PATH | os.O_DIRECTORY)
            except FileNotFoundError:
                fd = -1
        if fd < 0:
            existed = False
            fd = _made(lambda: paths.mkdirs_in_root(root_fd, destination), destination)
        return self._checked(fd, existed, destination, kind, source_fd)

    def attach(self, mount_fd: int, target: Target, shown: str) -> None:
        """Attach a detached mount; one on the root itself is the root from here on."""
        syscalls.move_mount(mount_fd, target.fd, shown)
        if target.is_root:
            os.close(self.built.root_fd)
            self.built.root_fd = mount_fd

    def _checked(self, fd: int, existed: bool, destination: str, kind: str, source_fd: int) -> Target:
        """Nothing may pass for procfs or cover a part of it, wherever links of the image lead (as runc; case R09)."""
        place = paths.location(fd)
        proc = self.built.base.rstrip(b"/") + b"/proc"
        if place == proc:
            if kind != "proc" and (kind != "bind" or syscalls.filesystem_magic(source_fd) != _PROC_MAGIC):
                raise InvalidInput("mounts: %s: only procfs may be mounted on /proc" % destination)
        elif place.startswith(proc + b"/") and os.fsdecode(place[len(proc) + 1 :]) not in _WITHIN_PROC:
            raise InvalidInput("mounts: %s: nothing may be mounted inside /proc" % destination)
        return Target(fd, existed, place == self.built.base)


def _made(make: Callable[[], int], destination: str) -> int:
    """The mount point that make() makes where it is missing. Raises KernelRefused where that is not allowed."""
    try:
        return make()
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise  # what is wrong with the destination shows in the mount, too
        hint = "root of the container's user namespace must own what it lies in" if error.errno == errno.EACCES else ""
        raise KernelRefused("mkdir", "the mount point " + destination, error.errno, hint) from None


def is_dev(destination: str) -> bool:
    """Whether the mount is that of /dev."""
    return [part for part in destination.split("/") if part not in ("", ".")] == ["dev"]


def _open_plain(root_fd: int, destination: str) -> int:
    """The directory at a path without links, or -1 when it is missing.

    /proc, /sys and /dev of an image must be what they are called (cases R05 and R06).
    """
    try:
        return paths.open_beneath(root_fd, destination.strip("/"), os.O_PATH | os.O_DIRECTORY)
    except FileNotFoundError:
        return -1
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EXDEV):
            message = "root filesystem: %s must be mounted on ordinary directory; it is, or passes, a symbolic link"
            raise InvalidInput(message % destination) from None
        raise
