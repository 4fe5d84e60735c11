# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""The configuration of a system container: systemd as its first process, and engines that run containers in it.

Such a container is privileged by its nature: root in it is not far from root on the host. What is kept from it keeps
accidents from the host: devices but those of a list, kernel modules, the clock, swap, and sysctls but the network's.
"""

from __future__ import annotations

import os

from ..linux import capabilities
from ..linux.cgroups import manager
from ..spec import runtime

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

STOP_SIGNAL = "SIGRTMIN+3"  # systemd(1): halt
NOTIFY = "/run/host/notify"  # where systemd says that it has booted (sd_notify(3); container interface of systemd)
# What overlayfs cannot hold, for containers have overlays of their own there: folders of the host's file system.
OWN_FOLDERS = ("/var/lib/containerd", "/var/lib/containers", "/var/lib/docker", "/var/lib/labrun")

# All but MAC_ADMIN, MAC_OVERRIDE, SYSLOG, SYS_MODULE, SYS_RAWIO, SYS_TIME and WAKE_ALARM, which are about the host
_CAPABILITIES = """
AUDIT_CONTROL AUDIT_READ AUDIT_WRITE BLOCK_SUSPEND BPF CHECKPOINT_RESTORE CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER
FSETID IPC_LOCK IPC_OWNER KILL LEASE LINUX_IMMUTABLE MKNOD NET_ADMIN NET_BIND_SERVICE NET_BROADCAST NET_RAW PERFMON
SETFCAP SETGID SETPCAP SETUID SYS_ADMIN SYS_BOOT SYS_CHROOT SYS_NICE SYS_PACCT SYS_PTRACE SYS_RESOURCE SYS_TTY_CONFIG
"""
_REFUSED = "delete_module finit_module init_module kexec_file_load kexec_load swapoff swapon"
_NATIVE = {"x86_64": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"], "aarch64": ["SCMP_ARCH_AARCH64"]}
# Each by mknod: a bind would share the inode, and chmod in the machine would change the host's.
_NODES = {"/dev/fuse": (10, 229), "/dev/net/tun": (10, 200)}
# Nodes of any kind may be made (images and overlays hold some), these may be used: null, zero, full, random, urandom,
# tty, console, ptmx (all of 5, for crun of trixie asks systemd for "char-5"), every pts, and _NODES.
_USED = ((1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, -1), (136, -1), *_NODES.values())
_QUIET = ["nosuid", "noexec", "nodev"]
_MASKED = ["acpi", "kcore", "keys", "sched_debug", "scsi", "sysrq-trigger", "timer_list"]
_READONLY = ("/proc/bus", "/proc/fs", "/proc/irq")
# systemd of trixie asks for the first two before it works with cgroup v1; without the third it mounts v2 beside it.
_V1_WORDS = ["systemd.unified_cgroup_hierarchy=0", "SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1"]
_V1_WORDS += ["systemd.legacy_systemd_cgroup_controller=1"]
# crun refuses v1 with v2 beside it, as the host may have it, and enters each hierarchy that has a folder: the machine
# sees v1 alone, and not even the folder of v2. systemd makes the file system around it read-only.
_V1_ALONE = ["/bin/sh", "-c", 'umount -n "$0" && rmdir "$0"; exec "$@"', "/sys/fs/cgroup/unified"]


def config(name: str, notify_socket: str, own_folders: str, resources: dict[str, Any]) -> dict[str, Any]:
    """config.json for the machine of that name.

    notify_socket: a socket of the host that is bound on NOTIFY; own_folders: the folder that has one for each of
    OWN_FOLDERS, by its last name; resources: further ones of runtime-spec, as {"memory": {"limit": bytes}}.
    """
    is_v1 = manager.detect().mode != "v2"
    init = ["/usr/bin/env", "NOTIFY_SOCKET=" + NOTIFY, "/sbin/init"]
    result = runtime.config([*_V1_ALONE, *init, *_V1_WORDS] if is_v1 else init)
    result["hostname"] = name
    process = result["process"]
    process.update(noNewPrivileges=False, env=["PATH=" + runtime.PATH, "container=labrun"])
    process["capabilities"] = {kind: _capabilities() for kind in ("bounding", "effective", "permitted")}
    del process["rlimits"]
    linux = result["linux"]
    linux["resources"] = dict(resources, devices=_device_rules())
    linux["devices"] = [
        {"type": "c", "path": path, "major": major, "minor": minor, "fileMode": 0o666}
        for path, (major, minor) in _NODES.items()
    ]
    linux["maskedPaths"] = ["/proc/" + name for name in _MASKED]
    linux["readonlyPaths"] = [*_READONLY, *_readonly_sysctls()]
    linux["seccomp"] = _seccomp()
    linux["rootfsPropagation"] = "rshared"  # as systemd has it on a host; engines expect it
    for item in result["mounts"]:
        if item["destination"] == "/sys/fs/cgroup":
            item["options"] = [word for word in item["options"] if word != "ro"]
    result["mounts"] += [
        {"destination": "/run", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "nodev", "mode=755"]},
        # Users may mount a procfs in namespaces of their own (rootless containers) where one is seen without masks; in
        # this one there is nothing but processes.
        {"destination": "/run/host/proc", "type": "proc", "source": "proc", "options": [*_QUIET, "subset=pid"]},
        {"destination": NOTIFY, "type": "bind", "source": notify_socket, "options": ["bind", "private"]},
    ]
    # private: as peers of the host's mounts they would show it what engines mount in them.
    for path in OWN_FOLDERS:
        source = os.path.join(own_folders, os.path.basename(path))
        mount = {"destination": path, "type": "bind", "source": source, "options": ["bind", "private"]}
        result["mounts"].append(mount)
    result["annotations"] = {"org.opencontainers.image.stopSignal": STOP_SIGNAL}
    return result


def _capabilities() -> list[str]:
    """Those of them that we have ourselves: a host may lack some."""
    held = capabilities.held()
    return ["CAP_" + name for name in _CAPABILITIES.split() if capabilities.NAMES.index(name) in held]


def _device_rules() -> list[dict[str, Any]]:
    rules: list[dict[str, Any]] = [{"allow": False, "access": "rwm"}]
    rules += [{"allow": True, "type": kind, "access": "m"} for kind in ("b", "c")]
    for major, minor in _USED:
        rule = {"allow": True, "type": "c", "major": major, "minor": minor, "access": "rwm"}
        rules.append({key: value for key, value in rule.items() if value != -1})
    return rules


def _readonly_sysctls() -> list[str]:
    """All of /proc/sys but the network's, which are the machine's own: the others would reach the host."""
    return ["/proc/sys/" + name for name in sorted(os.listdir("/proc/sys")) if name != "net"]


def _seccomp() -> dict[str, Any]:
    refused = {"names": _REFUSED.split(), "action": "SCMP_ACT_ERRNO", "errnoRet": 1}
    profile: dict[str, Any] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [refused]}
    machine = os.uname().machine
    if machine in _NATIVE:
        profile["architectures"] = _NATIVE[machine]
    return profile
