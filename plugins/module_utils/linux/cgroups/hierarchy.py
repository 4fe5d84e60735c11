# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""Where this host's cgroup hierarchies are mounted (cgroups(7)), and where the caller itself is in each of them."""

from __future__ import annotations

from .. import files
from ..errors import Unsupported

CONTROLLERS = frozenset(
    ["blkio", "cpu", "cpuacct", "cpuset", "devices", "freezer", "hugetlb", "memory", "misc", "net_cls", "net_prio"]
    + ["perf_event", "pids", "rdma"]
)


class Hierarchy:
    """One mounted hierarchy: name ('memory', 'cpu,cpuacct', 'systemd'; 'unified' for cgroup2 beside v1, '' alone).

    root: which cgroup of the hierarchy is at the mount point, '/' but in some containers.
    """

    def __init__(
        self, name: str, kind: str, controllers: list[str], mount_point: str, options: str, root: str = "/"
    ) -> None:
        self.name = name
        self.kind = kind
        self.is_v2 = kind == "cgroup2"
        self.controllers = controllers
        self.mount_point = mount_point
        self.options = options
        self.root = root


def mounted() -> list[Hierarchy]:
    """The hierarchies that are mounted, each once. Raises Unsupported when there is none.

    A mount of a whole hierarchy goes before one that shows a part of it, as containers have them without a namespace.
    """
    lines = files.read("/proc/self/mountinfo", 1 << 24).split(b"\n")
    found: dict[str, Hierarchy] = {}
    parts: dict[str, Hierarchy] = {}
    for line in lines:
        if b" - cgroup" in line:
            item = _parse(line.decode("utf-8", "surrogateescape"))
            if item and not item.root.startswith("/.."):
                (found if item.root == "/" else parts).setdefault(item.name, item)
    for name, item in parts.items():
        found.setdefault(name, item)
    if not found:
        raise Unsupported("no cgroup hierarchy is mounted on this host; mount cgroup2 on /sys/fs/cgroup")
    hierarchies = []
    for item in found.values():
        if item.is_v2:
            try:
                item.controllers = files.read_text(item.mount_point + "/cgroup.controllers").split()
            except FileNotFoundError:
                continue  # something else covers it, as where a container is to see v1 alone
        hierarchies.append(item)
    if len(hierarchies) == 1 and hierarchies[0].is_v2:
        hierarchies[0].name = ""
    return hierarchies


def _parse(line: str) -> Hierarchy | None:
    """A line of mountinfo (proc(5)) as a hierarchy; None for what only looks like one."""
    left, _separator, right = line.partition(" - ")
    root, mount_point = (unescape(field) for field in left.split(" ", 5)[3:5])
    kind, _source, super_options = right.split(" ", 2)
    if kind == "cgroup2":
        return Hierarchy("unified", kind, [], mount_point, "", root)
    if kind != "cgroup":
        return None
    words = super_options.split(",")
    controllers = [word for word in words if word in CONTROLLERS]
    named = [word for word in words if word.startswith("name=")]
    if controllers:
        return Hierarchy(",".join(controllers), kind, controllers, mount_point, ",".join(controllers), root)
    if named:
        return Hierarchy(named[0][5:], kind, [], mount_point, "none," + named[0], root)
    return None


def unescape(text: str) -> str:
    """A path of mountinfo as it is: blanks and backslashes are written there in octal."""
    if "\\" in text:
        for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
            text = text.replace(code, character)
    return text


def own_directories(hierarchies: list[Hierarchy], pid: int = 0) -> dict[str, str]:
    """Hierarchy name -> the directory of the cgroup that a process (0: the caller) is in. Raises Unsupported."""
    lines = files.read_text("/proc/%s/cgroup" % (pid or "self")).splitlines()
    result = {}
    for item in hierarchies:
        for line in lines:
            number, words, path = line.split(":", 2)
            if number == "0" if item.is_v2 else _is_same(item, words):
                result[item.name] = _inside(item, path)
    return result


def _is_same(item: Hierarchy, words: str) -> bool:
    if item.controllers:
        return item.controllers[0] in words.split(",")
    return words == "name=" + item.name


def _inside(item: Hierarchy, path: str) -> str:
    """The directory for a path of /proc/PID/cgroup, below the mount, which need not show the whole hierarchy."""
    root = item.root.rstrip("/")
    if path.startswith("/..") or not (path == root or path.startswith(root + "/")):
        raise Unsupported(
            "cgroup %s: the caller's own, %s, lies outside of what %s shows" % (path, path, item.mount_point)
        )
    return (item.mount_point + path[len(root) :]).rstrip("/")


def v2_directory(paths: dict[str, str]) -> str:
    """Of the directories of a cgroup by hierarchy name the one in cgroup2, '' where there is none."""
    return paths.get("") or paths.get("unified") or ""


def in_user_namespace() -> bool:
    """False in the initial user namespace, whose map is the identity of all ids."""
    try:
        return files.read("/proc/self/uid_map").split() != [b"0", b"0", b"4294967295"]
    except OSError:
        return False
