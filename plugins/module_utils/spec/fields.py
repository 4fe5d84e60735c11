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
COUNT = "an integer from 0 to 4294967295"
STRINGS = {"*": STRING}
LATER = "later"
OTHER_PLATFORM = "other platform"

_ID_MAPPINGS = [{"containerID": ID, "hostID": ID, "size": COUNT}]

_DEVICE_RULES = [{"allow": BOOLEAN, "type": STRING, "major": INTEGER, "minor": INTEGER, "access": STRING}]

_THROTTLE = [{"major": INTEGER, "minor": INTEGER, "rate": NATURAL}]

RESOURCES = {
    "devices": _DEVICE_RULES,
    "memory": {
        "limit": INTEGER,
        "reservation": INTEGER,
        "swap": INTEGER,
        "kernel": INTEGER,
        "kernelTCP": INTEGER,
        "swappiness": NATURAL,
        "disableOOMKiller": BOOLEAN,
        "useHierarchy": BOOLEAN,
        "checkBeforeUpdate": BOOLEAN,
    },
    "cpu": {
        "shares": NATURAL,
        "quota": INTEGER,
        "burst": NATURAL,
        "period": NATURAL,
        "realtimeRuntime": INTEGER,
        "realtimePeriod": NATURAL,
        "cpus": STRING,
        "mems": STRING,
        "idle": INTEGER,
    },
    "pids": {"limit": INTEGER},
    "blockIO": {
        "weight": NATURAL,
        "leafWeight": NATURAL,
        "weightDevice": [{"major": INTEGER, "minor": INTEGER, "weight": NATURAL, "leafWeight": NATURAL}],
        "throttleReadBpsDevice": _THROTTLE,
        "throttleWriteBpsDevice": _THROTTLE,
        "throttleReadIOPSDevice": _THROTTLE,
        "throttleWriteIOPSDevice": _THROTTLE,
    },
    "hugepageLimits": [{"pageSize": STRING, "limit": NATURAL}],
    "network": {"classID": NATURAL, "priorities": [{"name": STRING, "priority": NATURAL}]},
    "rdma": {"*": {"hcaHandles": NATURAL, "hcaObjects": NATURAL}},
    "unified": STRINGS,
}

_HOOKS = [{"path": STRING, "args": [STRING], "env": [STRING], "timeout": INTEGER}]

_SECCOMP = {
    "defaultAction": STRING,
    "defaultErrnoRet": NATURAL,
    "architectures": [STRING],
    "flags": [STRING],
    "listenerPath": STRING,
    "listenerMetadata": STRING,
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
    "terminal": BOOLEAN,
    "consoleSize": {"height": NATURAL, "width": NATURAL},
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
    "apparmorProfile": STRING,
    "selinuxLabel": STRING,
    "scheduler": {
        "policy": STRING,
        "nice": INTEGER,
        "priority": INTEGER,
        "flags": [STRING],
        "runtime": NATURAL,
        "deadline": NATURAL,
        "period": NATURAL,
    },
    "ioPriority": {"class": STRING, "priority": INTEGER},
    "execCPUAffinity": {"initial": STRING, "final": STRING},
}

_LINUX = {
    "namespaces": [{"type": STRING, "path": STRING}],
    "uidMappings": _ID_MAPPINGS,
    "gidMappings": _ID_MAPPINGS,
    "timeOffsets": {"*": {"secs": INTEGER, "nanosecs": NATURAL}},
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
    "netDevices": {"*": {"name": STRING}},
    "cgroupsPath": STRING,
    "resources": RESOURCES,
    "sysctl": STRINGS,
    "seccomp": _SECCOMP,
    "rootfsPropagation": STRING,
    "maskedPaths": [STRING],
    "readonlyPaths": [STRING],
    "mountLabel": STRING,
    "personality": {"domain": STRING, "flags": [STRING]},
    "intelRdt": LATER,
    "memoryPolicy": {"mode": STRING, "nodes": STRING, "flags": [STRING]},
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
            "uidMappings": _ID_MAPPINGS,
            "gidMappings": _ID_MAPPINGS,
        }
    ],
    "hooks": {
        "prestart": _HOOKS,
        "createRuntime": _HOOKS,
        "createContainer": _HOOKS,
        "startContainer": _HOOKS,
        "poststart": _HOOKS,
        "poststop": _HOOKS,
    },
    "annotations": STRINGS,
    "linux": _LINUX,
    "solaris": OTHER_PLATFORM,
    "windows": OTHER_PLATFORM,
    "vm": OTHER_PLATFORM,
    "zos": OTHER_PLATFORM,
    "freebsd": OTHER_PLATFORM,
}
