# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""Users who run containers of their own: what each needs, and a ledger of what was made, so that it can be undone.

The ledger: {owner: {user: {"created": bool, "subuid": range, "subgid": range, "linger": bool, "units": [names]}}}.
A thing is written down before it is made. What another owner needs of a user who is let go is left to that one.
"""

from __future__ import annotations

import grp
import os
import pwd
import re
import signal
import time
from functools import partial

from ..linux.errors import InvalidInput, OcilabError
from . import commands, subids
from .kept import FOLDER, Kept

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

    Action = tuple[str, str]  # (user, what is done)

PATH = os.path.join(FOLDER, "users.json")
_LINGER = "/var/lib/systemd/linger"
_NAME = re.compile(r"[a-z_][a-z0-9_-]{0,30}\Z")  # useradd(8)
_UNIT = re.compile(r"[A-Za-z0-9:_.@-]+\.(socket|service|timer)\Z")
_MANAGER_S = 30.0
_END_S = 20.0


class Wish:
    """One user: name; subids: how many subordinate ids, 0 for none; linger; units of the user's own systemd."""

    def __init__(self, name: str, subids: int = 65536, linger: bool = True, units: list[str] | None = None) -> None:
        if not _NAME.match(name):
            raise InvalidInput("user %r: a name of a-z, 0-9, '_' and '-' is expected, of 31 characters at most" % name)
        if subids < 0:
            raise InvalidInput("user %s: %d subordinate ids cannot be" % (name, subids))
        for unit in units or []:
            if not _UNIT.match(unit):
                raise InvalidInput("user %s: %r is no name of a socket, a service or a timer" % (name, unit))
        if units and not linger:
            raise InvalidInput("user %s: units run while the user is away only with linger" % name)
        self.name = name
        self.subids = subids
        self.linger = linger
        self.units = list(units or [])


class Accounts:
    """The users of one owner. remove_home: whether the home of a user goes who was created and is let go."""

    def __init__(self, owner: str, remove_home: bool = False, path: str = PATH) -> None:
        self.owner = owner
        self.remove_home = remove_home
        self._kept = Kept(path, "restore it, or remove it with the users that roles made")
        self._ledger = self._load()

    def plan(self, wishes: list[Wish]) -> list[Action]:
        """What carry_out() would do; nothing is changed. Raises InvalidInput where ranges of ids overlap."""
        return [(user, text) for user, text, _do in self._steps(wishes)]

    def carry_out(self, wishes: list[Wish]) -> list[Action]:
        """Bring about that the owner's users are the wished ones; what was done. Raises OcilabError."""
        if not self._steps(wishes) and self._recorded() == {wish.name for wish in wishes}:
            return []
        self._take_lock()
        done = []
        # One after the other: what one step makes, a home for instance, the plan of the next depends on.
        for wish in wishes:
            self._record(wish.name)
            self._save()
            for _user, text, do in self._present(wish):
                do()
                done.append((wish.name, text))
        for name in sorted(self._recorded() - {wish.name for wish in wishes}):
            for _user, text, do in self._absent(name):
                do()
                done.append((name, text))
            del self._ledger[self.owner][name]
            self._save()
        if not self._ledger.get(self.owner):
            self._ledger.pop(self.owner, None)
        self._save()
        return done

    def describe(self, name: str) -> dict[str, Any]:
        """The user as it is now: name, uid, home, ranges; only the name where there is no such user."""
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            return {"name": name}
        found: dict[str, Any] = {"name": name, "uid": entry.pw_uid, "home": entry.pw_dir}
        for kind, path in subids.FILES.items():
            found[kind] = [str(item) for item in subids.of(name, subids.read(path))]
        return found

    # What is to be done

    def _steps(self, wishes: list[Wish]) -> list[tuple[str, str, Callable[[], None]]]:
        steps = [step for wish in wishes for step in self._present(wish)]
        for name in sorted(self._recorded() - {wish.name for wish in wishes}):
            steps += self._absent(name)
        return steps

    def _present(self, wish: Wish) -> list[tuple[str, str, Callable[[], None]]]:
        name = wish.name
        steps: list[tuple[str, str, Callable[[], None]]] = []
        is_new = not _exists(name)
        if is_new:
            steps.append((name, "create", lambda: self._create(name)))
        if wish.subids:
            for kind, path in subids.FILES.items():
                ranges = subids.read(path)
                subids.refuse_overlap(name, path, ranges)
                if sum(item.count for item in subids.of(name, ranges)) < wish.subids:
                    steps.append((name, kind, partial(self._add_range, name, kind, wish.subids)))
        if wish.linger and (is_new or not os.path.exists(os.path.join(_LINGER, name))):
            steps.append((name, "linger", lambda: self._linger(name)))
        for unit in wish.units:
            if is_new or not _unit_runs(name, unit):
                steps.append((name, "unit " + unit, partial(self._enable, name, unit)))
        return steps

    def _absent(self, name: str) -> list[tuple[str, str, Callable[[], None]]]:
        record = self._ledger.get(self.owner, {}).get(name, {})
        others = [users[name] for owner, users in self._ledger.items() if owner != self.owner and name in users]
        if others:
            return [(name, "leave to another owner", lambda: _hand_over(record, others[0]))]
        steps: list[tuple[str, str, Callable[[], None]]] = []
        if not _exists(name):
            return steps
        for unit in record.get("units", []):
            steps.append((name, "no unit " + unit, partial(_disable, name, unit)))
        if record.get("linger"):
            steps.append((name, "no linger", lambda: _no_linger(name)))
        if record.get("created"):
            steps.append((name, "remove", lambda: self._remove(name)))
            return steps  # with the user the ranges go
        for kind in subids.FILES:
            if record.get(kind):
                steps.append((name, "no " + kind, partial(_del_range, name, kind, record[kind])))
        return steps

    # Doing it

    def _create(self, name: str) -> None:
        self._note(name, created=True)
        # No ranges yet: useradd's own choice looks at the one file only.
        words = [
            "--create-home",
            "--shell",
            "/bin/bash",
            "--user-group",
            "-K",
            "SUB_UID_COUNT=0",
            "-K",
            "SUB_GID_COUNT=0",
        ]
        commands.run("useradd", *words, name)

    def _add_range(self, name: str, kind: str, count: int) -> None:
        taken = [item for path in subids.FILES.values() for item in subids.read(path)]
        other = "subgid" if kind == "subuid" else "subuid"
        mine = subids.of(name, subids.read(subids.FILES[other]))
        chosen = subids.free(name, count, taken)
        # The same numbers in both files where they are free in this one: people expect it.
        for item in mine:
            if item.count >= count and not any(item.overlaps(one) for one in subids.read(subids.FILES[kind])):
                chosen = subids.Range(name, item.start, count)
        self._note(name, **{kind: str(chosen)})
        commands.run("usermod", "--add-%ss" % kind, str(chosen), name)

    def _linger(self, name: str) -> None:
        self._note(name, linger=True)
        commands.run("loginctl", "enable-linger", name)

    def _enable(self, name: str, unit: str) -> None:
        _await_manager(name)
        if systemctl(name, "is-enabled", unit)[0] != 0:
            record = self._ledger[self.owner][name]
            self._note(name, units=sorted({*record.get("units", []), unit}))
            _must(name, "enable", unit)
        _must(name, "start", unit)

    def _remove(self, name: str) -> None:
        uid = pwd.getpwnam(name).pw_uid
        _end_processes(name, uid)
        # systemd waits minutes for scopes that are empty where cgroup v1 does not tell it; nobody else has to.
        commands.attempt("systemctl", "stop", "--no-block", "user@%d.service" % uid, "user-%d.slice" % uid)
        commands.run("userdel", *(["--remove"] if self.remove_home else []), name)
        try:
            grp.getgrnam(name)
        except KeyError:
            return
        commands.attempt("groupdel", name)

    # The ledger

    def _recorded(self) -> set[str]:
        return set(self._ledger.get(self.owner, {}))

    def _record(self, name: str) -> dict[str, Any]:
        return self._ledger.setdefault(self.owner, {}).setdefault(name, {})

    def _note(self, name: str, **facts: Any) -> None:
        self._record(name).update(facts)
        self._save()

    def _load(self) -> dict[str, dict[str, dict[str, Any]]]:
        return self._kept.read()

    def _take_lock(self) -> None:
        """Wait until no other run changes users, and keep others out until this process ends."""
        self._kept.lock()
        self._ledger = self._load()

    def _save(self) -> None:
        self._kept.write({owner: users for owner, users in self._ledger.items() if users})


def systemctl(name: str, *words: str) -> tuple[int, str]:
    """(exit code, output) of the user's own systemctl."""
    runtime = "/run/user/%d" % pwd.getpwnam(name).pw_uid
    given = ["env", "XDG_RUNTIME_DIR=" + runtime, "DBUS_SESSION_BUS_ADDRESS=unix:path=%s/bus" % runtime]
    return commands.attempt("runuser", "-u", name, "--", *given, "systemctl", "--user", *words)


def _must(name: str, *words: str) -> None:
    code, output = systemctl(name, *words)
    if code:
        raise OcilabError(
            "systemctl --user %s of %s: %s" % (" ".join(words), name, (output.strip() or "failed").splitlines()[-1])
        )


def _exists(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def _unit_runs(name: str, unit: str) -> bool:
    if not os.path.isdir("/run/user/%d" % pwd.getpwnam(name).pw_uid):
        return False
    return all(systemctl(name, question, "--quiet", unit)[0] == 0 for question in ("is-enabled", "is-active"))


def _await_manager(name: str) -> None:
    """Wait for the user's systemd, which begins to run when linger is set."""
    deadline = time.monotonic() + _MANAGER_S
    while systemctl(name, "show-environment")[0] != 0:
        if time.monotonic() > deadline:
            message = "user %s: its systemd does not answer; see systemctl status user@%d (libpam-systemd is needed)"
            raise OcilabError(message % (name, pwd.getpwnam(name).pw_uid))
        time.sleep(0.2)


def _end_processes(name: str, uid: int) -> None:
    """Kill what runs as the user, or as one of the user's subordinate ids, and wait until it is gone."""
    own = [subids.Range(name, uid, 1), *subids.of(name, subids.read(subids.FILES["subuid"]))]
    deadline = time.monotonic() + _END_S
    while True:
        running = [pid for pid, owner in _processes() if any(item.start <= owner < item.end for item in own)]
        if not running:
            return
        if time.monotonic() > deadline:
            raise OcilabError("user %s: processes do not end, and hold the user: %s" % (name, running))
        for pid in running:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        time.sleep(0.1)


def _processes() -> list[tuple[int, int]]:
    """(pid, user id) of each."""
    found = []
    for word in os.listdir("/proc"):
        try:
            if word.isdigit():
                found.append((int(word), os.stat("/proc/" + word).st_uid))
        except FileNotFoundError:
            pass  # has ended
    return found


def _disable(name: str, unit: str) -> None:
    systemctl(name, "disable", "--now", unit)


def _no_linger(name: str) -> None:
    commands.run("loginctl", "disable-linger", name)


def _del_range(name: str, kind: str, recorded: str) -> None:
    for item in subids.of(name, subids.read(subids.FILES[kind])):
        if str(item) == recorded:
            subids.remove(subids.FILES[kind], item)


def _hand_over(record: dict[str, Any], other: dict[str, Any]) -> None:
    units = sorted({*other.get("units", []), *record.get("units", [])})
    other.update({key: value for key, value in record.items() if value})
    other["units"] = units
