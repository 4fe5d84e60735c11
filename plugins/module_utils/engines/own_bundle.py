# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""Bundles for runtimes: one of each container's own, over the root filesystem of the one that all begin with."""

from __future__ import annotations

import os
import shutil

from ..spec import document
from . import engine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_UNDERSTOOD = "1.0.2"  # older runtimes refuse what says that it is newer, and nothing newer is in it


def path(workload: engine.Workload, container_id: str) -> str:
    """Where the container's own bundle is, if it has one."""
    return os.path.join(workload.work_dir, "bundles", container_id)


def make(workload: engine.Workload, container_id: str, wanted: engine.Wanted) -> tuple[str, dict[str, Any]]:
    """(the path of a new bundle, its configuration), which write() has yet to write."""
    config = document.read(os.path.join(workload.bundle, "config.json"))
    config["ociVersion"] = _UNDERSTOOD
    config["root"] = dict(config["root"], path=os.path.join(workload.bundle, "rootfs"))
    config["process"] = dict(config["process"], args=list(wanted.words))
    if wanted.volume:
        bind = {"destination": engine.VOLUME, "type": "bind", "source": wanted.volume, "options": ["rbind", "rprivate"]}
        config["mounts"] = list(config["mounts"]) + [bind]
    folder = path(workload, container_id)
    os.makedirs(folder, mode=0o700, exist_ok=True)
    return folder, config


def write(folder: str, config: dict[str, Any]) -> None:
    """Write a bundle's configuration."""
    with open(os.path.join(folder, "config.json"), "wb") as file:
        file.write(document.dump(config))


def remove(workload: engine.Workload, container_id: str) -> None:
    """Remove the container's own bundle; silent where there is none."""
    shutil.rmtree(path(workload, container_id), ignore_errors=True)
