# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""The processes of a cgroup and of all below it: counting, freezing, killing, and waiting until they are gone.

paths: hierarchy name -> directory. A v2 directory ('' or 'unified') tells by cgroup.events what a v1 one does not.
"""

from __future__ import annotations

import errno
import os
import select
import time

from .. import files, syscalls, trace
from ..errors import KernelRefused, OcilabError, Unsupported
from .hierarchy import v2_directory

_FREEZE_TIMEOUT_S = 10.0
_PAUSE_S = 0.0005
SIGKILL = 9


def subdirectories(directory: str) -> list[str]:
    """The cgroups right below; without any the kernel counts two links. Raises OSError."""
    if os.stat(directory).st_nlink <= 2:
        return []
    with os.scandir(directory) as entries:
        return [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]


def tree(directory: str) -> list[str]:
    """The cgroup and all below it, parents first; [] when it is gone."""
    result = []
    pending = [directory]
    while pending:
        current = pending.pop()
        try:
            pending += subdirectories(current)
        except OSError:
            continue  # removed meanwhile
        result.append(current)
    return result


def processes(paths: list[str]) -> set[int]:
    """The processes in the cgroup directories and in all below them, but for those that this pid namespace lacks."""
    found: set[int] = set()
    for top in paths:
        for directory in tree(top):
            found.update(_members(directory))
    found.discard(0)  # one of another pid namespace; to signal 0 would be to signal ourselves
    return found


def _members(directory: str) -> list[int]:
    for name in ("/cgroup.procs", "/cgroup.threads"):
        try:
            return [int(pid) for pid in files.read(directory + name).split()]
        except OSError as error:
            if error.errno != errno.EOPNOTSUPP:  # of a threaded cgroup only the threads can be listed
                break
    return []


def is_frozen(paths: dict[str, str]) -> bool:
    """True while the processes are stopped by the freezer, of their own cgroup and not only of one above it."""
    try:
        if "freezer" in paths:
            state = files.read_text(paths["freezer"] + "/freezer.state")
            return state != "THAWED" and files.read_text(paths["freezer"] + "/freezer.self_freezing") == "1"
        return files.read_text(v2_directory(paths) + "/cgroup.freeze") == "1"
    except OSError:
        return False


def freeze(paths: dict[str, str]) -> None:
    """Stop every process, and come back when all have stopped. Raises Unsupported, KernelRefused, OcilabError."""
    if "freezer" in paths:
        _freeze_v1(paths["freezer"])
    elif v2_directory(paths):
        directory = v2_directory(paths)
        _set(directory + "/cgroup.freeze", b"1")
        if not wait_event(directory, b"frozen 1", _FREEZE_TIMEOUT_S):
            thaw(paths)
            raise OcilabError("cgroup %s: was not frozen within %d s" % (directory, _FREEZE_TIMEOUT_S))
    else:
        raise Unsupported("pause: this host has no freezer controller, and the container no cgroup v2")


def thaw(paths: dict[str, str]) -> None:
    """Let frozen processes go on. Raises KernelRefused."""
    if "freezer" in paths:
        _set(paths["freezer"] + "/freezer.state", b"THAWED")
    elif v2_directory(paths):
        _set(v2_directory(paths) + "/cgroup.freeze", b"0")


def _freeze_v1(directory: str) -> None:
    """Written again and again, and thawed at times, as freezer-subsystem.txt and runc have it: v1 gives no notice."""
    file = directory + "/freezer.state"
    deadline = time.monotonic() + _FREEZE_TIMEOUT_S
    tries = 0
    while True:
        _set(file, b"FROZEN")
        if files.read_text(file) == "FROZEN":
            return
        if time.monotonic() > deadline:
            _set(file, b"THAWED")
            raise OcilabError("cgroup %s: was not frozen within %d s" % (directory, _FREEZE_TIMEOUT_S))
        tries += 1
        if tries % 50 == 0:
            _set(file, b"THAWED")
        time.sleep(_PAUSE_S)


def _set(file: str, value: bytes) -> None:
    try:
        files.write(file, value)
    except OSError as error:
        raise KernelRefused("write", file, error.errno) from None


def kill(paths: dict[str, str], signal: int) -> None:
    """Send the signal to every process, none of which can escape by forking. Raises KernelRefused.

    SIGKILL goes by cgroup.kill where the kernel has it (5.14); else the cgroup is frozen meanwhile. A frozen v1 cgroup
    is thawed for it, for nothing frozen there can die.
    """
    left = processes(list(paths.values()))
    if signal == SIGKILL and left and v2_directory(paths):
        members = processes([v2_directory(paths)])
        if _kill_v2(v2_directory(paths)):
            left -= members
            if not left and is_frozen(paths):
                thaw(paths)
    if not left:
        return
    was_frozen = is_frozen(paths)
    can_freeze = "freezer" in paths or v2_directory(paths)
    try:
        if can_freeze and not was_frozen:
            freeze(paths)
            left = processes(list(paths.values()))
        for pid in left:
            _signal(pid, signal)
    finally:
        if can_freeze and (signal == SIGKILL or not was_frozen):
            thaw(paths)


def _kill_v2(directory: str) -> bool:
    """False where the kernel has no cgroup.kill, or the caller may not write it."""
    try:
        files.write(directory + "/cgroup.kill", b"1")
    except OSError:
        return False
    return True


def _signal(pid: int, signal: int) -> None:
    try:
        trace.call("kill", (pid, signal), os.kill, pid, signal)
    except ProcessLookupError:
        pass
    except OSError as error:
        raise KernelRefused("kill", "process %d of the cgroup" % pid, error.errno) from None


def destroy(paths: dict[str, str], timeout_s: float) -> None:
    """SIGKILL every process until none is left. Raises OcilabError after timeout_s seconds, KernelRefused."""
    deadline = time.monotonic() + timeout_s
    while True:
        left = processes(list(paths.values()))
        if not left:
            return
        rest_s = deadline - time.monotonic()
        if rest_s <= 0:
            name = next(iter(paths.values()))
            raise OcilabError("cgroup %s: processes %s did not end within %d s" % (name, sorted(left), timeout_s))
        pidfds = _open_all(left)
        try:
            kill(paths, SIGKILL)
            _wait_gone(pidfds, rest_s)
        finally:
            for pidfd in pidfds:
                os.close(pidfd)


def _open_all(pids: set[int]) -> list[int]:
    result = []
    for pid in pids:
        try:
            result.append(syscalls.pidfd_open(pid))
        except OSError:
            pass  # gone, or a single thread of a threaded cgroup
    return result


def _wait_gone(pidfds: list[int], timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    for pidfd in pidfds:
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        poll.poll(max(0, int((deadline - time.monotonic()) * 1000)))
    if not pidfds:
        time.sleep(_PAUSE_S)


def wait_event(directory: str, line: bytes, timeout_s: float) -> bool:
    """Wait until cgroup.events of the v2 directory has the line, by the kernel's notice; False after timeout_s.

    A cgroup that is gone, or an older kernel without that line, has nothing to wait for.
    """
    deadline = time.monotonic() + timeout_s
    key = line.split()[0] + b" "
    try:
        fd = os.open(directory + "/cgroup.events", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return True
    try:
        poll = select.poll()
        poll.register(fd, select.POLLPRI)
        while True:
            lines = os.pread(fd, 4096, 0).splitlines()
            if line in lines or not any(item.startswith(key) for item in lines):
                return True
            rest_s = deadline - time.monotonic()
            if rest_s <= 0:
                return False
            poll.poll(int(rest_s * 1000) + 1)
    except OSError as error:
        if error.errno == errno.ENODEV:
            return True
        raise KernelRefused("read", directory + "/cgroup.events", error.errno) from None
    finally:
        os.close(fd)


def remove_tree(top: str, v2: str, timeout_s: float) -> None:
    """rmdir the cgroup and all below it, bottom up, while the kernel still finishes off processes that were killed.

    v2: the directory of the same cgroup in cgroup2, whose notice tells when it is empty, or ''. Raises KernelRefused.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            for directory in reversed(tree(top)):
                files.rmdir(directory)
            return
        except FileNotFoundError:
            if not os.path.exists(top):
                return
        except OSError as error:
            rest_s = deadline - time.monotonic()
            if error.errno != errno.EBUSY or rest_s <= 0:
                raise KernelRefused("rmdir", "cgroup " + top, error.errno) from None
            if v2:
                wait_event(v2, b"populated 0", rest_s)
            time.sleep(_PAUSE_S)
