# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""The child side of a start: what the new process does between clone(2) and execve(2), and how it reports back.

The child writes one JSON line to its report pipe: {"ready": true, "trace": [...]} or {"error": class, "message": text}.
"""

from __future__ import annotations

import os
import sys

from ..linux import errors, namespaces, syscalls, trace
from ..linux.errors import KernelRefused, OcilabError
from ..spec import document
from . import process
from .rootfs import build_rootfs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

GO = b"1"
_CHUNK = 65536


class Pipes:
    """The channels between the runtime and the child; each end that the other side uses is closed by close_*()."""

    def __init__(self) -> None:
        self.go_read, self.go_write = os.pipe()
        self.report_read, self.report_write = os.pipe()

    def close_parent_ends(self) -> None:
        self._close("go_write", "report_read")

    def close_child_ends(self) -> None:
        self._close("go_read", "report_write")

    def close_all(self) -> None:
        self._close("go_read", "go_write", "report_read", "report_write")

    def keep_report(self) -> int:
        """Close all but the end that the report is read from, which is the caller's from here on."""
        kept, self.report_read = self.report_read, -1
        self.close_all()
        return kept

    def _close(self, *names: str) -> None:
        """Each once: a number that was closed may be another file's by now."""
        for name in names:
            if getattr(self, name) >= 0:
                os.close(getattr(self, name))
            setattr(self, name, -1)


def run_child(pipes: Pipes, keep: list[int], stdio: list[int] | None, body: Callable[[], None]) -> None:
    """Run body() in the forked child and report how it fails; never returns.

    keep: descriptors that body needs; every other one above 2 is closed first, for whatever the caller had open must
    not be in reach of the container (case R03). stdio: three descriptors for 0 to 2, or None to inherit them.
    """
    try:
        trace.take()  # those before the clone are the runtime's own
        if stdio:
            for number, fd in enumerate(stdio):
                os.dup2(fd, number)
        syscalls.close_others(keep + [pipes.go_read, pipes.report_write])
        if os.read(pipes.go_read, 1) != GO:
            os._exit(1)  # the runtime was killed before the kernel objects were complete
        os.close(pipes.go_read)
        _forget_imports()
        body()
    except OcilabError as error:
        report(pipes.report_write, {"error": type(error).__name__, "message": str(error)})
        os._exit(error.exit_code)
    except OSError as error:
        report(pipes.report_write, {"error": "OcilabError", "message": "in the container: %s" % error})
    except BaseException as error:
        report(
            pipes.report_write, {"error": "OcilabError", "message": "in the container: %r (a bug of labrun)" % error}
        )
    os._exit(1)


def _forget_imports() -> None:
    """From here on no import can find anything: what the container put on a path must never be run (case R22)."""
    sys.meta_path.clear()
    sys.path_hooks.clear()
    sys.path.clear()


def report(fd: int, message: dict[str, Any]) -> None:
    """Write one line to a report pipe; silent where nobody listens any more."""
    data = document.dump(message) + b"\n"
    try:
        while data:
            data = data[os.write(fd, data) :]
    except OSError:
        pass  # nobody is left to hear it


def report_ready(fd: int) -> None:
    """Tell the runtime that the child only waits for its start."""
    report(fd, {"ready": True, "trace": trace.take()})


def receive_report(fd: int) -> dict[str, Any]:
    """Read one line of the child's report; {} when it ended without one (or by execve, which closes the pipe)."""
    chunks = []
    while True:
        chunk = os.read(fd, _CHUNK)
        chunks.append(chunk)
        if not chunk or chunk.endswith(b"\n"):
            break
    data = b"".join(chunks)
    return document.parse(data, "the report of the container's init") if data else {}


def raise_reported(told: dict[str, Any]) -> None:
    """Raise the error that a child reported."""
    kind = getattr(errors, str(told.get("error")), OcilabError)
    if not isinstance(kind, type) or not issubclass(kind, OcilabError) or kind is KernelRefused:
        kind = OcilabError
    raise kind(str(told["message"]))


def init(plan: Any, entry: Any, fifo_fd: int, report_fd: int) -> None:
    """The container's first process: the end of step 3, then steps 4 and 5; of create.Plan and cgroups.Entry."""
    os.setsid()
    trace.step("create_cgroup")
    entry.enter()
    if plan.new_user_namespace:
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)
    if plan.new_cgroup_namespace:
        syscalls.unshare(syscalls.CLONE_NEWCGROUP, namespaces.shown_flags(["cgroup"]))
    trace.step("build_rootfs")
    if plan.config.get("hostname"):
        syscalls.sethostname(os.fsencode(plan.config["hostname"]))
    if plan.config.get("domainname"):
        syscalls.setdomainname(os.fsencode(plan.config["domainname"]))
    build_rootfs(plan.config, plan.rootfs, plan.cgroup_mounts)
    trace.step("become_process")

    def wait_for_start() -> None:
        report_ready(report_fd)
        os.read(fifo_fd, 1)

    process.become_process(plan.prepared, wait_for_start)
