# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""Hooks (config.md, POSIX-platform hooks): programs that run at six moments of a container's life.

Each gets the container's state on its standard input, its own environment, and its time-out in seconds. What the
specification leaves open is as in runc: see Hooks.
"""

from __future__ import annotations

import errno
import os
from _signal import strsignal

from ..linux import processes, trace
from ..linux.errors import HookFailed, InvalidInput
from ..spec import document

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

    Warn = Callable[[str], None]

IN_RUNTIME = ("prestart", "createRuntime")


def check(hooks: dict[str, Any], name: str) -> None:
    """The rules of config.md; name is the configuration's path for errors. Raises InvalidInput."""
    for kind, entries in hooks.items():
        for index, entry in enumerate(entries or []):
            where = "%s: hooks.%s[%d]" % (name, kind, index)
            if not str(entry.get("path") or "").startswith("/"):
                raise InvalidInput("%s.path: %r is not an absolute path" % (where, entry.get("path", "")))
            if entry.get("timeout") is not None and entry["timeout"] <= 0:
                raise InvalidInput("%s.timeout: %d: it must be greater than 0 seconds" % (where, entry["timeout"]))
            for item in entry.get("env") or []:
                if "=" not in item[1:]:
                    raise InvalidInput("%s.env: %r is not NAME=value" % (where, item))


class Hooks:
    """The hooks of one kind, ready to run with the state (state-schema.json) that they are told.

    default: the environment of those that name none; None for the caller's own. directory: where they run; where that
    is gone, or empty, it is the caller's working directory.
    """

    def __init__(
        self,
        kind: str,
        entries: list[dict[str, Any]],
        state: dict[str, Any],
        default: dict[bytes, bytes] | None = None,
        directory: str = "",
    ) -> None:
        self.kind = kind
        self.directory = os.fsencode(directory)
        self.default = dict(os.environb) if default is None else default
        self.launch: Any = None
        self.state = document.dump(state)
        self.prepared = [
            (
                os.fsencode(entry["path"]),
                [os.fsencode(word) for word in entry.get("args") or [entry["path"]]],
                self._environment(entry),
                entry.get("timeout"),
            )
            for entry in entries
        ]

    def _environment(self, entry: dict[str, Any]) -> dict[bytes, bytes]:
        if entry.get("env") is None:
            return self.default
        return dict(os.fsencode(item).split(b"=", 1) for item in entry["env"])

    def guard(self) -> None:
        """For programs that the container holds: they are executed by way of the launcher, as its process is (R01).

        To be called while the host's /dev is in reach. Raises KernelRefused, Unsupported.
        """
        from ..linux import launcher

        # Only its number matters, which the launcher is made with: the pipe of processes.run() takes its place.
        report_fd = os.open("/dev/null", os.O_WRONLY | os.O_CLOEXEC)
        texts = {number: b"%d" % number for number in errno.errorcode}
        launcher_fd = launcher.prepare(report_fd, texts, b"%d" % errno.ENOEXEC, [])

        def launch(failed: int, path: bytes, args: list[bytes], environment: dict[bytes, bytes]) -> None:
            os.dup2(failed, report_fd)
            launcher.execute(launcher_fd, [report_fd], path, args, environment)

        self.launch = launch

    def run(self) -> None:
        """Run each in order; the first that fails ends them. Raises HookFailed."""
        for index in range(len(self.prepared)):
            self._run_one(index)

    def run_all(self, warn: Warn) -> None:
        """Run every one, and warn of those that fail (config.md asks that of poststop)."""
        for index in range(len(self.prepared)):
            try:
                self._run_one(index)
            except HookFailed as error:
                warn(str(error))

    def _run_one(self, index: int) -> None:
        path, words, environment, timeout_s = self.prepared[index]
        shown = path.decode("utf-8", "replace")
        where = "error running %s hook #%d: %s" % (self.kind, index, shown)
        try:
            arguments = (path, words, environment, self.state, timeout_s, self.launch, self.directory)
            code, output = trace.call("execve", (self.kind + " hook " + shown,), processes.run, *arguments)
        except TimeoutError:
            raise HookFailed("%s: did not end within %s s and was killed" % (where, timeout_s)) from None
        except OSError as error:
            raise HookFailed("%s: cannot be executed: %s" % (where, str(error.strerror).lower())) from None
        if code != 0:
            told = output.decode("utf-8", "replace").strip().replace("\n", "; ")
            raise HookFailed("%s: exit code %d%s%s" % (where, code, _signal_of(code), ": " + told if told else ""))


def _signal_of(code: int) -> str:
    """What a shell means by such an exit code: ' (signal: bad system call)' for 159."""
    try:
        return " (signal: %s)" % (strsignal(code - 128) or "").lower() if code > 128 else ""
    except ValueError:
        return ""
