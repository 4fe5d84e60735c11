# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""labrun held against runc, over configurations that hypothesis makes up.

25 of them, always the same. DIFFERENTIAL_EXAMPLES=200 takes that many others at each run, makes the one that fails
smaller, and tells how to have it again.
"""

from __future__ import annotations

import collections
import os
from pathlib import Path

import hypothesis
import pytest
from cases_linux import MAPPED, MQUEUE
from cases_mounts import MODE
from hypothesis import strategies as st
from known import Known

pytestmark = pytest.mark.root

EXAMPLES = int(os.environ.get("DIFFERENTIAL_EXAMPLES", "0"))
SETTINGS = hypothesis.settings(
    max_examples=EXAMPLES or 25,
    derandomize=not EXAMPLES,
    print_blob=True,
    database=None,
    deadline=None,
    suppress_health_check=list(hypothesis.HealthCheck),
    phases=[hypothesis.Phase.generate, *([hypothesis.Phase.shrink] if EXAMPLES else [])],  # minutes
)
MIB = 1 << 20

CAPABILITIES = {
    0: "CHOWN", 1: "DAC_OVERRIDE", 3: "FOWNER", 4: "FSETID", 5: "KILL", 6: "SETGID", 7: "SETUID", 8: "SETPCAP",
    10: "NET_BIND_SERVICE", 12: "NET_ADMIN", 13: "NET_RAW", 14: "IPC_LOCK", 18: "SYS_CHROOT", 19: "SYS_PTRACE",
    21: "SYS_ADMIN", 22: "SYS_BOOT", 25: "SYS_TIME", 27: "MKNOD", 29: "AUDIT_WRITE", 31: "SETFCAP", 34: "SYSLOG",
}  # fmt: skip
LIMITS = {  # the smallest that the probe can live with, and the largest that needs no right
    "CORE": (0, MIB), "NOFILE": (64, 1024), "FSIZE": (MIB, 1 << 40), "STACK": (MIB, 8 * MIB), "AS": (1 << 32, 1 << 40),
    "DATA": (1 << 31, 1 << 40), "RSS": (MIB, 1 << 40), "LOCKS": (1, 1000), "RTTIME": (1000, 10**9),
}  # fmt: skip
FLAGS = [
    "ro", "nosuid", "nodev", "noexec", "rw", "suid", "dev", "exec", "noatime", "relatime", "strictatime", "nodiratime",
]  # fmt: skip
PATHS = [
    "/etc",
    "/etc/passwd",
    "/tmp/kept",
    "/home",
    "/absent",
    "/proc/uptime",
    "/proc/fs",
    "/proc/version",
    "/dev/zero",
]
CALLS = {"mkdir": "mkdir /tmp/d", "chmod": "chmod 700 /tmp", "symlink": "ln -s x /tmp/s", "rmdir": "rmdir /tmp/d"}
TRY = "".join(f"busybox {command}; echo {name} $?\n" for name, command in CALLS.items())


def some(items, **sizes):
    return st.lists(st.sampled_from(items), unique=True, **sizes)


def maybe(strategy):
    return st.none() | strategy


def available():
    """The capabilities that this process can give."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("CapBnd"))
    mask = int(line.split()[1], 16)
    return ["CAP_" + name for bit, name in CAPABILITIES.items() if mask >> bit & 1]


@st.composite
def capabilities(draw):
    bounding = draw(some(available()))
    permitted = draw(some(bounding)) if bounding else []
    inheritable = draw(some(permitted)) if permitted else []
    return {
        "bounding": bounding,
        "permitted": permitted,
        "effective": draw(some(permitted)) if permitted else [],
        "inheritable": inheritable,
        "ambient": draw(some(inheritable)) if inheritable else [],
    }


@st.composite
def rlimits(draw):
    made = []
    for kind in draw(some(sorted(LIMITS))):
        soft, hard = sorted(draw(st.integers(*LIMITS[kind])) for _ in "12")
        made.append({"type": f"RLIMIT_{kind}", "soft": soft, "hard": hard})
    return made


VALUES = st.text(st.characters(min_codepoint=32, exclude_categories=["Cs", "Cc", "Zl", "Zp"]), max_size=20)
NAMES = st.from_regex(r"X_[A-Z0-9_]{0,8}", fullmatch=True)
ENVIRONMENTS = st.dictionaries(NAMES, VALUES, max_size=6).map(lambda d: [f"{key}={value}" for key, value in d.items()])


@st.composite
def processes(draw):
    return {
        "user": {
            "uid": draw(st.sampled_from([0, 1000]) | st.integers(0, 65535)),
            "gid": draw(st.sampled_from([0, 1001]) | st.integers(0, 65535)),
            "additionalGids": draw(st.lists(st.integers(0, 65535), unique=True, max_size=5)),
            "umask": draw(st.integers(0, 0o777)),
        },
        "env": ["PATH=/bin", *draw(ENVIRONMENTS)],
        "cwd": draw(st.sampled_from(["/", "/tmp", "/home/student", "/new/dir", "/tmp/../etc", "//tmp/"])),
        "capabilities": draw(capabilities()),
        "rlimits": draw(rlimits()),
        "noNewPrivileges": draw(st.booleans()),
        "oomScoreAdj": draw(maybe(st.integers(0, 1000))),
    }


@st.composite
def mounts(draw, volume, flags):
    made = []
    for number in range(draw(st.integers(0, 4))):
        kind = draw(st.sampled_from(["tmpfs", "bind", "file"]))
        options = draw(some(flags, max_size=5))
        options += draw(st.sampled_from([[], ["private"], ["rslave"], ["rprivate"], ["unbindable"]]))
        place = draw(st.sampled_from([f"/m{number}", f"/deep/er/{number}", "/home", "/srv"]))
        if kind == "tmpfs":
            mode = draw(st.integers(0o500, 0o777))
            options += [f"mode={mode:o}", *draw(some(["size=1m", "nr_inodes=100", "uid=5", "gid=6"]))]
            made.append({"destination": place, "type": "tmpfs", "source": f"t{number}", "options": options})
        else:
            options.insert(0, draw(st.sampled_from(["bind", "rbind"])))
            source = str(volume / "file" if kind == "file" else volume / draw(st.sampled_from(["", "inner"])))
            place = f"/f{number}" if kind == "file" else place
            made.append({"destination": place, "type": "bind", "source": source, "options": options})
    return made


ACCESS = some(list("rwm"), min_size=1).map("".join)
RULES = st.fixed_dictionaries(
    {
        "allow": st.booleans(),
        "type": st.sampled_from(["c", "b"]),
        "major": st.integers(200, 203) | st.just(-1),
        "minor": st.integers(0, 2) | st.just(-1),
        "access": ACCESS,
    }
)


@st.composite
def resources(draw):
    made: dict = {"devices": [{"allow": False, "access": "rwm"}, *draw(st.lists(RULES, max_size=5))]}
    limit = draw(maybe(st.integers(64, 512)))
    if limit is not None:
        made["memory"] = {"limit": limit * MIB, "swap": draw(st.sampled_from([limit * MIB, limit * 2 * MIB, -1]))}
        if draw(st.booleans()):
            made["memory"].update(reservation=limit * MIB // 2, swappiness=draw(st.integers(0, 100)))
    if draw(st.booleans()):
        made["cpu"] = {"shares": draw(st.integers(2, 262144)), "cpus": draw(st.sampled_from(["0", "0-1", "1", ""]))}
        if draw(st.booleans()):
            made["cpu"].update(
                period=draw(st.integers(1000, 1000000)), quota=draw(st.just(-1) | st.integers(5000, 10**6))
            )
    if draw(st.booleans()):
        made["pids"] = {"limit": draw(st.sampled_from([-1, 100]) | st.integers(64, 10**4))}
    if draw(st.booleans()):
        made["blockIO"] = {"weight": draw(st.integers(10, 1000))}
    return made


@st.composite
def seccomp(draw):
    rules = []
    for name in draw(some(sorted(CALLS), max_size=3)):
        rule: dict = {"names": [name, name + "at"], "action": draw(st.sampled_from(["SCMP_ACT_ERRNO", "SCMP_ACT_LOG"]))}
        if rule["action"] == "SCMP_ACT_ERRNO":
            rule["errnoRet"] = draw(st.integers(1, 120))
        if name == "chmod" and draw(st.booleans()):
            operator = draw(st.sampled_from(["NE", "LT", "LE", "EQ", "GE", "GT"]))
            rule["names"] = [name]
            rule["args"] = [
                {"index": 1, "value": draw(st.sampled_from([0, 0o700, 0o777])), "op": f"SCMP_CMP_{operator}"}
            ]
        rules.append(rule)
    return {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules}


@st.composite
def devices(draw):
    made = []
    for number in range(draw(st.integers(0, 3))):
        item = {
            "type": "c",
            "path": draw(st.sampled_from([f"/dev/x{number}", f"/dev/of/x{number}", f"/opt/x{number}"])),
        }
        item.update(major=1, minor=draw(st.sampled_from([3, 5, 7])), fileMode=draw(st.integers(0, 0o777)))
        if draw(st.booleans()):
            item.update(uid=draw(st.integers(0, 65535)), gid=draw(st.integers(0, 65535)))
        made.append(item)
    return made


SYSCTLS = {
    "ipc": {"kernel.shmmax": "1000000", "kernel.msgmax": "9000", "fs.mqueue.msg_max": "20"},
    "network": {"net.ipv4.ip_forward": "1", "net.ipv4.ip_unprivileged_port_start": "80"},
}


DUMPABLE = Known(
    r"fds\..*",
    "absent",
    ".*",
    "an execve that gains capabilities makes a process undumpable, so that it cannot list them; labrun's is the second",
)


@st.composite
def configurations(draw, pair):
    config = pair.config()
    linux = config["linux"]
    config["process"].update({key: value for key, value in draw(processes()).items() if value is not None})
    config["process"]["args"][2] += TRY
    config["root"]["readonly"] = draw(st.booleans())
    config["annotations"] = draw(st.dictionaries(NAMES, VALUES, min_size=1, max_size=3))
    mapped = draw(st.sampled_from([False, False, True]))
    # A mapped root may mount only what belongs to namespaces of its own, and no device that the host does not have.
    shared = draw(some(["uts", "cgroup"] if mapped else ["network", "ipc", "uts", "cgroup", "pid"], max_size=2))
    linux["namespaces"] = [item for item in linux["namespaces"] if item["type"] not in shared]
    if mapped:
        linux["namespaces"].append({"type": "user"})
        linux.update(uidMappings=MAPPED, gidMappings=MAPPED)
    config["mounts"] += draw(mounts(pair.bundle.volume, FLAGS[:4] if mapped else FLAGS))
    if "uts" in shared:
        del config["hostname"]
    else:
        config["hostname"] = draw(st.from_regex(r"[a-z0-9-]{1,63}", fullmatch=True))
    linux["sysctl"] = {}
    for kind, values in SYSCTLS.items():
        if kind not in shared:
            linux["sysctl"].update({name: values[name] for name in draw(some(sorted(values)))})
    linux["resources"] = draw(resources())
    linux["devices"] = [] if mapped else draw(devices())
    for name in ("maskedPaths", "readonlyPaths"):
        linux[name] = draw(st.just(linux[name]) | some(PATHS))
    profile = draw(st.just(linux["seccomp"]) | maybe(seccomp()))
    linux["seccomp"] = profile
    linux["rootfsPropagation"] = draw(st.sampled_from(["private", "slave", "rprivate", "rslave"]))
    return config


def test_generated_configurations(pair):
    ended: collections.Counter = collections.Counter()

    @SETTINGS
    @hypothesis.given(configurations(pair))
    def agree(config):
        seen = pair.compare(config, also_known=(*MQUEUE, MODE, DUMPABLE))
        ended["ran" if seen["create"] == "0" else "refused"] += 1

    agree()
    assert ended["ran"] >= sum(ended.values()) / 2, ended  # else it is refusals that agree
