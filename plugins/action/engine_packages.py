# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The action of ocilab.hosts.engine_packages: it takes a directory of packages from the controller to the host."""

from __future__ import annotations

import hashlib
import os
import tarfile
import tempfile

from ansible.errors import AnsibleActionFail
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):
    """Run the module; where it wants the packages, bring them as an archive, and run it again."""

    TRANSFERS_FILES = False  # seldom, and then it makes its folder itself
    _supports_check_mode = True

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        folder = arguments.get("package_dir")
        if not folder or boolean(arguments.get("remote_src", False), strict=False):
            result.update(self._execute_module(module_args=arguments, task_vars=task_vars))
            return result
        if arguments.get("archive_url") or arguments.get("archive_sha256"):
            raise AnsibleActionFail("repository, package_dir and archive_url: only one can be the source of packages")
        del arguments["package_dir"]
        files = self._packages(self._find_needle("files", os.path.expanduser(folder)))
        digest = _Digest()
        _pack(files, digest)
        arguments["archive_sha256"] = digest.hexdigest()
        told = self._execute_module(module_args=arguments, task_vars=task_vars)
        if told.get("archive_wanted"):
            told = self._with_archive(arguments, files, task_vars)
        result.update(told)
        return result

    @staticmethod
    def _packages(folder):
        if not os.path.isdir(folder):
            raise AnsibleActionFail("package_dir %s: is no directory on the controller" % folder)
        files = [os.path.join(folder, name) for name in sorted(os.listdir(folder)) if name.endswith(".deb")]
        if not files:
            raise AnsibleActionFail("package_dir %s: holds no package (*.deb)" % folder)
        return files

    def _with_archive(self, arguments, files, task_vars):
        shell = self._connection._shell
        folder = shell.tmpdir or self._make_tmp_path()  # it goes with the task
        with tempfile.NamedTemporaryFile(prefix="ocilab-packages-") as file:
            _pack(files, file)
            file.flush()
            there = self._transfer_file(file.name, shell.join_path(folder, "packages.tar"))
        return self._execute_module(module_args=dict(arguments, archive_url="file://" + there), task_vars=task_vars)


class _Digest:
    """A file of which only the sha256 is kept."""

    def __init__(self):
        self._sum = hashlib.sha256()
        self.hexdigest = self._sum.hexdigest

    def write(self, data):
        self._sum.update(data)
        return len(data)


def _pack(files, target):
    """The same bytes for the same packages, whenever and by whomever they are packed."""
    with tarfile.open(fileobj=target, mode="w|", format=tarfile.PAX_FORMAT) as archive:
        for path in files:
            member = tarfile.TarInfo(os.path.basename(path))
            with open(path, "rb") as file:
                member.size = os.fstat(file.fileno()).st_size
                archive.addfile(member, file)
