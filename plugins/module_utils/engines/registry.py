# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""All columns of a comparison by their names."""

from __future__ import annotations

from ..linux.errors import InvalidInput
from .cri_engine import Cri
from .docker import Docker
from .labrun import LabrunCommand, LabrunModule
from .lxc import Lxc
from .oci_runtime import OciRuntime
from .podman import Podman
from .rootless_podman import RootlessPodman

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from .engine import Engine


def _columns() -> list[Engine]:
    return [
        LabrunCommand(),
        LabrunModule(),
        *(OciRuntime(name) for name in ("runc", "crun", "runsc", "youki", "kata-runtime")),
        *(Docker(runtime) for runtime in (None, "crun", "runsc", "labrun", "youki")),
        *(Podman(runtime) for runtime in (None, "runc", "crun", "runsc", "labrun")),
        RootlessPodman(),
        *(Cri("containerd", runtime) for runtime in (None, "crun", "runsc", "labrun")),
        Cri("crio"),
        Lxc(),
    ]


NAMES = tuple(column.name for column in _columns())


def all_engines(names: Iterable[str] | None = None) -> list[Engine]:
    """A new adapter for each of the names, in the order of NAMES; of all without names. Raises InvalidInput."""
    wanted = set(NAMES if names is None else names)
    unknown = sorted(wanted - set(NAMES))
    if unknown:
        raise InvalidInput("engine %s: is none of %s" % (unknown[0], ", ".join(NAMES)))
    return [column for column in _columns() if column.name in wanted]
