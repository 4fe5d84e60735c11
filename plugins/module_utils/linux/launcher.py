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

from . import syscalls
from .errors import KernelRefused, Unsupported

_ADD_SEALS = 1033  # fcntl(2), F_ADD_SEALS
_SEALS = 0xF  # SEAL, SHRINK, GROW, WRITE
_MFD_ALLOW_SEALING = 2
_MFD_EXEC = 0x10  # Linux 6.3; before, every memfd was executable
_EINVAL = 22
_BASE = 0x10000000

# The launcher is executed as [path, argv[0], ...] with the program's environment, and does this:
#
#     prctl(PR_SET_DUMPABLE, 0)                                  (as the process was before: case R04)
#     if fifo >= 0:
#         if fcntl(fifo, F_SETFD, FD_CLOEXEC) < 0: exit_group(1)
#         if read(fifo, somewhere, 1) != 1: exit_group(1)
#     if fcntl(report, F_SETFD, FD_CLOEXEC) < 0: exit_group(1)    (a program that starts it again, as above)
#     error = -execve(path, &argv[0], environment)
#     for (number, length, text) in table: if number == 0 or number == error: break
#     write(report, text, length)
#     exit_group(1)
#
# Assembled by GNU as; `fifo` and `report` (32 bits each) and the table (number and length of 32 bits each, then the
# text) follow.
_CODE = {
    # mov $4,%edi; xor %esi,%esi; mov $157,%eax; syscall; mov fifo(%rip),%edi; test %edi,%edi; js 0f
    # mov $2,%esi; mov $1,%edx; mov $72,%eax; syscall; test %eax,%eax; js 3f
    # mov fifo(%rip),%edi; lea -16(%rsp),%rsi; mov $1,%edx; xor %eax,%eax; syscall; cmp $1,%eax; jne 3f
    # 0: mov report(%rip),%edi; mov $2,%esi; mov $1,%edx; mov $72,%eax; syscall; test %eax,%eax; js 3f
    # mov (%rsp),%rax; mov 8(%rsp),%rdi; lea 16(%rsp),%rsi; lea 16(%rsp,%rax,8),%rdx; mov $59,%eax; syscall; neg %eax
    # lea table(%rip),%rbx
    # 1: mov (%rbx),%ecx; mov 4(%rbx),%edx; add $8,%rbx; test %ecx,%ecx; jz 2f; cmp %ecx,%eax; je 2f; add %rdx,%rbx
    # jmp 1b; 2: mov %rbx,%rsi; mov report(%rip),%edi; mov $1,%eax; syscall; 3: mov $1,%edi; mov $231,%eax; syscall
    "x86_64": (
        62,
        "bf0400000031f6b89d0000000f058b3da200000085ff782ebe02000000ba01000000b848"
        "0000000f0585c0787d8b3d83000000488d7424f0ba0100000031c00f0583f80175648b3d"
        "6e000000be02000000ba01000000b8480000000f0585c07849488b0424488b7c2408488d"
        "742410488d54c410b83b0000000f05f7d8488d1d3a0000008b0b8b53044883c30885c974"
        "0939c874054801d3ebea4889de8b3d17000000b8010000000f05bf01000000b8e7000000"
        "0f05",
    ),
    # mov x0,#4; mov x1,#0; mov x8,#167; svc #0; ldr w0,fifo; tbnz w0,#31,0f
    # mov x1,#2; mov x2,#1; mov x8,#25; svc #0; tbnz w0,#31,3f
    # ldr w0,fifo; sub x1,sp,#16; mov x2,#1; mov x8,#63; svc #0; cmp x0,#1; b.ne 3f
    # 0: ldr w0,report; mov x1,#2; mov x2,#1; mov x8,#25; svc #0; tbnz w0,#31,3f; ldr x3,[sp]; ldr x0,[sp,#8]
    # add x1,sp,#16; add x2,x1,x3,lsl #3; mov x8,#221; svc #0; neg w4,w0; adr x5,table
    # 1: ldr w6,[x5],#4; ldr w2,[x5],#4; cbz w6,2f; cmp w6,w4; b.eq 2f; add x5,x5,x2; b 1b
    # 2: mov x1,x5; ldr w0,report; mov x8,#64; svc #0; 3: mov x0,#1; mov x8,#94; svc #0
    "aarch64": (
        183,
        "800080d2010080d2e81480d2010000d440050018a001f837410080d2220080d2280380d2"
        "010000d42004f83760040018e14300d1220080d2e80780d2010000d41f0400f141030054"
        "a0030018410080d2220080d2280380d2010000d48002f837e30340f9e00740f9e1430091"
        "220c038ba81b80d2010000d4e403004b25020010a64440b8a24440b8a6000034df00046b"
        "60000054a500028bfaffff17e10305aae0000018080880d2010000d4200080d2c80b80d2"
        "010000d4",
    ),
}
# What the launcher itself calls before the program runs: a filter that refuses one of these must let it pass.
CALLS = ("execveat", "fcntl", "prctl")


def _number(value: int, size: int) -> bytes:
    return value.to_bytes(size, "little")


def _image(report_fd: int, texts: dict[int, bytes], otherwise: bytes, wait_fd: int) -> bytes:
    """The launcher as an ELF file (elf(5)) of one segment, which can be read and executed."""
    machine, code = _CODE[syscalls.machine]
    content = bytes.fromhex(code) + wait_fd.to_bytes(4, "little", signed=True) + _number(report_fd, 4)
    for number, text in [*texts.items(), (0, otherwise)]:
        content += _number(number, 4) + _number(len(text), 4) + text
    start = 64 + 56  # the two headers
    size = start + len(content)
    header = b"\x7fELF\x02\x01\x01" + bytes(9) + _number(2, 2) + _number(machine, 2) + _number(1, 4)
    header += _number(_BASE + start, 8) + _number(64, 8) + bytes(12) + _number(64, 2) + _number(56, 2) + _number(1, 8)
    segment = _number(1, 4) + _number(5, 4) + bytes(8) + 2 * _number(_BASE, 8) + 2 * _number(size, 8)
    return header + segment + _number(0x10000, 8) + content


def prepare(report_fd: int, texts: dict[int, bytes], otherwise: bytes, wait_fd: int = -1) -> int:
    """The descriptor of a launcher that writes texts[errno] (or otherwise) to report_fd where execve(2) fails.

    wait_fd: what it reads one byte from before it goes on, or -1. Both stay open over the launcher's own start and are
    closed by the program's. Raises KernelRefused, and Unsupported where the host forbids it.
    """
    try:
        fd = _memfd()
    except PermissionError:
        message = "memfd_create: sysctl vm.memfd_noexec=2 forbids programs in memory, which labrun needs; set it to 1"
        raise Unsupported(message) from None
    try:
        os.write(fd, _image(report_fd, texts, otherwise, wait_fd))
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
