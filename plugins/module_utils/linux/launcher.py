# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""The very last step of a start: a launcher of few bytes between Python and the container's program (case R01).

While execve(2) runs, /proc/self/exe is still the calling process's file. A program of the container that names it, as
`#!/proc/self/exe` does, would start the host's Python, reached through the host's own mount, and could write to that
file later (CVE-2019-5736). So labrun executes a launcher first, which lies in sealed memory, and that one the program:
what the container can reach then is the launcher, which is nobody's. It costs 0.3 ms; a copy of Python, as runc makes
one of itself, would cost a second start of the interpreter.

The launcher can wait for the start as well, in place of the interpreter: a waiting container then holds some pages
rather than some MiB, and none of the runtime's memory.
"""

from __future__ import annotations

import fcntl
import os

from . import elf, syscalls
from .errors import KernelRefused, Unsupported

_ADD_SEALS = 1033  # fcntl(2), F_ADD_SEALS
_SEALS = 0xF  # SEAL, SHRINK, GROW, WRITE
_MFD_ALLOW_SEALING = 2
_MFD_EXEC = 0x10  # Linux 6.3; before, every memfd was executable
_EINVAL = 22

# The launcher is executed as [path, argv[0], ...] with the program's environment, and does this:
#
#     if fcntl(report, F_SETFD, FD_CLOEXEC) < 0: exit_group(1)    (a program that starts it again, as above)
#     prctl(PR_SET_DUMPABLE, 0)                                   (as the process was before: case R04)
#     for (number, a, b, c) in calls, to a negative number:
#         if syscall(number, a, b, c, 0, 0) < 0: error = 0, and on to the table
#     if fifo >= 0:
#         if fcntl(fifo, F_SETFD, FD_CLOEXEC) < 0: exit_group(1)
#         if read(fifo, below the stack, 1) != 1: exit_group(1)
#     error = -execve(path, &argv[0], environment)
#     for (number, length, text) in table: if number == 0 or number == error: break
#     write(report, text, length)
#     exit_group(1)
#
# Assembled by GNU as. `report`, `fifo` and the address of the table (64 bits each), the calls (4 times 64 bits) and the
# table (number and length of 32 bits each, then the text) follow.
_CODE = {
    # mov report(%rip),%edi; mov $2,%esi; mov $1,%edx; mov $72,%eax; syscall; test %eax,%eax; js 5f
    # mov $4,%edi; xor %esi,%esi; mov $157,%eax; syscall
    # lea calls(%rip),%rbx; 1: mov (%rbx),%rax; test %rax,%rax; js 2f; mov 8(%rbx),%rdi; mov 16(%rbx),%rsi
    # mov 24(%rbx),%rdx
    # xor %r10d,%r10d; xor %r8d,%r8d; add $32,%rbx; syscall; test %eax,%eax; jns 1b; xor %eax,%eax; jmp 3f
    # 2: mov fifo(%rip),%edi; test %edi,%edi; js 7f; mov $2,%esi; mov $1,%edx; mov $72,%eax; syscall; test %eax,%eax
    # js 5f; mov fifo(%rip),%edi; lea -16(%rsp),%rsi; mov $1,%edx; xor %eax,%eax; syscall; cmp $1,%eax; jne 5f
    # 7: mov (%rsp),%rax; mov 8(%rsp),%rdi; lea 16(%rsp),%rsi; lea 16(%rsp,%rax,8),%rdx; mov $59,%eax; syscall
    # neg %eax; 3: mov table(%rip),%rbx; 4: mov (%rbx),%ecx; mov 4(%rbx),%edx; lea 8(%rbx),%rsi; test %ecx,%ecx; jz 6f
    # cmp %ecx,%eax; je 6f; lea (%rsi,%rdx),%rbx; jmp 4b; 6: mov report(%rip),%edi; mov $1,%eax; syscall
    # 5: mov $1,%edi; mov $231,%eax; syscall; .balign 8
    "x86_64": (
        "8b3de2000000be02000000ba01000000b8480000000f0585c00f88bc000000bf04000000"
        "31f6b89d0000000f05488d1dcc000000488b034885c07820488b7b08488b7310488b5318"
        "4531d24531c04883c3200f0585c079dc31c0eb548b3d8e00000085ff782ebe02000000ba"
        "01000000b8480000000f0585c078608b3d6f000000488d7424f0ba0100000031c00f0583"
        "f8017547488b0424488b7c2408488d742410488d54c410b83b0000000f05f7d8488b1d41"
        "0000008b0b8b5304488d730885c9740a39c87406488d1c16ebe98b3d14000000b8010000"
        "000f05bf01000000b8e70000000f0590"
    ),
    # ldr w0,report; mov x1,#2; mov x2,#1; mov x8,#25; svc #0; tbnz w0,#31,5f; mov x0,#4; mov x1,#0; mov x8,#167; svc #0
    # adr x19,calls; mov x3,#0; mov x4,#0
    # 1: ldp x8,x0,[x19]; tbnz x8,#63,2f; ldp x1,x2,[x19,#16]; add x19,x19,#32; svc #0; tbz w0,#31,1b; mov w4,#0; b 3f
    # 2: ldr w0,fifo; tbnz w0,#31,7f; mov x1,#2; mov x2,#1; mov x8,#25; svc #0; tbnz w0,#31,5f
    # ldr w0,fifo; sub x1,sp,#16; mov x2,#1; mov x8,#63; svc #0; cmp x0,#1; b.ne 5f
    # 7: ldr x3,[sp]; ldr x0,[sp,#8]; add x1,sp,#16; add x2,x1,x3,lsl #3; mov x8,#221; svc #0; neg w4,w0
    # 3: ldr x5,table; 4: ldp w6,w2,[x5]; add x1,x5,#8; cbz w6,6f; cmp w6,w4; b.eq 6f; add x5,x1,x2; b 4b
    # 6: ldr w0,report; mov x8,#64; svc #0; 5: mov x0,#1; mov x8,#94; svc #0; .balign 8
    "aarch64": (
        "00070018410080d2220080d2280380d2010000d40006f837800080d2010080d2e81480d2"
        "010000d493060010030080d2040080d2680240a9e800f8b7610a41a973820091010000d4"
        "60ffff360400805216000014a0040018a001f837410080d2220080d2280380d2010000d4"
        "4003f837c0030018e14300d1220080d2e80780d2010000d41f0400f161020054e30340f9"
        "e00740f9e1430091220c038ba81b80d2010000d4e403004b45020058a6084029a1200091"
        "a6000034df00046b600000542500028bfaffff17c0000018080880d2010000d4200080d2"
        "c80b80d2010000d4"
    ),
}
# What the launcher itself calls before the program runs: a filter that refuses one of these must let it pass.
CALLS = ("execveat", "fcntl", "prctl", "capset")
_END = (1 << 64) - 1


def _image(
    report_fd: int,
    texts: dict[int, bytes],
    otherwise: bytes,
    calls: list[tuple[int, int | bytes, int | bytes, int]],
    wait_fd: int,
) -> bytes:
    """The launcher as a file."""
    code = bytes.fromhex(_CODE[syscalls.machine])
    number = elf.number
    table = b"".join([number(found, 4) + number(len(text), 4) + text for found, text in texts.items()])
    table += number(0, 4) + number(len(otherwise), 4) + otherwise
    before = elf.ADDRESS + len(code) + 24 + 32 * len(calls) + 8
    data = b""
    listed = b""
    for call in calls:
        for word in call:
            if isinstance(word, bytes):
                listed += number(before + len(data), 8)
                data += word.ljust(-len(word) // 8 * -8, b"\0")
            else:
                listed += number(word, 8)
    files = number(report_fd, 8) + wait_fd.to_bytes(8, "little", signed=True)
    addresses = files + number(before + len(data), 8)
    return elf.image(code + addresses + listed + number(_END, 8) + data + table, syscalls.machine)


def prepare(
    report_fd: int,
    texts: dict[int, bytes],
    otherwise: bytes,
    calls: list[tuple[int, int | bytes, int | bytes, int]],
    wait_fd: int = -1,
) -> int:
    """The descriptor of a launcher that writes texts[errno] (or otherwise) to report_fd where execve(2) fails.

    calls: system calls that it makes before, as (number, three arguments); of an argument that is bytes the address is
    passed. All of them must be in CALLS. Where one fails, otherwise is written and the program does not start.
    wait_fd: what it reads one byte from before it goes on to the program, or -1. Both descriptors stay open over the
    launcher's own start and are closed by the program's. Raises KernelRefused, and Unsupported where the host forbids
    it.
    """
    try:
        fd = _memfd()
    except PermissionError:
        message = "memfd_create: sysctl vm.memfd_noexec=2 forbids programs in memory, which labrun needs; set it to 1"
        raise Unsupported(message) from None
    try:
        os.write(fd, _image(report_fd, texts, otherwise, calls, wait_fd))
        fcntl.fcntl(fd, _ADD_SEALS, _SEALS)
    except OSError as error:
        raise KernelRefused("write", "the launcher", error.errno) from None
    return fd


def _memfd() -> int:
    try:
        return os.memfd_create("labrun", os.MFD_CLOEXEC | _MFD_ALLOW_SEALING | _MFD_EXEC)
    except OSError as error:
        if error.errno != _EINVAL:
            raise
        return os.memfd_create("labrun", os.MFD_CLOEXEC | _MFD_ALLOW_SEALING)


def execute(launcher_fd: int, kept: list[int], path: bytes, args: list[bytes], environment: dict[bytes, bytes]) -> None:
    """Become the program at path by way of the launcher. Does not return; raises OSError (execveat(2)).

    kept: the descriptors that the launcher was prepared for. Where the program itself cannot be executed, the launcher
    reports it and ends with exit code 1.
    """
    for fd in kept:
        fcntl.fcntl(fd, fcntl.F_SETFD, 0)
    os.execve(launcher_fd, [path, *args], environment)
