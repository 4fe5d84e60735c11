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
    from typing import IO, Any, Callable

PROGRAM = "/bin/true"
VOLUME = "/volume"  # where a container finds its volume


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


class Wanted:
    """How a container is to be, where it is not the engine's default.

    words: its command; network: whether it is in the engine's default network, otherwise in none; volume: a folder of
    the host at VOLUME in it, empty for none; options: words of the engine's own command line, as --cap-add.
    """

    def __init__(
        self, words: list[str], network: bool = False, volume: str = "", options: tuple[str, ...] = ()
    ) -> None:
        self.words = words
        self.network = network
        self.volume = volume
        self.options = options


class Engine:
    """An engine as one column of a comparison: alone, with a low-level runtime of choice, or rootless.

    The order of use: detect, prepare, any number of the others, clean_up. Methods raise EngineFailed where a command
    fails, and Unsupported, with the reason, where the engine has no such thing, as a runtime has no registry client.
    """

    name = ""  # of the column: docker, docker+crun, podman-rootless
    engine = ""  # docker
    runtime: str | None = None  # the low-level runtime that it is to use; None for its default one
    rootless = False
    kind = ""  # client-server, daemonless, runtime or library
    notes = ""  # what a reader must know of how it was driven on this host

    def detect(self) -> str:
        """Its version. Raises Unavailable with the reason; starts no daemon and changes nothing."""
        raise NotImplementedError

    def prepare(self, workload: Workload) -> None:
        """Make ready what is not measured, such as loading the image. Raises Unavailable and EngineFailed."""
        raise NotImplementedError

    def clean_up(self) -> None:
        """Undo prepare(), also one that failed half-way."""
        raise NotImplementedError

    # A container's life

    def run_true(self, container_id: str) -> None:
        """One container of PROGRAM from nothing to nothing, as a user of the engine runs it."""
        raise NotImplementedError

    def phases(self, container_id: str) -> list[tuple[str, Callable[[], None]]]:
        """The same life in its phases, (name, function) in order."""
        raise NotImplementedError

    def output(self, container_id: str, wanted: Wanted) -> str:
        """Run a container to its end, from nothing to nothing; what it wrote to its standard output."""
        raise NotImplementedError

    def start(self, container_id: str, wanted: Wanted) -> None:
        """Start a container that goes on by itself, as wanted.words do; the command has returned then."""
        raise NotImplementedError

    def execute(self, container_id: str, words: list[str]) -> str:
        """Run a command in a container that runs; its standard output."""
        raise NotImplementedError

    def stop(self, container_id: str) -> None:
        """End a container by its stop signal, and wait for its end; what is left of it remove() takes."""
        raise NotImplementedError

    def remove(self, container_id: str) -> None:
        """Remove all of the container, also a running one; silent where there is nothing."""
        raise NotImplementedError

    # What stands behind it

    def process(self, container_id: str) -> int:
        """The pid on the host of the first process of a container that runs."""
        raise NotImplementedError

    def address(self, container_id: str) -> str:
        """The IPv4 address of a container that runs in the engine's network."""
        raise NotImplementedError

    def daemons(self) -> list[int]:
        """The pids of the processes that run for the engine while no container does."""
        raise NotImplementedError

    def components(self, container_id: str) -> list[dict[str, Any]]:
        """What lies between the command and the process of a container that runs, from first to last.

        [{"role": client, daemon, high-level runtime, monitor, low-level runtime or container, "name", "version",
        "path", "pid", "socket", "unit"}]; None for what a part has not. Without a container ("") its lasting parts.
        """
        raise NotImplementedError

    # Images

    def pull(self, reference: str) -> None:
        """Pull an image from a registry."""
        raise NotImplementedError

    def load(self, archive: str) -> None:
        """Take in the images of a docker-archive."""
        raise NotImplementedError

    def forget(self, image: str) -> None:
        """Remove an image and what it takes on the disk; silent where there is none."""
        raise NotImplementedError

    def image_bytes(self, image: str) -> int:
        """The bytes that an image takes on the disk, by the engine's own account."""
        raise NotImplementedError


def find_command(name: str) -> str:
    """The absolute path of the command. Raises Unavailable."""
    path = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin")
    if not path:
        raise Unavailable("%s is not installed" % name)
    return path


def run(arguments: list[str], timeout_s: float, given: IO[bytes] | None = None) -> str:
    """The standard output of a command. Raises EngineFailed when it fails or takes longer than timeout_s seconds.

    given: an open file for its standard input.

    Its end is told by the kernel: subprocess's own wait with a time-out sleeps up to 50 ms between looks, and what is
    written goes to memory, since a container that outlives the command would keep pipes open.
    """
    with _memory_file() as output, _memory_file() as errors:
        try:
            stdin = given or subprocess.DEVNULL
            process = subprocess.Popen(arguments, stdin=stdin, stdout=output, stderr=errors)
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
