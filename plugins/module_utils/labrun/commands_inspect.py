# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""The commands that tell of containers: list, ps, events. What they print is in runc's shape, since engines read it."""

from __future__ import annotations

import json
import os

from ..linux.errors import InvalidInput, NotFound, OcilabError, Unsupported, WrongState
from . import container as life
from .options import Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TextIO

    from .log import Log
    from .options import Parsed

_COLUMNS = ("ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER")
_MIN_WIDTH = 12
_GAP = 3
# Go's time.ParseDuration
_UNITS_S = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def list_containers(parsed: Parsed, log: Log, output: TextIO) -> int:
    """list: all containers below the root, by id; null as JSON where there are none. Raises InvalidInput."""
    form = _format(parsed)
    found = []
    for name in _names(parsed.root, parsed.root_is_given):
        try:
            made = life.Container(name, parsed.root)
            state = made.state()
            owner = os.stat(made.folder.path).st_uid
        except (NotFound, FileNotFoundError):
            continue  # deleted meanwhile
        except (InvalidInput, OSError) as error:
            log.warn("%s: %s is left out" % (error, name))
            continue
        found.append(dict(state, owner=_user_name(owner)))
    if "--quiet" in parsed.options:
        output.write("".join(state["id"] + "\n" for state in found))
    elif form == "json":
        output.write(_line(found or None))
    else:
        output.write(_table(found))
    return 0


def _format(parsed: Parsed) -> str:
    form: str = parsed.options.get("--format", "table")
    if form not in ("table", "json"):
        raise InvalidInput("--format %r: invalid format option; use table or json" % form)
    return form


def _names(root: str, is_given: bool) -> list[str]:
    """The folders below root but our own, as @seccomp; none where nobody named the root, and it is not there yet."""
    try:
        with os.scandir(root) as entries:
            names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
            return sorted(name for name in names if not name.startswith("@"))
    except OSError as error:
        if isinstance(error, FileNotFoundError) and not is_given:
            return []
        raise InvalidInput("--root %s: cannot be listed: %s" % (root, str(error.strerror).lower())) from None


def _user_name(uid: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return "#%d" % uid


def _table(states: list[dict[str, Any]]) -> str:
    """The columns as runc's tabwriter lays them out: at least 12 wide, the last one as it is."""
    rows = [_COLUMNS]
    rows += [(s["id"], str(s["pid"]), s["status"], s["bundle"], s["created"], s["owner"]) for s in states]
    widths = [max(_MIN_WIDTH, *(len(row[column]) + _GAP for row in rows)) for column in range(len(_COLUMNS) - 1)]
    widths.append(0)
    return "".join("".join(cell.ljust(width) for cell, width in zip(row, widths)) + "\n" for row in rows)


def _line(value: object) -> str:
    """One line of JSON, as Go's encoder writes it."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False) + "\n"


def processes(parsed: Parsed, _log: Log, output: TextIO) -> int:
    """ps: the processes of a container, by ps(1) as a table, or their pids on the host as JSON.

    Raises NotFound, Unsupported, OcilabError.
    """
    form = _format(parsed)
    pids = _pids(life.Container(parsed.words[0], parsed.root))
    if form == "json":
        output.write(_line(pids or None))
        return 0
    lines = _ps(parsed.words[1:] or ["-ef"])
    titles = lines[0].split()
    if "PID" not in titles:
        raise InvalidInput("ps: its output has no PID column; choose options of ps(1) that show it, as -o pid,args")
    column = titles.index("PID")
    chosen = [lines[0]]
    for line in lines[1:]:
        words = line.split()[column : column + 1]
        if words and not words[0].isdigit():
            raise InvalidInput(
                "ps: %r is no pid: a column before it has blanks; put it first, as -o pid,args" % words[0]
            )
        if words and int(words[0]) in pids:
            chosen.append(line)
    output.write("".join(line + "\n" for line in chosen))
    return 0


def _pids(found: life.Container) -> list[int]:
    pid: int = found.state()["pid"]
    cgroup = cgroup_of(found)
    if cgroup:
        pids: list[int] = cgroup.pids()
        return pids
    return [pid] if pid else []  # a container without a cgroup (rootless) is known by its init alone


def cgroup_of(found: life.Container) -> Any:
    """The container's cgroups.Cgroup; None where it has none."""
    cgroup = found.cgroup()
    return cgroup if cgroup and cgroup.paths else None


def _ps(options: list[str]) -> list[str]:
    import subprocess

    try:
        result = subprocess.run(
            ["ps", *options], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
        )
    except FileNotFoundError:
        raise Unsupported("ps: not installed on this host; install procps, or use --format json") from None
    text = result.stdout.decode("utf-8", "replace")
    if result.returncode != 0 or not text:
        raise OcilabError("ps %s: exit code %d: %s" % (" ".join(options), result.returncode, " ".join(text.split())))
    return text.splitlines()


def events(parsed: Parsed, log: Log, output: TextIO) -> int:
    """events: what the container uses, once (--stats) or at each interval, and its want of memory, until it ends.

    Raises NotFound, WrongState, InvalidInput, KernelRefused.
    """
    interval_s = duration(parsed.options.get("--interval", "5s"))
    if interval_s <= 0:
        raise InvalidInput("--interval: duration interval must be greater than 0")
    found = life.Container(parsed.words[0], parsed.root)
    if found.state()["status"] == "stopped":
        raise WrongState("container with id %s is not running" % found.id)
    cgroup = cgroup_of(found)
    if not cgroup:
        raise Unsupported("container %s: has no cgroup, and so no statistics" % found.id)
    if "--stats" in parsed.options:
        _emit(output, {"type": "stats", "id": found.id, "data": cgroup.stats()})
        return 0
    _follow(found, cgroup, interval_s, log, output)
    return 0


def _emit(output: TextIO, event: dict[str, Any]) -> None:
    output.write(_line(event))
    output.flush()


def _follow(found: life.Container, cgroup: Any, interval_s: float, log: Log, output: TextIO) -> None:
    """Until the init process ends, of which a pidfd tells, as a descriptor of the kernel's tells of want of memory."""
    import select
    import time

    from ..linux import processes as kernel

    pidfd = kernel.open_process(*found.folder.process())
    if pidfd < 0:
        raise WrongState("container with id %s is not running" % found.id)
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    try:
        notifier = cgroup.oom_notifier()
        poll.register(notifier.fd, select.POLLIN | select.POLLPRI)
    except OcilabError as error:
        notifier = None
        log.warn("events: no notice of want of memory: %s" % error)
    due = time.monotonic() + interval_s
    try:
        while True:
            ready = [fd for fd, _events in poll.poll(max(0.0, due - time.monotonic()) * 1000)]
            if notifier and notifier.fd in ready:
                told = notifier.read()
                if told == "oom":
                    _emit(output, {"type": "oom", "id": found.id})
                elif told == "end":
                    return
            if pidfd in ready:
                return
            if time.monotonic() >= due:
                due += interval_s
                try:
                    _emit(output, {"type": "stats", "id": found.id, "data": cgroup.stats()})
                except OcilabError as error:
                    log.error(str(error))  # its cgroup is being removed, or a file of it cannot be read now
    finally:
        os.close(pidfd)
        if notifier:
            notifier.close()


def duration(text: str) -> float:
    """Seconds of a duration as Go writes it: '5s', '1m30s', '1.5h', '300ms'. Raises InvalidInput."""
    rest = text.lstrip("+")
    total = 0.0
    while rest and rest != "0":
        number = rest[: len(rest) - len(rest.lstrip("0123456789."))]
        rest = rest[len(number) :]
        unit = rest[: len(rest) - len(rest.lstrip("nuµμmsh"))]
        rest = rest[len(unit) :]
        if unit not in _UNITS_S or not number.strip(".") or number.count(".") > 1:
            raise InvalidInput("--interval %r: a duration is expected, as 5s, 1m30s or 300ms" % text)
        total += float(number) * _UNITS_S[unit]
    if not text.lstrip("+"):
        raise InvalidInput("--interval %r: a duration is expected, as 5s, 1m30s or 300ms" % text)
    return total


_FORMAT = {"--format": "table|json  the form of the output (default: table)"}
COMMANDS = {
    "list": (
        Command(
            "list",
            "",
            "list containers",
            dict(_FORMAT, **{"--quiet": "only ids"}),
            {"-f": "--format", "-q": "--quiet"},
        ),
        list_containers,
    ),
    "ps": (
        Command("ps", "ID [PS_OPTION...]", "list the processes of a container", _FORMAT, {"-f": "--format"}),
        processes,
    ),
    "events": (
        Command(
            "events",
            "ID",
            "show a container's statistics and its want of memory",
            {
                "--interval": "DURATION  how often statistics come (default: 5s)",
                "--stats": "show the statistics once, and end",
            },
            {},
        ),
        events,
    ),
}
