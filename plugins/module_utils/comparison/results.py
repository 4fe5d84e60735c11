# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""A comparison on this host, from the image to the document of results (docs/results.schema.json)."""

from __future__ import annotations

import os
import shutil
import tempfile

from ..engines import engine, registry
from ..images import archive
from ..images.store import Store
from ..labrun import bundle as bundles
from ..linux.errors import OcilabError
from . import environment
from .apart import Apart
from .benchmark import Benchmark
from .budget import Budget
from .cases.seat import Seat
from .place import Place, detected
from .plan import DEFAULT_ENGINES
from .progress import Progress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SCHEMA_VERSION = 2
ENGINES = DEFAULT_ENGINES  # those that are told of where nobody names any


def detect(names: list[str]) -> dict[str, dict[str, Any]]:
    """What can be measured here: name -> the engine's part of the document; changes nothing."""
    return {item.name: detected(item) for item in registry.all_engines(names)}


def predict(host: str, image_name: str, store: Store, plan: dict[str, Any]) -> dict[str, Any]:
    """The document of measure() before anything is measured: engines without values. Raises NotFound."""
    store.get(image_name)
    return _document(host, environment.record(tempfile.gettempdir()), plan, detect(plan["engines"]), [])


def _document(
    host: str, found: dict[str, Any], plan: dict[str, Any], engines: dict[str, Any], order: list[dict[str, Any]]
) -> dict[str, Any]:
    """What other tasks know, as what else runs on the host's machine, has its place in it."""
    return {
        "schema_version": SCHEMA_VERSION,
        "host": host,
        "environment": found,
        "plan": plan,
        "engines": engines,
        "order": order,
        "info": {},
        "machine": {"shared_with": [], "measured_alone": True},
    }


def measure(
    host: str, image_name: str, store: Store, layers_root: str, plan: dict[str, Any], progress_path: str = ""
) -> dict[str, Any]:
    """Run the plan on every engine found; the document of results. Raises NotFound, InvalidInput, KernelRefused.

    All that it makes lies in one work directory or bears one name, and is gone when it returns, however it returns.
    """
    budget = Budget(plan["budget_s"], plan["budget_containers"])
    progress = Progress(progress_path, budget)
    image = store.get(image_name)
    work_dir = tempfile.mkdtemp(prefix="ocilab-compare-")
    os.chmod(work_dir, 0o711)  # volumes in it are also for other users, who see no names
    prefix = os.path.basename(work_dir).lower().replace("_", "x")
    bundle = bundles.Bundle(os.path.join(work_dir, "bundle"))
    places: list[Apart] = []
    try:
        found = environment.record(work_dir)  # before the load is our own
        config = bundles.describe(image, store, {"command": [engine.PROGRAM]})
        bundle.create(image, store, layers_root, config)
        tag = "ocilab-compare:" + prefix
        archive_path = os.path.join(work_dir, "image.tar")
        archive.write_docker_archive(store, image, archive_path, tag)
        workload = engine.Workload(work_dir, bundle.path, archive_path, tag, plan["timeout_s"])
        for number, item in enumerate(registry.all_engines(plan["engines"])):
            seat = Seat(item, workload, plan["sizes"], budget, "%s-%d" % (prefix, number))
            places.append(Apart(Place(item, seat)))
        described = {place.name: _prepared(place, progress) for place in places}
        ready = [place for place in places if described[place.name]["available"]]
        benchmark = Benchmark(plan, list(ready), budget, progress)
        benchmark.run()
        for name, components in benchmark.components.items():
            described[name]["benchmarks"] = benchmark.results(name)
            _complete(described[name], components)
        return _document(host, found, plan, described, benchmark.order)
    finally:
        progress.tell("removing what was made for it", 1)
        _clean_up(places, bundle, work_dir)


def _prepared(place: Apart, progress: Progress) -> dict[str, Any]:
    """The engine's part of the document, when it is ready or known not to be available."""
    progress.tell("preparing " + place.name)
    described = place.detect()
    if described["available"]:
        try:
            described.update(place.prepare())
        except OcilabError as error:
            described.update(available=False, unavailable_reason=str(error))
    return described


def _complete(described: dict[str, Any], components: list[dict[str, Any]]) -> None:
    """The components, and by them the low-level runtime that an engine took of its own accord."""
    described["components"] = components
    if described["runtime"] is None:
        names = [part["name"] for part in components if part["role"] == "low-level runtime"]
        described["runtime"] = names[0] if names else None


def _clean_up(places: list[Apart], bundle: bundles.Bundle, work_dir: str) -> None:
    """The last one first, and none before the end: columns of one engine share its image, and what it was before."""
    failures = []
    for place in reversed(places):
        try:
            failures.append(place.clean_up())
        except OcilabError as error:
            failures.append(str(error))
        place.close()
    bundle.remove()
    shutil.rmtree(work_dir)
    failures = [failure for failure in failures if failure]
    if failures:
        raise OcilabError("left behind: " + "; ".join(failures))
