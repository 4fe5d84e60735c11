# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""/etc/hosts and /etc/resolv.conf of containers: files of ours in their bundles, bound over the image's.

The container may write to both, but to no other container's. /etc/hosts is rewritten in place, for a bind mount shows
the file that was there when it was made; only the part between two marks is ours.
"""

from __future__ import annotations

import os
from ipaddress import IPv4Address

from ..linux import files

_BEGIN = "# labrun networks: begin"
_END = "# labrun networks: end"
_START = """127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
"""
_MAX_BYTES = 1 << 20
# systemd-resolved keeps the real name servers there, where resolv.conf names only itself (systemd-resolved(8)).
_SOURCES = ("/etc/resolv.conf", "/run/systemd/resolve/resolv.conf")


def initial() -> dict[str, bytes]:
    """The content of both files before the container has an address: {name below /etc: bytes}."""
    return {"hosts": _START.encode(), "resolv.conf": _resolv_conf()}


def resolvers() -> list[str]:
    """The addresses of this host's name servers that containers can reach, see _is_out_of_reach()."""
    return [words[1] for words in _lines() if words[0] == "nameserver"]


def _lines() -> list[list[str]]:
    """The words of resolv.conf(5)'s lines that mean something to a container."""
    for path in _SOURCES:
        try:
            text = files.read(path, _MAX_BYTES).decode("utf-8", "replace")
        except OSError:
            continue
        rows = [line.split() for line in text.splitlines() if line.strip() and line[0] not in "#;"]
        kept = [row for row in rows if len(row) > 1 and not _is_out_of_reach(row)]
        if any(row[0] == "nameserver" for row in kept):
            return kept
    return []


def _is_out_of_reach(row: list[str]) -> bool:
    """A name server on loopback, of which a container has another one, or of IPv6, which our networks have not."""
    if row[0] != "nameserver":
        return False
    try:
        return IPv4Address(row[1]).is_loopback
    except ValueError:
        return True


def _resolv_conf() -> bytes:
    rows = [row for row in _lines() if row[0] in ("nameserver", "search", "domain", "options", "sortlist")]
    return (
        "".join(" ".join(row) + "\n" for row in rows).encode()
        or b"# this host has no name server that is reached from here\n"
    )


def update(path: str, entries: list[tuple[str, list[str]]]) -> None:
    """Put (address, names) into the container's hosts file between the marks. Nothing where the file is gone."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return
    try:
        old = _without_ours(os.read(fd, _MAX_BYTES))  # the container's own lines stay, as long as it keeps to reason
        block = "".join("%s\t%s\n" % (address, " ".join(names)) for address, names in entries)
        new = old + ("%s\n%s%s\n" % (_BEGIN, block, _END)).encode()
        os.pwrite(fd, new, 0)
        os.ftruncate(fd, len(new))
    finally:
        os.close(fd)


def _without_ours(text: bytes) -> bytes:
    kept = []
    ours = False
    for line in text.splitlines(keepends=True):
        mark = line.strip()
        ours = ours or mark == _BEGIN.encode()
        if not ours:
            kept.append(line)
        ours = ours and mark != _END.encode()
    result = b"".join(kept)
    return result if result.endswith(b"\n") or not result else result + b"\n"
