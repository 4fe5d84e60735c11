# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""The one interface behind which all engines are driven, each as its users drive it."""

from __future__ import annotations

import os
import shutil
import subprocess

from ..linux import processes, syscalls
from ..linux.errors import OcilabError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import IO, Callable

PROGRAM = "/bin/true"


class Unavailable(OcilabError):
    """The engine cannot be measured on this host; the text is the reason that people read."""


class EngineFailed(OcilabError):
    """A command of the engine failed; the text is its last line on standard error."""


class Workload:
    """What every engine runs: PROGRAM from one image. bundle is for runtimes, archive and image for engines."""

    def __init__(self, work_dir: str, bundle: str, archive: str, image: str, timeout_s: float) -> None:
        self.work_dir = work_dir
        self.bundle = bundle
        self.archive = archive
        self.image = image
        self.timeout_s = timeout_s


class Engine:
    """An engine. The order of use: detect, prepare, any number of run_true and phases, clean_up."""

    name = ""
    kind = ""  # client-server, daemonless, runtime or library
    notes = ""  # what a reader must know of how it was driven on this host

    def detect(self) -> str:
        """Its version. Raises Unavailable with the reason; starts no daemon and changes nothing."""
        raise NotImplementedError

    def prepare(self, workload: Workload) -> None:
        """Make ready what is not measured, such as loading the image. Raises Unavailable and EngineFailed."""
        raise NotImplementedError

    def run_true(self, container_id: str) -> None:
        """One container from nothing to nothing, as a user of the engine runs it. Raises EngineFailed."""
        raise NotImplementedError

    def phases(self, container_id: str) -> list[tuple[str, Callable[[], None]]]:
        """The same life in its phases, (name, function) in order; the functions raise EngineFailed."""
        raise NotImplementedError

    def remove(self, container_id: str) -> None:
        """Remove what a failed run left of the container; silent where there is nothing."""
        raise NotImplementedError

    def clean_up(self) -> None:
        """Undo prepare(), also one that failed half-way."""
        raise NotImplementedError


def find_command(name: str) -> str:
    """The absolute path of the command. Raises Unavailable."""
    path = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin")
    if not path:
        raise Unavailable("%s is not installed" % name)
    return path


def run(arguments: list[str], timeout_s: float) -> str:
    """The standard output of a command. Raises EngineFailed when it fails or takes longer than timeout_s seconds.

    Its end is told by the kernel: subprocess's own wait with a time-out sleeps up to 50 ms between looks, and what is
    written goes to memory, since a container that outlives the command would keep pipes open.
    """
    with _memory_file() as output, _memory_file() as errors:
        try:
            process = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=output, stderr=errors)
        except OSError as error:
            raise EngineFailed("%s: %s" % (arguments[0], error.strerror)) from None
        pidfd = syscalls.pidfd_open(process.pid)
        try:
            ended = processes.wait_gone(pidfd, timeout_s)
        finally:
            os.close(pidfd)
        if not ended:
            process.kill()
        code = process.wait()
        if not ended:
            raise EngineFailed("%s: took longer than %g s" % (" ".join(arguments[:3]), timeout_s))
        if code != 0:
            lines = _content(errors).strip().splitlines()
            raise EngineFailed("%s: exit code %d: %s" % (arguments[0], code, lines[-1] if lines else "no message"))
        return _content(output)


def _memory_file() -> IO[bytes]:
    return open(os.memfd_create("output"), "w+b")


def _content(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode("utf-8", "replace")
