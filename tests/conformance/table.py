# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Print docs/conformance.md: what tests/conformance/run --json found for each of several runtimes."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

INTRODUCTION = """\
# Conformance

What the validation programs of the [OCI runtime-tools](https://github.com/opencontainers/runtime-tools) say, each run
by `tests/conformance/run RUNTIME SUITE_DIR`; this file, up to its last section, is printed by
`tests/conformance/table`. `error` is a program that ended without a verdict, mostly since the runtime refused its
container.
"""

# Why a program does not pass, by runtime; "*" is any. What is not listed is told in the program's own words.
STALE = "the program holds to an older specification: "
REASONS: dict[str, dict[str, str]] = {
    "delete": {"runc": "by choice: runc deletes a container that is only created"},
    "delete_resources": {"*": "the program compares the addresses of two pids limits, never the limits"},
    "linux_cgroups_pids": {"*": "the program compares the addresses of two pids limits, never the limits"},
    "linux_cgroups_relative_pids": {"*": "the program compares the addresses of two pids limits, never the limits"},
    "hooks": {
        "*": "the program waits for lines that its own hooks do not write (`post-start1` for `post-start1 called`)"
    },
    "hooks_stdin": {
        "runc": "prestart hooks are told `creating` and poststart hooks `created`; `created` and `running` are wanted"
    },
    "linux_cgroups_blkio": {"*": "this kernel has no `blkio.leaf_weight`"},
    "linux_cgroups_relative_blkio": {"*": "this kernel has no `blkio.leaf_weight`"},
    "linux_cgroups_devices": {"runc": "it writes another order of rules than was asked for, to the same effect"},
    "linux_cgroups_relative_devices": {
        "runc": "it writes another order of rules than was asked for, to the same effect"
    },
    "linux_cgroups_hugetlb": {"*": "this host has no hugetlb controller of cgroup v1"},
    "linux_cgroups_relative_hugetlb": {"*": "this host has no hugetlb controller of cgroup v1"},
    "linux_cgroups_network": {"*": "this kernel has no net_cls and net_prio"},
    "linux_cgroups_relative_network": {"*": "this kernel has no net_cls and net_prio"},
    "linux_cgroups_memory": {"*": "kernels since 5.16 ignore the limit of kernel memory"},
    "linux_cgroups_relative_memory": {"*": "kernels since 5.16 ignore the limit of kernel memory"},
    "linux_mount_label": {"*": "this kernel has no SELinux"},
    "linux_process_apparmor_profile": {"*": "this kernel has no AppArmor"},
    "linux_rootfs_propagation": {
        "runc": "`shared` leaves the root file system private; with `unbindable` its own bind mount of it fails"
    },
    "linux_seccomp": {"runc": "it calls getcwd after the filter that forbids getcwd"},
    "misc_props": {
        "*": "the program runs `/runtimetest`, which it does not put into the bundle; its other two points pass"
    },
    "pidfile": {"*": "the program sends SIGKILL to a process that has ended, where `kill_no_effect` wants an error"},
    "poststart": {"runc": "by choice: its hooks run when the program has not started yet"},
    "poststart_fail": {"*": STALE + "since 1.2.1 a poststart hook that fails is an error, not a warning"},
    "poststop_fail": {"runc": "by choice: the first poststop hook that fails ends the others"},
    "prestart": {"*": STALE + "prestart hooks are a part of `create` now, not of `start`"},
    "process_capabilities": {"*": "this host lacks a capability that the program asks for"},
    "process_capabilities_fail": {"*": STALE + "a capability that is not known is a warning now, not an error"},
    "process_rlimits": {"*": "the Go runtime of the program itself raises its soft RLIMIT_NOFILE before it looks"},
    "start": {
        "*": "the program wants the `start` of a container without `process` to succeed, though its words want an error"
    },
}


def reason(program: str, runtime: str, result: dict[str, Any]) -> str:
    known = REASONS.get(program, {})
    return known.get(runtime) or known.get("*") or " ".join((result["why"] or ["?"])[0].split())[:160]


def reasons(program: str, documents: list[dict[str, Any]], common: dict[str, str]) -> str:
    """The reasons of the runtimes that do not pass, one after the other; equal ones once."""
    told: dict[str, list[str]] = {}
    for document in documents:
        result = document["programs"].get(program)
        if result and result["verdict"] != "pass":
            name = document["runtime"]
            told.setdefault(common.get(name) or reason(program, name, result), []).append(name)
    return "; ".join(f"{', '.join(names)}: {text}" for text, names in told.items()).replace("|", "\\|")


def table(documents: list[dict[str, Any]], common: dict[str, str]) -> str:
    names = [document["runtime"] for document in documents]
    lines = ["| program | " + " | ".join(names) + " | why |", "|---|" + "---|" * len(names) + "---|"]
    for program in sorted({name for document in documents for name in document["programs"]}):
        verdicts = [document["programs"].get(program, {}).get("verdict", "-") for document in documents]
        lines.append(f"| {program} | {' | '.join(verdicts)} | {reasons(program, documents, common)} |")
    passed = [
        str(sum(result["verdict"] == "pass" for result in document["programs"].values())) for document in documents
    ]
    lines.append(f"| **passed** | {' | '.join(passed)} | |")
    return "\n".join(line.replace("|  |", "| |") for line in lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", nargs="+", type=Path, help="files that tests/conformance/run --json has written")
    parser.add_argument("--all", action="append", default=[], metavar="RUNTIME=REASON", help="one reason for all of it")
    arguments = parser.parse_args()
    documents = [json.loads(path.read_text()) for path in arguments.results]
    common = dict(item.split("=", 1) for item in arguments.all)
    print(INTRODUCTION)
    print("| runtime | version | suite | kernel | date |\n|---|---|---|---|---|")
    for document in documents:
        cells = [document["runtime"], ", ".join(document["version"][:3])]
        print("| " + " | ".join([*cells, document["suite"], document["kernel"], document["date"]]) + " |")
    print("\n" + table(documents, common))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
