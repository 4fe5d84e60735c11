# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""Bind sources that only the runtime can open: mounts with id mappings, and paths that a user namespace cannot reach.

They are opened in the container's mount namespace with the runtime's rights, so that what restricts a mount of the host
stays locked, and passed to the child as descriptors of detached mounts.
"""

from __future__ import annotations

import _socket
import _thread
import errno
import os
import sys

from ..linux import mounts, namespaces, syscalls
from ..linux.errors import KernelRefused, OcilabError
from . import entries

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

_CLONE_FS = 0x200
_IDMAP_HINT = "the file system may lack idmapped mounts on this kernel, or the mount has an id mapping already"


def needed(config: dict[str, Any], bundle: str, rootfs: str) -> list[int]:
    """The indexes in mounts that the runtime must open; the others are the child's own matter.

    What lies in the root filesystem may be seen only when the mounts before it are there.
    """
    kinds = [item["type"] for item in (config.get("linux") or {}).get("namespaces") or []]
    result = []
    for index, item in enumerate(config.get("mounts") or []):
        options = mounts.Options(item.get("options") or [])
        if not entries.is_bind(item, options) or options.is_remount:
            continue
        mapped = options.id_map or item.get("uidMappings")
        path = os.path.join(bundle, item["source"])
        is_ours = "user" in kinds and os.geteuid() == 0
        if mapped or (is_ours and (path.startswith(rootfs + "/") or not _is_reachable(path))):
            result.append(index)
    return result


def _is_reachable(path: str) -> bool:
    """Whether everybody may pass the directories above path."""
    directory = os.path.dirname(os.path.realpath(path))
    while directory != "/":
        try:
            if not os.stat(directory).st_mode & 0o001:
                return False
        except OSError:
            return True  # the child says what is wrong with it
        directory = os.path.dirname(directory)
    return True


def pair() -> tuple[_socket.socket, _socket.socket]:
    """(the runtime's end, the child's end) of what send() and receive() talk over."""
    return _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)


def send(channel: _socket.socket, config: dict[str, Any], bundle: str, pid: int, index: int) -> None:
    """In the runtime, for the child that waits in receive(): open one of needed() and pass it. Raises KernelRefused."""
    item = config["mounts"][index]
    opened: list[int] = []
    userns = _user_namespace(item, pid)
    try:
        _in_mount_namespace(pid, lambda: _open(item, bundle, userns, opened))
        data = opened[0].to_bytes(4, sys.byteorder)
        channel.sendmsg([b"1"], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, data)])
    finally:
        for fd in [*opened, userns]:
            if fd >= 0:
                os.close(fd)


def receive(channel: _socket.socket) -> int:
    """In the child: the descriptor that send() passes. Raises OcilabError when the runtime was killed instead."""
    _data, control, _flags, _address = channel.recvmsg(16, _socket.CMSG_SPACE(4))
    if not control:
        raise OcilabError("the runtime did not pass the source of a mount")
    fd = int.from_bytes(control[0][2], sys.byteorder)
    os.set_inheritable(fd, False)
    return fd


def _open(item: dict[str, Any], bundle: str, userns: int, opened: list[int]) -> None:
    options = mounts.Options(item.get("options") or [])
    path = os.path.join(bundle, item["source"])
    shown = "%s on %s" % (path, item["destination"])
    recursive = options.is_recursive_bind or item.get("type") == "rbind"
    try:
        fd = syscalls.open_tree(syscalls.AT_FDCWD, os.fsencode(path), recursive)
    except OSError as error:
        raise KernelRefused("open_tree", shown, error.errno) from None
    opened.append(fd)
    if userns < 0:
        return
    whole = options.id_map == "ridmap"
    try:
        syscalls.mount_setattr(fd, whole, syscalls.MOUNT_ATTR_IDMAP, 0, 0, userns, shown)
    except OSError as error:
        hint = _IDMAP_HINT if error.errno in (errno.EINVAL, errno.EPERM) else ""
        raise KernelRefused("mount_setattr", "the id mapping of " + shown, error.errno, hint) from None


def _user_namespace(item: dict[str, Any], pid: int) -> int:
    """A descriptor of the user namespace whose maps the mount takes: the container's, or one made for it; or -1."""
    if item.get("uidMappings"):
        return _mapped_namespace(item["uidMappings"], item["gidMappings"])
    if mounts.Options(item.get("options") or []).id_map:
        return os.open("/proc/%d/ns/user" % pid, os.O_RDONLY | os.O_CLOEXEC)
    return -1


def _mapped_namespace(uid_mappings: list[dict[str, int]], gid_mappings: list[dict[str, int]]) -> int:
    """A new user namespace with those maps; a process has to be in it while they are written."""
    read_fd, write_fd = os.pipe()
    try:
        pid = syscalls.clone(syscalls.CLONE_NEWUSER, "CLONE_NEWUSER")
    except OSError as error:
        raise KernelRefused("clone", "a user namespace for the id mappings of a mount", error.errno) from None
    if pid == 0:
        os.close(write_fd)
        os.read(read_fd, 1)  # ends with the runtime
        os._exit(0)
    try:
        namespaces.write_map(pid, "uid", uid_mappings)
        namespaces.write_map(pid, "gid", gid_mappings)
        return os.open("/proc/%d/ns/user" % pid, os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(read_fd)
        os.close(write_fd)
        os.waitpid(pid, 0)


def _in_mount_namespace(pid: int, function: Callable[[], None]) -> None:
    """function() in the mount namespace of a process, in a thread: a thread can leave what its process shares."""
    failed: list[BaseException] = []
    done = _thread.allocate_lock()
    done.acquire()

    def run() -> None:
        try:
            fd = os.open("/proc/%d/ns/mnt" % pid, os.O_RDONLY | os.O_CLOEXEC)
            try:
                syscalls.unshare(_CLONE_FS, "CLONE_FS")
                syscalls.setns(fd, syscalls.CLONE_NEWNS, "/proc/%d/ns/mnt" % pid)
            finally:
                os.close(fd)
            function()
        except BaseException as error:
            failed.append(error)
        finally:
            done.release()

    _thread.start_new_thread(run, ())
    done.acquire()
    if failed and isinstance(failed[0], OSError):
        raise KernelRefused("setns", "the container's mount namespace", failed[0].errno)
    if failed:
        raise failed[0]
