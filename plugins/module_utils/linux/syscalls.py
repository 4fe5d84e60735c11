# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""The system calls that Python's os module lacks (for Python 3.8), by ctypes; each raises OSError and is traced.

All ctypes objects are made when this module is imported: after pivot_root nothing may be looked up any more (R22).
"""

from __future__ import annotations

import ctypes
import os

from . import trace

# Numbers by machine (asm/unistd.h); those from 424 on are the same everywhere.
_BY_MACHINE = {
    "x86_64": {
        "rt_sigaction": 13,
        "getcwd": 79,
        "capset": 126,
        "personality": 135,
        "pivot_root": 155,
        "prctl": 157,
        "sched_setaffinity": 203,
        "set_mempolicy": 238,
        "keyctl": 250,
        "ioprio_set": 251,
        "unshare": 272,
        "setns": 308,
        "sched_setattr": 314,
        "seccomp": 317,
        "bpf": 321,
    },
    "aarch64": {
        "getcwd": 17,
        "ioprio_set": 30,
        "pivot_root": 41,
        "capset": 91,
        "personality": 92,
        "unshare": 97,
        "sched_setaffinity": 122,
        "rt_sigaction": 134,
        "prctl": 167,
        "keyctl": 219,
        "set_mempolicy": 237,
        "setns": 268,
        "sched_setattr": 274,
        "seccomp": 277,
        "bpf": 280,
    },
}
_SAME = {
    "pidfd_send_signal": 424,
    "open_tree": 428,
    "move_mount": 429,
    "fsopen": 430,
    "fsconfig": 431,
    "fsmount": 432,
    "pidfd_open": 434,
    "clone3": 435,
    "close_range": 436,
    "openat2": 437,
    "pidfd_getfd": 438,
    "mount_setattr": 442,
}

MS_RDONLY = 0x1
MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8
MS_REMOUNT = 0x20
MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 1 << 18
MS_SLAVE = 1 << 19
MS_SHARED = 1 << 20
MS_UNBINDABLE = 1 << 17
MNT_DETACH = 2

AT_FDCWD = -100
AT_EMPTY_PATH = 0x1000
AT_RECURSIVE = 0x8000
OPEN_TREE_CLONE = 1
O_CLOEXEC = 0x80000
MOUNT_ATTR_IDMAP = 0x100000

CLONE_NEWTIME = 0x80
CLONE_PARENT = 0x8000
CLONE_NEWNS = 0x20000
CLONE_NEWCGROUP = 0x2000000
CLONE_NEWUTS = 0x4000000
CLONE_NEWIPC = 0x8000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
SIGCHLD = 17

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_KEEPCAPS = 8
PR_SET_NAME = 15
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38

CLOSE_RANGE_CLOEXEC = 4
KEYCTL_JOIN_SESSION_KEYRING = 1
KEYCTL_SETPERM = 5

machine = os.uname().machine
_numbers = dict(_BY_MACHINE.get(machine, {}), **_SAME)

_libc = ctypes.CDLL(None, use_errno=True)
_syscall = _libc.syscall
_syscall.restype = ctypes.c_long
_mount = _libc.mount
_mount.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p]
_umount2 = _libc.umount2
_umount2.argtypes = [ctypes.c_char_p, ctypes.c_int]
_prctl = _libc.prctl
_prctl.argtypes = [ctypes.c_int, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong]
_sethostname = _libc.sethostname
_sethostname.argtypes = [ctypes.c_char_p, ctypes.c_size_t]
_setdomainname = _libc.setdomainname
_setdomainname.argtypes = [ctypes.c_char_p, ctypes.c_size_t]
_flock = _libc.flock
_flock.argtypes = [ctypes.c_int, ctypes.c_int]
_NS_GET_NSTYPE = 0xB703
_long = ctypes.c_long
LOCK_EX = 2
LOCK_NB = 4


def is_supported_machine() -> bool:
    """True where the system call numbers are known: x86_64 and aarch64."""
    return machine in _BY_MACHINE


def _check(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def number(name: str) -> int:
    """The number of a system call that is in the tables here."""
    return _numbers[name]


def raw(name: str, *arguments: object) -> int:
    """syscall(2) by name; integers are passed as long. Not traced. Raises OSError."""
    converted = [_long(argument) if isinstance(argument, int) else argument for argument in arguments]
    return _check(_syscall(_long(_numbers[name]), *converted))


def mount(source: bytes, target: bytes, kind: bytes, flags: int, data: bytes = b"", shown: str = "") -> None:
    """mount(2); shown is the target as a person knows it when target is a file descriptor's path."""
    name = shown or target.decode("utf-8", "replace")
    arguments = (source.decode("utf-8", "replace"), name, kind.decode(), hex(flags), data.decode("utf-8", "replace"))
    trace.call("mount", arguments, _do_mount, source, target, kind, flags, data)


def _do_mount(source: bytes, target: bytes, kind: bytes, flags: int, data: bytes) -> None:
    _check(_mount(source, target, kind or None, flags, data or None))


def umount(target: bytes, flags: int = MNT_DETACH) -> None:
    """umount2(2)."""
    trace.call("umount2", (target.decode("utf-8", "replace"), hex(flags)), _do_umount, target, flags)


def _do_umount(target: bytes, flags: int) -> None:
    _check(_umount2(target, flags))


class _MountAttributes(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in ("attr_set", "attr_clr", "propagation", "userns_fd")]


_file_syscall = _libc["syscall"]  # an object of its own, whose argument types ctypes need not guess at each call
_file_syscall.restype = ctypes.c_long
_file_syscall.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_long]
_mount_syscall = _libc["syscall"]
_mount_syscall.restype = ctypes.c_long
_mount_syscall.argtypes = [
    ctypes.c_long,
    ctypes.c_long,
    ctypes.c_char_p,
    ctypes.c_long,
    ctypes.c_char_p,
    ctypes.c_long,
]


def openat2(dir_fd: int, path: bytes, how: object, size: int) -> int:
    """openat2(2), Linux 5.6; how is a pointer to a struct open_how. Not traced: it changes nothing."""
    return _check(_file_syscall(_numbers["openat2"], dir_fd, path, how, size))


def open_tree(dir_fd: int, path: bytes, recursive: bool, shown: str = "") -> int:
    """open_tree(2), Linux 5.2: a detached copy of the mount at path (with dir_fd, '' for dir_fd itself), close-on-exec.

    A file descriptor of its root, as O_PATH. It goes when the descriptor is closed, unless move_mount attached it.
    """
    flags = OPEN_TREE_CLONE | O_CLOEXEC | AT_EMPTY_PATH | (AT_RECURSIVE if recursive else 0)
    words = "OPEN_TREE_CLONE" + ("|AT_RECURSIVE" if recursive else "")
    name = shown or path.decode("utf-8", "replace")
    return trace.call("open_tree", (name, words), _do_open_tree, dir_fd, path, flags)


def _do_open_tree(dir_fd: int, path: bytes, flags: int) -> int:
    return _check(_mount_syscall(_numbers["open_tree"], dir_fd, path, flags, None, 0))


def move_mount(mount_fd: int, target_fd: int, shown: str) -> None:
    """move_mount(2), Linux 5.2: attach the mount to the open file or directory, by their descriptors alone."""
    trace.call("move_mount", (shown,), _do_move_mount, mount_fd, target_fd)


def _do_move_mount(mount_fd: int, target_fd: int) -> None:
    both_empty = 0x4 | 0x40  # MOVE_MOUNT_F_EMPTY_PATH, MOVE_MOUNT_T_EMPTY_PATH
    _check(_mount_syscall(_numbers["move_mount"], mount_fd, b"", target_fd, b"", both_empty))


def mount_setattr(
    mount_fd: int, recursive: bool, set_bits: int, clear_bits: int, propagation: int, userns_fd: int, shown: str
) -> None:
    """mount_setattr(2), Linux 5.12, on the mount whose root mount_fd is. Raises OSError, ENOSYS on older kernels."""
    words = (shown, hex(set_bits), hex(clear_bits), hex(propagation), "AT_RECURSIVE" if recursive else "")
    attributes = _MountAttributes(set_bits, clear_bits, propagation, userns_fd)
    trace.call("mount_setattr", words, _do_mount_setattr, mount_fd, recursive, attributes)


def _do_mount_setattr(mount_fd: int, recursive: bool, attributes: _MountAttributes) -> None:
    flags = AT_EMPTY_PATH | (AT_RECURSIVE if recursive else 0)
    size = ctypes.sizeof(attributes)
    raw("mount_setattr", mount_fd, b"", flags, ctypes.byref(attributes), size)


def fsopen(kind: bytes) -> int:
    """fsopen(2), Linux 5.2: a close-on-exec file system context."""
    return raw("fsopen", kind, 1)


def fsconfig(context_fd: int, command: int, key: bytes | None, value: bytes | None) -> None:
    """fsconfig(2): command is 0 for a flag, 1 for a string, 6 to create the superblock."""
    raw("fsconfig", context_fd, command, key, value, 0)


def fsmount(context_fd: int, attributes: int) -> int:
    """fsmount(2): a detached mount of the created superblock, as open_tree gives one."""
    return raw("fsmount", context_fd, 1, attributes)


class _Statfs(ctypes.Structure):
    _fields_ = [("f_type", ctypes.c_long), ("others", ctypes.c_long * 31)]


_fstatfs = _libc.fstatfs
_fstatfs.argtypes = [ctypes.c_int, ctypes.POINTER(_Statfs)]


def filesystem_magic(fd: int) -> int:
    """The number that tells the type of the file system that an open file is on (statfs(2), f_type)."""
    result = _Statfs()
    _check(_fstatfs(fd, ctypes.byref(result)))
    return int(result.f_type)


def pivot_root(new_root: bytes, put_old: bytes) -> None:
    """pivot_root(2)."""
    trace.call("pivot_root", (new_root.decode(), put_old.decode()), raw, "pivot_root", new_root, put_old)


def unshare(flags: int, shown: str) -> None:
    """unshare(2); shown names the namespaces."""
    trace.call("unshare", (shown,), raw, "unshare", flags)


def setns(fd: int, flags: int, shown: str) -> None:
    """setns(2); shown is the namespace file's path."""
    trace.call("setns", (shown,), raw, "setns", fd, flags)


def prctl(option: int, value: int, shown: str) -> None:
    """prctl(2) with one argument; shown is the call's constant, as PR_SET_NO_NEW_PRIVS."""
    trace.call("prctl", (shown, value), _do_prctl, option, value)


def _do_prctl(option: int, value: int) -> None:
    _check(_prctl(option, value, 0, 0, 0))


def set_process_name(name: bytes) -> None:
    """The name that ps(1) shows, at most 15 bytes (prctl PR_SET_NAME)."""
    buffer = ctypes.create_string_buffer(name[:15])
    _check(_prctl(PR_SET_NAME, ctypes.addressof(buffer), 0, 0, 0))


def sethostname(name: bytes) -> None:
    """sethostname(2)."""
    trace.call("sethostname", (name.decode("utf-8", "replace"),), _do_sethostname, name)


def _do_sethostname(name: bytes) -> None:
    _check(_sethostname(name, len(name)))


def setdomainname(name: bytes) -> None:
    """setdomainname(2)."""
    trace.call("setdomainname", (name.decode("utf-8", "replace"),), _do_setdomainname, name)


def _do_setdomainname(name: bytes) -> None:
    _check(_setdomainname(name, len(name)))


def namespace_type(fd: int) -> int:
    """The CLONE_NEW* flag of the namespace that the open file is; 0 for one that is none (ioctl_ns(2))."""
    return max(int(_libc.ioctl(fd, _NS_GET_NSTYPE, 0)), 0)


def flock(fd: int, operation: int) -> None:
    """flock(2)."""
    _check(_flock(fd, operation))


def join_session_keyring(name: bytes = b"") -> int:
    """Join the session keyring of that name, or a new one (keyctl(2)), so that the caller's keys are not inherited.

    Without a name the keyring is an anonymous new one. Returns the keyring's id.
    """
    shown = ("KEYCTL_JOIN_SESSION_KEYRING", name.decode("utf-8", "replace") or "anonymous")
    return trace.call("keyctl", shown, raw, "keyctl", KEYCTL_JOIN_SESSION_KEYRING, name or 0)


def set_key_permissions(key: int, mask: int) -> None:
    """keyctl(2), KEYCTL_SETPERM."""
    trace.call("keyctl", ("KEYCTL_SETPERM", key, hex(mask)), raw, "keyctl", KEYCTL_SETPERM, key, mask)


def close_others(keep: list[int]) -> None:
    """Close every descriptor above 2 that is not in keep (close_range(2), Linux 5.9; else one by one)."""
    first = 3
    try:
        for fd in sorted(keep):
            if fd > first:
                raw("close_range", first, fd - 1, 0)
            first = max(first, fd + 1)
        raw("close_range", first, 0xFFFFFFFF, 0)
    except OSError:
        for name in os.listdir("/proc/self/fd"):
            if int(name) > 2 and int(name) not in keep:
                try:
                    os.close(int(name))
                except OSError:
                    pass  # the descriptor of the listing itself


def mark_close_on_exec(first: int) -> None:
    """The next execve(2) closes every descriptor from first on (close_range(2), Linux 5.11; else one by one)."""
    trace.call("close_range", (first, "max", "CLOSE_RANGE_CLOEXEC"), _do_mark_close_on_exec, first)


def _do_mark_close_on_exec(first: int) -> None:
    try:
        raw("close_range", first, 0xFFFFFFFF, CLOSE_RANGE_CLOEXEC)
    except OSError:
        for name in os.listdir("/proc/self/fd"):
            if int(name) >= first:
                try:
                    os.set_inheritable(int(name), False)
                except OSError:
                    pass  # the descriptor of the listing itself


def pidfd_open(pid: int) -> int:
    """pidfd_open(2): a close-on-exec descriptor that polls readable when the process has ended."""
    return raw("pidfd_open", pid, 0)


def pidfd_send_signal(pidfd: int, signal: int) -> None:
    """pidfd_send_signal(2)."""
    trace.call("pidfd_send_signal", (pidfd, signal), raw, "pidfd_send_signal", pidfd, signal, 0, 0)


def pidfd_getfd(pidfd: int, fd: int) -> int:
    """pidfd_getfd(2): a copy, close-on-exec, of another process's descriptor."""
    return raw("pidfd_getfd", pidfd, fd, 0)


_ALL_CPUS = ctypes.create_string_buffer(b"\xff" * 8192, 8192)
_PATH_MAX = 4096
_path_buffer = ctypes.create_string_buffer(_PATH_MAX + 64)


def reset_affinity() -> None:
    """Let the calling process run on every CPU that its cpuset has, whatever it inherited (sched_setaffinity(2))."""
    raw("sched_setaffinity", 0, len(_ALL_CPUS), ctypes.addressof(_ALL_CPUS))


def getcwd() -> bytes:
    """getcwd(2) itself: "(unreachable)/..." for a directory outside the root, for which libraries look further."""
    length = raw("getcwd", ctypes.addressof(_path_buffer), len(_path_buffer))
    return _path_buffer.raw[: length - 1]


_NO_HANDLER = ctypes.create_string_buffer(32)  # struct sigaction of the kernel: SIG_DFL, no flags, an empty mask


def default_signal(number: int) -> None:
    """SIG_DFL for a signal that the C library keeps to itself, and which its sigaction(3) therefore refuses."""
    raw("rt_sigaction", number, ctypes.addressof(_NO_HANDLER), 0, 8)


_python = ctypes.pythonapi
_before_fork = _python.PyOS_BeforeFork
_after_fork_parent = _python.PyOS_AfterFork_Parent
_after_fork_child = _python.PyOS_AfterFork_Child
# With the interpreter's lock held over the call: between a clone and its after-fork hooks no other thread may run.
_locked_syscall = ctypes.PyDLL(None, use_errno=True).syscall
_locked_syscall.restype = ctypes.c_long


CLONE_INTO_CGROUP = 0x200000000


class _CloneArguments(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_uint64)
        for name in (
            [
                "flags",
                "pidfd",
                "child_tid",
                "parent_tid",
                "exit_signal",
                "stack",
                "stack_size",
                "tls",
                "set_tid",
                "set_tid_size",
                "cgroup",
            ]
        )
    ]


def clone(flags: int, shown: str, into_cgroup: int = -1) -> int:
    """clone3(2) without a stack of its own, that is fork(2) into new namespaces: 0 in the child, its pid in the parent.

    into_cgroup: the descriptor of the cgroup v2 directory that the child is to be in, or -1. One call does what fork,
    unshare and a move would do in three, and a new pid namespace needs no process in between.
    """
    return trace.call("clone3", (shown,), _do_clone, flags, into_cgroup)


def _do_clone(flags: int, into_cgroup: int) -> int:
    # With CLONE_PARENT the child's exit signal is that of the caller's own parent, and must not be given.
    arguments = _CloneArguments(flags=flags, exit_signal=0 if flags & CLONE_PARENT else SIGCHLD)
    if into_cgroup >= 0:
        arguments.flags |= CLONE_INTO_CGROUP
        arguments.cgroup = into_cgroup
    pointer, size = ctypes.byref(arguments), _long(ctypes.sizeof(arguments))
    number = _long(_numbers["clone3"])
    _before_fork()
    pid: int = _locked_syscall(number, pointer, size)
    if pid == 0:
        _after_fork_child()
        return 0
    _after_fork_parent()
    return _check(pid)
