# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""Root filesystems that lab hosts share, each the lower folder of all their overlays: Debian by mmdebstrap."""

from __future__ import annotations

import hashlib
import os

from . import building

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Iterable, Sequence

    from .building import Progress

_KIND = "lab base"
# What Ansible and labrun need in a lab host, and what a person misses first.
_PACKAGES = (
    "ca-certificates",
    "dbus",
    "iproute2",
    "iputils-ping",
    "kmod",
    "libpam-systemd",
    "libseccomp2",
    "procps",
    "python3",
    "python3-apt",
    "sudo",
    "systemd-sysv",
)


class Recipe:
    """What a base is made of: a release of building.RELEASES, Debian packages besides the base, a mirror or ""."""

    def __init__(self, release: str, packages: Sequence[str], mirror: str) -> None:
        building.check(release, packages, _KIND)
        self.release = release
        self.packages = sorted({*_PACKAGES, *packages})
        self.mirror = mirror

    def name(self) -> str:
        """The name of the base's folder: the release, and a hash of everything that it depends on."""
        digest = hashlib.sha256()
        words = [self.release, os.uname().machine, self.mirror, *self.packages]
        digest.update("\0".join(words).encode("utf-8"))
        digest.update(building.source_of(building.__name__).encode("utf-8"))
        return "%s-%s" % (self.release, digest.hexdigest()[:16])


class Bases:
    """All bases of a lab, in the folder path. used(): the names of those that lab hosts lie on, which are kept."""

    def __init__(self, path: str, used: Callable[[], Iterable[str]]) -> None:
        self._used = used
        self._cache = building.Cache(path, _KIND, self._remove_unless_used)

    def has(self, recipe: Recipe) -> bool:
        return os.path.isdir(self.root(recipe.name()))

    def root(self, name: str) -> str:
        """The root filesystem of the base of that name."""
        return os.path.join(self._cache.path, name, "root")

    def get(self, recipe: Recipe, progress: Progress) -> str:
        """The base's name; without one it is built, half a minute, from Debian's archive. Raises OcilabError."""
        if not self.has(recipe):
            building.require(("mmdebstrap", "setpriv", "unshare"), "mmdebstrap")
        self._cache.get(recipe.name(), lambda new: _build(new, recipe, progress), progress)
        return recipe.name()

    def clean(self) -> None:
        """Remove what killed builds left, and bases out of use for long."""
        self._cache.clean()

    def _remove_unless_used(self, folder: str, remove: Callable[[], None]) -> None:
        if os.path.basename(folder) not in set(self._used()):
            remove()


def _build(new: str, recipe: Recipe, progress: Progress) -> None:
    root = os.path.join(new, "root")
    building.bootstrap(root, recipe.release, recipe.packages, recipe.mirror, os.path.join(new, "log"), progress)
    # Each machine gets its own; with an empty one, systemd takes the first boot for one that must set up everything.
    for name in ("etc/machine-id", "etc/hostname", "etc/resolv.conf"):
        path = os.path.join(root, name)
        if os.path.lexists(path):
            os.unlink(path)
