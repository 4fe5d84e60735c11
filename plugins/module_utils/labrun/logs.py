# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""The end of a container's log, in the CRI's format, as the monitor writes it: TIME STREAM F|P TEXT."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_BLOCK = 1 << 16


def tail(path: str, count: int) -> list[dict[str, Any]]:
    """The last count lines: [{"time": RFC 3339, "stream": "stdout" or "stderr", "text"}]; [] where there is no log.

    Lines that were logged in parts are whole again. It is read from its end, so that its length does not matter.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return []
    try:
        return _joined(_last(fd, count))[-count:]
    finally:
        os.close(fd)


def _last(fd: int, count: int) -> list[list[bytes]]:
    """Entries from behind the last but count full ones, each as its four words."""
    at = os.fstat(fd).st_size
    data = b""
    entries: list[list[bytes]] = []
    while at > 0 and sum(entry[2] == b"F" for entry in entries) <= count:
        # Twice as much each time: it is taken apart anew.
        before = max(0, at - max(_BLOCK, len(data)))
        data = os.pread(fd, at - before, before) + data
        at = before
        entries = _entries(data, at)
    return entries


def _entries(data: bytes, at: int) -> list[list[bytes]]:
    """Those that are whole: the first line is cut unless it is the file's first, the last one may be being written."""
    lines = data.split(b"\n")[:-1]
    words = [line.split(b" ", 3) for line in (lines if at == 0 else lines[1:])]
    return [entry for entry in words if len(entry) == 4]


def _joined(entries: list[list[bytes]]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    parts: dict[bytes, list[bytes]] = {}
    times: dict[bytes, bytes] = {}
    for moment, stream, kind, text in entries:
        parts.setdefault(stream, []).append(text)
        times[stream] = moment
        if kind == b"F":
            found.append(_line(moment, stream, parts.pop(stream)))
    return found + [_line(times[stream], stream, texts) for stream, texts in parts.items()]


def _line(moment: bytes, stream: bytes, texts: list[bytes]) -> dict[str, Any]:
    text = b"".join(texts).decode("utf-8", "replace")
    return {"time": moment.decode("ascii", "replace"), "stream": stream.decode("ascii", "replace"), "text": text}
