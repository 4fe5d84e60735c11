# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""Callers that are not root: where their state lies, and the id maps that they may write (user_namespaces(7))."""

from __future__ import annotations

import os

from ..linux import files, namespaces, processes
from ..linux.errors import InvalidInput, OcilabError

TYPE_CHECKING = False
if TYPE_CHECKING:
    pass

_HELPERS = {"uid": "newuidmap", "gid": "newgidmap"}
_SEARCH = ("/usr/bin", "/usr/local/bin", "/bin", "/usr/sbin", "/sbin")


def in_user_namespace() -> bool:
    """Whether the caller lives in a user namespace that does not map all ids."""
    return files.read_text("/proc/self/uid_map").split() != ["0", "0", "4294967295"]


def is_rootless() -> bool:
    """Whether the host's kernel treats the caller as an ordinary user, whatever its uid is called here."""
    return os.geteuid() != 0 or in_user_namespace()


def default_root() -> str:
    """The folder of states: /run/labrun, or $XDG_RUNTIME_DIR/labrun for a user, as runc chooses."""
    runtime_dir = os.environ.get("XDG_RUNTIME_DIR", "")
    if not runtime_dir or (os.geteuid() == 0 and not (in_user_namespace() and os.environ.get("USER") != "root")):
        return "/run/labrun"
    return runtime_dir + "/labrun"


def map_ids(pid: int, uid_mappings: list[dict[str, int]], gid_mappings: list[dict[str, int]]) -> None:
    """Write the id maps of the process's new user namespace; for a user by newuidmap(1) and newgidmap(1).

    A user may map just the own id without them; setgroups(2) is denied then, as the kernel wants it.
    Raises KernelRefused, OcilabError.
    """
    if os.geteuid() == 0:
        namespaces.write_map(pid, "uid", uid_mappings)
        namespaces.write_map(pid, "gid", gid_mappings)
        return
    for kind, own, mappings in (("uid", os.geteuid(), uid_mappings), ("gid", os.getegid(), gid_mappings)):
        if [(item["hostID"], item["size"]) for item in mappings] == [(own, 1)]:
            if kind == "gid":
                files.write("/proc/%d/setgroups" % pid, b"deny")
            namespaces.write_map(pid, kind, mappings)
        else:
            _map_by_helper(kind, pid, mappings)


def _map_by_helper(kind: str, pid: int, mappings: list[dict[str, int]]) -> None:
    name = _HELPERS[kind]
    path = next((folder + "/" + name for folder in _SEARCH if os.access(folder + "/" + name, os.X_OK)), "")
    if not path:
        message = "%sMappings: %s is not installed, which a user needs to map more than the own id; install uidmap"
        raise InvalidInput(message % (kind, name))
    words = [str(item[key]) for item in mappings for key in ("containerID", "hostID", "size")]
    arguments = [word.encode() for word in (path, str(pid), *words)]
    code, output = processes.run(path.encode(), arguments, {}, b"", 10.0)
    if code != 0:
        told = output.decode("utf-8", "replace").strip().replace("\n", "; ")
        hint = "see /etc/sub%s for the ranges that user %d may map" % (kind, os.geteuid())
        raise OcilabError("%s for %sMappings: %s: %s" % (name, kind, told or "exit code %d" % code, hint))
