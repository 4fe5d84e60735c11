# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""A registry's configuration, which takes the place of the former one only when the program starts with it."""

from __future__ import annotations

import contextlib
import http.server
import os
import re
import shutil
import socket
import stat
import subprocess
import tempfile
import threading
import time

from ..linux import files
from ..linux.errors import InvalidInput, NotFound, OcilabError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Iterator

MODE = 0o640
_START_S = 60


class Configuration:
    """The file at path, which root writes and the group of that number reads."""

    def __init__(self, path: str, group: int) -> None:
        self.path = path
        self.group = group

    def differs(self, content: str) -> bool:
        """Whether what is there is something else, or somebody else's to read."""
        try:
            found = os.lstat(self.path)
            known = files.read(self.path) if stat.S_ISREG(found.st_mode) else b""
        except FileNotFoundError:
            return True
        rights = (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode))
        return rights != (0, self.group, MODE) or known != content.encode()

    def carry_out(self, content: str, trial: Trial) -> None:
        """Have the content there if the trial succeeds. Raises InvalidInput; what was there stays then."""
        candidate = self.path + ".new"
        files.replace(candidate, content.encode(), MODE, self.group)
        try:
            trial.run(candidate)
            os.rename(candidate, self.path)
        finally:
            if os.path.lexists(candidate):
                os.unlink(candidate)


class Trial:
    """A start of the registry on a socket of its own, which ends as soon as it listens.

    user, group: numbers that it runs as. With upstream it is given one, as a pull-through cache asks its own at each
    start, and a configuration is not wrong for an upstream that is down.
    """

    def __init__(self, program: str, user: int, group: int, upstream: bool) -> None:
        self.program = program
        self.user = user
        self.group = group
        self.upstream = upstream

    def run(self, path: str) -> None:
        """Raises InvalidInput with what the registry said, NotFound where there is none."""
        if not os.access(self.program, os.X_OK):
            raise NotFound("%s: there is no such program" % self.program)
        folder = tempfile.mkdtemp(prefix="registry-", dir="/run")
        try:
            os.chown(folder, self.user, self.group)
            if not self.upstream:
                return self._start(path, folder, {})
            with _upstream() as url:
                return self._start(path, folder, {"REGISTRY_PROXY_REMOTEURL": url})
        finally:
            shutil.rmtree(folder)

    def _start(self, path: str, folder: str, further: dict[str, str]) -> None:
        listening = os.path.join(folder, "socket")
        environment = dict(os.environ, REGISTRY_HTTP_NET="unix", REGISTRY_HTTP_ADDR=listening, **further)
        environment["REGISTRY_HTTP_DEBUG_ADDR"] = "127.0.0.1:0"
        words = ["setpriv", "--reuid=%d" % self.user, "--regid=%d" % self.group, "--clear-groups", "--"]
        with tempfile.TemporaryFile() as said:
            started = subprocess.Popen(
                words + [self.program, "serve", path],
                env=environment,
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
            )
            try:
                listens = _wait(started, listening)
            finally:
                started.kill()
                started.wait()
            if not listens:
                said.seek(0)
                raise InvalidInput(
                    "the registry does not start with it: %s" % reason(said.read().decode("utf-8", "replace"))
                )


def _wait(started: subprocess.Popen[Any], listening: str) -> bool:
    """Whether it listens at the socket before it ends."""
    deadline = time.monotonic() + _START_S
    while started.poll() is None:
        with socket.socket(socket.AF_UNIX) as client:
            try:
                client.connect(listening)
                return True
            except OSError:
                pass
        if time.monotonic() > deadline:
            raise OcilabError("%s: the registry does not listen within %d s" % (listening, _START_S))
        time.sleep(0.05)
    return False


def reason(said: str) -> str:
    """The line of a registry's output that tells why it has ended."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    for pattern in (
        r"panic: (.*)",
        r"(?:configuration error: )(.*)",
        r".*level=fatal msg=\"?(.*?)\"?( go\.version=.*)?",
    ):
        for line in lines:
            found = re.fullmatch(pattern, line)
            if found:
                return found.group(1)
    return lines[-1] if lines else "it said nothing"


class _Answers(http.server.BaseHTTPRequestHandler):
    """What a pull-through cache asks of its upstream when it starts."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: what a module prints is its result."""


@contextlib.contextmanager
def _upstream() -> Iterator[str]:
    """The URL of an upstream that lasts as long as the context."""
    with http.server.HTTPServer(("127.0.0.1", 0), _Answers) as server:
        serving = threading.Thread(target=server.serve_forever, daemon=True)
        serving.start()
        try:
            yield "http://127.0.0.1:%d" % server.server_address[1]
        finally:
            server.shutdown()
            serving.join()
