# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""A traced start as the five steps that a class learns: each with its system calls, and what they are for."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

STEPS = ("receive_bundle", "create_namespaces", "create_cgroup", "build_rootfs", "become_process")
_PURPOSES = {
    "receive_bundle": "read config.json, hold it against the specification and this kernel",
    "create_namespaces": "clone a process whose view of the system is its own",
    "create_cgroup": "make the cgroup, set its limits, put the process in it, hide the cgroups above it",
    "build_rootfs": "mount the container's files, make its devices, hide what is the host's, pivot into it",
    "become_process": "give up rights, put on the filter, wait for start and become the program",
}
_EFFECTS = {
    "openat": "config.json is read",
    "mkfifo": "the init process has something to wait on between create and start",
    "clone3": "a new process in new namespaces",
    "unshare": "the process's cgroup is the root of what it sees of cgroups",
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
    """The five steps of runtime-spec's create, from the records of linux/trace.py; program is what execve will run.

    Each has step, purpose, duration_us and system_calls, which have call, arguments, duration_us, result and effect;
    duration_us of a step is the sum of its calls, in microseconds. The calls of one step stand in their order in time.
    """
    last = {"step": STEPS[-1], "call": "execve", "arguments": [program], "duration_us": 0, "result": "at start"}
    result = []
    for step in STEPS:
        calls = [
            {
                "call": record["call"],
                "arguments": record["arguments"],
                "duration_us": record["duration_us"],
                "result": record["result"],
                "effect": _EFFECTS.get(record["call"], ""),
            }
            for record in [*records, last]
            if record["step"] == step
        ]
        duration = sum(call["duration_us"] for call in calls)
        result.append({"step": step, "purpose": _PURPOSES[step], "duration_us": duration, "system_calls": calls})
    return result
