# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""Opening a file of a running container as a process in it would: its root, its links, its user's rights.

A child joins the container's user and mount namespaces, opens the file, passes the descriptor and ends. Nothing of the
container runs, so that nothing needs to be in it; what is copied then is copied by the caller, who never sees a path.
"""

from __future__ import annotations

import os
import socket
import stat

from ..linux import capabilities, namespaces, sockets, syscalls
from ..linux.errors import InvalidInput, OcilabError, WrongState, errno_text
from . import init as child
from . import process
from .container import Container

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_MODE = 0o666


def open_file(container: Container, described: dict[str, Any], path: bytes, writing: bool) -> int:
    """The descriptor of a regular file, for reading, or for writing from an empty one on, which may be made for it.

    described: a process object of config.json, for its user and its capabilities. path: from the container's root.
    Raises NotFound and WrongState for the container, InvalidInput and OcilabError for the file.
    """
    state = container.state()
    if state["status"] not in ("created", "running", "paused"):
        raise WrongState("container %s: no file of it can be opened, it is %s" % (container.id, state["status"]))
    config = container.folder.config()
    linux = dict(config.get("linux") or {}, seccomp=None)
    described = dict(described, apparmorProfile="", selinuxLabel="", capabilities=_after_execve(described))
    prepared = process.Prepared(described, linux, _ignore, _ignore, joining=True)
    kinds = [item["type"] for item in linux.get("namespaces") or []]
    joined = {kind: "/proc/%d/ns/%s" % (state["pid"], namespaces.KINDS[kind][1]) for kind in ("user", "mount")}
    opened = namespaces.open_all({kind: joined[kind] for kind in joined if kind in kinds})
    root_fd = os.open("/proc/%d/root" % state["pid"], os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        _open_in(prepared, opened, root_fd, theirs, path, writing)
    theirs.close()
    try:
        answer, descriptors = sockets.receive(ours)
    finally:
        ours.close()
        os.waitpid(pid, 0)
        for fd in [root_fd] + [fd for _kind, fd, _path in opened]:
            os.close(fd)
    if descriptors:
        return descriptors[0]
    raise _failure(container.id, path.decode("utf-8", "replace"), answer)


def _ignore(_text: str) -> None:
    """Debug lines and warnings are those of the container's start."""


def _after_execve(described: dict[str, Any]) -> dict[str, list[str]]:
    """The capabilities that a program of the process would have: root's the bounding set, a user's the ambient one."""
    configured = described.get("capabilities") or {}
    is_root = not (described.get("user") or {}).get("uid")
    kept = configured.get("bounding" if is_root else "ambient") or []
    return {"permitted": kept, "effective": kept}


def _failure(container_id: str, path: str, answer: bytes) -> OcilabError:
    where = "%s in container %s" % (path, container_id)
    if answer == b"kind":
        return InvalidInput("open %s: not a regular file" % where)
    if not answer.isdigit():
        return OcilabError("open %s: the container's namespaces cannot be joined" % where)
    return OcilabError("open %s: %s" % (where, errno_text(int(answer))))


def _open_in(
    prepared: process.Prepared,
    opened: list[tuple[str, int, str]],
    root_fd: int,
    answer: socket.socket,
    path: bytes,
    writing: bool,
) -> None:
    """The child, which nothing in the container may look into (case R04), and which looks nothing up (R22)."""
    try:
        child.forget_imports()
        syscalls.close_others([root_fd, answer.fileno()] + [fd for _kind, fd, _path in opened])
        syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0, "PR_SET_DUMPABLE")
        namespaces.join(list(opened))
        if any(kind == "user" for kind, _fd, _path in opened):
            child.become_root()
        os.fchdir(root_fd)
        os.chroot(".")
        os.umask(0o022 if prepared.umask is None else prepared.umask)
        process.set_ids(prepared)
        capabilities.apply(prepared.capabilities)
        # Nothing is waited for, should it be a FIFO; it becomes nobody's terminal.
        flags = os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        flags |= os.O_WRONLY | os.O_CREAT if writing else os.O_RDONLY
        fd = os.open(path, flags, _MODE)
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            sockets.send(answer, b"kind", [])
            os._exit(1)
        if writing:
            os.ftruncate(fd, 0)
        sockets.send(answer, b"opened", [fd])
    except OSError as error:
        sockets.send(answer, b"%d" % (error.errno or 0), [])
    finally:
        os._exit(0)
