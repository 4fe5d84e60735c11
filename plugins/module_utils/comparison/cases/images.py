# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""Images on their way to the disk: from a registry, and from an archive."""

from __future__ import annotations

from ...linux.errors import Unsupported
from . import seat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


def pull(at: seat.Seat) -> Iterator[seat.Measured]:
    """An image from the registry, nothing of it being there."""
    reference = at.sizes["pull_image"]
    if not reference:
        raise Unsupported("the plan names no image in a registry (sizes.pull_image)")
    at.engine.forget(reference)
    try:
        yield "pull", "ns", seat.took_ns(lambda: at.engine.pull(reference))
    finally:
        at.engine.forget(reference)


def unpack(at: seat.Seat) -> Iterator[seat.Measured]:
    """The workload's own archive, whose image is forgotten before and there again after; and what it takes then."""
    at.engine.forget(at.workload.image)
    yield "load", "ns", seat.took_ns(lambda: at.engine.load(at.workload.archive))
    yield "disk", "bytes", at.engine.image_bytes(at.workload.image)
