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
import stat

from ..linux import mounts, paths, syscalls, trace
from ..linux.errors import InvalidInput, KernelRefused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# config-linux.md, default devices: name -> (major, minor)
_DEFAULT_DEVICES = {
    "null": (1, 3),
    "zero": (1, 5),
    "full": (1, 7),
    "random": (1, 8),
    "urandom": (1, 9),
    "tty": (5, 0),
}
_DEVICE_LINKS = (
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
)
_TYPES = {"c": stat.S_IFCHR, "u": stat.S_IFCHR, "b": stat.S_IFBLK, "p": stat.S_IFIFO}
_HINTS = {
    ("proc", errno.EPERM): "the container has no pid namespace of its own; add one or bind /proc from the host",
    ("sysfs", errno.EPERM): "the container has no network namespace of its own; add one or bind /sys from the host",
    ("mqueue", errno.EPERM): "the container has no ipc namespace of its own; add one",
    ("overlay", errno.EINVAL): "an overlay on an overlay may be refused; use a directory on another file system",
}


def build_rootfs(config: dict[str, Any], rootfs: str, cgroup_mounts: list[Any]) -> None:
    """Mounts, devices, masked and read-only paths of config, then pivot_root into rootfs (an absolute path).

    cgroup_mounts is what Cgroup.mounts_for_container() returned. Raises KernelRefused and InvalidInput.
    """
    linux = config.get("linux") or {}
    os.umask(0)
    root_fd = _isolate(rootfs)
    for item in config.get("mounts") or []:
        if item.get("type") == "cgroup":
            # Without a cgroup namespace of its own it would see the host's whole tree: only its own part is bound.
            _mount_cgroups(root_fd, item, cgroup_mounts, not _has_new_namespace(linux, "cgroup"))
        else:
            _mount(root_fd, item)
    _make_devices(root_fd, linux.get("devices") or [], _has_new_namespace(linux, "user"))
    _mask(root_fd, linux.get("maskedPaths") or [])
    for path in linux.get("readonlyPaths") or []:
        _make_readonly(root_fd, path)
    os.close(paths.mkdirs_in_root(root_fd, config["process"]["cwd"]))
    if config["root"].get("readonly"):
        _refuse("mount", "the root filesystem read-only", mounts.remount_bind, root_fd, "/", syscalls.MS_RDONLY)
    _enter(root_fd)


def _has_new_namespace(linux: dict[str, Any], kind: str) -> bool:
    return any(item["type"] == kind and not item.get("path") for item in linux.get("namespaces") or [])


def _refuse(call: str, target: str, function: Any, *arguments: Any) -> Any:
    """function(*arguments), with an OSError as the KernelRefused that names call and target."""
    try:
        return function(*arguments)
    except OSError as error:
        raise KernelRefused(call, target, error.errno) from None


def _isolate(rootfs: str) -> int:
    """Cut mount events off from the host and make rootfs a mount of its own, as pivot_root(2) wants; its descriptor."""
    slave = syscalls.MS_REC | syscalls.MS_SLAVE
    try:
        syscalls.mount(b"", b"/", b"", slave)
    except OSError as error:
        hint = "in a chroot whose root is no mount no container can start: bind it on itself and pivot_root into it"
        raise KernelRefused("mount", "/ as rslave", error.errno, hint if error.errno == errno.EINVAL else "") from None
    bind = syscalls.MS_BIND | syscalls.MS_REC
    path = os.fsencode(rootfs)
    _refuse("mount", "the root filesystem " + rootfs, syscalls.mount, path, path, b"", bind)
    return os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def _mount(root_fd: int, item: dict[str, Any]) -> None:
    destination = item["destination"]
    options = mounts.Options(item.get("options") or [])
    kind = item.get("type") or ("none" if options.is_bind else "")
    if kind in ("bind", "rbind"):
        options.flags |= syscalls.MS_BIND | (syscalls.MS_REC if kind == "rbind" else 0)
    source = item.get("source") or "none"
    try:
        target_fd = _target(root_fd, destination, kind, source if options.is_bind else "")
        mounts.mount_at(source, target_fd, destination, kind, options)
        os.close(target_fd)
        extra = options.flags & ~(syscalls.MS_BIND | syscalls.MS_REC)
        if options.propagation or (options.is_bind and extra):
            mounted_fd = paths.open_in_root(root_fd, destination, os.O_PATH)
            if options.is_bind and extra:
                mounts.remount_bind(mounted_fd, destination, extra)
            for flags in options.propagation:
                mounts.set_propagation(mounted_fd, destination, flags)
            os.close(mounted_fd)
    except OSError as error:
        what = "%s on %s" % (source if options.is_bind else kind, destination)
        raise KernelRefused("mount", what, error.errno, _HINTS.get((str(kind), error.errno or 0), "")) from None


def _target(root_fd: int, destination: str, kind: str, bind_source: str) -> int:
    """A descriptor of the mount point inside the root filesystem, which is made when it is missing."""
    if kind in ("proc", "sysfs") or destination.strip("/") in ("proc", "sys", "dev"):
        _refuse_symlink(root_fd, destination)
    if bind_source and not stat.S_ISDIR(os.stat(bind_source).st_mode):
        parent, _slash, _name = destination.rstrip("/").rpartition("/")
        os.close(paths.mkdirs_in_root(root_fd, parent or "/"))
        try:
            return paths.open_in_root(root_fd, destination, os.O_PATH)
        except FileNotFoundError:
            os.close(paths.open_in_root(root_fd, destination, os.O_CREAT | os.O_WRONLY, 0o644))
            return paths.open_in_root(root_fd, destination, os.O_PATH)
    return paths.mkdirs_in_root(root_fd, destination)


def _refuse_symlink(root_fd: int, destination: str) -> None:
    """/proc, /sys and /dev of an image must be what they are called (cases R05 and R06)."""
    try:
        os.close(paths.open_beneath(root_fd, destination.strip("/"), os.O_PATH))
    except FileNotFoundError:
        pass
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EXDEV):
            raise InvalidInput("root filesystem: %s is or passes a symbolic link; make it a directory" % destination)
        raise


def _mount_cgroups(root_fd: int, item: dict[str, Any], cgroup_mounts: list[Any], bind: bool) -> None:
    """The container's cgroups at the destination: one cgroup2 mount, or a tmpfs with a mount for each v1 hierarchy."""
    destination = item["destination"]
    options = mounts.Options([word for word in item.get("options") or [] if word != "ro"])
    readonly = "ro" in (item.get("options") or [])
    if len(cgroup_mounts) == 1 and not cgroup_mounts[0].name:
        _mount_hierarchy(root_fd, destination, cgroup_mounts[0], options.flags, readonly, bind)
        return
    tmpfs = {"destination": destination, "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "nodev", "mode=755"]}
    _mount(root_fd, dict(tmpfs))
    for entry in cgroup_mounts:
        _mount_hierarchy(root_fd, destination + "/" + entry.name, entry, options.flags, readonly, bind)
        for link in entry.links:
            trace.call(
                "symlinkat", (entry.name, destination + "/" + link), _symlink, root_fd, destination, link, entry.name
            )
    if readonly:
        fd = paths.open_in_root(root_fd, destination, os.O_PATH)
        _refuse("mount", destination + " read-only", mounts.remount_bind, fd, destination, syscalls.MS_RDONLY)
        os.close(fd)


def _symlink(root_fd: int, directory: str, name: str, target: str) -> None:
    fd = paths.open_in_root(root_fd, directory, os.O_PATH | os.O_DIRECTORY)
    try:
        os.symlink(target, name, dir_fd=fd)
    except FileExistsError:
        pass
    finally:
        os.close(fd)


def _mount_hierarchy(root_fd: int, destination: str, entry: Any, flags: int, readonly: bool, bind: bool) -> None:
    """Mounted in the container's cgroup namespace, a hierarchy shows the container's own cgroup as its root."""
    fd = paths.mkdirs_in_root(root_fd, destination)
    try:
        if bind:
            syscalls.mount(os.fsencode(entry.directory), paths.fd_path(fd), b"", syscalls.MS_BIND, b"", destination)
            flags |= syscalls.MS_RDONLY if readonly else 0
        else:
            data = entry.options.encode()
            syscalls.mount(b"cgroup", paths.fd_path(fd), entry.kind.encode(), flags, data, destination)
            flags = syscalls.MS_RDONLY if readonly else 0
        if flags:
            mounted_fd = paths.open_in_root(root_fd, destination, os.O_PATH)
            mounts.remount_bind(mounted_fd, destination, flags)
            os.close(mounted_fd)
    except OSError as error:
        raise KernelRefused("mount", "%s on %s" % (entry.kind, destination), error.errno) from None
    finally:
        os.close(fd)


def _make_devices(root_fd: int, extra: list[dict[str, Any]], by_bind: bool) -> None:
    """The default devices, then those of linux.devices; in a user namespace, which has no mknod, as bind mounts."""
    _refuse_symlink(root_fd, "/dev")
    directory = paths.mkdirs_in_root(root_fd, "/dev")
    for name, (major, minor) in _DEFAULT_DEVICES.items():
        default = {"type": "c", "path": "/dev/" + name, "major": major, "minor": minor, "fileMode": 0o666}
        _make_device(root_fd, directory, name, default, by_bind)
    os.close(directory)
    for name, target in _DEVICE_LINKS:
        trace.call("symlinkat", (target, "/dev/" + name), _symlink, root_fd, "/dev", name, target)
    for node in extra:
        parent, _slash, name = node["path"].rpartition("/")
        directory = paths.mkdirs_in_root(root_fd, parent or "/")
        _make_device(root_fd, directory, name, node, by_bind)
        os.close(directory)


def _make_device(root_fd: int, directory: int, name: str, node: dict[str, Any], by_bind: bool) -> None:
    if by_bind:
        _mount(root_fd, {"destination": node["path"], "type": "bind", "source": node["path"], "options": ["bind"]})
        return
    mode = _TYPES[node["type"]] | node.get("fileMode", 0o666)
    number = os.makedev(node.get("major", 0), node.get("minor", 0))
    shown = (node["path"], "0%o" % mode, "%d:%d" % (node.get("major", 0), node.get("minor", 0)))
    try:
        trace.call("mknodat", shown, _mknod, directory, name, mode, number)
        if node.get("uid") or node.get("gid"):
            os.chown(name, node.get("uid", 0), node.get("gid", 0), dir_fd=directory, follow_symlinks=False)
    except FileExistsError:
        present = os.stat(name, dir_fd=directory, follow_symlinks=False)
        if stat.S_IFMT(present.st_mode) != stat.S_IFMT(mode) or present.st_rdev != number:
            message = "root filesystem: %s exists and is not the device %s %s; remove it from the root filesystem"
            raise InvalidInput(message % (node["path"], node["type"], shown[2])) from None
    except OSError as error:
        raise KernelRefused("mknod", node["path"], error.errno) from None


def _mknod(directory: int, name: str, mode: int, number: int) -> None:
    os.mknod(name, mode, number, dir_fd=directory)


def _mask(root_fd: int, masked: list[str]) -> None:
    """Hide each existing path: a directory under an empty read-only tmpfs, a file under the container's /dev/null."""
    if not masked:
        return
    null_fd = paths.open_beneath(root_fd, "dev/null", os.O_PATH)
    null = os.fstat(null_fd)
    if not stat.S_ISCHR(null.st_mode) or null.st_rdev != os.makedev(1, 3):  # case R07
        raise InvalidInput("root filesystem: /dev/null is not the null device; it cannot mask paths")
    for path in masked:
        try:
            fd = paths.open_in_root(root_fd, path, os.O_PATH)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR):
                continue
            raise KernelRefused("open", path, error.errno) from None
        is_directory = stat.S_ISDIR(os.fstat(fd).st_mode)
        if is_directory:
            target = paths.fd_path(fd)
            arguments = (b"tmpfs", target, b"tmpfs", syscalls.MS_RDONLY, b"size=0k,nr_inodes=2", path)
        else:
            arguments = (paths.fd_path(null_fd), paths.fd_path(fd), b"", syscalls.MS_BIND, b"", path)
        _refuse("mount", "a mask on " + path, syscalls.mount, *arguments)
        os.close(fd)
    os.close(null_fd)


def _make_readonly(root_fd: int, path: str) -> None:
    try:
        fd = paths.open_in_root(root_fd, path, os.O_PATH)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return
        raise KernelRefused("open", path, error.errno) from None
    itself = paths.fd_path(fd)
    bind = syscalls.MS_BIND | syscalls.MS_REC
    _refuse("mount", "%s on itself" % path, syscalls.mount, itself, itself, b"", bind, b"", path)
    os.close(fd)
    fd = paths.open_in_root(root_fd, path, os.O_PATH)
    _refuse("mount", "%s read-only" % path, mounts.remount_bind, fd, path, syscalls.MS_RDONLY)
    os.close(fd)


def _enter(root_fd: int) -> None:
    """pivot_root onto the root itself: the old root lies below the new one and is then taken away (pivot_root(2))."""
    try:
        os.fchdir(root_fd)
        os.close(root_fd)
        syscalls.pivot_root(b".", b".")
        syscalls.umount(b".", syscalls.MNT_DETACH)
        os.chdir("/")
    except OSError as error:
        raise KernelRefused("pivot_root", "the root filesystem", error.errno) from None
