# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The differences between labrun and runc 1.1.5 that are meant, each with its reason. All others are faults."""

from __future__ import annotations

import re
from typing import Iterable, NamedTuple

AGE = "runc 1.1.5 does not know the property yet, and ignores it"


class Known(NamedTuple):
    field: str  # a regular expression, as the next two; "absent" stands for a field that one side does not have
    runc: str
    labrun: str
    reason: str


ALWAYS = [
    Known(
        r"state\.ociVersion",
        r"1\.0\.2-dev",
        r"1\.3\.0",
        "each tells what it implements",
    ),
    Known(
        r"mountinfo\..*",
        r"(tmpfs tmpfs root=/ ro,relatime ro)(.*)",
        r"tmpfs tmpfs root=/ ro,relatime ro,size=4k,nr_inodes=2.*",
        "the file system over a masked directory is as small as can be",
    ),
    Known(
        r"mountinfo\./sys/fs/cgroup",
        r"tmpfs .* rw,nosuid,nodev,noexec,relatime .*",
        r"tmpfs .* ro,nosuid,nodev,noexec,relatime .*",
        "the folder of hierarchies is read-only as asked; runc forgets that in a cgroup namespace",
    ),
    Known(
        r"mountinfo\./sys/fs/cgroup/unified",
        r"absent",
        r"cgroup2 .*",
        "a hybrid host's cgroup2 is a hierarchy as the others; runc shows only those of version 1",
    ),
    Known(
        r"mountinfo\./sys/fs/cgroup/systemd",
        r"cgroup systemd .*",
        r"cgroup cgroup .*",
        "only the mount's name, which means nothing",
    ),
    Known(r"create", "1", "126|127", "a program that is missing, or is none, is told by the exit codes of shells"),
    Known(r"bundle\.rootfs/.*", "100755 (.*)", "100644 .*", "what is made as the mount point of a file is no program"),
]


def unknown(
    differences: dict[str, tuple[str | None, str | None]], also_known: Iterable[Known]
) -> dict[str, tuple[str | None, str | None]]:
    """The differences without a reason; also_known are those of one case."""
    return {
        field: (one, other)
        for field, (one, other) in differences.items()
        if not any(_fits(item, field, one, other) for item in (*ALWAYS, *also_known))
    }


def _fits(item: Known, field: str, one: str | None, other: str | None) -> bool:
    values = ((item.field, field), (item.runc, one), (item.labrun, other))
    return all(re.fullmatch(pattern, "absent" if text is None else text, re.DOTALL) for pattern, text in values)
