# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""Podman without root: as a user of this host who may have ids of containers' own, as the role podman prepares one."""

from __future__ import annotations

import os
import pwd
import signal

from ..linux.errors import Unsupported
from . import engine
from .podman import Podman

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_STORAGE = ".local/share/containers/storage"
_PAUSE = "libpod/tmp/pause.pid"
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_RESET_TIMEOUT_S = 60.0
_NOBODY = (
    "no user of this host can run it: one needs ranges in /etc/subuid and /etc/subgid, and /run/user/UID, which "
    "lingering gives; the role podman makes such users (podman_users)"
)


class RootlessPodman(Podman):
    """The command becomes the user's by setpriv(1), which needs no session and leaves no process between.

    user: whose Podman it is; without it the caller's own, or, for root, that of the first user who can.
    """

    rootless = True

    def __init__(self, user: str = "") -> None:
        super().__init__()
        self.wanted_user = user
        self.name = "podman-rootless"
        self.begun = False

    def detect(self) -> str:
        version = super().detect()
        self.user = _named(self.wanted_user) if self.wanted_user else _user()
        run_dir = _run_dir(self.user)
        environment = {
            "HOME": self.user.pw_dir,
            "USER": self.user.pw_name,
            "PATH": _PATH,
            "XDG_RUNTIME_DIR": run_dir,
            "DBUS_SESSION_BUS_ADDRESS": "unix:path=%s/bus" % run_dir,
        }
        ids = ["--reuid", str(self.user.pw_uid), "--regid", str(self.user.pw_gid), "--init-groups"]
        become = [engine.find_command("setpriv"), *ids] if os.geteuid() != self.user.pw_uid else []
        words = ["%s=%s" % item for item in environment.items()]
        self.before = [*become, "env", "--ignore-environment", "--chdir", "/", *words]
        return version

    def prepare(self, workload: engine.Workload) -> None:
        super().prepare(workload)
        self.notes = "; ".join(text for text in ("run as the user " + self.user.pw_name, self.notes) if text)

    def _new(self, verb: str, container_id: str, wanted: engine.Wanted, *options: str) -> list[str]:
        if wanted.volume:  # the user's containers reach what the user reaches
            os.chmod(self.workload.work_dir, 0o711)
            os.chown(wanted.volume, self.user.pw_uid, self.user.pw_gid)
        return super()._new(verb, container_id, wanted, *options)

    def address(self, container_id: str) -> str:
        raise Unsupported("podman-rootless: its containers have no address that others reach, only a way out")

    def _pause_pid(self) -> int:
        """The pid of the process that keeps the user's namespace for Podman; 0 where there is none."""
        try:
            with open(os.path.join(_run_dir(self.user), _PAUSE)) as file:
                pid = int(file.read())
            return pid if os.stat("/proc/%d" % pid).st_uid == self.user.pw_uid else 0
        except (OSError, ValueError):
            return 0

    def begin(self) -> None:
        self.was_used = os.path.isdir(os.path.join(self.user.pw_dir, _STORAGE))
        self.was_paused = bool(self._pause_pid())
        self.begun = True

    def end(self) -> None:
        """Take back what Podman keeps for a user who had never used it, and its lasting process if that is new."""
        if not self.begun:
            return
        self.begun = False
        if not self.was_used:
            engine.run(self._command("system", "reset", "--force"), _RESET_TIMEOUT_S)
        pid = self._pause_pid()
        if pid and not self.was_paused:
            os.kill(pid, signal.SIGTERM)


def _named(name: str) -> Any:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        raise engine.Unavailable("this host has no user %s" % name) from None


def _user() -> Any:
    """The caller, or the first of root's fellows who can. Raises Unavailable."""
    if os.geteuid() != 0:
        return pwd.getpwuid(os.geteuid())
    known = [name for name in _with_ranges("/etc/subuid") if name in _with_ranges("/etc/subgid")]
    for name in known:
        try:
            found = pwd.getpwuid(int(name)) if name.isdigit() else pwd.getpwnam(name)
        except KeyError:
            continue
        if found.pw_uid != 0 and os.path.isdir(_run_dir(found)) and os.path.isdir(found.pw_dir):
            return found
    raise engine.Unavailable(_NOBODY)


def _with_ranges(path: str) -> list[str]:
    try:
        with open(path) as file:
            return [line.partition(":")[0] for line in file if line.count(":") == 2]
    except OSError:
        return []


def _run_dir(user: Any) -> str:
    return "/run/user/%d" % user.pw_uid
