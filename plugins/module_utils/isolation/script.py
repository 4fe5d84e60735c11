# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""The script that a container runs: what it sees of itself, in sections, and the program of the system calls.

It needs a shell with printf and a busybox, or the core utilities: cat, chmod, readlink, rm, stat, tr. The program comes
along in the script, so that any image will do, and nothing is to be mounted that a default container has not.
"""

from __future__ import annotations

from ..spec import runtime
from . import calls, program

MARK = "@@ "

# Namespaces by their names in /proc/PID/ns
NAMESPACES = ("pid", "net", "mnt", "uts", "ipc", "user", "cgroup", "time")

# What a default container has masked or read-only, in one engine or another
PATHS = (
    "/",
    "/proc",
    "/sys",
    *runtime.MASKED_PATHS,
    *runtime.READONLY_PATHS,
    "/proc/sys/kernel/core_pattern",
    "/sys/fs/bpf",
    "/sys/fs/selinux",
    "/sys/kernel/debug",
    "/sys/kernel/security",
    "/sys/kernel/tracing",
)

# Kernel parameters: of the container's own namespaces, and of the host where they tell what a process may do
SYSCTLS = (
    "fs.mqueue.msg_max",
    "fs.protected_hardlinks",
    "fs.protected_symlinks",
    "fs.suid_dumpable",
    "kernel.apparmor_restrict_unprivileged_userns",
    "kernel.core_pattern",
    "kernel.dmesg_restrict",
    "kernel.io_uring_disabled",
    "kernel.kptr_restrict",
    "kernel.modules_disabled",
    "kernel.perf_event_paranoid",
    "kernel.randomize_va_space",
    "kernel.shmmax",
    "kernel.unprivileged_bpf_disabled",
    "kernel.unprivileged_userns_clone",
    "kernel.yama.ptrace_scope",
    "net.ipv4.conf.all.forwarding",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv6.conf.all.disable_ipv6",
    "user.max_user_namespaces",
    "vm.overcommit_memory",
    "vm.unprivileged_userfaultfd",
)

# Limits as cgroup v2 and v1 have them, below /sys/fs/cgroup
LIMITS = {
    "memory.max": ("memory.max", "memory/memory.limit_in_bytes"),
    "memory.swap.max": ("memory.swap.max", "memory/memory.memsw.limit_in_bytes"),
    "pids.max": ("pids.max", "pids/pids.max"),
    "cpu.max": ("cpu.max", "cpu/cpu.cfs_quota_us", "cpu,cpuacct/cpu.cfs_quota_us"),
    "cpu.weight": ("cpu.weight", "cpu/cpu.shares", "cpu,cpuacct/cpu.shares"),
    "cpuset.cpus": ("cpuset.cpus", "cpuset/cpuset.cpus"),
    "devices": ("devices/devices.list",),
}

_OF_PROCESS = ("status", "limits", "uid_map", "gid_map", "cgroup", "mountinfo", "attr/current")
# Where a new program can be put, tried in this order: some engines' /tmp is read-only, some mounts forbid execution
_FOLDERS = "/tmp /run /dev/shm /dev /"

_SCRIPT = """
b=; [ -x /bin/busybox ] && b=/bin/busybox
p=/proc/$$; [ -e $p/status ] || p=/proc/self
show() {{ [ -e "$2" ] && {{ echo "{mark}$1"; $b cat "$2" 2>/dev/null; echo; }}; }}
for f in {of_process}; do show $f $p/$f; done
for f in {sysctls}; do show sysctl:$f /proc/sys/$f; done
for f in {limits}; do show limit:$f /sys/fs/cgroup/$f; done
show hostname /proc/sys/kernel/hostname
echo "{mark}namespaces"
for n in {namespaces}; do [ -L $p/ns/$n ] && echo "$n $($b readlink $p/ns/$n)"; done
echo "{mark}paths"
for f in {paths}; do [ -e $f ] && echo $f; done
echo "{mark}devices"
for f in /dev/* /dev/[!f]*/[!0-9]*; do
  [ ! -L $f ] && {{ [ -c $f ] || [ -b $f ]; }} && $b stat -c '%n|%F|%t|%T|%a' $f
done
echo "{mark}calls"
n=/proc/self/ns/uts; [ -e $n ] || n=/dev/null
for d in {folders}; do
  if {{ printf '{program}' > $d/.isolation; }} 2>/dev/null; then
    $b chmod 755 $d/.isolation
    $d/.isolation {fd}<$n 2>/dev/null && ran=1
    $b rm -f $d/.isolation
    [ "$ran" ] && break
  fi
done
echo "{mark}environment"
$b tr '\\000' '\\n' < $p/environ
exit 0
"""


def words(machine: str) -> list[str]:
    """The command of a container that tells of itself, for a machine (uname(2)). Raises Unsupported."""
    text = _SCRIPT.format(
        mark=MARK,
        of_process=" ".join(_OF_PROCESS),
        sysctls=" ".join(name.replace(".", "/") for name in SYSCTLS),
        limits=" ".join(path for paths in LIMITS.values() for path in paths),
        namespaces=" ".join(NAMESPACES),
        paths=" ".join(PATHS),
        folders=_FOLDERS,
        program=octal(program.build(calls.of(machine), machine)),
        fd=calls.NAMESPACE_FD,
    )
    return ["/bin/sh", "-c", text]


def octal(data: bytes) -> str:
    """Bytes as the format of printf(1), in single quotes: letters as they are, all else by number."""
    return "".join(chr(byte) if chr(byte).isalpha() and byte < 128 else "\\%03o" % byte for byte in data)
