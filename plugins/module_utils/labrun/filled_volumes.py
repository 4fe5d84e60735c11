# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""Volumes of a container: made where they are missing, filled with what the image has there, asked for their users."""

from __future__ import annotations

import os
import shutil

from ..linux import paths
from ..linux.errors import NotFound, OcilabError
from ..volumes.volume import Volume
from . import bundle as bundles
from .state import folders

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def described(wish: list[dict[str, Any]], volumes_root: str) -> list[dict[str, Any]]:
    """The wish of volumes/volume.py's parse() with its sources; nothing is changed. Raises NotFound."""
    result = []
    for item in wish:
        if item["name"]:
            volume = Volume(item["name"], volumes_root)
            item = dict(item, source=(volume.describe() or volume.new())["mountpoint"])
        elif not os.path.exists(item["source"]):
            raise NotFound("volume %s: does not exist on this host" % item["source"])
        result.append(item)
    return result


def prepare(wish: list[dict[str, Any]], volumes_root: str, rootfs: str, root: str) -> list[Volume]:
    """Make what is missing, and fill what is new with the image's content, as Docker does; those that were made.

    rootfs: the container's root filesystem, mounted; root: of the containers' states. Raises OcilabError, OSError; what
    was made is removed then.
    """
    made: list[Volume] = []
    try:
        for item in wish:
            if not item["name"]:
                continue
            volume = Volume(item["name"], volumes_root)
            if not volume.describe():
                made.append(volume)
                volume.create(volume.new())
            volume.source()
            if volume.is_empty() and not users(volume.name, root):
                _fill(volume, rootfs, item["destination"])
    except BaseException:
        discard(made, root)
        raise
    return made


def discard(made: list[Volume], root: str) -> None:
    """Remove volumes of a container that could not be started, but for those that another has taken meanwhile."""
    for volume in made:
        if not users(volume.name, root):
            volume.remove()


def users(name: str, root: str) -> list[str]:
    """The ids of the containers below root that have the volume."""
    result = []
    for folder in folders(root):
        try:
            annotations = folder.config().get("annotations") or {}
        except OcilabError:
            continue  # deleted meanwhile, or not yet so far
        if name in (annotations.get(bundles.VOLUMES_ANNOTATION) or "").split(","):
            result.append(folder.id)
    return result


def _fill(volume: Volume, rootfs: str, destination: str) -> None:
    """Copy aside and then exchange in one step, so that nobody takes half a copy for a volume that is in use."""
    from . import copyup

    root_fd = os.open(rootfs, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    aside = "%s.%d.new" % (volume.data, os.getpid())
    try:
        try:
            content = paths.open_in_root(root_fd, destination, os.O_RDONLY | os.O_DIRECTORY)
        except OSError:
            return  # the image has no directory there
        try:
            os.mkdir(aside, 0o700)
            target = os.open(aside, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                copyup.copy(content, target)
                os.fchmod(target, os.fstat(content).st_mode & 0o7777)
            finally:
                os.close(target)
            os.rename(aside, volume.data)
        except OSError as error:
            shutil.rmtree(aside, ignore_errors=True)
            if not volume.is_empty():
                return  # another container was quicker
            message = "volume %s: the image's %s cannot be copied into it: %s"
            raise OcilabError(message % (volume.name, destination, str(error.strerror).lower())) from None
        finally:
            os.close(content)
    finally:
        os.close(root_fd)
