# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""The program that makes the system calls in a container: a loop over a table, of few bytes, static, without a library.

    for (number, six arguments) in table, to a negative number:
        pid = fork()
        if pid == 0: result = syscall(number, ...); exit_group(-result if it is an error else 0)
        status = 0xffff if the fork failed, else that of wait4(pid)
        write(1, status as 4 hexadecimal digits and a newline)
    exit_group(0)

Each call has a child of its own: one that the filter kills, or that changes namespaces, costs nothing but itself.
"""

from __future__ import annotations

from ..linux import elf
from ..linux.errors import Unsupported
from .calls import Call

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .calls import Argument

_ARGUMENTS = 6
_END = b"\xff" * 8

# Assembled by GNU as, of the lines above each; the table follows: 7 times 64 bits a call, then what arguments point to.
_CODE = {
    # sub $64,%rsp; lea table(%rip),%rbx
    # 1: mov (%rbx),%rax; test %rax,%rax; js 9f; mov $57,%eax; syscall; mov $0xffff,%r12d; test %eax,%eax; js 5f; jnz 3f
    # mov (%rbx),%rax; mov 8(%rbx),%rdi; mov 16(%rbx),%rsi; mov 24(%rbx),%rdx; mov 32(%rbx),%r10; mov 40(%rbx),%r8
    # mov 48(%rbx),%r9; syscall; xor %edi,%edi; cmp $-4096,%rax; jbe 2f; sub %eax,%edi; 2: mov $231,%eax; syscall
    # 3: mov %eax,%edi; mov %rsp,%rsi; xor %edx,%edx; xor %r10d,%r10d; mov $61,%eax; syscall; test %eax,%eax; js 5f
    # mov (%rsp),%r12d
    # 5: lea 8(%rsp),%rdi; mov $4,%ecx
    # 6: rol $4,%r12w; mov %r12d,%eax; and $15,%eax; add $48,%eax; cmp $57,%eax; jbe 7f; add $39,%eax
    # 7: mov %al,(%rdi); inc %rdi; dec %ecx; jnz 6b; movb $10,(%rdi)
    # mov $1,%edi; lea 8(%rsp),%rsi; mov $5,%edx; mov $1,%eax; syscall; add $56,%rbx; jmp 1b
    # 9: xor %edi,%edi; mov $231,%eax; syscall; .balign 8; table:
    "x86_64": (
        "4883ec40488d1dbd000000488b034885c00f88a7000000b8390000000f0541bcffff0000"
        "85c0784b7530488b03488b7b08488b7310488b53184c8b53204c8b43284c8b4b300f0531"
        "ff483d00f0ffff760229c7b8e70000000f0589c74889e631d24531d2b83d0000000f0585"
        "c07804448b2424488d7c2408b9040000006641c1c4044489e083e00f83c03083f8397603"
        "83c027880748ffc7ffc975e1c6070abf01000000488d742408ba05000000b8010000000f"
        "054883c338e94dffffff31ffb8e70000000f0590"
    ),
    # sub sp,sp,#64; adr x19,table
    # 1: ldr x20,[x19]; tbnz x20,#63,9f; mov x0,#17; mov x1,#0; mov x2,#0; mov x3,#0; mov x4,#0; mov x8,#220; svc #0
    # mov w21,#0xffff; tbnz w0,#31,5f; cbnz w0,3f
    # mov x8,x20; ldp x0,x1,[x19,#8]; ldp x2,x3,[x19,#24]; ldp x4,x5,[x19,#40]; svc #0; mov w1,#0; cmn x0,#4095; b.cc 2f
    # neg w1,w0; 2: mov w0,w1; mov x8,#94; svc #0
    # 3: mov x1,sp; mov x2,#0; mov x3,#0; mov x8,#260; svc #0; tbnz w0,#31,5f; ldr w21,[sp]
    # 5: add x1,sp,#8; mov w2,#12
    # 6: lsr w3,w21,w2; and w3,w3,#15; add w3,w3,#48; cmp w3,#57; b.ls 7f; add w3,w3,#39
    # 7: strb w3,[x1],#1; subs w2,w2,#4; b.pl 6b; mov w3,#10; strb w3,[x1]
    # mov x0,#1; add x1,sp,#8; mov x2,#5; mov x8,#64; svc #0; add x19,x19,#56; b 1b
    # 9: mov x0,#0; mov x8,#94; svc #0; .balign 8; table:
    "aarch64": (
        "ff0301d1f3060010740240f95406f8b7200280d2010080d2020080d2030080d2040080d2"
        "881b80d2010000d4f5ff9f52a002f837a0010035e80314aa608640a9628e41a9649642a9"
        "010000d4010080521ffc3fb143000054e103004be003012ac80b80d2010000d4e1030091"
        "020080d2030080d2882080d2010000d44000f837f50340b9e123009182018052a326c21a"
        "630c001263c000117fe4007149000054639c0011231400384210007105ffff5443018052"
        "23000039200080d2e1230091a20080d2080880d2010000d473e20091ceffff17000080d2"
        "c80b80d2010000d4"
    ),
}


def build(calls: list[Call], machine: str) -> bytes:
    """The file of the program that makes the calls, in their order. Raises Unsupported."""
    if machine not in _CODE:
        raise Unsupported("isolation: system calls can be tried on x86_64 and aarch64, and this host is %s" % machine)
    code = bytes.fromhex(_CODE[machine])
    data = _Data(elf.ADDRESS + len(code) + len(calls) * (1 + _ARGUMENTS) * 8 + len(_END))
    table = b"".join(_row(call, machine, data) for call in calls)
    return elf.image(code + table + _END + data.content, machine)


def _row(call: Call, machine: str, data: _Data) -> bytes:
    arguments = [*call.arguments, *([0] * (_ARGUMENTS - len(call.arguments)))]
    values = [call.numbers[machine] or 0, *(data.value(argument) for argument in arguments)]
    return b"".join(elf.number(value % (1 << 64), 8) for value in values)


class _Data:
    """What arguments point to, from an address on, which the kernel only reads."""

    def __init__(self, address: int) -> None:
        self.address = address
        self.content = b""

    def value(self, argument: Argument) -> int:
        """The argument as a register has it."""
        if isinstance(argument, int):
            return argument
        address = self.address + len(self.content)
        self.content += argument + bytes(-len(argument) % 8)
        return address
