# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""The command exec."""

from __future__ import annotations

import os

from ..linux.errors import InvalidInput, OcilabError, errno_text
from ..spec import document
from . import container as life
from . import execute
from .commands_life import console_for, inherited, tell_pid, wait_forwarding
from .container import SIGKILL
from .options import Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TextIO

    from .log import Log
    from .options import Parsed


_OWN_FAILURE = 255  # as runc's: all other codes are the command's to return


def _exec(parsed: Parsed, log: Log, _output: TextIO) -> int:
    try:
        return _execute(parsed, log)
    except OcilabError as error:
        error.exit_code = _OWN_FAILURE
        raise
    except OSError as error:
        failure = OcilabError("exec: %s: %s" % (error.filename or parsed.words[0], errno_text(error.errno)))
        failure.exit_code = _OWN_FAILURE
        raise failure from None


def _execute(parsed: Parsed, log: Log) -> int:
    found = life.Container(parsed.words[0], parsed.root)
    described = _described(parsed, found)
    detached = "--detach" in parsed.options
    relays: list[Any] = []

    def open_console(wanted: dict[str, Any]) -> Any:
        return console_for(parsed, wanted, detached, relays)

    settings = life.Settings(preserved=inherited(parsed), open_console=open_console)
    cgroup = parsed.options.get("--cgroup") or []
    paused = "--ignore-paused" in parsed.options
    try:
        pid = execute.execute(found, described, settings, log.debug, log.warn, cgroup, paused)
        log.debug("container %s: exec: process %d runs %s" % (found.id, pid, described["args"][0]))
        try:
            for relay in relays:
                relay.receive()
            tell_pid(parsed, pid)
        except OcilabError:
            os.kill(pid, SIGKILL)
            os.waitpid(pid, 0)
            raise
        code = 0 if detached else wait_forwarding(pid, relays)
        log.debug("container %s: exec: exit code %d" % (found.id, code))
        return code
    finally:
        for relay in relays:
            relay.close()


def _described(parsed: Parsed, found: life.Container) -> dict[str, Any]:
    """The process object: of --process, or the container's own with what the options change. Raises InvalidInput."""
    options = parsed.options
    if "--process" in options:
        return document.read(options["--process"])
    if len(parsed.words) < 2:
        raise InvalidInput("exec: COMMAND is missing; usage: labrun exec [options] ID COMMAND [ARG...]")
    changes: dict[str, Any] = {}
    if "--env" in options:
        changes["env"] = options["--env"]
    if "--user" in options or "--additional-gids" in options:
        changes["user"] = _user(found, options)
    if "--cwd" in options:
        changes["cwd"] = options["--cwd"]
    if "--cap" in options:
        changes["capabilities"] = options["--cap"]
    if "--tty" in options:
        changes["terminal"] = True
    if "--no-new-privs" in options:
        changes["noNewPrivileges"] = options["--no-new-privs"]
    for option, key in (("--apparmor", "apparmorProfile"), ("--process-label", "selinuxLabel")):
        if options.get(option):
            changes[key] = options[option]
    return execute.process_for(found, parsed.words[1:], changes)


def _user(found: life.Container, options: dict[str, Any]) -> dict[str, Any]:
    changed = execute.user(options["--user"]) if "--user" in options else {}
    more = options.get("--additional-gids") or []
    if more:
        if not all((word.isascii() and word.isdigit()) for word in more):
            raise InvalidInput("--additional-gids %s: numbers are expected" % " ".join(more))
        configured = found.folder.config().get("process") or {}
        own = (configured.get("user") or {}).get("additionalGids") or []
        changed["additionalGids"] = own + [int(word) for word in more]
    return changed


COMMANDS = {
    "exec": (
        Command(
            "exec",
            "ID COMMAND [ARG...]",
            "run a further process in a container",
            {
                "--console-socket": "PATH  a unix socket that takes the master of its terminal",
                "--pidfd-socket": "PATH  a unix socket that takes a pidfd of the process",
                "--cwd": "DIR  the working directory in the container",
                "--env": "NAME=VALUE...  add to the environment (may be repeated)",
                "--tty": "give it a terminal",
                "--user": "UID[:GID]  the ids of the process",
                "--additional-gids": "GID...  a further group of the process (may be repeated)",
                "--process": "FILE  a process object in JSON instead of COMMAND",
                "--detach": "return when the process has started",
                "--pid-file": "FILE  write the process's pid to FILE",
                "--process-label": "LABEL  its SELinux label",
                "--apparmor": "PROFILE  its AppArmor profile",
                "--no-new-privs": "forbid it to gain privileges",
                "--cap": "CAPABILITY...  add to its capabilities (may be repeated)",
                "--preserve-fds": "N  pass N further file descriptors, behind those of $LISTEN_FDS",
                "--cgroup": "[CONTROLLER:]PATH...  a cgroup below the container's (may be repeated on cgroup v1)",
                "--ignore-paused": "allow it in a paused container",
            },
            {
                "-e": "--env",
                "-t": "--tty",
                "-u": "--user",
                "-g": "--additional-gids",
                "-p": "--process",
                "-d": "--detach",
                "-c": "--cap",
            },
        ),
        _exec,
    )
}
