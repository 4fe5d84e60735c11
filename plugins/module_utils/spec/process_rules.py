# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""The rules of process, and of what else in config.json the process is: sysctl, personality, memory policy."""

from __future__ import annotations

from ..linux.errors import InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_MAX_CPU = 65536  # as runc: a mask must not grow without bounds
_IPC = ("msgmax", "msgmnb", "msgmni", "sem", "shmall", "shmmax", "shmmni", "shm_rmid_forced")


def process(document: dict[str, Any], name: str) -> None:
    """The process object, for config.json and for exec; name leads to it in errors. Raises InvalidInput."""
    umask = (document.get("user") or {}).get("umask")
    if umask is not None and umask > 0o777:
        raise InvalidInput("%s.user.umask: %d is above 511 (0777)" % (name, umask))
    score = document.get("oomScoreAdj")
    if score is not None and not -1000 <= score <= 1000:
        raise InvalidInput("%s.oomScoreAdj: %d is not between -1000 and 1000" % (name, score))
    kinds = [item["type"] for item in document.get("rlimits") or []]
    for index, kind in enumerate(kinds):
        if kind in kinds[:index]:
            raise InvalidInput("%s.rlimits[%d]: a second %s" % (name, index, kind))
    _scheduler(document.get("scheduler"), name + ".scheduler")
    _io_priority(document.get("ioPriority"), name + ".ioPriority")
    for key in ("initial", "final"):
        cpu_list((document.get("execCPUAffinity") or {}).get(key) or "", "%s.execCPUAffinity.%s" % (name, key))


def _scheduler(scheduler: dict[str, Any] | None, where: str) -> None:
    """sched_setattr(2): what belongs to which policy."""
    if scheduler is None:
        return
    policy = scheduler.get("policy")
    if not policy:
        raise InvalidInput("%s.policy: missing" % where)
    nice = scheduler.get("nice") or 0
    if policy in ("SCHED_OTHER", "SCHED_BATCH") and not -20 <= nice <= 19:
        raise InvalidInput("%s.nice: %d is not between -20 and 19" % (where, nice))
    priority = scheduler.get("priority") or 0
    if priority and policy not in ("SCHED_FIFO", "SCHED_RR"):
        raise InvalidInput("%s.priority: only for SCHED_FIFO and SCHED_RR, not for %s" % (where, policy))
    if not 0 <= priority <= 99:
        raise InvalidInput("%s.priority: %d is not between 0 and 99" % (where, priority))
    for key in ("runtime", "deadline", "period"):
        if scheduler.get(key) and policy != "SCHED_DEADLINE":
            raise InvalidInput("%s.%s: only for SCHED_DEADLINE, not for %s" % (where, key, policy))


def _io_priority(priority: dict[str, Any] | None, where: str) -> None:
    if priority is None:
        return
    if not priority.get("class"):
        raise InvalidInput("%s.class: missing" % where)
    if not 0 <= (priority.get("priority") or 0) <= 7:
        raise InvalidInput("%s.priority: %d is not between 0 and 7" % (where, priority["priority"]))


def cpu_list(text: str, where: str) -> list[int]:
    """[0, 1, 2, 7] for "0-2,7", the kernel's notation of CPUs and memory nodes; [] for "". Raises InvalidInput."""
    numbers: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first and not dash:
            continue
        last = last if dash else first
        if not (first.isdigit() and last.isdigit() and first.isascii() and last.isascii()):
            raise InvalidInput("%s: %r is not a list such as 0-3,7" % (where, text))
        if not int(first) <= int(last) <= _MAX_CPU:
            raise InvalidInput("%s: %r is no range from 0 to %d" % (where, part, _MAX_CPU))
        numbers.update(range(int(first), int(last) + 1))
    if text and not numbers:
        raise InvalidInput("%s: %r names none" % (where, text))
    return sorted(numbers)


def config(linux: dict[str, Any], name: str) -> None:
    """linux.sysctl, linux.personality and linux.memoryPolicy. Raises InvalidInput."""
    kinds = [item.get("type") for item in linux.get("namespaces") or []]
    for key in linux.get("sysctl") or {}:
        _sysctl(key, sysctl_path(key), kinds, name)
    personality = linux.get("personality") or {}
    if linux.get("personality") is not None and personality.get("domain") not in ("LINUX", "LINUX32"):
        message = "%s: linux.personality.domain: %r is not LINUX or LINUX32"
        raise InvalidInput(message % (name, personality.get("domain")))
    if personality.get("flags"):
        raise InvalidInput("%s: linux.personality.flags: runtime-spec knows none; remove them" % name)
    policy = linux.get("memoryPolicy")
    if policy is not None:
        _memory_policy(policy, name + ": linux.memoryPolicy")


def _memory_policy(policy: dict[str, Any], where: str) -> None:
    """set_mempolicy(2): which modes want nodes."""
    mode = policy.get("mode")
    if not mode:
        raise InvalidInput("invalid memory policy mode: %s.mode: missing" % where)
    nodes = cpu_list(policy.get("nodes") or "", "invalid memory policy node: %s.nodes" % where)
    if mode in ("MPOL_DEFAULT", "MPOL_LOCAL") and nodes:
        message = "invalid memory policy: %s.nodes: mode requires 0 nodes but got %d, which %s does not take"
        raise InvalidInput(message % (where, len(nodes), mode))
    if mode not in ("MPOL_DEFAULT", "MPOL_LOCAL", "MPOL_PREFERRED") and not nodes:
        raise InvalidInput("invalid memory policy: %s.nodes: %s needs at least one" % (where, mode))


def sysctl_path(key: str) -> str:
    """The path below /proc/sys of a parameter, as sysctl(8) reads it: "net.ipv4.conf.eth0/1.x" or "net/ipv4/conf/...".

    The first separator decides; the other one then stands for a dot in a name. Raises InvalidInput.
    """
    dots = key.find(".") if "." in key else len(key)
    slashes = key.find("/") if "/" in key else len(key)
    path = key if slashes < dots else key.replace("/", "\0").replace(".", "/").replace("\0", ".")
    if not all(part.strip(".") for part in path.split("/")):
        raise InvalidInput("linux.sysctl: %r is not a kernel parameter's name" % key)
    return path


def _sysctl(key: str, path: str, kinds: list[Any], name: str) -> None:
    """Only what lies in a namespace of the container may be set; the rest is the host's (case R16)."""
    top, _slash, rest = path.partition("/")
    needed = ""
    if (top == "kernel" and rest in _IPC) or path.startswith("fs/mqueue/"):
        needed = "ipc"
    elif top == "net":
        needed = "network"
    elif path == "kernel/domainname":
        needed = "uts"
    elif path == "kernel/hostname":
        raise InvalidInput("%s: linux.sysctl: %r: set hostname instead" % (name, key))
    elif top == "user":
        needed = "user"
    if not needed:
        raise InvalidInput("%s: linux.sysctl: %r is the whole host's, for it lies in no namespace" % (name, key))
    if needed not in kinds:
        message = "%s: linux.sysctl: %r is the host's without a namespace of type %s; add one"
        raise InvalidInput(message % (name, key, needed))
