# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""The functions of the cases by the names of catalogue.py, and how they are measured."""

from __future__ import annotations

from . import images, inside, life, load, memory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .seat import Case

FUNCTIONS: dict[str, Case] = {
    "run_true": life.run_true,
    "lifecycle": life.lifecycle,
    "exec": life.execute,
    "stop": life.stop,
    "parallel": load.parallel,
    "rate": load.rate,
    "density": memory.density,
    "footprint": memory.footprint,
    "pull": images.pull,
    "unpack": images.unpack,
    "syscall": inside.syscall,
    "file_io": inside.file_io,
    "network": inside.network,
}
# Many samples, in interleaved blocks, after a warm-up.
IN_BLOCKS = ("run_true", "lifecycle", "exec", "stop")
# Few samples. The order: first of all what no container has run before; then what needs one of each engine; then what
# is to have the machine for itself; images at last, since a failure there may cost an engine its image.
AT_FIRST = ("footprint",)
WITH_STANDING = ("syscall", "file_io")
ALONE = ("network", "parallel", "rate", "density", "unpack", "pull")
# What a low-level runtime has no part in: measured once an engine.
OF_ENGINE = ("footprint", "pull", "unpack")
