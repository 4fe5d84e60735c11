# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""The isolation of all engines of a host: one after another, each with what it needs, and nothing left behind."""

from __future__ import annotations

import os
import shutil
import tempfile

from ..engines import engine as engines
from ..engines import registry
from ..images import archive
from ..images.store import Store
from ..labrun import bundle as bundles
from ..linux.errors import OcilabError
from . import probe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Iterable

    Rows = dict[str, dict[str, Any]]

# As of a login: under a narrower one, as modules may have, LXC's containers with ids of their own find no way in.
_UMASK = 0o022


def predict(image_name: str, store: Store, names: list[str]) -> Rows:
    """The rows of measure() before anything was started: without findings. Raises NotFound, InvalidInput."""
    store.get(image_name)
    return {item.name: _empty(_unavailable(item)) for item in registry.all_engines(names)}


def measure(image_name: str, store: Store, layers_root: str, names: list[str], timeout_s: float) -> Rows:
    """Engine -> {"findings", "failure"}; an engine that is not there, or fails, costs only its own row.

    A bare runtime is given the bundle of labrun's defaults. Raises NotFound, InvalidInput, KernelRefused.
    """
    image = store.get(image_name)
    columns = registry.all_engines(names)
    work_dir = tempfile.mkdtemp(prefix="ocilab-isolation-")
    bundle = bundles.Bundle(os.path.join(work_dir, "bundle"))
    name = os.path.basename(work_dir).lower().replace("_", "x")
    mask = os.umask(_UMASK)
    try:
        bundle.create(image, store, layers_root, bundles.describe(image, store, {"command": [engines.PROGRAM]}))
        path, tag = os.path.join(work_dir, "image.tar"), "ocilab-isolation:" + name
        archive.write_docker_archive(store, image, path, tag)
        return dict(_rows(columns, engines.Workload(work_dir, bundle.path, path, tag, timeout_s), name))
    finally:
        os.umask(mask)
        bundle.remove()
        shutil.rmtree(work_dir)


def _rows(columns: list[engines.Engine], workload: engines.Workload, name: str) -> Iterable[tuple[str, dict[str, Any]]]:
    for number, item in enumerate(columns):
        reason = _unavailable(item)
        yield item.name, _empty(reason) if reason else _row(item, workload, "%s-%d" % (name, number))


def _row(item: engines.Engine, workload: engines.Workload, container_id: str) -> dict[str, Any]:
    result = _empty(None)
    try:
        item.prepare(workload)
        result = probe.row(item, container_id)
    except OcilabError as error:
        result = _empty(str(error))
    try:
        item.clean_up()
    except OcilabError as error:
        result["failure"] = "left behind: %s" % error
    return result


def _unavailable(item: engines.Engine) -> str | None:
    try:
        item.detect()
        return None
    except OcilabError as error:
        return str(error)


def _empty(failure: str | None) -> dict[str, Any]:
    return {"findings": {}, "failure": failure}
