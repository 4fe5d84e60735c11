# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Cases that both runtimes have to refuse, with the same exit code; each is a fault planted into what both accept."""

from __future__ import annotations

from case import cases
from cases_linux import devices, linux, mapped, resources, seccomp, shared
from cases_mounts import mount
from cases_process import process, rlimits, without


def first_argument(path):
    return lambda config, _case: config["process"]["args"].__setitem__(0, path)


def namespaces(*items):
    return lambda config, _case: config["linux"]["namespaces"].extend(items)


CASES = cases(
    {
        "program that is not there": first_argument("/absent"),
        "program that is not in PATH": first_argument("absent"),
        "program that is not executable": first_argument("/not-executable"),
        "program that is a directory": first_argument("/bin"),
        "no arguments": process(args=[]),
        "relative working directory": process(cwd="tmp"),
        "no working directory": without("process", "cwd"),
        "working directory that is a file": process(cwd="/etc/passwd"),
        "unknown resource limit": rlimits(("FOO", 1, 1)),
        "no root": without("root"),
        "root that is not there": lambda config, _case: config["root"].update(path="absent"),
        "hostname of the host": lambda config, _case: config["linux"].update(
            namespaces=[n for n in config["linux"]["namespaces"] if n["type"] != "uts"]
        ),
        "unknown namespace": namespaces({"type": "foo"}),
        "one namespace twice": namespaces({"type": "pid"}),
        "namespace of another type": lambda config, case: namespaces(
            {"type": "user", "path": f"/proc/{case.holder}/ns/net"}
        )(config, case),
        "namespace path that is not there": lambda config, _: config["linux"]["namespaces"][1].update(path="/absent"),
        "user that is not mapped": lambda config, case: (
            mapped([{"containerID": 0, "hostID": 100000, "size": 10}])(config, case),
            config["process"]["user"].update(uid=1000),
        ),
        "mount of an unknown type": mount("nosuchfs", "x"),
        "mount with an unknown option": mount("tmpfs", "tmpfs", "nosuchoption"),
        "mount of a source that is not there": mount("bind", "absent", "bind"),
        "directory over a file": mount("bind", "volume", "bind", at="/etc/passwd"),
        "sysctl of the host": linux(sysctl={"vm.swappiness": "10"}),
        "sysctl of the host's network": lambda config, case: (
            shared("network")(config, case),
            linux(sysctl={"net.ipv4.ip_forward": "1"})(config, case),
        ),
        "sysctl with a bad value": linux(sysctl={"net.ipv4.ip_forward": "words"}),
        "unknown seccomp action": seccomp("SCMP_ACT_FOO"),
        "unknown seccomp operator": seccomp(
            "SCMP_ACT_ALLOW",
            {"names": "chmod", "action": "SCMP_ACT_ERRNO", "args": [{"index": 1, "value": 1, "op": "SCMP_CMP_FOO"}]},
        ),
        "unknown seccomp architecture": seccomp("SCMP_ACT_ALLOW", {"names": "mkdir", "action": "SCMP_ACT_ERRNO"},
                                                architectures=["SCMP_ARCH_FOO"]),
        "unknown seccomp flag": seccomp("SCMP_ACT_ALLOW", {"names": "mkdir", "action": "SCMP_ACT_ERRNO"},
                                        flags=["SECCOMP_FILTER_FLAG_FOO"]),
        "unknown device type": linux(devices=[{"type": "x", "path": "/dev/x", "major": 1, "minor": 1}]),
        "unknown device rule": devices((False, "a", -1, -1, "rwm"), (True, "z", 1, 1, "rwm")),
        "unknown propagation": linux(rootfsPropagation="foo"),
        "cpus that are not there": resources(cpu={"cpus": "999"}),
        "memory that is too small": resources(memory={"limit": 4096}),
        "swap below the limit": resources(memory={"limit": 64 << 20, "swap": 32 << 20}),
        "AppArmor profile on a host without it": process(apparmorProfile="absent"),
        "SELinux label on a host without it": process(selinuxLabel="system_u:system_r:absent_t:s0"),
        "oom score out of range": process(oomScoreAdj=5000),
    }
)  # fmt: skip
