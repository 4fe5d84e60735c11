# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""The connection's way into a container by the command labrun: on another host over ssh, or here by sudo."""

from __future__ import annotations

import re
import shlex

from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.module_utils.common.text.converters import to_native, to_text
from ansible.plugins.loader import connection_loader

# Whole files pass through memory in these.
_PART_BYTES = 8 << 20
_OWN_FAILURE = 255
_NO_COMMAND = (1, 126, 127)
_SUDO = "sudo -n labrun"
# Only what POSIX has: dd puts short reads together where its block sizes differ, and seeks in blocks of the output.
_PUT = 'exec dd of="$1" ibs=65536 obs=%d seek="$2" %s'
_FETCH = 'exec dd if="$1" bs=%d skip="$2" count=1'
_EMPTY = ': >"$1"'


class Commanded:
    """A container behind the command. plugin: the connection, whose options and become are taken on."""

    def __init__(self, plugin, container: str, user: str) -> None:
        self.plugin = plugin
        self.container = container
        self.command = [*shlex.split(plugin.get_option("command")), "--root", plugin.get_option("root")]
        host = plugin.get_option("ssh_host")
        if not host and self.command[0] == "labrun":
            raise AnsibleConnectionFailure(
                f"container {container}: labrun's containers are root's; run Ansible as root, or, where sudo asks "
                f"for no password, with ansible_labrun_command: {_SUDO}"
            )
        self.outer = connection_loader.get("ssh" if host else "local", plugin._play_context)
        if host:
            extras = plugin.get_option("_extras") or {}
            self.outer.set_options(task_keys={}, var_options=extras, direct={"host": host, "use_tty": False})
        else:
            self.outer.set_options()
        self.where = f"container {container} of {host or 'this host'}"
        self.is_there = False
        self.user: list[str] = []
        self.user = self._user_words(user) if user else []

    def execute(self, args: list[str], in_data: bytes | None, sudoable: bool) -> tuple[int, bytes, bytes]:
        """Run the args in the container: (exit code, stdout, stderr). Raises AnsibleConnectionFailure."""
        self.outer.set_become_plugin(self.plugin.become if sudoable else None)
        words = [*self.command, "exec", *self.user, self.container, *args]
        try:
            code, stdout, stderr = self.outer.exec_command(shlex.join(words), in_data=in_data, sudoable=sudoable)
        except AnsibleConnectionFailure as error:  # ssh takes 255, the exit code of exec's own failures, for its own
            raise self._own_failure(str(error)) or error from None
        if code == _OWN_FAILURE:
            failure = self._own_failure(to_text(stderr))
            if failure:
                raise failure
        elif code in _NO_COMMAND and not self.is_there:
            self._check_command()
        return code, stdout, stderr

    def _own_failure(self, told: str) -> AnsibleConnectionFailure | None:
        """The failure that exec has logged, or None where it has not."""
        logged = re.search(r'level=error msg="((?:[^"\\]|\\.)*)"', told)
        if not logged:
            return None
        message = re.sub(r"\\(.)", r"\1", logged.group(1))
        hint = "; without a shell Ansible can do nothing in a container" if message.startswith("exec: ") else ""
        return AnsibleConnectionFailure(f"{self.where}: {message}{hint}")

    def _check_command(self) -> None:
        """Tell a command that fails in the container from one that never got there. Raises AnsibleConnectionFailure."""
        self.outer.set_become_plugin(None)
        code, _stdout, stderr = self.outer.exec_command(shlex.join([*self.command, "--version"]), sudoable=False)
        if code:
            told = " ".join(to_text(stderr).split())
            hint = "build it by make labrun, copy it there, and name its path in ansible_labrun_command"
            raise AnsibleConnectionFailure(f"{self.where}: {self.command[0]} cannot be executed: {told}: {hint}")
        self.is_there = True

    def put(self, source, path: str) -> None:
        """Write what the file holds to a path of the container, in parts; one that is sent twice does no harm."""
        number = 0
        while True:
            part = source.read(_PART_BYTES)
            if part or not number:
                script = _PUT % (_PART_BYTES, "conv=notrunc" if number else "") if part else _EMPTY
                self._dd(script, path, number, part)
            if len(part) < _PART_BYTES:
                return
            number += 1

    def fetch(self, target, path: str) -> None:
        """Write what the container's file at the path holds to the file, part by part."""
        number = 0
        while True:
            part = self._dd(_FETCH % _PART_BYTES, path, number, b"")
            target.write(part)
            if len(part) < _PART_BYTES:
                return
            number += 1

    def _dd(self, script: str, path: str, number: int, data: bytes) -> bytes:
        args = ["/bin/sh", "-c", script, "sh", path, str(number)]
        code, stdout, stderr = self.execute(args, data, False)
        if code:
            told = to_native(stderr).strip() or f"dd ended with exit code {code}"
            raise AnsibleError(f"{path}, {self.where}: {told}")
        return stdout

    def _user_words(self, user: str) -> list[str]:
        """The ids of a user by name, which labrun's exec does not look up, as runc's."""
        script = 'id -u "$1" && id -g "$1" && id -G "$1"'
        code, stdout, stderr = self.execute(["/bin/sh", "-c", script, "sh", user], None, False)
        ids = to_text(stdout).split()
        if code or len(ids) < 2:
            if user.isascii() and user.isdigit():
                return ["--user", user, "--env", "HOME="]
            raise AnsibleConnectionFailure(f"{self.where}: user {user}: {' '.join(to_text(stderr).split())}")
        more = [word for group in ids[2:] if group != ids[1] for word in ("--additional-gids", group)]
        return ["--user", f"{ids[0]}:{ids[1]}", "--env", "HOME=", *more]
