# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""What the container's own files decide when a process starts: the working directory, HOME, and the program itself.

All of it runs after pivot_root among files that are not trusted; nothing is looked up for ourselves there (R22).
"""

from __future__ import annotations

import errno
import os
import stat

from ..linux import capabilities, launcher, syscalls, trace
from ..linux.errors import CommandNotExecutable, CommandNotFound, InvalidInput, KernelRefused, OcilabError, Unsupported
from ..spec import document

# execve(2), ERRORS: each is a message that the launcher holds ready
_ERRORS = (
    errno.E2BIG,
    errno.EACCES,
    errno.EAGAIN,
    errno.EFAULT,
    errno.EINVAL,
    errno.EIO,
    errno.EISDIR,
    errno.ELIBBAD,
    errno.ELOOP,
    errno.EMFILE,
    errno.ENAMETOOLONG,
    errno.ENFILE,
    errno.ENOENT,
    errno.ENOEXEC,
    errno.ENOMEM,
    errno.ENOSYS,
    errno.ENOTDIR,
    errno.EPERM,
    errno.ETXTBSY,
)
_PASSWD_BYTES = 1 << 20


def enter_cwd(cwd: bytes, as_user: bool) -> bool:
    """chdir; False where only the container's user may, who is not the caller yet (root squashed, a user namespace)."""
    try:
        trace.call("chdir", (cwd.decode("utf-8", "replace"),), os.chdir, cwd)
    except PermissionError as error:
        if as_user:
            raise KernelRefused("chdir", cwd.decode("utf-8", "replace"), error.errno) from None
        return False
    except OSError as error:
        raise KernelRefused("chdir", cwd.decode("utf-8", "replace"), error.errno) from None
    return True


def verify_cwd(cwd: bytes) -> None:
    """Prove that it led nowhere outside the root (case R02)."""
    try:
        inside = syscalls.getcwd().startswith(b"/")
    except OSError:
        inside = False
    if not inside:
        raise InvalidInput("process.cwd: %s is not in the container" % cwd.decode("utf-8", "replace"))


def home(uid: int) -> bytes:
    """The home of the user in the container's /etc/passwd (passwd(5)), or "/" where that says nothing (case R13).

    Read by ourselves and as bytes: the C library's look-up would run the container's code. Only a regular file, never
    more than a part of it, and nothing is waited for.
    """
    try:
        fd = os.open("/etc/passwd", os.O_PATH | os.O_CLOEXEC)
        checked = os.fstat(fd)
        os.close(fd)
        if not stat.S_ISREG(checked.st_mode):
            return b"/"
        fd = os.open("/etc/passwd", os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        try:
            data = os.read(fd, _PASSWD_BYTES) if stat.S_ISREG(os.fstat(fd).st_mode) else b""
        finally:
            os.close(fd)
    except OSError:
        return b"/"
    wanted = b"%d" % uid
    for line in data.split(b"\n"):
        fields = line.split(b":")
        if len(fields) > 5 and fields[2] == wanted:
            return fields[5]
    return b"/"


def find(name: bytes, search: list[bytes]) -> bytes:
    """The path of args[0], searched for in the directories of the container's PATH as a shell does.

    Raises CommandNotFound and CommandNotExecutable.
    """
    shown = name.decode("utf-8", "replace")
    candidates = [name] if b"/" in name else [directory + b"/" + name for directory in search]
    found = False
    for path in candidates:
        try:
            status = os.stat(path)
        except OSError as error:
            found = found or error.errno == errno.EACCES
            continue
        found = True
        if stat.S_ISREG(status.st_mode) and (os.access(path, os.X_OK) or os.access(path, os.X_OK, effective_ids=True)):
            return path  # access(2) leaves out a user's capabilities, faccessat(2) is not all there with an old library
    if found:
        raise CommandNotExecutable('exec: "%s": permission denied: it is not an executable file' % shown)
    if b"/" in name:
        raise CommandNotFound('exec: "%s": no such file or directory in the container' % shown)
    raise CommandNotFound('exec: "%s": executable file not found in $PATH of the container' % shown)


_texts: dict[bytes, tuple[dict[int, bytes], bytes]] = {}


def prepare_texts(name: bytes) -> tuple[dict[int, bytes], bytes]:
    """What the launcher reports for args[0]: by errno, and otherwise. Kept, for the runtime to make it beforehand: in
    the child each object that it touches costs a page fault.
    """
    if name not in _texts:
        _texts.clear()
        _texts[name] = {number: _report(_failure(name, number)) for number in _ERRORS}, _report(_failure(name, 0))
    return _texts[name]


def prepare_launcher(
    name: bytes, report_fd: int, calls: list[tuple[int, int | bytes, int | bytes, int]], wait_fd: int
) -> int:
    """The launcher (linux/launcher.py) for args[0]; where execve(2) fails it writes one line of JSON to report_fd.

    calls: what it calls before; wait_fd: what it waits on for the start, or -1.

    The line is {"error": class, "message": text}. Raises KernelRefused, Unsupported.
    """
    texts, otherwise = prepare_texts(name)
    return launcher.prepare(report_fd, texts, otherwise, calls, wait_fd)


def _report(error: OcilabError) -> bytes:
    return document.dump({"error": type(error).__name__, "message": str(error)}) + b"\n"


def execute_directly(path: bytes, args: list[bytes], environment: dict[bytes, bytes]) -> None:
    """Become the program without the launcher, as SELinux needs it.

    It takes a label on at the first execve(2), for which its policy must know the file; it keeps the container from
    writing to the host's files by itself. Does not return; raises as execute().
    """
    try:
        os.execve(path, args, environment)
    except OSError as error:
        raise _failure(args[0], error.errno or 0) from None


def execute(
    path: bytes,
    args: list[bytes],
    environment: dict[bytes, bytes],
    launcher_fd: int,
    report_fd: int,
    wider: capabilities.Prepared | None,
    wait_fd: int,
) -> None:
    """Become the program by way of the launcher; wider: the capabilities for that way; wait_fd: as it was prepared.

    Does not return; raises CommandNotFound, CommandNotExecutable, Unsupported, KernelRefused, OcilabError; with wait_fd
    when the start has been asked for, for it is then that somebody listens.
    """
    if wider:
        capabilities.apply(wider)
    try:
        launcher.execute(launcher_fd, [report_fd] + [wait_fd] * (wait_fd >= 0), path, args, environment)
    except OSError as error:
        if wait_fd >= 0:
            os.read(wait_fd, 1)
        raise _failure(args[0], error.errno or 0) from None


def _failure(name: bytes, number: int) -> OcilabError:
    """What execve(2) answered, as the error to raise or to report."""
    shown = name.decode("utf-8", "replace")
    if number in (errno.ENOENT, errno.ENOTDIR):
        message = "exec %s: no such file or directory: it or its interpreter does not exist in the container"
        return CommandNotFound(message % shown)
    if number in (errno.ENOEXEC, errno.EACCES):
        reason = "exec format error" if number == errno.ENOEXEC else "permission denied"
        return CommandNotExecutable('exec: "%s": %s' % (shown, reason))
    if number == errno.E2BIG:
        return Unsupported('exec: "%s": args and env are too long for the kernel (E2BIG)' % shown)
    if number == 0:
        return OcilabError('exec: "%s": the kernel refused it' % shown)
    return KernelRefused("execve", shown, number)
