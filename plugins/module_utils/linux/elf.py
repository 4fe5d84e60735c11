# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""Programs of some machine instructions as files (elf(5)): static, of one segment, which can be read and executed."""

from __future__ import annotations

# Where what follows the headers lies, in the file and in memory.
START = 64 + 56
ADDRESS = 0x10000000 + START
MACHINES = {"x86_64": 62, "aarch64": 183}


def number(value: int, size: int) -> bytes:
    """An integer as both machines have it in memory."""
    return value.to_bytes(size, "little")


def image(content: bytes, machine: str) -> bytes:
    """The file of a program for the machine (uname(2)), which begins at its first instruction, at ADDRESS."""
    size = START + len(content)
    header = b"\x7fELF\x02\x01\x01" + bytes(9) + number(2, 2) + number(MACHINES[machine], 2) + number(1, 4)
    header += number(ADDRESS, 8) + number(64, 8) + bytes(12) + number(64, 2) + number(56, 2) + number(1, 8)
    segment = number(1, 4) + number(5, 4) + bytes(8) + 2 * number(ADDRESS - START, 8) + 2 * number(size, 8)
    return header + segment + number(0x10000, 8) + content
