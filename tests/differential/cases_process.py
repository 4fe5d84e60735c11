# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Cases of `process`, `root`, `hostname` and `annotations`."""

from __future__ import annotations

from case import cases
from known import Known

ALL = ["CAP_KILL", "CAP_CHOWN", "CAP_NET_RAW"]


def process(**properties):
    return lambda config, _case: config["process"].update(properties)


def user(**properties):
    return lambda config, _case: config["process"]["user"].update(properties)


def capabilities(**sets):
    return process(capabilities=sets)


def rlimits(*limits):
    return process(rlimits=[{"type": f"RLIMIT_{kind}", "soft": soft, "hard": hard} for kind, soft, hard in limits])


def top(**properties):
    return lambda config, _case: config.update(properties)


def without(*path):
    def change(config, _case):
        for key in path[:-1]:
            config = config[key]
        del config[path[-1]]

    return change


def add_env(*entries):
    return lambda config, _case: config["process"]["env"].extend(entries)


def both(*changes):
    def change(config, case):
        for one in changes:
            one(config, case)

    return change


CASES = cases(
    {
        "default": lambda _config, _case: None,
        "user": user(uid=1000, gid=1001),
        "user that has no entry": user(uid=1234, gid=4321),
        "user with further groups": user(uid=1000, gid=1001, additionalGids=[2000, 5, 2000]),
        "root with further groups": user(additionalGids=[10, 20]),
        "umask": user(umask=0o77),
        "umask 0": user(umask=0),
        "environment": add_env("A=1", "B=two words", "C=", "D=a=b"),
        "environment with duplicates": (
            add_env("A=1", "B=2", "A=3"),
            "",
            [Known("environ", ".*A=3\nB=2.*", ".*B=2\nA=3.*", "the last one counts, where it stands; as newer runc")],
        ),
        "environment with a home": add_env("HOME=/elsewhere"),
        "environment with an empty home": add_env("HOME="),
        "environment that is empty": process(env=[]),
        "home of a user": both(user(uid=1000, gid=1001), process(env=["PATH=/bin"])),
        "working directory": process(cwd="/home/student"),
        "working directory that is made": process(cwd="/made/by/the/runtime"),
        "working directory through a link": both(process(cwd="/link/inner")),
        "working directory of a user": both(user(uid=1000, gid=1001), process(cwd="/made")),
        "program by PATH": lambda config, _case: config["process"]["args"].__setitem__(0, "sh"),
        "no resource limits": process(rlimits=[]),
        "resource limits": rlimits(
            ("CORE", 0, 0), ("NOFILE", 100, 200), ("STACK", 1 << 20, 1 << 22), ("AS", 1 << 34, 1 << 35), ("CPU", 10, 20)
        ),
        "more resource limits": rlimits(
            ("FSIZE", 1 << 20, 1 << 21), ("NPROC", 500, 600), ("MSGQUEUE", 1000, 2000), ("SIGPENDING", 10, 20),
            ("DATA", 1 << 28, 1 << 29), ("LOCKS", 5, 6), ("MEMLOCK", 4096, 8192), ("RSS", 1 << 20, 1 << 20),
            ("RTTIME", 1000, 2000), ("NICE", 0, 0), ("RTPRIO", 0, 0),
        ),
        "resource limit without end": rlimits(("CORE", 2**64 - 1, 2**64 - 1)),
        "no capabilities": without("process", "capabilities"),
        "capabilities that are empty": capabilities(),
        "some capabilities": capabilities(bounding=ALL, effective=ALL[:2], permitted=ALL),
        "inheritable capabilities": capabilities(bounding=ALL, effective=ALL, permitted=ALL, inheritable=ALL[:1]),
        "ambient capabilities": capabilities(
            bounding=ALL, effective=ALL, permitted=ALL, inheritable=ALL[:2], ambient=ALL[:1]
        ),
        "ambient capabilities of a user": both(
            user(uid=1000, gid=1001),
            capabilities(bounding=ALL, effective=ALL, permitted=ALL, inheritable=ALL, ambient=ALL),
        ),
        "capabilities of a user": user(uid=1000, gid=1001),
        "bounding capabilities only": capabilities(bounding=ALL),
        "a capability that nobody knows": capabilities(bounding=[*ALL, "CAP_NEW"], effective=ALL, permitted=ALL),
        "new privileges": process(noNewPrivileges=False),
        "new privileges of a user": both(user(uid=1000, gid=1001), process(noNewPrivileges=False)),
        "oom score": process(oomScoreAdj=500),
        "terminal": process(terminal=True),
        "terminal of a user": both(user(uid=1000, gid=1001), process(terminal=True)),
        "terminal with a size": process(terminal=True, consoleSize={"height": 30, "width": 120}),
        "read-only root": (lambda config, _case: config["root"].update(readonly=True), "touch /x; touch /dev/x"),
        "absolute root": lambda config, case: config["root"].update(path=str(case.bundle / "rootfs")),
        "hostname": top(hostname="other.example"),
        "no hostname": without("hostname"),
        "annotations": top(annotations={"org.example.a": "1", "org.example.b": ""}),
        "exit code 3": (lambda _config, _case: None, "exit 3"),
    }
)  # fmt: skip
