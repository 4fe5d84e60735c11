# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""System calls that tell how far a container is shut in, with arguments that cannot do harm even where all is allowed.

The arguments are right as far as the kernel's look at the caller's rights, and wrong behind it, or what they ask for
concerns the child alone that makes the call. So a call that gets as far as its wrong arguments is allowed, by the
filter, by capabilities and by the LSM; any other error is how it was refused.
"""

from __future__ import annotations

import errno

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Union

    Argument = Union[int, bytes]

ALLOWED = "allowed"
KILLED = "killed"
_NOT_MADE = 0xFFFF  # what the program writes where it could not fork
_SIGSYS = 31

NAMESPACE_FD = 3  # the program's caller opens its own UTS namespace there
_AT_FDCWD = -100
_BIND = 0x1000
_NEWNS, _NEWUTS, _NEWUSER = 0x20000, 0x4000000, 0x10000000
_ATTACH = 16
_NO_SUCH_OPERATION = 0xFFFF
_READ_ALL = 3
_ADDR_NO_RANDOMIZE = 0x40000
_INET, _RAW, _IPPROTO_RAW = 2, 3, 255


def _words(*values: int) -> bytes:
    return b"".join(value.to_bytes(4, "little") for value in values)


_NO_FILE = _words(8, 1) + b"\xff" * 8  # struct file_handle: of an inode that no file system has
_ARRAY = _words(2, 4, 4, 1, 0)  # union bpf_attr: an array of one element
# struct perf_event_attr: the software clock of the caller itself, without the kernel's part, not running
_CLOCK = _words(1, 64) + bytes(32) + _words(0x61) + bytes(20)


class Call:
    """A call.

    numbers: on x86_64 and aarch64, None where there is none; expects: the errors of arguments that were looked at.
    """

    def __init__(
        self, name: str, numbers: tuple[int, int | None], arguments: tuple[Argument, ...], *expects: int
    ) -> None:
        self.name = name
        self.numbers = dict(zip(("x86_64", "aarch64"), numbers))
        self.arguments = arguments
        self.expects = expects

    def answer(self, status: int) -> str:
        """What came of it, from the wait status of the child that made it; empty where it was not made."""
        if status == _NOT_MADE:
            return ""
        if status & 0x7F:
            return KILLED if status & 0x7F == _SIGSYS else "%s by signal %d" % (KILLED, status & 0x7F)
        code = status >> 8 & 0xFF
        if code == 0 or code in self.expects:
            return ALLOWED
        return errno.errorcode.get(code, "error %d" % code)


CALLS = (
    # Mounts and the view of files
    Call("mount", (165, 40), (b"\0", b"/\0", b"\0", _BIND, 0), errno.EINVAL),  # a bind without a source
    Call("umount2", (166, 39), (b"/proc/self\0", 0), errno.EINVAL),  # never a mount point
    Call("fsopen", (430, 430), (0, 0), errno.EFAULT),
    Call("open_tree", (428, 428), (_AT_FDCWD, 0, 1), errno.EFAULT),
    Call("pivot_root", (155, 41), (0, 0), errno.EFAULT),
    Call("chroot", (161, 51), (b"/\0",)),
    Call("name_to_handle_at", (303, 264), (_AT_FDCWD, 0, 0, 0, 1 << 28), errno.EINVAL, errno.EFAULT),
    Call("open_by_handle_at", (304, 265), (_AT_FDCWD, _NO_FILE, 0), errno.ESTALE),
    Call("fanotify_init", (300, 262), (1 << 31, 0), errno.EINVAL),
    Call("swapon", (167, 224), (0, 0), errno.EFAULT),
    # Namespaces
    Call("unshare_user", (272, 97), (_NEWUSER,)),
    Call("unshare_mount", (272, 97), (_NEWNS,)),
    Call("setns", (308, 268), (NAMESPACE_FD, _NEWUTS)),  # into the one where it is
    Call("clone3", (435, 435), (0, 0), errno.EINVAL),
    Call("sethostname", (170, 161), (0, -1), errno.EINVAL),
    # Other processes
    Call("ptrace", (101, 117), (_ATTACH, 0), errno.ESRCH),
    Call("process_vm_readv", (310, 270), (0, 0, 0, 0, 0, 1), errno.EINVAL),
    Call("kcmp", (312, 272), (0, 0, 0, 0, 0), errno.ESRCH),
    Call("pidfd_getfd", (438, 438), (-1, 0, 0), errno.EBADF),
    Call("setpriority", (141, 140), (0, 0, -1)),  # nicer to itself than it was
    # Parts of the kernel with a history of holes
    Call("keyctl", (250, 219), (_NO_SUCH_OPERATION,), errno.EOPNOTSUPP),
    Call("add_key", (248, 217), (0, 0, 0, 0, 0), errno.EFAULT),
    Call("request_key", (249, 218), (0, 0, 0, 0), errno.EFAULT),
    Call("bpf", (321, 280), (0, _ARRAY, len(_ARRAY))),
    Call("perf_event_open", (298, 241), (_CLOCK, 0, -1, -1, 0)),
    Call("userfaultfd", (323, 282), (0,)),
    Call("io_uring_setup", (425, 425), (0, 0), errno.EFAULT, errno.EINVAL),
    Call("socket_raw", (41, 198), (_INET, _RAW, _IPPROTO_RAW)),
    Call("personality", (135, 92), (_ADDR_NO_RANDOMIZE,)),
    # The machine as a whole
    Call("init_module", (175, 105), (0, 0, 0), errno.ENOEXEC, errno.EFAULT),
    Call("finit_module", (313, 273), (-1, 0, 0), errno.EBADF),
    Call("kexec_load", (246, 104), (0, 0xFFFF, 0, 0x8000), errno.EINVAL),  # too many segments, and a flag that is none
    Call("reboot", (169, 142), (0, 0, 0, 0), errno.EINVAL),  # without the magic numbers
    Call("settimeofday", (164, 170), (0, 0)),  # neither a time nor a zone
    Call("syslog", (103, 116), (_READ_ALL, 0, 0), errno.EINVAL),
    Call("acct", (163, 89), (1,), errno.EFAULT),  # a null pointer would switch it off
    Call("iopl", (172, None), (3,)),
)


def of(machine: str) -> list[Call]:
    """Those that a machine (uname(2)) has."""
    return [call for call in CALLS if call.numbers.get(machine) is not None]
