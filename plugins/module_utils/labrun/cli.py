# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""The labrun command: runc's command line. main() returns the exit code and never raises."""

from __future__ import annotations

import os
import sys

from ..linux.errors import InvalidInput, OcilabError, Unsupported
from . import rootless
from .log import FORMATS, Log
from .options import Command, Parsed, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TextIO

VERSION = "0.1.0"
SPEC_VERSION = "1.3.0"

GLOBAL = Command(
    "labrun",
    "",
    "run OCI containers without a daemon",
    {
        "--root": "DIR  where states are kept (default: /run/labrun; $XDG_RUNTIME_DIR/labrun for a user)",
        "--log": "FILE  write log lines to FILE (default: standard error)",
        "--log-format": "text|json  the format of log lines (default: text)",
        "--debug": "log debug lines",
        "--systemd-cgroup": "let systemd manage the cgroup; cgroupsPath is slice:prefix:name then",
        "--explain": "print the steps of the command and their system calls to standard error",
        "--rootless": "true|false|auto  do without a cgroup that cannot be made (default: auto)",
    },
    {"-v": "--version", "-h": "--help"},
)
# What each is for; its module is imported when it is asked for.
SUMMARIES = {
    "create": "create a container, which waits for start",
    "start": "run the process of a created container",
    "run": "create and start a container, wait for it and delete it",
    "exec": "run a further process in a container",
    "state": "print the state of a container as JSON",
    "kill": "send a signal to a container's process",
    "delete": "delete a container",
    "list": "list containers",
    "ps": "list the processes of a container",
    "events": "show a container's statistics and its want of memory",
    "pause": "stop all processes of a container",
    "resume": "let the processes of a paused container go on",
    "update": "change a container's limits",
    "features": "show what this runtime supports, as JSON",
    "spec": "write a config.json to start from",
}
_INSPECT = ("list", "ps", "events")
_DESCRIBE = ("features", "spec")
_CONTROL = ("pause", "resume", "update")
_OUT_OF_SCOPE = ("checkpoint", "restore")
_NOT_OURS = "out of scope: labrun does not checkpoint and restore containers; use runc and CRIU for that"


def main(arguments: list[str], output: TextIO) -> int:
    """Run one command. What it prints goes to output, errors to standard error; the result is the exit code."""
    log = Log()
    try:
        options, rest = parse(GLOBAL, arguments)
        if "--version" in options or (rest and rest[0] in ("--version", "version")):
            output.write("labrun version %s\nspec: %s\n" % (VERSION, SPEC_VERSION))
            return 0
        if "--help" in options or not rest or rest[0] in ("help", "h"):
            output.write(_help())
            return 0
        log = _open_log(options)
        if "--explain" in options:
            from . import explain

            return explain.told(_dispatch, rest[0], rest[1:], options, log, output)
        return _dispatch(rest[0], rest[1:], options, log, output)
    except OcilabError as error:
        log.error(str(error))
        if log.fd != 2:
            os.write(2, ("labrun: %s\n" % error).encode("utf-8", "backslashreplace"))
        return error.exit_code
    except BrokenPipeError:
        return 1
    except OSError as error:
        log.error("%s: %s" % (error.filename or "labrun", error.strerror))
        return 1


def _open_log(options: dict[str, Any]) -> Log:
    form = options.get("--log-format", "text")
    if form not in FORMATS:
        raise InvalidInput("--log-format %r: use text or json" % form)
    return Log(options.get("--log", ""), form, "--debug" in options)


def _help() -> str:
    lines = [GLOBAL.help(), "", "COMMANDS:"]
    lines += ["  %-8s %s" % entry for entry in SUMMARIES.items()]
    lines.append("\n'labrun COMMAND --help' tells of one command.\n")
    return "\n".join(lines)


def _dispatch(name: str, arguments: list[str], options: dict[str, Any], log: Log, output: TextIO) -> int:
    command, handler = _find(name)
    own, positional = parse(command, arguments)
    if "--help" in own:
        output.write(command.help() + "\n")
        return 0
    parsed = Parsed(own, command.positional(positional), options.get("--root") or rootless.default_root())
    parsed.root_is_given = bool(options.get("--root"))
    parsed.systemd_cgroup = "--systemd-cgroup" in options
    parsed.rootless = _flag(options.get("--rootless", "auto"))
    code: int = handler(parsed, log, output)
    return code


def _find(name: str) -> tuple[Command, Any]:
    """Imported by name, so that command.py sees which modules belong to it. Raises InvalidInput, Unsupported."""
    found: Any
    if name in _OUT_OF_SCOPE:
        return Command(name, "ID", _NOT_OURS, {}, {}), _refuse
    if name in _INSPECT:
        from . import commands_inspect as found
    elif name in _DESCRIBE:
        from . import commands_describe as found
    elif name in _CONTROL:
        from . import commands_control as found
    elif name == "exec":
        from . import commands_exec as found
    elif name in SUMMARIES:
        from . import commands_life as found
    else:
        raise InvalidInput("No help topic for '%s': it is no command; 'labrun --help' lists the commands" % name)
    command, handler = found.COMMANDS[name]
    return command, handler


def _refuse(_parsed: Parsed, _log: Log, _output: TextIO) -> int:
    raise Unsupported("checkpoint and restore: " + _NOT_OURS)


def _flag(text: str) -> bool | None:
    """--rootless: True, False, or None to find out. Raises InvalidInput."""
    known = {"true": True, "1": True, "false": False, "0": False, "auto": None, "": None}
    if text not in known:
        raise InvalidInput("--rootless %r: use true, false or auto" % text)
    return known[text]


def entry() -> None:
    """The command's entry point: main() on the process's own arguments; does not return."""
    code = main(sys.argv[1:], sys.stdout)
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        code = code or 1
    os._exit(code)  # the interpreter would take itself apart first, object by object
