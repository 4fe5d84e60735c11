# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""USER[:GROUP] as ids, by the passwd(5) and group(5) of an image or of a container, which may hold anything (R13)."""

from __future__ import annotations

import os
import stat

from ..linux import paths
from ..linux.errors import InvalidInput, NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

PASSWD_BYTES = 1 << 20


def resolve(text: str, read: Callable[[str], bytes], where: str) -> dict[str, Any]:
    """The user object of runtime-spec for USER[:GROUP], in names or numbers. Raises InvalidInput.

    read is given "etc/passwd" or "etc/group" and returns at most PASSWD_BYTES of it; where names their place.
    """
    name, _colon, group = text.partition(":")
    if text in ("0", "0:0", "root") or (_is_number(name) and _is_number(group)):
        return {"uid": int(name) if _is_number(name) else 0, "gid": int(group or 0)}
    users = [row for row in _table(read, "etc/passwd") if _is_number(row[2]) and _is_number(row[3])]
    groups = [row for row in _table(read, "etc/group") if _is_number(row[2])]
    found = next((row for row in users if name in (row[0], row[2])), None)
    if found is None and not _is_number(name):
        raise InvalidInput("user %r: not in the /etc/passwd of %s" % (name, where))
    result: dict[str, Any] = {"uid": int(found[2] if found else name), "gid": int(found[3]) if found else 0}
    if group:
        chosen = next((row[2] for row in groups if row[0] == group), group)
        if not _is_number(chosen):
            raise InvalidInput("group %r: not in the /etc/group of %s" % (group, where))
        result["gid"] = int(chosen)
    elif found:
        extra = sorted({int(row[2]) for row in groups if found[0] in row[3].split(",")})
        if extra:
            result["additionalGids"] = extra
    return result


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _table(read: Callable[[str], bytes], name: str) -> list[list[str]]:
    text = read(name).decode("utf-8", "replace")
    return [row for row in (line.split(":") for line in text.splitlines()) if len(row) >= 4]


def of_container(text: str, container_id: str, pid: int) -> dict[str, Any]:
    """resolve() by the files that the container of the process pid has now. Raises InvalidInput, NotFound."""
    try:
        root_fd = os.open("/proc/%d/root" % pid, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        raise NotFound("container %s: its process has ended" % container_id) from None
    try:
        return resolve(text, lambda name: _read(root_fd, name), "container " + container_id)
    finally:
        os.close(root_fd)


def _read(root_fd: int, name: str) -> bytes:
    """Only a regular file, and nothing is waited for; empty where there is none."""
    try:
        checked = paths.open_in_root(root_fd, name, os.O_PATH)
        regular = stat.S_ISREG(os.fstat(checked).st_mode)
        os.close(checked)
        if not regular:
            return b""
        fd = paths.open_in_root(root_fd, name, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError:
        return b""
    try:
        return os.read(fd, PASSWD_BYTES) if stat.S_ISREG(os.fstat(fd).st_mode) else b""
    finally:
        os.close(fd)
