# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""The program of a pod's own process, which holds the namespaces that the pod's containers share.

It waits for SIGTERM or SIGINT, and ends then. Where the containers share its process namespace, it is their init: what
they leave to it when they end it reaps.
"""

from __future__ import annotations

import hashlib
import os

from ..linux import elf, syscalls

NAME = "pause"
# sigset_t with SIGINT, SIGTERM and SIGCHLD. Blocked, they reach an init too, that has no handler (pid_namespaces(7)).
#
#     rt_sigprocmask(SIG_BLOCK, &mask, NULL, 8)
#     for (;;) {
#         number = rt_sigtimedwait(&mask, NULL, NULL, 8)
#         if number < 0: continue
#         if number != SIGCHLD: exit_group(0)
#         while wait4(-1, NULL, WNOHANG, NULL) > 0: ;
#     }
#
# Assembled by GNU as; the mask follows.
_MASK = 0x14002
_CODE = {
    # mov $14,%eax; xor %edi,%edi; lea mask(%rip),%rsi; xor %edx,%edx; mov $8,%r10d; syscall
    # 1: mov $128,%eax; lea mask(%rip),%rdi; xor %esi,%esi; xor %edx,%edx; mov $8,%r10d; syscall
    # test %eax,%eax; js 1b; cmp $17,%eax; jne 3f
    # 2: mov $61,%eax; mov $-1,%rdi; xor %esi,%esi; mov $1,%edx; xor %r10d,%r10d; syscall
    # test %eax,%eax; jg 2b; jmp 1b
    # 3: mov $231,%eax; xor %edi,%edi; syscall; .balign 8
    "x86_64": (
        "b80e00000031ff488d355200000031d241ba080000000f05b880000000488d3d3c000000"
        "31f631d241ba080000000f0585c078e483f811751eb83d00000048c7c7ffffffff31f6ba"
        "010000004531d20f0585c07fe4ebc1b8e700000031ff0f05"
    ),
    # mov x8,#135; mov x0,#0; adr x1,mask; mov x2,#0; mov x3,#8; svc #0
    # 1: mov x8,#137; adr x0,mask; mov x1,#0; mov x2,#0; mov x3,#8; svc #0
    # tbnz w0,#31,1b; cmp w0,#17; b.ne 3f
    # 2: mov x8,#260; mov x0,#-1; mov x1,#0; mov x2,#1; mov x3,#0; svc #0
    # cmp w0,#0; b.gt 2b; b 1b
    # 3: mov x8,#94; mov x0,#0; svc #0; nop
    "aarch64": (
        "e81080d2000080d241030010020080d2030180d2010000d4281180d2a0020010010080d2"
        "020080d2030180d2010000d440ffff371f44007141010054882080d200008092010080d2"
        "220080d2030080d2010000d41f0000712cffff54efffff17c80b80d2000080d2010000d4"
        "1f2003d5"
    ),
}


def program(machine: str = syscalls.machine) -> bytes:
    """The program's file for a machine (uname(2))."""
    return elf.image(bytes.fromhex(_CODE[machine]) + elf.number(_MASK, 8), machine)


def folder(parent: str) -> str:
    """The root filesystem of every pod, below parent: a folder with the program, which is made where it is missing."""
    data = program()
    path = os.path.join(parent, "pause-" + hashlib.sha256(data).hexdigest()[:16])
    if not os.path.exists(os.path.join(path, NAME)):
        os.makedirs(path, 0o755, exist_ok=True)
        temporary = os.path.join(path, "%s.%d" % (NAME, os.getpid()))
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o755)
        with open(fd, "wb") as file:
            file.write(data)
            os.fchmod(fd, 0o755)
        os.rename(temporary, os.path.join(path, NAME))
    return path
