# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""The default seccomp profile: an allow-list of what programs need, with EPERM for all else (case R18).

Left out are the system calls by which a container could act on the host or widen its own rights: mounting, modules,
kexec, clocks, swap, quotas, raw I/O ports, keyrings, eBPF, perf, userfaultfd, new namespaces and joining others.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_FILES = """
access chdir chmod chown chown32 close close_range copy_file_range creat dup dup2 dup3 faccessat faccessat2
fadvise64 fadvise64_64 fallocate fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl fcntl64 fdatasync
fgetxattr flistxattr flock fremovexattr fsetxattr fstat fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate
ftruncate64 futimesat getcwd getdents getdents64 getxattr getxattrat inotify_add_watch inotify_init inotify_init1
inotify_rm_watch ioctl lchown lchown32 lgetxattr link linkat listxattr listxattrat llistxattr _llseek lremovexattr
lseek lsetxattr lstat lstat64 mkdir mkdirat mknod mknodat name_to_handle_at newfstatat open openat openat2 pipe
pipe2 pread64 preadv preadv2 pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv removexattr
removexattrat rename renameat renameat2 rmdir sendfile sendfile64 setxattr setxattrat splice stat stat64 statfs
statfs64 statx symlink symlinkat sync sync_file_range syncfs tee truncate truncate64 umask unlink unlinkat utime
utimensat utimensat_time64 utimes vmsplice write writev fanotify_mark io_cancel io_destroy io_getevents
io_pgetevents io_setup io_submit cachestat
"""
_MEMORY = """
brk madvise membarrier memfd_create memfd_secret mincore mlock mlock2 mlockall mmap mmap2 mprotect mremap msync
munlock munlockall munmap pkey_alloc pkey_free pkey_mprotect process_madvise process_mrelease remap_file_pages
set_mempolicy_home_node mseal map_shadow_stack
"""
_PROCESSES = """
arch_prctl capget capset execve execveat exit exit_group fork get_robust_list get_thread_area getegid getegid32
geteuid geteuid32 getgid getgid32 getgroups getgroups32 getpgid getpgrp getpid getppid getpriority getresgid
getresgid32 getresuid getresuid32 getrlimit getrusage getsid gettid getuid getuid32 ioprio_get ioprio_set kill
landlock_add_rule landlock_create_ruleset landlock_restrict_self pidfd_open pidfd_send_signal prctl prlimit64 rseq
sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getattr sched_getparam sched_getscheduler
sched_rr_get_interval sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield seccomp
set_robust_list set_thread_area set_tid_address setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32 setgroups
setgroups32 setpgid setpriority setregid setregid32 setresgid setresgid32 setresuid setresuid32 setreuid setreuid32
setrlimit setsid setuid setuid32 tgkill times tkill ugetrlimit vfork wait4 waitid waitpid getcpu uname sysinfo
ptrace process_vm_readv process_vm_writev chroot
"""
_SIGNALS = """
pause restart_syscall rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend
rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo sigaction sigaltstack signal signalfd signalfd4 sigpending
sigprocmask sigreturn sigsuspend
"""
_TIME = """
alarm clock_getres clock_getres_time64 clock_gettime clock_gettime64 clock_nanosleep clock_nanosleep_time64
getitimer gettimeofday nanosleep setitimer time timer_create timer_delete timer_getoverrun timer_gettime
timer_gettime64 timer_settime timer_settime64 timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime
timerfd_settime64
"""
_COMMUNICATION = """
accept accept4 bind connect epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait
epoll_wait_old eventfd eventfd2 futex futex_requeue futex_time64 futex_wait futex_waitv futex_wake getpeername
getrandom getsockname getsockopt ipc listen mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64
mq_timedsend mq_timedsend_time64 mq_unlink msgctl msgget msgrcv msgsnd poll ppoll ppoll_time64 pselect6
pselect6_time64 recv recvfrom recvmmsg recvmmsg_time64 recvmsg select _newselect semctl semget semop semtimedop
semtimedop_time64 send sendmmsg sendmsg sendto setsockopt shmat shmctl shmdt shmget shutdown socketcall socketpair
"""
_NATIVE = {"x86_64": "SCMP_ARCH_X86_64", "aarch64": "SCMP_ARCH_AARCH64"}
# The flags of clone(2) that make namespaces (user_namespaces(7)): with any of them set the call is refused.
_NEW_NAMESPACES = 0x7E020000
_PERSONALITIES = (0x0, 0x0008, 0x20000, 0x20008, 0xFFFFFFFF)  # Linux, Linux 32, uname 2.6, both, a question
_AF_VSOCK = 40
_ENOSYS = 38


def default_profile(machine: str) -> dict[str, Any]:
    """linux.seccomp for the machine of uname(2), and for no other: foreign calls and x32 end in a kill."""
    groups = (_FILES, _MEMORY, _PROCESSES, _SIGNALS, _TIME, _COMMUNICATION)
    names = [name for group in groups for name in group.split()]
    allowed = {"names": names, "action": "SCMP_ACT_ALLOW"}
    masked = {"index": 0, "value": _NEW_NAMESPACES, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}
    vsock = {"index": 0, "value": _AF_VSOCK, "op": "SCMP_CMP_NE"}
    rules = [
        allowed,
        {"names": ["clone"], "action": "SCMP_ACT_ALLOW", "args": [masked]},
        # Its flags lie in memory, where no filter can look: programs fall back to clone when it does not exist.
        {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": _ENOSYS},
        {"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [vsock]},
    ]
    for value in _PERSONALITIES:
        argument = {"index": 0, "value": value, "op": "SCMP_CMP_EQ"}
        rules.append({"names": ["personality"], "action": "SCMP_ACT_ALLOW", "args": [argument]})
    profile: dict[str, Any] = {"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1, "syscalls": rules}
    if machine in _NATIVE:
        profile["architectures"] = [_NATIVE[machine]]
    return profile
