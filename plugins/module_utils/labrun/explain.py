# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""What was traced, as steps: the five of a start that a class learns, and one for each other thing that is done."""

from __future__ import annotations

import os

from ..linux import trace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

STEPS = ("receive_bundle", "create_namespaces", "create_cgroup", "build_rootfs", "become_process")
_PURPOSES = {
    "receive_bundle": "read config.json, hold it against the specification and this kernel",
    "create_namespaces": "clone a process whose view of the system is its own",
    "create_cgroup": "make the cgroup, set its limits, put the process in it, hide the cgroups above it",
    "build_rootfs": "mount the container's files, make its devices, hide what is the host's, pivot into it",
    "become_process": "give up rights, put on the filter, wait for start and become the program",
    "attach_networks": "have the plugins of CNI join the waiting process's namespace to its networks",
    "start": "give the waiting process the word to go",
    "exec": "clone a further process, join the container's namespaces and cgroup, and become the program",
    "kill": "send a signal, by a pidfd, which never is another process's",
    "stop": "ask the process to end, and end it when it does not",
    "pause": "freeze the cgroup: no process in it runs on",
    "resume": "thaw the cgroup: its processes run on from where they were",
    "update": "write new limits into the cgroup",
    "delete": "end what still runs, and undo all that the journal names, in reverse order",
}
EFFECTS = {
    "openat": "config.json is read",
    "mkfifo": "the init process has something to wait on between create and start",
    "clone3": "a new process in new namespaces",
    "unshare": "a namespace of its own: of cgroups, the process's is the root of what it sees",
    "setns": "the process joins a namespace that there is",
    "fsmount": "a new file system, which is nowhere in the tree yet",
    "open_tree": "a copy of a mount, or of a tree of them, which is nowhere in the tree yet",
    "move_mount": "a mount takes its place in the tree",
    "mount_setattr": "properties of a mount, such as read-only",
    "openat2": "a path is opened that cannot lead out of the container",
    "fchown": "the container's user owns the terminal",
    "chown": "root of the container may use its own cgroup",
    "ioctl": "a setting of a device: a terminal, or the network device lo, which goes up",
    "sendmsg": "the terminal's other end is handed to the caller",
    "sendto": "a network device moves into the container, or goes",
    "vfork": "a plugin of CNI runs, and ends",
    "bpf": "the rules of devices, as a program that the kernel asks",
    "rmdir": "a directory goes; in a cgroup file system, a cgroup",
    "unlink": "a file goes; without its FIFO, a container counts as started",
    "kill": "a signal to a process of the cgroup",
    "pidfd_send_signal": "a signal to that very process",
    "sched_setattr": "how the scheduler treats the process",
    "sched_setaffinity": "the processors that the process may run on",
    "ioprio_set": "the priority of the process's input and output",
    "personality": "the kind of system that the kernel shows the process",
    "set_mempolicy": "the memory nodes that the process gets its memory from",
    "mkdir": "a directory; in a cgroup file system, a cgroup",
    "write": "a setting of the kernel",
    "sethostname": "the container has a host name of its own",
    "setdomainname": "the container has a domain name of its own",
    "mount": "a mount that only this container sees",
    "mknodat": "a device file in the container",
    "symlinkat": "a symbolic link in the container",
    "pivot_root": "the container's files are all that there is",
    "umount2": "the host's files are out of reach",
    "keyctl": "the caller's keys are not inherited",
    "prlimit64": "a resource limit of the process",
    "prctl": "a property of the process, which it cannot take back",
    "setgroups": "the process's additional groups",
    "setresgid": "the process's group",
    "setresuid": "the process's user",
    "capset": "exactly the capabilities that config.json names",
    "seccomp": "system calls outside the profile are refused",
    "close_range": "no file of the runtime stays open in the program",
    "chdir": "the working directory",
    "execve": "the process becomes the program, when the container is started",
}


def steps(records: list[dict[str, Any]], program: str) -> list[dict[str, Any]]:
    """The records of linux/trace.py as steps, in their order in time; program is what execve runs ("": not known).

    Where a container was created, all five steps of runtime-spec's create stand together in the order of STEPS, though
    the cgroup is made before the namespaces. Each has step, purpose, duration_us and system_calls, which have call,
    arguments, duration_us, result and effect; duration_us of a step is the sum of its calls, in microseconds.
    """
    names = list(dict.fromkeys(str(record["step"]) for record in records if record["step"]))
    first = next((index for index, name in enumerate(names) if name in STEPS), -1)
    if first >= 0:
        others = [name for name in names if name not in STEPS]
        names = others[:first] + list(STEPS) + others[first:]
        shown = program or "the program"
        records = [*records, dict(_call(STEPS[-1], "execve", shown), duration_us=0, result="at start")]
    result = []
    for name in names:
        calls = [_told(record) for record in records if record["step"] == name]
        duration = sum(call["duration_us"] for call in calls)
        purpose = _PURPOSES.get(name, "")
        result.append({"step": name, "purpose": purpose, "duration_us": duration, "system_calls": calls})
    return result


def _call(step: str, call: str, argument: str) -> dict[str, Any]:
    return {"step": step, "call": call, "arguments": [argument]}


def _told(record: dict[str, Any]) -> dict[str, Any]:
    told = {key: record[key] for key in ("call", "arguments", "duration_us", "result")}
    is_hook = record["call"] == "execve" and record["result"] != "at start"
    told["effect"] = "a hook of config.json runs, and ends" if is_hook else EFFECTS.get(record["call"], "")
    return told


def lines(found: list[dict[str, Any]]) -> list[str]:
    """steps() for people: a line a step and a line a call."""
    result = []
    for step in found:
        result.append("%s: %s (%d us)" % (step["step"], step["purpose"], step["duration_us"]))
        for call in step["system_calls"]:
            failed = "" if call["result"] == "ok" else " = " + call["result"]
            arguments = ", ".join(call["arguments"])
            result.append("  %s(%s)%s  -- %s" % (call["call"], arguments, failed, call["effect"]))
    return result


def told(function: Callable[..., int], *arguments: Any) -> int:
    """function(*arguments), and then, however it ends, the steps of what it did on standard error."""
    trace.begin()
    try:
        return function(*arguments)
    finally:
        text = "\n".join(lines(steps(trace.take(), "")))
        trace.end()
        os.write(2, (text + "\n").encode("utf-8", "backslashreplace"))
