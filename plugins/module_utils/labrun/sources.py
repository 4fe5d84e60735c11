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
_AT_A_TIME = 200  # SCM_MAX_FD is 253
_IDMAP_HINT = "the file system may lack idmapped mounts on this kernel, or the mount has an id mapping already"


def needed(config: dict[str, Any], bundle: str) -> list[int]:
    """The indexes in mounts that the runtime must open; the others are the child's own matter."""
    kinds = [item["type"] for item in (config.get("linux") or {}).get("namespaces") or []]
    result = []
    for index, item in enumerate(config.get("mounts") or []):
        options = mounts.Options(item.get("options") or [])
        if not entries.is_bind(item, options) or options.is_remount:
            continue
        mapped = options.id_map or item.get("uidMappings")
        unreachable = "user" in kinds and os.geteuid() == 0 and not _is_reachable(os.path.join(bundle, item["source"]))
        if mapped or unreachable:
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


def send(channel: _socket.socket, config: dict[str, Any], bundle: str, pid: int, indexes: list[int]) -> None:
    """In the runtime, when the child exists and has its id maps: open each of needed() and pass it.

    Raises KernelRefused.
    """
    opened: list[int] = []
    namespaces_of_mounts: dict[int, int] = {}
    try:
        for index in indexes:
            namespaces_of_mounts[index] = _user_namespace(config["mounts"][index], pid)
        _in_mount_namespace(pid, lambda: _open_all(config, bundle, indexes, namespaces_of_mounts, opened))
        for start in range(0, len(opened), _AT_A_TIME):
            batch = opened[start : start + _AT_A_TIME]
            data = b"".join(fd.to_bytes(4, sys.byteorder) for fd in batch)
            channel.sendmsg([b"%d" % len(batch)], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, data)])
    finally:
        for fd in opened + [fd for fd in namespaces_of_mounts.values() if fd >= 0]:
            os.close(fd)


def receive(channel: _socket.socket, indexes: list[int]) -> dict[int, int]:
    """In the child, once send() is over: index -> descriptor. Raises OcilabError when the runtime sent less."""
    received: list[int] = []
    while len(received) < len(indexes):
        _data, control, _flags, _address = channel.recvmsg(16, _socket.CMSG_SPACE(4 * _AT_A_TIME))
        fds = b"".join(data for level, kind, data in control if kind == _socket.SCM_RIGHTS)
        if not fds:
            raise OcilabError("the runtime passed %d of %d mounts" % (len(received), len(indexes)))
        for start in range(0, len(fds), 4):
            fd = int.from_bytes(fds[start : start + 4], sys.byteorder)
            os.set_inheritable(fd, False)
            received.append(fd)
    return dict(zip(indexes, received))


def _open_all(
    config: dict[str, Any], bundle: str, indexes: list[int], userns: dict[int, int], opened: list[int]
) -> None:
    for index in indexes:
        item = config["mounts"][index]
        options = mounts.Options(item.get("options") or [])
        path = os.path.join(bundle, item["source"])
        shown = "%s on %s" % (path, item["destination"])
        recursive = options.is_recursive_bind or item.get("type") == "rbind"
        try:
            fd = syscalls.open_tree(syscalls.AT_FDCWD, os.fsencode(path), recursive)
        except OSError as error:
            raise KernelRefused("open_tree", shown, error.errno) from None
        opened.append(fd)
        if userns[index] < 0:
            continue
        whole = options.id_map == "ridmap"
        try:
            syscalls.mount_setattr(fd, whole, syscalls.MOUNT_ATTR_IDMAP, 0, 0, userns[index], shown)
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
