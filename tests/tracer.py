# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A small ptrace(2) tracer: the system calls of a command and of its children, and SIGKILL at one of them.

`strace --inject=CALL:signal=SIGKILL:when=N` would be the tool for it, and falls short twice. It counts N in every
process by itself, so that the n-th openat of a child cannot be meant when its parent makes as many; and it kills only
before a call (a fatal signal at the entry stop makes the kernel skip the call). Here a point is (process, call, n),
and the kill comes before the call (entry stop: not executed) or after it (exit stop: executed, nothing follows).
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import time
from typing import NamedTuple

_SEIZE, _SYSCALL, _CONT, _LISTEN, _EVENT_MESSAGE, _SYSCALL_INFO = 0x4206, 24, 7, 0x4208, 0x4201, 0x420E
_EVENT_FORK, _EVENT_VFORK, _EVENT_CLONE, _EVENT_EXEC, _EVENT_STOP = 1, 2, 3, 4, 128
# TRACESYSGOOD, TRACEFORK, TRACEVFORK, TRACECLONE, TRACEEXEC
_OPTIONS = 1 | 2 | 4 | 8 | 16
_WALL = 0x40000000
ENTRY, EXIT = 1, 2

# What only reads, or touches nothing but the caller's own memory, descriptors, signals and identity, which end with it.
# Any call that is not named here is taken for one that changes the kernel's or a file's state.
_HARMLESS = """
    access alarm arch_prctl brk capget capset chdir clock_getres clock_gettime clock_nanosleep close close_range dup
    dup2 dup3 epoll_create epoll_create1 epoll_ctl epoll_pwait epoll_wait eventfd eventfd2 exit exit_group faccessat
    faccessat2 fadvise64 fchdir fcntl fgetxattr flistxattr fstat fstatfs futex get_robust_list getcwd getdents
    getdents64 getegid geteuid getgid getgroups getpgid getpgrp getpid getppid getpriority getrandom getresgid
    getresuid getrlimit getsid getsockname getsockopt gettid gettimeofday getuid getxattr inotify_init1 ioctl lgetxattr
    llistxattr listxattr lseek lstat madvise membarrier memfd_create mincore mlock mmap mprotect mremap munlock munmap
    nanosleep newfstatat open_tree pause personality pidfd_getfd pidfd_open pipe pipe2 poll ppoll prctl pread64 preadv
    prlimit64 pselect6 read readahead readlink readlinkat readv recvfrom recvmsg restart_syscall rseq rt_sigaction
    rt_sigpending rt_sigprocmask rt_sigreturn rt_sigsuspend rt_sigtimedwait sched_get_priority_max
    sched_get_priority_min sched_getaffinity sched_getattr sched_getparam sched_getscheduler sched_yield seccomp select
    set_robust_list set_tid_address setfsgid setfsuid setgid setgroups setregid setresgid setresuid setreuid setrlimit
    setuid sigaltstack signalfd4 socket socketpair stat statfs statx sysinfo time timerfd_create timerfd_settime times
    umask uname wait4 waitid"""
HARMLESS = frozenset(_HARMLESS.split())
_OPENING = {"open": 1, "openat": 2}
_CREATING = os.O_CREAT | os.O_TRUNC | 0o20000000  # and O_TMPFILE

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_libc.ptrace.restype = ctypes.c_long


class Point(NamedTuple):
    """A call that changes state: the process by its order of creation (0: the command), its name, and which of them."""

    process: int
    call: str
    number: int

    def __str__(self):
        return f"{self.call} {self.number} of process {self.process}"


class Info(ctypes.Structure):
    """struct ptrace_syscall_info of the entry and the exit stop; of the exit's union only the result is read."""

    _fields_ = [
        ("op", ctypes.c_uint8),
        ("pad", ctypes.c_uint8 * 3),
        ("arch", ctypes.c_uint32),
        ("instruction", ctypes.c_uint64),
        ("stack", ctypes.c_uint64),
        ("number", ctypes.c_uint64),
        ("arguments", ctypes.c_uint64 * 6),
    ]


def _names():
    """System call number -> name, by libseccomp."""
    seccomp = ctypes.CDLL("libseccomp.so.2")
    resolve = seccomp.seccomp_syscall_resolve_num_arch
    resolve.restype = ctypes.c_void_p
    native = seccomp.seccomp_arch_native()
    names = {}
    for number in range(480):
        pointer = resolve(native, number)
        if pointer:
            names[number] = ctypes.string_at(pointer).decode()
    return names


NAMES = _names()


class Result(NamedTuple):
    """points in the order they were met; killed: whether the kill happened; code: the command's exit code or -signal;
    networks: the network namespaces that its processes were in at the kill, other than the tracer's own."""

    points: list[Point]
    killed: bool
    code: int
    networks: list[str]


def run(arguments, environment, kill=None, when="before", victim="caller", output=os.devnull):
    """Run a command to its end under the tracer, and SIGKILL one of its processes at the Point kill.

    victim: "caller", which makes the call, or "runtime", the command itself. After the kill all that is left runs on
    untraced.
    """
    points, killed, code, networks = follow(Tracer(kill, when, victim), arguments, environment, output)
    return Result([Point(*point) for point in points], killed, code, networks)


def follow(tracer, arguments, environment, output=os.devnull, timeout_s=60):
    """What tracer.run() returns, of JSON.

    The tracer is a process of its own, for it waits for any child; its parent is another one that reaps the orphans
    for as long as there are any, as an init does.
    """
    _reap_reapers()
    read_fd, write_fd = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(read_fd)
            _libc.prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
            if os.fork() == 0:
                _answer(write_fd, tracer, (arguments, environment, output), timeout_s)
            os.close(write_fd)
            while True:
                os.wait()
        finally:
            os._exit(0)
    _reapers.append(pid)
    os.close(write_fd)
    with open(read_fd) as file:
        text = file.read()
    if not text.startswith("["):
        raise RuntimeError(f"the tracer failed on {arguments}: {text or 'killed'}")
    return json.loads(text)


_reapers = []


def _reap_reapers():
    for pid in list(_reapers):
        if os.waitpid(pid, os.WNOHANG)[0]:
            _reapers.remove(pid)


def _answer(fd, tracer, command, timeout_s):
    """The tracer's process: never returns."""
    try:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(timeout_s)
        answer = json.dumps(tracer.run(*command))
    except BaseException as error:
        answer = repr(error)
    with open(fd, "w") as file:
        file.write(answer)
    os._exit(0)


def _open_how(thread, address):
    """The flags of openat2's struct open_how."""
    fd = os.open(f"/proc/{thread}/mem", os.O_RDONLY)
    try:
        return int.from_bytes(os.pread(fd, 8, address), "little")
    finally:
        os.close(fd)


class Tracer:
    """Follows all threads of a command and of its children; what is stopped at can be looked at and changed."""

    def __init__(self, kill, when, victim):
        self.kill = kill
        self.when = when
        self.victim = victim
        self.order = {}  # thread group -> order of creation
        self.groups = {}  # thread -> thread group
        self.programs = set()  # thread groups that run another program by now: not the runtime any more
        self.counts = {}
        self.points = []
        self.pending = {}  # thread -> the point whose exit stop is awaited
        self.killed = False
        self.main = 0
        self.code = None
        self.networks = []

    def run(self, arguments, environment, output):
        self._start(arguments, environment, output)
        while self.code is None:
            self._handle(*os.waitpid(-1, _WALL))
        return self.points, self.killed, self.code, self.networks

    def _start(self, arguments, environment, output):
        pid = os.fork()
        if pid == 0:
            null = os.open(os.devnull, os.O_RDONLY)
            file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            for number, fd in enumerate((null, file, file)):
                os.dup2(fd, number)
            os.closerange(3, 256)
            os.kill(os.getpid(), signal.SIGSTOP)
            os.execve(arguments[0], arguments, environment)
        os.waitpid(pid, os.WUNTRACED)
        self._ptrace(_SEIZE, pid, 0, _OPTIONS)
        self.main = pid
        self._add(pid, pid)
        os.kill(pid, signal.SIGCONT)

    def _ptrace(self, request, pid, address=0, data=0):
        result = _libc.ptrace(request, pid, address, data)
        if result < 0 and ctypes.get_errno() != 3:  # ESRCH: it was killed meanwhile
            raise OSError(ctypes.get_errno(), f"ptrace {request:#x}")
        return result

    def _add(self, thread, group):
        self.groups[thread] = group
        self.order.setdefault(group, len(self.order))

    def _handle(self, thread, status):
        if not os.WIFSTOPPED(status):
            if thread == self.main:
                self.code = -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
            return
        number, event = os.WSTOPSIG(status), status >> 16
        deliver = 0
        if number == signal.SIGTRAP | 0x80:
            self.called(thread)
        elif event in (_EVENT_FORK, _EVENT_VFORK, _EVENT_CLONE):
            message = ctypes.c_ulong()
            self._ptrace(_EVENT_MESSAGE, thread, 0, ctypes.addressof(message))
            child, group = message.value, self.groups.get(thread, thread)
            self._add(child, group if os.path.exists(f"/proc/{group}/task/{child}") else child)
            self.cloned(thread, child)
        elif event == _EVENT_EXEC:
            self.executed(thread)
            if thread != self.main:
                self.programs.add(thread)
        elif event == _EVENT_STOP:
            if number in (signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU):
                self._ptrace(_LISTEN, thread)
                return
        else:
            deliver = number
        self._ptrace(_CONT if self.killed else _SYSCALL, thread, 0, deliver)

    def executed(self, thread):
        """The thread has just begun another program."""

    def cloned(self, parent, child):
        """The thread parent has made the thread child."""

    def info(self, thread):
        """What the kernel tells of the stop that the thread is at."""
        info = Info()
        self._ptrace(_SYSCALL_INFO, thread, ctypes.sizeof(info), ctypes.addressof(info))
        return info

    def called(self, thread):
        """The thread is about to make a call, or has made one."""
        if self.killed:
            return
        info = self.info(thread)
        if info.op == EXIT:
            point = self.pending.pop(thread, None)
            if point is not None and point == self.kill and self.when == "after":
                self._kill(thread)
        elif info.op == ENTRY:
            self._entered(thread, NAMES.get(info.number, f"call {info.number}"), info)

    def _entered(self, thread, name, info):
        group = self.groups.get(thread, thread)
        if group in self.programs or name in HARMLESS:
            return
        if name in _OPENING and not info.arguments[_OPENING[name]] & _CREATING:
            return
        if name == "openat2" and not _open_how(thread, info.arguments[2]) & _CREATING:
            return
        key = (self.order.get(group, -1), name)
        self.counts[key] = self.counts.get(key, 0) + 1
        point = Point(*key, self.counts[key])
        self.points.append(point)
        self.pending[thread] = point
        if point == self.kill and self.when == "before":
            self._kill(thread)

    def _kill(self, thread):
        """Kill the caller, which is stopped, or the command; then nothing else is stopped any more."""
        own = os.readlink("/proc/self/ns/net")
        for group in self.order:
            try:
                network = os.readlink(f"/proc/{group}/ns/net")
            except OSError:
                continue
            if network != own and network not in self.networks:
                self.networks.append(network)
        target = self.groups.get(thread, thread) if self.victim == "caller" else self.main
        self.killed = True
        os.kill(target, signal.SIGKILL)
        deadline = time.monotonic() + 5
        while target != thread and os.path.exists(f"/proc/{target}/exe") and time.monotonic() < deadline:
            if target == self.main and self.code is not None:
                return
            pid, status = os.waitpid(target, _WALL | os.WNOHANG)
            if pid:
                self._handle(pid, status)
                return
            time.sleep(0.001)
