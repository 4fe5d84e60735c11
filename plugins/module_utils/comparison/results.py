# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""A comparison on this host, from the image to the document of results (docs/results.schema.json)."""

from __future__ import annotations

import os
import shutil
import tempfile

from ..engines import engine
from ..engines.registry import all_engines
from ..images import archive
from ..images.store import Store
from ..labrun import bundle as bundles
from ..linux.errors import OcilabError
from . import environment
from .benchmark import Benchmark

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SCHEMA_VERSION = 1
ENGINES = ("labrun", "labrun-module", "runc", "docker", "podman")


def detect(names: list[str]) -> dict[str, dict[str, Any]]:
    """What can be measured here: name -> {"available", "version", "unavailable_reason", "kind"}; changes nothing."""
    return {item.name: _detected(item) for item in all_engines(names)}


def _detected(item: engine.Engine) -> dict[str, Any]:
    try:
        version = item.detect()
        return {"available": True, "version": version, "unavailable_reason": None, "kind": item.kind, "notes": ""}
    except OcilabError as error:
        reason = str(error)
        return {"available": False, "version": None, "unavailable_reason": reason, "kind": item.kind, "notes": ""}


def predict(host: str, image_name: str, store: Store, plan: dict[str, Any]) -> dict[str, Any]:
    """The document of measure() before anything is measured: engines without samples. Raises NotFound."""
    store.get(image_name)
    described = {name: dict(found, benchmarks={}) for name, found in detect(plan["engines"]).items()}
    return _document(host, tempfile.gettempdir(), plan, described, [])


def _document(
    host: str, work_dir: str, plan: dict[str, Any], engines: dict[str, Any], order: list[dict[str, Any]]
) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        "host": host,
        "environment": environment.record(work_dir),
        "plan": plan,
        "engines": engines,
        "order": order,
    }


def measure(host: str, image_name: str, store: Store, layers_root: str, plan: dict[str, Any]) -> dict[str, Any]:
    """Run the plan on every engine found; the document of results. Raises NotFound, InvalidInput, KernelRefused.

    All that it makes lies in one work directory or bears one name, and is gone when it returns, however it returns.
    """
    image = store.get(image_name)
    work_dir = tempfile.mkdtemp(prefix="ocilab-compare-")
    prefix = os.path.basename(work_dir).lower().replace("_", "x")
    bundle = bundles.Bundle(os.path.join(work_dir, "bundle"))
    engines = all_engines(plan["engines"])
    described = {item.name: dict(_detected(item), benchmarks={}) for item in engines}
    prepared: list[engine.Engine] = []
    try:
        config = bundles.describe(image, store, {"command": [engine.PROGRAM]})
        bundle.create(image, store, layers_root, config)
        tag = "ocilab-compare:" + prefix
        archive_path = os.path.join(work_dir, "image.tar")
        archive.write_docker_archive(store, image, archive_path, tag)
        workload = engine.Workload(work_dir, bundle.path, archive_path, tag, plan["timeout_s"])
        for item in engines:
            if described[item.name]["available"]:
                _prepare(item, workload, described[item.name], prepared)
        benchmark = Benchmark(plan, prepared, prefix)
        benchmark.run()
        for item in prepared:
            described[item.name]["benchmarks"] = benchmark.results[item.name]
        return _document(host, work_dir, plan, described, benchmark.order)
    finally:
        _clean_up(prepared, bundle, work_dir)


def _prepare(
    item: engine.Engine, workload: engine.Workload, described: dict[str, Any], prepared: list[engine.Engine]
) -> None:
    try:
        item.prepare(workload)
        prepared.append(item)
        described["notes"] = item.notes
    except OcilabError as error:
        item.clean_up()
        described.update(available=False, unavailable_reason=str(error))


def _clean_up(prepared: list[engine.Engine], bundle: bundles.Bundle, work_dir: str) -> None:
    failures = []
    for item in prepared:
        try:
            item.clean_up()
        except OcilabError as error:
            failures.append("%s: %s" % (item.name, error))
    bundle.remove()
    shutil.rmtree(work_dir)
    if failures:
        raise OcilabError("left behind: " + "; ".join(failures))
