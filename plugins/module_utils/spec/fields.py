# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""Which properties config.json may have, of what type (runtime-spec 1.3, config.md and config-linux.md), as one table.

A leaf is a type's name; a dict is an object with those properties; a list of one item is an array of it. LATER marks
what the specification defines and labrun does not do yet: refused when it is set, for silence would be a lie.
"""

from __future__ import annotations

STRING = "a string"
BOOLEAN = "true or false"
INTEGER = "an integer"
NATURAL = "an integer from 0 to 2^64-1"
ID = "an integer from 0 to 4294967294"
STRINGS = {"*": STRING}
LATER = "later"
OTHER_PLATFORM = "other platform"

_ID_MAPPINGS = [{"containerID": ID, "hostID": ID, "size": ID}]

_DEVICE_RULES = [{"allow": BOOLEAN, "type": STRING, "major": INTEGER, "minor": INTEGER, "access": STRING}]

_RESOURCES = {
    "devices": _DEVICE_RULES,
    "memory": {
        "limit": INTEGER,
        "reservation": INTEGER,
        "swap": INTEGER,
        "kernel": LATER,
        "kernelTCP": LATER,
        "swappiness": LATER,
        "disableOOMKiller": LATER,
        "useHierarchy": LATER,
        "checkBeforeUpdate": LATER,
    },
    "cpu": {
        "shares": NATURAL,
        "quota": INTEGER,
        "burst": LATER,
        "period": NATURAL,
        "realtimeRuntime": LATER,
        "realtimePeriod": LATER,
        "cpus": STRING,
        "mems": STRING,
        "idle": LATER,
    },
    "pids": {"limit": INTEGER},
    "blockIO": LATER,
    "hugepageLimits": LATER,
    "network": LATER,
    "rdma": LATER,
    "unified": LATER,
}

_SECCOMP = {
    "defaultAction": STRING,
    "defaultErrnoRet": NATURAL,
    "architectures": [STRING],
    "flags": [STRING],
    "listenerPath": LATER,
    "listenerMetadata": LATER,
    "syscalls": [
        {
            "names": [STRING],
            "action": STRING,
            "errnoRet": NATURAL,
            "args": [{"index": NATURAL, "value": NATURAL, "valueTwo": NATURAL, "op": STRING}],
        }
    ],
}

_PROCESS = {
    "terminal": LATER,
    "consoleSize": LATER,
    "user": {"uid": ID, "gid": ID, "umask": NATURAL, "additionalGids": [ID], "username": OTHER_PLATFORM},
    "args": [STRING],
    "commandLine": OTHER_PLATFORM,
    "env": [STRING],
    "cwd": STRING,
    "capabilities": {
        "bounding": [STRING],
        "effective": [STRING],
        "inheritable": [STRING],
        "permitted": [STRING],
        "ambient": [STRING],
    },
    "rlimits": [{"type": STRING, "soft": NATURAL, "hard": NATURAL}],
    "noNewPrivileges": BOOLEAN,
    "oomScoreAdj": INTEGER,
    "apparmorProfile": LATER,
    "selinuxLabel": LATER,
    "scheduler": LATER,
    "ioPriority": LATER,
    "execCPUAffinity": LATER,
}

_LINUX = {
    "namespaces": [{"type": STRING, "path": STRING}],
    "uidMappings": _ID_MAPPINGS,
    "gidMappings": _ID_MAPPINGS,
    "timeOffsets": LATER,
    "devices": [
        {
            "type": STRING,
            "path": STRING,
            "major": INTEGER,
            "minor": INTEGER,
            "fileMode": NATURAL,
            "uid": ID,
            "gid": ID,
        }
    ],
    "netDevices": LATER,
    "cgroupsPath": STRING,
    "resources": _RESOURCES,
    "sysctl": LATER,
    "seccomp": _SECCOMP,
    "rootfsPropagation": LATER,
    "maskedPaths": [STRING],
    "readonlyPaths": [STRING],
    "mountLabel": LATER,
    "personality": LATER,
    "intelRdt": LATER,
    "memoryPolicy": LATER,
}

PROCESS = _PROCESS

CONFIG = {
    "ociVersion": STRING,
    "process": _PROCESS,
    "root": {"path": STRING, "readonly": BOOLEAN},
    "hostname": STRING,
    "domainname": STRING,
    "mounts": [
        {
            "destination": STRING,
            "type": STRING,
            "source": STRING,
            "options": [STRING],
            "uidMappings": LATER,
            "gidMappings": LATER,
        }
    ],
    "hooks": LATER,
    "annotations": STRINGS,
    "linux": _LINUX,
    "solaris": OTHER_PLATFORM,
    "windows": OTHER_PLATFORM,
    "vm": OTHER_PLATFORM,
    "zos": OTHER_PLATFORM,
    "freebsd": OTHER_PLATFORM,
}
