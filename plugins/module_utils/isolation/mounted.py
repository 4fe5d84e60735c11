# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""What mounts tell: paths that are masked or read-only, cgroups, and what else is mounted where, with which flags."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    Mount = dict[str, str]

_CGROUPS = ("cgroup", "cgroup2")
_TOLD_OPTIONS = ("size", "mode", "hidepid", "subset", "ptmxmode", "gid", "nr_inodes")
_WITH_OPTIONS = ("tmpfs", "proc", "devpts")


def _below(path: str, folder: str) -> bool:
    return path.startswith(folder.rstrip("/") + "/")


def _is_of_paths(mount: Mount) -> bool:
    """Whether it hides or protects a part of procfs or sysfs."""
    return (_below(mount["target"], "/proc") or _below(mount["target"], "/sys")) and not _is_cgroup(mount)


def _is_cgroup(mount: Mount) -> bool:
    return mount["kind"] in _CGROUPS or mount["target"] == "/sys/fs/cgroup"


def paths(present: list[str], table: list[Mount]) -> dict[str, str]:
    """Path -> masked, read-only or writable, of those that exist and of all that have a mount below /proc and /sys.

    writable: no mount is in the way; the file's own mode, and capabilities, still are.
    """
    every = set(present) | {mount["target"] for mount in table if _is_of_paths(mount)}
    return {path: _state(path, table) for path in every}


def _state(path: str, table: list[Mount]) -> str:
    """By the last mount on the longest part of the path: another file system than around it is a mask."""
    over = [mount for mount in table if mount["target"] == path or _below(path, mount["target"])]
    over.sort(key=lambda mount: len(mount["target"].rstrip("/")))  # stable: later ones lie on earlier ones
    if not over:
        return "writable"
    top = over[-1]
    around = [mount for mount in over if mount["target"] != top["target"]]
    if _is_of_paths(top) and around and top["kind"] != around[-1]["kind"]:
        return "masked"
    return "read-only" if "ro" in _options(top) else "writable"


def cgroups(table: list[Mount]) -> dict[str, str]:
    """Which file systems of cgroups are to be seen, and whether any can be written to."""
    seen = [mount for mount in table if mount["kind"] in _CGROUPS]
    kinds = sorted({mount["kind"] for mount in seen})
    writable = any("rw" in _options(mount) for mount in seen)
    return {"mounted": ", ".join(kinds) or "none", "writable": "yes" if writable else "no"}


def others(table: list[Mount], devices: dict[str, str]) -> dict[str, str]:
    """'fstype options' by the path of all that is mounted and is not told elsewhere, as devices are."""
    told = [mount for mount in table if not _is_cgroup(mount) and not _is_of_paths(mount)]
    return {mount["target"]: _described(mount) for mount in told if mount["target"] not in devices}


def _described(mount: Mount) -> str:
    words = list(_options(mount))
    if mount["kind"] in _WITH_OPTIONS:
        words += [word for word in mount["super_options"].split(",") if word.partition("=")[0] in _TOLD_OPTIONS]
    words += sorted({word.partition(":")[0] for word in mount["propagation"].split()})
    return "%s %s" % (mount["kind"], ",".join(words))


def _options(mount: Mount) -> list[str]:
    """Those of the mount; a file system that is read-only as a whole makes it read-only."""
    words = mount["options"].split(",")
    read_only = "ro" in mount["super_options"].split(",")
    return ["ro" if word == "rw" and read_only else word for word in words]
