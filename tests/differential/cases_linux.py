# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Cases of `linux`: namespaces, cgroups, resources, sysctls, seccomp."""

from __future__ import annotations

from case import Case, cases
from known import AGE, Known

MIB = 1 << 20
MAPPED = [{"containerID": 0, "hostID": 100000, "size": 65536}]


def linux(**properties):
    return lambda config, _case: config["linux"].update(properties)


def resources(**properties):
    return lambda config, _case: config["linux"]["resources"].update(properties)


def shared(*kinds):
    """The host's namespaces instead of the container's own."""

    def change(config, _case):
        config["linux"]["namespaces"] = [n for n in config["linux"]["namespaces"] if n["type"] not in kinds]
        if "uts" in kinds:
            del config["hostname"]

    return change


def joined(kind, link):
    def change(config, case):
        next(n for n in config["linux"]["namespaces"] if n["type"] == kind)["path"] = f"/proc/{case.holder}/ns/{link}"
        if kind == "uts":
            del config["hostname"]

    return change


def mapped(uids=MAPPED, gids=MAPPED):
    def change(config, _case):
        config["linux"]["namespaces"].append({"type": "user"})
        config["linux"].update(uidMappings=uids, gidMappings=gids)

    return change


def devices(*rules):
    return resources(devices=[dict(zip(("allow", "type", "major", "minor", "access"), rule)) for rule in rules])


def seccomp(default, *rules, **others):
    def change(config, _case):
        syscalls = [dict(rule, names=rule["names"].split()) for rule in rules]
        config["linux"]["seccomp"] = {"defaultAction": default, "syscalls": syscalls, **others}

    return change


def both(*changes):
    def change(config, case):
        for one in changes:
            one(config, case)

    return change


def errno(names, **others):
    return {"names": names, "action": "SCMP_ACT_ERRNO", **others}


def kill(names):
    return {"names": names, "action": "SCMP_ACT_KILL_PROCESS"}


# The kernel gives the root of an ipc namespace's message queues to who made it: runc as the container's root, labrun
# before ids are mapped, in the one clone that makes all namespaces.
MQUEUE = [
    Known(
        r"dev\./dev/mqueue",
        r"directory\|0:0\|1777\|0:65534.*",
        r"directory\|0:0\|1777\|65534:65534.*",
        "one clone makes all namespaces",
    )
]
MKDIR = "mkdir /tried; echo $?; chmod 700 /tmp/kept; echo $?"
MKDIRS = "mkdir mkdirat"
RWM = "rwm"

CASES = [
    *(Case(f"the host's {kind} namespace", shared(kind)) for kind in ("pid", "network", "ipc", "uts", "cgroup")),
    Case("the host's namespaces", shared("pid", "network", "ipc", "uts", "cgroup")),
    *(
        Case(f"a {kind} namespace by its path", joined(kind, link))
        for kind, link in (("network", "net"), ("uts", "uts"), ("ipc", "ipc"), ("cgroup", "cgroup"))
    ),
    *cases(
        {
            "a user namespace": (mapped(), "", MQUEUE),
            "a user namespace and a user": (
                both(mapped(), lambda c, _: c["process"]["user"].update(uid=1000, gid=1001)),
                "",
                MQUEUE,
            ),
            "a user namespace with several ranges": (
                mapped(
                    [dict(MAPPED[0], size=10), {"containerID": 1000, "hostID": 200000, "size": 1}],
                    [dict(MAPPED[0], size=10), {"containerID": 1001, "hostID": 200001, "size": 1}],
                ),
                "",
                MQUEUE,
            ),
            "a user namespace and a bind mount": (
                both(
                    mapped(),
                    lambda config, case: config["mounts"].append(
                        {
                            "destination": "/home",
                            "type": "bind",
                            "source": str(case.bundle / "volume"),
                            "options": ["bind"],
                        }
                    ),
                ),
                "stat -c '%n %u:%g' /home /home/*; touch /home/x && echo written",
                MQUEUE,
            ),
            "sysctls of the kernel": (
                linux(sysctl={"kernel.shmmax": "8000000", "kernel.msgmax": "9000", "kernel.sem": "250 32000 100 130"}),
                "cat /proc/sys/kernel/sem",
            ),
            "sysctls of the network": (
                linux(sysctl={"net.ipv4.ip_forward": "1", "net/ipv4/ip_unprivileged_port_start": "80"}),
                "cat /proc/sys/net/ipv4/ip_unprivileged_port_start",
            ),
            "sysctl of message queues": (linux(sysctl={"fs.mqueue.msg_max": "20"}), "cat /proc/sys/fs/mqueue/msg_max"),
            "cgroup of several levels": lambda config, _case: config["linux"].update(
                cgroupsPath=config["linux"]["cgroupsPath"] + "/of/levels"
            ),
            "no cgroup path": (
                lambda config, _case: config["linux"].pop("cgroupsPath"),
                "",
                [
                    Known(
                        r"cgroup\..*",
                        ".*",
                        ".*/labrun-differential-.*",
                        "each has its own name for a cgroup without a path",
                    )
                ],
            ),
            "memory": resources(
                memory={"limit": 64 * MIB, "reservation": 32 * MIB, "swap": 96 * MIB, "swappiness": 10}
            ),
            "memory without swap": resources(memory={"limit": 64 * MIB, "swap": 64 * MIB}),
            "memory without end": resources(memory={"limit": -1, "swap": -1}),
            "memory's killer off": resources(memory={"limit": 64 * MIB, "disableOOMKiller": True}),
            "memory of the kernel": resources(memory={"kernel": 32 * MIB, "kernelTCP": 16 * MIB}),
            "memory swap without a limit": resources(memory={"swap": 64 * MIB}),
            "cpu": resources(cpu={"shares": 512, "quota": 50000, "period": 200000, "cpus": "0", "mems": "0"}),
            "cpu quota without end": resources(cpu={"quota": -1}),
            "cpu quota without a period": resources(cpu={"quota": 20000}),
            "cpu period alone": resources(cpu={"period": 50000}),
            "cpu shares beyond": resources(cpu={"shares": 1}),
            "cpu burst": (
                resources(cpu={"quota": 50000, "period": 100000, "burst": 20000}),
                "",
                [Known(r"limit\.cpu\.cpu\.cfs_burst_us", "0", "20000", AGE)],
            ),
            "cpu idle": (
                resources(cpu={"idle": 1}),
                "",
                [
                    Known(r"limit\.cpu\.cpu\.idle", "0", "1", AGE),
                    Known(r"limit\.cpu\.cpu\.shares", "1024", "3", "what the kernel sets for an idle group"),
                ],
            ),
            "cpu real time": resources(cpu={"realtimeRuntime": 1000, "realtimePeriod": 1000000}),
            "pids": resources(pids={"limit": 50}),
            "pids without end": resources(pids={"limit": -1}),
            "pids 0": (
                lambda config, case: (
                    resources(pids={"limit": 0})(config, case),
                    config["process"].update(args=["/bin/true"]),
                ),
                "",
                [
                    Known(
                        r"limit\.pids\.pids\.max",
                        "max",
                        "1",
                        "0 is a limit for newer runc too",
                    )
                ],
            ),
            "block weight": resources(blockIO={"weight": 300}),
            "block weight of a device": resources(
                blockIO={"weight": 300, "weightDevice": [{"major": 254, "minor": 0, "weight": 500}]}
            ),
            "block throttle": resources(
                blockIO={
                    "throttleReadBpsDevice": [{"major": 254, "minor": 0, "rate": 1000000}],
                    "throttleWriteBpsDevice": [{"major": 254, "minor": 0, "rate": 2000000}],
                    "throttleReadIOPSDevice": [{"major": 254, "minor": 0, "rate": 300}],
                    "throttleWriteIOPSDevice": [{"major": 254, "minor": 0, "rate": 400}],
                }
            ),
            "network class": resources(network={"classID": 1048577}),
            "network priority": resources(network={"priorities": [{"name": "lo", "priority": 5}]}),
            "no device rules": lambda config, _case: config["linux"]["resources"].pop("devices"),
            "no resources": lambda config, _case: config["linux"].pop("resources"),
            "all devices": devices((True, "a", -1, -1, RWM)),
            "device rules": devices(
                (False, "a", -1, -1, RWM), (True, "c", 10, 229, RWM), (True, "b", 8, -1, "r"), (True, "c", -1, 7, "w")
            ),
            "device rules that take back": devices(
                (False, "a", -1, -1, RWM),
                (True, "c", 10, 229, RWM),
                (False, "c", 10, 229, "w"),
                (True, "c", 10, 200, "r"),
            ),
            "device rule on all, not stated": lambda config, _case: config["linux"]["resources"].update(
                devices=[{"allow": False, "access": "rwm"}, {"allow": True, "type": "c", "major": 10, "access": "rw"}]
            ),
            "no seccomp": lambda config, _case: config["linux"].pop("seccomp"),
            "seccomp errno": (seccomp("SCMP_ACT_ALLOW", errno(MKDIRS)), MKDIR),
            "seccomp errno with a number": (seccomp("SCMP_ACT_ALLOW", errno(MKDIRS, errnoRet=28)), MKDIR),
            "seccomp errno 0": (seccomp("SCMP_ACT_ALLOW", errno(MKDIRS, errnoRet=0)), MKDIR),
            "seccomp kill": (seccomp("SCMP_ACT_ALLOW", kill(MKDIRS)), MKDIR),
            "seccomp log": (seccomp("SCMP_ACT_ALLOW", {"names": MKDIRS, "action": "SCMP_ACT_LOG"}), MKDIR),
            "seccomp trace": (
                seccomp("SCMP_ACT_ALLOW", {"names": MKDIRS, "action": "SCMP_ACT_TRACE", "errnoRet": 5}),
                MKDIR,
            ),
            "seccomp trap": (seccomp("SCMP_ACT_ALLOW", {"names": MKDIRS, "action": "SCMP_ACT_TRAP"}), MKDIR),
            "seccomp without rules": (seccomp("SCMP_ACT_ALLOW"), MKDIR),
            "seccomp architectures": (
                seccomp("SCMP_ACT_ALLOW", errno(MKDIRS), architectures=["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]),
                MKDIR,
            ),
            "seccomp unknown names": (seccomp("SCMP_ACT_ALLOW", errno("no_such_call mkdir mkdirat")), MKDIR),
            "seccomp by an argument": (
                seccomp(
                    "SCMP_ACT_ALLOW",
                    errno("chmod", args=[{"index": 1, "value": 0o700, "op": "SCMP_CMP_EQ"}]),
                    errno("mkdir", args=[{"index": 1, "value": 0o777, "valueTwo": 0o700, "op": "SCMP_CMP_MASKED_EQ"}]),
                ),
                MKDIR,
            ),
            "seccomp by arguments of all kinds": (
                seccomp(
                    "SCMP_ACT_ALLOW",
                    errno("chmod", args=[{"index": 1, "value": 0o600, "op": "SCMP_CMP_GT"}], errnoRet=7),
                    errno("mkdir", args=[{"index": 1, "value": 0o1, "op": "SCMP_CMP_LE"}], errnoRet=8),
                    errno("umask", args=[{"index": 0, "value": 0o22, "op": "SCMP_CMP_NE"}], errnoRet=9),
                ),
                MKDIR,
            ),
            "seccomp several conditions on one argument": (
                seccomp(
                    "SCMP_ACT_ALLOW",
                    errno(
                        "chmod",
                        args=[
                            {"index": 1, "value": 0o1, "op": "SCMP_CMP_EQ"},
                            {"index": 1, "value": 0o700, "op": "SCMP_CMP_EQ"},
                        ],
                    ),
                ),
                MKDIR,
            ),
            "seccomp with new privileges": (
                both(seccomp("SCMP_ACT_ALLOW", errno(MKDIRS)), lambda c, _: c["process"].update(noNewPrivileges=False)),
                MKDIR,
            ),
        }
    ),
]
