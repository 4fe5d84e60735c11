# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
name: labrun
short_description: Run tasks in containers of labrun
version_added: 0.1.0
description:
  - Runs commands in running containers of labrun, and copies files into them and out of them.
  - For containers of the controller, Ansible is to be run as root, and nothing needs to be installed.
  - For containers of another host, the command C(labrun) is used there, which C(make labrun) builds. The host is
    reached by Ansible's own P(ansible.builtin.ssh#connection).
author:
  - ocilab.hosts authors (@ocilab)
notes:
  - A container needs a shell, and Python for most modules; M(ansible.builtin.raw) does without Python.
  - The variables C(ansible_ssh_*) are for O(ssh_host), as C(ansible_ssh_user); C(ansible_user) is the container's.
  - As over SSH, no command over O(ssh_host) can end with exit code 255.
  - Over O(ssh_host), files are copied by C(dd) in the container.
options:
  remote_addr:
    description: The container's id.
    type: str
    default: inventory_hostname
    vars:
      - name: inventory_hostname
      - name: ansible_host
      - name: ansible_labrun_container
  remote_user:
    description:
      - The user in the container, by name or id.
      - Without it the user that the container's own process was started as.
    type: str
    vars:
      - name: ansible_user
      - name: ansible_labrun_user
    ini:
      - section: defaults
        key: remote_user
    env:
      - name: ANSIBLE_REMOTE_USER
    cli:
      - name: user
    keyword:
      - name: remote_user
  root:
    description: Where the state of containers is kept.
    type: str
    default: /run/labrun
    vars:
      - name: ansible_labrun_root
  ssh_host:
    description: The host of the container, where that is not the controller.
    type: str
    vars:
      - name: ansible_labrun_ssh_host
  command:
    description:
      - The command C(labrun), where O(ssh_host) is given or Ansible is not run as root.
      - Several words are taken apart as a shell does it, as in V(sudo -n /usr/local/bin/labrun).
    type: str
    default: labrun
    vars:
      - name: ansible_labrun_command
  pipelining:
    description: Whether modules are given to Python on its standard input, and not as files.
    type: bool
    default: true
    vars:
      - name: ansible_pipelining
      - name: ansible_labrun_pipelining
  timeout:
    description: The seconds that becoming another user may take.
    type: int
    default: 10
    ini:
      - section: defaults
        key: timeout
    env:
      - name: ANSIBLE_TIMEOUT
    vars:
      - name: ansible_labrun_timeout
    cli:
      - name: timeout
"""

EXAMPLES = r"""
- name: Run a task in a container of the controller
  hosts: localhost
  tasks:
    - name: Read what system the container is
      ansible.builtin.command: cat /etc/os-release
      changed_when: false
      delegate_to: web
      vars:
        ansible_connection: ocilab.hosts.labrun

# an inventory with a container of this machine, and one of another
#
# all:
#   vars:
#     ansible_connection: ocilab.hosts.labrun
#   hosts:
#     web:
#     db:
#       ansible_labrun_ssh_host: server1.example.org
#       ansible_ssh_user: admin
#       ansible_labrun_command: sudo -n /usr/local/bin/labrun
"""

import contextlib
import os
import shutil

from ansible.errors import AnsibleConnectionFailure, AnsibleError, AnsibleFileNotFound
from ansible.module_utils.common.text.converters import to_bytes, to_native
from ansible.plugins.connection import ConnectionBase
from ansible.utils.display import Display
from ansible_collections.ocilab.hosts.plugins.module_utils.linux.errors import (
    CommandNotFound,
    NotFound,
    OcilabError,
    WrongState,
)
from ansible_collections.ocilab.hosts.plugins.plugin_utils.attended import Attended
from ansible_collections.ocilab.hosts.plugins.plugin_utils.conversation import Conversation

display = Display()
_COPY_BYTES = 1 << 20


@contextlib.contextmanager
def _failures(of_file=False):
    """labrun's errors as Ansible's: a container that cannot be used is unreachable; of_file: only its file cannot."""
    try:
        yield
    except CommandNotFound as error:
        raise AnsibleConnectionFailure(f"{error}; without a shell Ansible can do nothing in a container") from None
    except OcilabError as error:
        kind = AnsibleError if of_file and not isinstance(error, (NotFound, WrongState)) else AnsibleConnectionFailure
        raise kind(str(error)) from None
    except OSError as error:
        raise AnsibleConnectionFailure(f"labrun's attendant: {error}") from None


class Connection(ConnectionBase):
    """Containers of labrun, through the attendant on this machine, or through the command on another."""

    transport = "ocilab.hosts.labrun"
    has_pipelining = True
    has_tty = False
    allow_extras = True
    _extras_prefix = "ssh"

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        # Where the connection is not made by a task's process, but by Ansible's own, to reset it, it has no such pid.
        self._run_pid = int(kwargs.get("ansible_playbook_pid") or os.getpid())
        self._attended = None
        self._through = None

    def _connect(self):
        if self._connected:
            return self
        self._container = to_native(self.get_option("remote_addr"))
        user = to_native(self.get_option("remote_user") or "")
        if self.get_option("ssh_host") or os.geteuid() != 0:
            from ansible_collections.ocilab.hosts.plugins.plugin_utils.commanded import Commanded

            self._through = Commanded(self, self._container, user)
        else:
            with _failures():
                self._attended = Attended(self._run_pid, self.get_option("root"), self._container, user)
        self._connected = True
        return self

    def exec_command(self, cmd, in_data=None, sudoable=True):
        super().exec_command(cmd, in_data=in_data, sudoable=sudoable)
        self._connect()
        display.vvv(f"EXEC {to_native(cmd)}", host=self._container)
        args = [self._play_context.executable or "/bin/sh", "-c", to_native(cmd, errors="surrogate_or_strict")]
        if self._through:
            return self._through.execute(args, in_data, sudoable)
        become = self.become if sudoable and self.become and self.become._id else None
        with _failures():
            talk = Conversation(become, self.get_option("timeout"))
            self._attended.execute(args, talk.theirs)
            try:
                stdout, stderr = talk.hold(in_data or b"")
            finally:
                talk.close()
            return self._attended.exit_code(), stdout, stderr

    def put_file(self, in_path, out_path):
        super().put_file(in_path, out_path)
        self._connect()
        display.vvv(f"PUT {in_path} TO {out_path}", host=self._container)
        try:
            source = open(to_bytes(in_path, errors="surrogate_or_strict"), "rb")
        except FileNotFoundError:
            raise AnsibleFileNotFound(f"file or module does not exist: {to_native(in_path)}") from None
        with source:
            self._copy(source, out_path, "put")

    def fetch_file(self, in_path, out_path):
        super().fetch_file(in_path, out_path)
        self._connect()
        display.vvv(f"FETCH {in_path} TO {out_path}", host=self._container)
        with open(to_bytes(out_path, errors="surrogate_or_strict"), "wb") as target:
            self._copy(target, in_path, "fetch")

    def _copy(self, own, path, way):
        path = os.path.join("/", to_native(path, errors="surrogate_or_strict"))
        if self._through:
            (self._through.put if way == "put" else self._through.fetch)(own, path)
            return
        with _failures(of_file=True):
            fd = self._attended.open(path, way == "put")
        with open(fd, "wb" if way == "put" else "rb") as theirs:
            source, target = (own, theirs) if way == "put" else (theirs, own)
            try:
                shutil.copyfileobj(source, target, _COPY_BYTES)
            except OSError as error:
                raise AnsibleError(f"{way} {path}, container {self._container}: {error.strerror}") from None

    def close(self):
        if self._attended:
            self._attended.close()
        self._attended = self._through = None
        self._connected = False

    def reset(self):
        """Nothing of a container outlasts a task's connection."""
        self.close()
