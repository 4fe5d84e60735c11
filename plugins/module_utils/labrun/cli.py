# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""The labrun command: runc's command line over container.py. main() returns the exit code and never raises."""

from __future__ import annotations

import os
import sys

from ..linux import processes
from ..linux.errors import InvalidInput, OcilabError, Unsupported
from . import container as life
from .log import FORMATS, Log
from .options import Command, Parsed, parse
from .state import DEFAULT_ROOT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TextIO

VERSION = "0.1.0"
SPEC_VERSION = "1.3.0"

_BUNDLE = {"--bundle": "DIR  the bundle's directory (default: the current one)"}
_CREATION = dict(
    _BUNDLE,
    **{
        "--pid-file": "FILE  write the init process's pid to FILE",
        "--preserve-fds": "N  pass N further file descriptors to the container (default: LISTEN_FDS)",
    },
)
_SHORT = {"-b": "--bundle", "-d": "--detach", "-f": "--force", "-q": "--quiet", "-e": "--env", "-u": "--user"}

GLOBAL = Command(
    "labrun",
    "",
    "run OCI containers without a daemon",
    {
        "--root": "DIR  where the state of containers is kept (default: %s)" % DEFAULT_ROOT,
        "--log": "FILE  write log lines to FILE (default: standard error)",
        "--log-format": "text|json  the format of log lines (default: text)",
        "--debug": "log debug lines",
    },
    {"-v": "--version", "-h": "--help"},
)
COMMANDS = {
    command.name: command
    for command in (
        Command("create", "ID", "create a container, which waits for start", _CREATION, _SHORT),
        Command("start", "ID", "run the process of a created container", {}, {}),
        Command(
            "run",
            "ID",
            "create and start a container, wait for it and delete it",
            dict(_CREATION, **{"--detach": "return when the container has started"}),
            _SHORT,
        ),
        Command("state", "ID", "print the state of a container as JSON", {}, {}),
        Command("kill", "ID [SIGNAL]", "send a signal (default: SIGTERM) to a container's process", {}, {}),
        Command("delete", "ID", "delete a container", {"--force": "kill it first if it is running"}, _SHORT),
        Command(
            "list",
            "",
            "list containers",
            {"--format": "table|json  the form of the list (default: table)", "--quiet": "only ids"},
            dict(_SHORT, **{"-f": "--format"}),
        ),
        Command(
            "exec",
            "ID COMMAND [ARG...]",
            "run a further process in a container",
            {
                "--env": "NAME=VALUE  add to the environment (may be repeated)",
                "--user": "UID[:GID]  the ids of the process",
                "--cwd": "DIR  the working directory in the container",
                "--process": "FILE  a process object in JSON instead of COMMAND",
                "--detach": "return when the process has started",
                "--pid-file": "FILE  write the process's pid to FILE",
            },
            _SHORT,
        ),
    )
}
# Defined by runc's command line, not by this version: named so, rather than as unknown words.
_LATER = ("ps", "pause", "resume", "update", "events", "features", "spec", "checkpoint", "restore")


def main(arguments: list[str], output: TextIO) -> int:
    """Run one command. What it prints goes to output, errors to standard error; the result is the exit code."""
    log = Log()
    try:
        options, rest = parse(GLOBAL, arguments)
        if "--version" in options or (rest and rest[0] in ("--version", "version")):
            output.write("labrun version %s\nspec: %s\n" % (VERSION, SPEC_VERSION))
            return 0
        if "--help" in options or not rest or rest[0] == "help":
            output.write(_help())
            return 0
        log = _open_log(options)
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
    lines = [GLOBAL.help(), "", "Commands:"]
    lines += ["  %-8s %s" % (command.name, command.summary) for command in COMMANDS.values()]
    lines.append("\n'labrun COMMAND --help' tells of one command.\n")
    return "\n".join(lines)


def _dispatch(name: str, arguments: list[str], options: dict[str, Any], log: Log, output: TextIO) -> int:
    if name in _LATER:
        raise Unsupported("command %r: labrun does not have it yet" % name)
    if name not in COMMANDS:
        raise InvalidInput("unknown command %r; 'labrun --help' lists the commands" % name)
    command = COMMANDS[name]
    own, positional = parse(command, arguments)
    if "--help" in own:
        output.write(command.help() + "\n")
        return 0
    handler = globals()["_" + name]
    parsed = Parsed(own, command.positional(positional), options.get("--root", DEFAULT_ROOT))
    code: int = handler(parsed, log, output)
    return code


def _create(parsed: Parsed, log: Log, _output: TextIO) -> int:
    _create_container(parsed, log)
    return 0


def _create_container(parsed: Parsed, log: Log) -> life.Container:
    count = parsed.number("--preserve-fds", os.environ.get("LISTEN_FDS", "0"))
    preserved = list(range(3, 3 + count))
    bundle = parsed.options.get("--bundle", ".")
    made = life.create(parsed.words[0], bundle, parsed.root, None, preserved, log.debug, log.warn)
    try:
        _write_pid_file(parsed, made.folder.process()[0])
    except OSError:
        made.delete(force=True)
        raise
    return made


def _write_pid_file(parsed: Parsed, pid: int) -> None:
    """In one piece, since its reader may be waiting for the file to appear."""
    path = parsed.options.get("--pid-file")
    if not path:
        return
    fd = os.open(path + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    os.write(fd, b"%d" % pid)
    os.close(fd)
    os.rename(path + ".new", path)


def _start(parsed: Parsed, _log: Log, _output: TextIO) -> int:
    life.Container(parsed.words[0], parsed.root).start()
    return 0


def _run(parsed: Parsed, log: Log, _output: TextIO) -> int:
    made = _create_container(parsed, log)
    try:
        pid = made.folder.process()[0]
        made.start()
        if "--detach" in parsed.options:
            return 0
        code = _wait_forwarding(pid)
    except BaseException:
        made.delete(force=True)
        raise
    made.delete()
    return code


def _wait_forwarding(pid: int) -> int:
    """Wait for our child, and pass on to it the signals that ask us to end: it has a session of its own."""
    from _signal import SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2
    from _signal import signal as set_signal

    def forward(number: int, _frame: object) -> None:
        os.kill(pid, number)

    for number in (SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2):
        set_signal(number, forward)
    return processes.wait(pid)


def _state(parsed: Parsed, _log: Log, output: TextIO) -> int:
    import json  # for people: indented

    output.write(json.dumps(life.Container(parsed.words[0], parsed.root).state(), indent=2) + "\n")
    return 0


def _kill(parsed: Parsed, _log: Log, _output: TextIO) -> int:
    signal = parsed.words[1] if len(parsed.words) > 1 else "SIGTERM"
    life.Container(parsed.words[0], parsed.root).kill(signal_number(signal))
    return 0


def signal_number(text: str) -> int:
    """The number of a signal given as TERM, SIGTERM or 15. Raises InvalidInput."""
    import _signal

    if text.isdigit() and 0 < int(text) < 65:
        return int(text)
    name = text.upper()
    number = getattr(_signal, name if name.startswith("SIG") else "SIG" + name, None)
    if not isinstance(number, int) or "_" in name:
        raise InvalidInput("signal %r: use a name such as SIGTERM or a number from 1 to 64" % text)
    return number


def _delete(parsed: Parsed, _log: Log, _output: TextIO) -> int:
    found = life.Container(parsed.words[0], parsed.root)
    if "--force" in parsed.options and not found.folder.exists():
        return 0
    found.delete("--force" in parsed.options)
    return 0


def _list(parsed: Parsed, _log: Log, output: TextIO) -> int:
    states = [found.state() for found in life.containers(parsed.root)]
    form = parsed.options.get("--format", "table")
    if form not in ("table", "json"):
        raise InvalidInput("--format %r: use table or json" % form)
    if "--quiet" in parsed.options:
        output.write("".join(state["id"] + "\n" for state in states))
    elif form == "json":
        import json

        output.write(json.dumps(states) + "\n")
    else:
        rows = [("ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER")]
        rows += [(s["id"], str(s["pid"]), s["status"], s["bundle"], s["created"], "root") for s in states]
        widths = [max(len(row[column]) for row in rows) for column in range(6)]
        for row in rows:
            output.write("   ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() + "\n")
    return 0


def _exec(parsed: Parsed, log: Log, _output: TextIO) -> int:
    from ..spec import document
    from . import execute

    found = life.Container(parsed.words[0], parsed.root)
    if "--process" in parsed.options:
        described = document.read(parsed.options["--process"])
    elif len(parsed.words) < 2:
        raise InvalidInput("exec: COMMAND is missing; usage: labrun exec [options] ID COMMAND [ARG...]")
    else:
        changes: dict[str, Any] = {}
        if "--env" in parsed.options:
            changes["env"] = parsed.options["--env"]
        if "--user" in parsed.options:
            changes["user"] = execute.user(parsed.options["--user"])
        if "--cwd" in parsed.options:
            changes["cwd"] = parsed.options["--cwd"]
        described = execute.process_for(found, parsed.words[1:], changes)
    pid = execute.execute(found, described, log.debug, log.warn)
    _write_pid_file(parsed, pid)
    return 0 if "--detach" in parsed.options else _wait_forwarding(pid)


def entry() -> int:
    """The command's entry point: main() on the process's own arguments."""
    code = main(sys.argv[1:], sys.stdout)
    sys.stdout.flush()
    return code
