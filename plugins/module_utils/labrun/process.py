# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""Step 5 of a start: from root in the container to the process that config.json describes.

Prepared does all that looks anything up, on the host; what runs in the container after pivot_root only calls (R22).
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from _signal import SIG_DFL, SIG_IGN, SIG_SETMASK, getsignal, pthread_sigmask
from _signal import signal as set_signal  # the signal module itself imports enum: 3 ms of a start

from ..linux import capabilities, seccomp, syscalls, trace
from ..linux.errors import InvalidInput, KernelRefused
from ..spec import process_rules
from ..spec.runtime import PATH
from . import program

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

# asm-generic/resource.h, in the kernel's own order
_RLIMITS = [
    "CPU",
    "FSIZE",
    "DATA",
    "STACK",
    "CORE",
    "RSS",
    "NPROC",
    "NOFILE",
    "MEMLOCK",
    "AS",
    "LOCKS",
    "SIGPENDING",
    "MSGQUEUE",
    "NICE",
    "RTPRIO",
    "RTTIME",
]
# For a config.json without process, which can be created and not be started (config.md, process)
NONE = {"cwd": "/"}
_NO_PROCESS = "config.json: process: missing; a container without one can be created, and cannot be started"
_IDS_HINT = "map the id in linux.uidMappings and linux.gidMappings"
_C_LIBRARY_SIGNALS = (32, 33)  # which sigaction(3) refuses
# keyctl(2), of a session keyring: all for its possessor, view, read and link for its user, as the kernel makes it, and
# the right to search it: for its user, or, in a user namespace, where ids differ, for others
_KEYRING = 0x3F130000
_KEYRING_SEARCH = 0x00080000
_KEYRING_SEARCH_OTHERS = 0x00000008


class _Rlimit(ctypes.Structure):
    _fields_ = [("soft", ctypes.c_uint64), ("hard", ctypes.c_uint64)]


_prlimit = ctypes.CDLL(None, use_errno=True).prlimit64
_prlimit.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.POINTER(_Rlimit), ctypes.c_void_p]


class Prepared:
    """A process object of config.json, ready to be applied without any look-up.

    keyring: the name of the session keyring, empty for an anonymous one, None to keep the caller's; the caller sets it.
    sysctls: (path below /proc/sys, value), to be written by the container's first process.
    """

    def __init__(
        self,
        process: dict[str, Any],
        linux: dict[str, Any],
        debug: Callable[[str], None],
        warn: Callable[[str], None],
        kept: str = "",
        joining: bool = False,
    ) -> None:
        """Of config.json's process and linux objects. kept: the folder of compiled filters (seccomp_kept.py).

        joining: the process is a further one (exec), for which execCPUAffinity counts. Raises InvalidInput
        and Unsupported.
        """
        user = process.get("user") or {}
        self.keyring: bytes | None = b""
        self.args = [os.fsencode(item) for item in process.get("args") or [""]]
        self.is_missing = not process.get("args")
        program.prepare_texts(self.args[0])
        self.environment = _environment(process.get("env") or [])
        self.needs_home = not self.environment.get(b"HOME")
        self.search = [part or b"." for part in self.environment.get(b"PATH", PATH.encode()).split(b":")]
        self.cwd = os.fsencode(process["cwd"])
        self.uid = user.get("uid", 0)
        self.gid = user.get("gid", 0)
        self.groups = list(dict.fromkeys(user.get("additionalGids") or []))
        umask = user.get("umask")
        self.umask = 0o022 if umask is None and not joining else umask  # exec keeps the caller's, as runc's does
        self.rlimits = [
            (item["type"], _RLIMITS.index(item["type"][7:]), _Rlimit(item["soft"], item["hard"]))
            for item in process.get("rlimits") or []
        ]
        self.no_new_privileges = bool(process.get("noNewPrivileges"))
        self.in_user_namespace = any(item["type"] == "user" for item in linux.get("namespaces") or [])
        granted = None if self.in_user_namespace else capabilities.held()
        self.capabilities = capabilities.prepare(process.get("capabilities") or {}, warn, granted)
        # Under no_new_privs a user's program has at most what it is executed with: the launcher must not lose that.
        way = capabilities.over_execve(self.capabilities) if self.no_new_privileges and self.uid else None
        self.wider = way[0] if way else None
        self.launcher_calls = way[1] if way else []
        profile = linux.get("seccomp")
        self.seccomp = seccomp.prepare(profile, debug, kept) if profile else None
        self.lsm: Any = _prepare_lsm(process)
        self.scheduling: Any = _prepare_scheduling(process, linux)
        self.initial_cpus, self.final_cpus = _affinity(process) if joining else ([], [])
        self.sysctls = [] if joining else _prepare_sysctls(linux)


def _environment(entries: list[str]) -> dict[bytes, bytes]:
    """The env array as a dict: of a name that stands twice the last one counts, in its place, as in runc."""
    result: dict[bytes, bytes] = {}
    for entry in entries:
        name, _equals, value = os.fsencode(entry).partition(b"=")
        result.pop(name, None)
        result[name] = value
    return result


def _prepare_lsm(process: dict[str, Any]) -> Any:
    profile, label = process.get("apparmorProfile") or "", process.get("selinuxLabel") or ""
    if not profile and not label:
        return None
    from ..linux import lsm

    return lsm.prepare(profile, label)


def _prepare_scheduling(process: dict[str, Any], linux: dict[str, Any]) -> Any:
    if not (
        process.get("scheduler") or process.get("ioPriority") or linux.get("personality") or linux.get("memoryPolicy")
    ):
        return None
    from ..linux import scheduling

    nodes = (linux.get("memoryPolicy") or {}).get("nodes") or ""
    return scheduling.Prepared(process, linux, process_rules.cpu_list(nodes, "linux.memoryPolicy.nodes"))


def _affinity(process: dict[str, Any]) -> tuple[list[int], list[int]]:
    affinity = process.get("execCPUAffinity") or {}
    lists = [process_rules.cpu_list(affinity.get(key) or "", "process.execCPUAffinity") for key in ("initial", "final")]
    if any(lists):
        from ..linux import scheduling  # noqa: F401, for what runs in the container later and can import nothing
    return lists[0], lists[1]


def _prepare_sysctls(linux: dict[str, Any]) -> list[tuple[str, str]]:
    sysctls = [(process_rules.sysctl_path(key), value) for key, value in (linux.get("sysctl") or {}).items()]
    if sysctls:
        from ..linux import sysctl

        files = {"network": "net"}
        listed = [item for item in linux.get("namespaces") or [] if item.get("path")]
        sysctl.refuse_host(sysctls, {files.get(item["type"], item["type"]): item["path"] for item in listed})
    return sysctls


def set_initial_affinity(prepared: Prepared) -> None:
    """execCPUAffinity.initial, for a process that is about to enter the container's cgroup. Raises KernelRefused."""
    if prepared.initial_cpus:
        from ..linux import scheduling

        scheduling.set_affinity(prepared.initial_cpus, "process.execCPUAffinity.initial")


def open_proc(prepared: Prepared) -> int:
    """The root of the host's procfs where anything is to be written to it, else -1; the caller closes it.

    For exec it is opened before the container's mount namespace is joined. Raises OcilabError, KernelRefused.
    """
    if not prepared.lsm and not prepared.sysctls:
        return -1
    from ..linux import procfs

    return procfs.open_root()


def open_host_files(prepared: Prepared, proc_fd: int) -> None:
    """What the child must open while it has the host's /proc: to be called before pivot_root.

    proc_fd: of open_proc(). The process is made non-dumpable as well: nobody in the container may look into it or take
    hold of its files (case R04). Raises KernelRefused.
    """
    syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0, "PR_SET_DUMPABLE")
    if prepared.lsm:
        from ..linux import lsm

        lsm.open_files(prepared.lsm, proc_fd)


def write_sysctls(prepared: Prepared, proc_fd: int) -> None:
    """linux.sysctl, in the new namespaces and before pivot_root; of the first process only. Raises KernelRefused."""
    if prepared.sysctls:
        from ..linux import sysctl

        sysctl.write_all(prepared.sysctls, proc_fd)


def become_process(
    prepared: Prepared,
    before_wait: Callable[[], None],
    report_fd: int,
    give_listener: Callable[[int], None] | None = None,
    passed: int = 0,
    wait_fd: int = -1,
) -> None:
    """Take on the process's limits, ids, capabilities and filter; before_wait reports and waits; then execve.

    The order is runc's (security-relevant): a filter that needs privilege goes first, one that does not goes last.
    give_listener hands the descriptor of a seccomp listener to the runtime and returns when that has it; it may make no
    system call but write(2), read(2) and close(2). passed: how many descriptors from 3 on the program keeps. wait_fd:
    what the launcher reads one byte from before the program starts, where before_wait has not waited itself; or -1, as
    it must be where is_direct(). An error of execve(2) itself is written to report_fd as one line of JSON,
    {"error": class, "message": text}.

    Does not return; raises CommandNotFound, CommandNotExecutable, InvalidInput, Unsupported and KernelRefused.
    """
    _join_keyring(prepared)
    launcher_fd = program.prepare_launcher(prepared.args[0], report_fd, prepared.launcher_calls, wait_fd)
    _set_affinity(prepared)
    _set_rlimits(prepared)
    if prepared.umask is not None:
        os.umask(prepared.umask)
    if prepared.scheduling:
        _scheduling().apply(prepared.scheduling)
    if prepared.lsm:
        _lsm().apply(prepared.lsm)
    if prepared.no_new_privileges:
        syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1, "PR_SET_NO_NEW_PRIVS")
    entered = program.enter_cwd(prepared.cwd, False)
    if entered:
        program.verify_cwd(prepared.cwd)  # before a filter may refuse getcwd(2)
    if not prepared.no_new_privileges:
        _load_filter(prepared, give_listener)
    syscalls.mark_close_on_exec(3 + passed)
    if prepared.needs_home:
        prepared.environment.pop(b"HOME", None)
        prepared.environment[b"HOME"] = program.home(prepared.uid)
    capabilities.drop_bounding(prepared.capabilities)
    _own_streams(prepared.uid)
    set_ids(prepared)
    if not entered:
        program.enter_cwd(prepared.cwd, True)
        program.verify_cwd(prepared.cwd)
    capabilities.apply(prepared.capabilities)
    path = b"" if prepared.is_missing else program.find(prepared.args[0], prepared.search)
    _reset_signals()
    if prepared.no_new_privileges:
        _load_filter(prepared, give_listener)
    before_wait()
    if prepared.is_missing:
        raise InvalidInput(_NO_PROCESS)
    if is_direct(prepared):
        program.execute_directly(path, prepared.args, prepared.environment)
    program.execute(path, prepared.args, prepared.environment, launcher_fd, report_fd, prepared.wider, wait_fd)


def is_direct(prepared: Prepared) -> bool:
    """Whether the program is executed without the launcher: where the process takes on a label of SELinux's, or where
    there is none.
    """
    return bool(prepared.lsm and prepared.lsm.label) or prepared.is_missing


def _scheduling() -> Any:
    from ..linux import scheduling  # here already: Prepared imported it

    return scheduling


def _lsm() -> Any:
    from ..linux import lsm  # here already: Prepared imported it

    return lsm


def _join_keyring(prepared: Prepared) -> None:
    if prepared.keyring is None:
        return
    try:
        if prepared.lsm:
            _lsm().label_keys(prepared.lsm, True)
        key = syscalls.join_session_keyring(prepared.keyring)
        if prepared.lsm:
            _lsm().label_keys(prepared.lsm, False)
        if prepared.keyring:
            search = _KEYRING_SEARCH_OTHERS if prepared.in_user_namespace else _KEYRING_SEARCH
            syscalls.set_key_permissions(key, _KEYRING | search)
    except OSError as error:
        # No keyrings here: nothing to shield either. EACCES: one of that name is there and another user's.
        if error.errno not in (errno.ENOSYS, errno.EPERM, errno.EDQUOT, errno.EACCES):
            raise KernelRefused("keyctl", "a new session keyring", error.errno) from None


def _set_affinity(prepared: Prepared) -> None:
    """Not what the runtime happened to have, as in runc; execCPUAffinity.initial stays where there is no final one."""
    if prepared.final_cpus:
        _scheduling().set_affinity(prepared.final_cpus, "process.execCPUAffinity.final")
    elif not prepared.initial_cpus:
        try:
            syscalls.reset_affinity()
        except OSError:
            pass  # what was inherited is as good


def _set_rlimits(prepared: Prepared) -> None:
    for name, number, limit in prepared.rlimits:
        trace.call("prlimit64", (name, limit.soft, limit.hard), _set_rlimit, name, number, limit)


def _set_rlimit(name: str, number: int, limit: _Rlimit) -> None:
    if _prlimit(0, number, ctypes.byref(limit), None) != 0:
        hint = "a hard limit can only be raised with CAP_SYS_RESOURCE; ask for at most the caller's own"
        raise KernelRefused("prlimit64", "%s %d:%d" % (name, limit.soft, limit.hard), ctypes.get_errno(), hint)


def _load_filter(prepared: Prepared, give_listener: Callable[[int], None] | None) -> None:
    if prepared.seccomp:
        listener = seccomp.load(prepared.seccomp)
        if listener >= 0 and give_listener:
            give_listener(listener)


def _own_streams(uid: int) -> None:
    """The program's user owns its standard streams, so that it can open /dev/stdout; of /dev/null nobody does."""
    for fd in (0, 1, 2):
        try:
            status = os.fstat(fd)
            if status.st_uid != uid and not (stat.S_ISCHR(status.st_mode) and status.st_rdev == os.makedev(1, 3)):
                os.fchown(fd, uid, -1)
        except OSError as error:
            # Closed; of a user that is not mapped here; on a read-only file system: as good as one can get.
            if error.errno not in (errno.EBADF, errno.EPERM, errno.EINVAL, errno.EROFS):
                raise KernelRefused("fchown", "standard stream %d" % fd, error.errno) from None


def set_ids(prepared: Prepared) -> None:
    """Groups, gid and uid, in that order, and keep the capabilities over the change."""
    syscalls.prctl(syscalls.PR_SET_KEEPCAPS, 1, "PR_SET_KEEPCAPS")
    try:
        _set_groups(prepared.groups)
        trace.call("setresgid", (prepared.gid,), os.setresgid, prepared.gid, prepared.gid, prepared.gid)
        trace.call("setresuid", (prepared.uid,), os.setresuid, prepared.uid, prepared.uid, prepared.uid)
    except OSError as error:
        target = "uid %d, gid %d, groups %s" % (prepared.uid, prepared.gid, prepared.groups)
        raise KernelRefused("setresuid", target, error.errno, _IDS_HINT) from None


def _set_groups(groups: list[int]) -> None:
    try:
        trace.call("setgroups", (groups,), os.setgroups, groups)
    except PermissionError as error:
        # In the user namespace of a normal user (user_namespaces(7)), where nobody can have groups.
        if groups:
            hint = "process.user.additionalGids cannot be had in a user namespace of a normal user; remove them"
            raise KernelRefused("setgroups", str(groups), error.errno, hint) from None


def _reset_signals() -> None:
    """No signal ignored or blocked: both are inherited over execve(2), and the Python interpreter ignores SIGPIPE."""
    for number in range(1, 65):
        try:
            if number in _C_LIBRARY_SIGNALS:
                syscalls.default_signal(number)
            elif getsignal(number) == SIG_IGN:
                set_signal(number, SIG_DFL)
        except (OSError, ValueError):
            continue  # SIGKILL and SIGSTOP
    pthread_sigmask(SIG_SETMASK, ())
