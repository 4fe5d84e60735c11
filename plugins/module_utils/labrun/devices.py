# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""/dev of the container: the default devices and links, those of linux.devices, and the console of a terminal."""

from __future__ import annotations

import errno
import os
import stat

from ..linux import mounts, paths, syscalls, trace
from ..linux.errors import InvalidInput, KernelRefused
from . import entries

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
_LINKS = (
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
)
_PTMX = "pts/ptmx"
_KCORE = "/proc/kcore"
_TYPES = {"c": stat.S_IFCHR, "u": stat.S_IFCHR, "b": stat.S_IFBLK, "p": stat.S_IFIFO}
_OPEN = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


def are_wanted(config: dict[str, Any]) -> bool:
    """False where the container gets its /dev from elsewhere by a bind mount, which is then left as it is (as runc)."""
    for item in config.get("mounts") or []:
        if entries.is_dev(item["destination"]) and entries.is_bind(item, mounts.Options(item.get("options") or [])):
            return False
    return True


def make(root_fd: int, linux: dict[str, Any]) -> None:
    """The default devices and links, and those of linux.devices; in a user namespace, without mknod, as bind mounts.

    A device of linux.devices replaces the default one of its path. Raises InvalidInput and KernelRefused.
    """
    by_bind = any(item["type"] == "user" for item in linux.get("namespaces") or [])
    extra = {node["path"]: node for node in linux.get("devices") or []}
    directory = _open_dev(root_fd)
    try:
        for name, (major, minor) in _DEFAULT_DEVICES.items():
            path = "/dev/" + name
            node = extra.pop(path, None)
            default = {"type": "c", "path": path, "major": major, "minor": minor, "fileMode": 0o666}
            _make_node(directory, name, node or default, by_bind)
        for name, target in _LINKS:
            _link(directory, name, target)
        if os.access(_KCORE, os.F_OK):
            _link(directory, "core", _KCORE)
        _link_ptmx(directory)
    except OSError as error:
        raise KernelRefused("symlink", "/dev", error.errno) from None
    finally:
        os.close(directory)
    for path, node in extra.items():
        if path != "/dev/ptmx":
            _make_extra(root_fd, node, by_bind)


def _open_dev(root_fd: int) -> int:
    """/dev of an image must be a directory, not a link that leads to another one (case R06)."""
    try:
        return paths.open_beneath(root_fd, "dev", os.O_PATH | os.O_DIRECTORY)
    except FileNotFoundError:
        return paths.mkdirs_in_root(root_fd, "/dev")
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            message = "root filesystem: /dev is or passes a symbolic link, or is no directory; make it a directory"
            raise InvalidInput(message) from None
        raise KernelRefused("open", "/dev", error.errno) from None


def _link(directory: int, name: str, target: str) -> None:
    try:
        trace.call("symlinkat", (target, "/dev/" + name), _symlink, directory, name, target)
    except FileExistsError:
        pass


def _symlink(directory: int, name: str, target: str) -> None:
    os.symlink(target, name, dir_fd=directory)


def _link_ptmx(directory: int) -> None:
    """It must lead to the container's own devpts: another one that the image brings is replaced."""
    try:
        trace.call("symlinkat", (_PTMX, "/dev/ptmx"), _symlink, directory, "ptmx", _PTMX)
    except FileExistsError:
        try:
            if os.readlink("ptmx", dir_fd=directory) == _PTMX:
                return
        except OSError:
            pass  # not even a link
        os.unlink("ptmx", dir_fd=directory)
        _symlink(directory, "ptmx", _PTMX)


def _make_extra(root_fd: int, node: dict[str, Any], by_bind: bool) -> None:
    try:
        parent, name = paths.split(node["path"])
        directory = paths.mkdirs_in_root(root_fd, parent)
    except OSError as error:
        raise KernelRefused("mkdir", "the directory of " + node["path"], error.errno) from None
    try:
        _make_node(directory, name, node, by_bind)
    finally:
        os.close(directory)


def _make_node(directory: int, name: str, node: dict[str, Any], by_bind: bool) -> None:
    kind = _TYPES[node["type"]]
    number = 0 if kind == stat.S_IFIFO else os.makedev(node["major"], node["minor"])
    if by_bind and kind != stat.S_IFIFO:
        _bind_node(directory, name, node, kind, number)
        return
    mode = 0o666 if node.get("fileMode") is None else stat.S_IMODE(node["fileMode"])
    shown = (node["path"], "0%o" % (kind | mode), "%d:%d" % (os.major(number), os.minor(number)))
    try:
        trace.call("mknodat", shown, _mknod, directory, name, kind | mode, number)
        if node.get("uid") or node.get("gid"):
            os.chown(name, node.get("uid") or 0, node.get("gid") or 0, dir_fd=directory, follow_symlinks=False)
    except FileExistsError:
        present = os.stat(name, dir_fd=directory, follow_symlinks=False)
        if stat.S_IFMT(present.st_mode) != kind or present.st_rdev != number:
            message = "root filesystem: %s exists and is not the device %s %s; remove it from the root filesystem"
            raise InvalidInput(message % (node["path"], node["type"], shown[2])) from None
    except OSError as error:
        if error.errno == errno.EPERM:  # the runtime itself is in a user namespace, or lacks CAP_MKNOD
            _bind_node(directory, name, node, kind, number)
            return
        raise KernelRefused("mknod", node["path"], error.errno) from None


def _mknod(directory: int, name: str, mode: int, number: int) -> None:
    os.mknod(name, mode, number, dir_fd=directory)


def _bind_node(directory: int, name: str, node: dict[str, Any], kind: int, number: int) -> None:
    """The host's device of the same path, which must be that device; its mode and owner are the host's."""
    path = node["path"]
    try:
        mount_fd = syscalls.open_tree(syscalls.AT_FDCWD, os.fsencode(path), False)
        present = os.fstat(mount_fd)
        if stat.S_IFMT(present.st_mode) != kind or present.st_rdev != number:
            message = "linux.devices: %s is not the device %s %d:%d on this host, whose device a user namespace shows"
            raise InvalidInput(message % (path, node["type"], os.major(number), os.minor(number)))
        target_fd = paths.make_file_at(directory, name, 0)
        _refuse_link(target_fd, path)
        syscalls.move_mount(mount_fd, target_fd, path)
    except OSError as error:
        raise KernelRefused("mount", "the device %s of the host" % path, error.errno) from None
    os.close(target_fd)
    os.close(mount_fd)


def _refuse_link(fd: int, path: str) -> None:
    if stat.S_ISLNK(os.fstat(fd).st_mode):
        raise InvalidInput("root filesystem: %s is a symbolic link; remove it from the root filesystem" % path)


def open_null(root_fd: int) -> int:
    """The container's /dev/null (O_PATH), which must be that device (R07). Raises InvalidInput and KernelRefused."""
    try:
        fd = paths.open_in_root(root_fd, "/dev/null", os.O_PATH)
    except OSError as error:
        raise KernelRefused("open", "/dev/null", error.errno) from None
    null = os.fstat(fd)
    if not stat.S_ISCHR(null.st_mode) or null.st_rdev != os.makedev(1, 3):
        raise InvalidInput("root filesystem: /dev/null is not the null device; it cannot mask paths")
    return fd


def replace_null_streams(root_fd: int) -> None:
    """Standard streams on the host's /dev/null get the container's: through them its mode could be changed."""
    null = os.makedev(1, 3)
    on_null = [fd for fd in range(3) if _device(fd) == null]
    if not on_null:
        return
    verified = open_null(root_fd)
    inside = os.open(paths.fd_path(verified), os.O_RDWR | os.O_CLOEXEC)
    os.close(verified)
    for fd in on_null:
        os.dup2(inside, fd)
    os.close(inside)


def _device(fd: int) -> int:
    try:
        status = os.fstat(fd)
    except OSError:
        return 0  # a stream that the caller had closed
    return status.st_rdev if stat.S_ISCHR(status.st_mode) else 0


def open_console(root_fd: int, console: Any) -> Any:
    """A new pseudoterminal of the container's devpts, bound on /dev/console by its descriptor (case R08).

    console: a terminal.Console, which gets the master. Raises KernelRefused, InvalidInput.
    """
    pty = console.open(root_fd)
    try:
        directory = _open_dev(root_fd)
        target_fd = paths.make_file_at(directory, "console", 0o666)
        _refuse_link(target_fd, "/dev/console")
        source, target = paths.fd_path(pty.slave_fd), paths.fd_path(target_fd)
        syscalls.mount(source, target, b"", syscalls.MS_BIND, b"", "/dev/console")
        os.close(target_fd)
        os.close(directory)
    except OSError as error:
        raise KernelRefused("mount", "the terminal on /dev/console", error.errno) from None
    return pty
