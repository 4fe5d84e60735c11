# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""What folders take on the disk."""

from __future__ import annotations

import os
import stat


def allocated(*paths: str) -> int:
    """The bytes that files and folders at the paths take, as du(1) counts them: hard links once, no other file system.

    A path that is not there takes nothing.
    """
    total = 0
    seen: set[tuple[int, int]] = set()
    for path in paths:
        try:
            top = os.lstat(path)
        except OSError:
            continue
        total += _count(top, seen)
        waiting = [path] if stat.S_ISDIR(top.st_mode) else []
        while waiting:
            for found, name in _entries(waiting.pop()):
                if found.st_dev == top.st_dev:
                    total += _count(found, seen)
                    waiting += [name] if stat.S_ISDIR(found.st_mode) else []
    return total


def _count(found: os.stat_result, seen: set[tuple[int, int]]) -> int:
    if found.st_nlink > 1 and not stat.S_ISDIR(found.st_mode):
        if (found.st_dev, found.st_ino) in seen:
            return 0
        seen.add((found.st_dev, found.st_ino))
    return found.st_blocks * 512


def _entries(folder: str) -> list[tuple[os.stat_result, str]]:
    result = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                # Not entry.stat(), which asks a folder below a mount for what the mount hides.
                result.append((os.lstat(entry.path), entry.path))
    except OSError:
        pass  # it has gone meanwhile
    return result
