# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""engine_benchmark's times of `run_true` against hyperfine's, of the same commands in the same run."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import statistics
import subprocess
import tempfile
from pathlib import Path

import own_dockerd
import workload
from ansible_collections.ocilab.hosts.plugins.module_utils.comparison.apart import Apart
from ansible_collections.ocilab.hosts.plugins.module_utils.comparison.budget import Budget
from ansible_collections.ocilab.hosts.plugins.module_utils.comparison.cases.seat import Seat
from ansible_collections.ocilab.hosts.plugins.module_utils.comparison.place import Place
from ansible_collections.ocilab.hosts.plugins.module_utils.comparison.plan import DEFAULT_SIZES
from ansible_collections.ocilab.hosts.plugins.module_utils.engines import engine, registry
from ansible_collections.ocilab.hosts.plugins.module_utils.images import archive, rootfs
from ansible_collections.ocilab.hosts.plugins.module_utils.images.store import Store
from ansible_collections.ocilab.hosts.plugins.module_utils.labrun import bundle as bundles

ENGINES = ("labrun", "runc", "docker", "podman")
ROUNDS = 20
RUNS = 2  # of each in a round, so that what else the host does hits both
BAR = 0.15


def measure(base: Path) -> dict[str, tuple[list[int], list[int]]]:
    """Nanoseconds by the engine's name: engine_benchmark's, and hyperfine's. base: a folder that nobody else uses."""
    work = _workload(base)
    measured = {}
    for item in registry.all_engines(ENGINES):
        place = Place(item, Seat(item, work[0], DEFAULT_SIZES, Budget(3600, 10), "agreement-" + item.name))
        described = place.detect()
        try:
            described.update(place.prepare() if described["available"] else {})
            if described["available"]:
                measured[item.name] = _both(base, item, place)
            else:
                print(f"  {item.name}: left out, {described['unavailable_reason']}")
        finally:
            problem = place.clean_up()
            if problem:
                print("  left behind: " + problem)
    work[1].remove()
    return measured


def _workload(base: Path) -> tuple[engine.Workload, bundles.Bundle]:
    """What engine_benchmark makes of an image of busybox."""
    workload.make_rootfs(base / "rootfs")
    store = Store(str(base / "images"))
    image = rootfs.import_rootfs(store, str(base / "rootfs"), "bench:1", {"Cmd": [engine.PROGRAM]})
    bundle = bundles.Bundle(str(base / "bundle"))
    config = bundles.describe(image, store, {"command": [engine.PROGRAM]})
    bundle.create(image, store, str(base / "layers"), config)
    tag = f"ocilab-agreement:{os.getpid()}"
    archive.write_docker_archive(store, image, str(base / "image.tar"), tag)
    return engine.Workload(str(base), bundle.path, str(base / "image.tar"), tag, 60), bundle


def _both(base: Path, item: engine.Engine, place: Place) -> tuple[list[int], list[int]]:
    words = _command(item)
    own: list[int] = []
    other: list[int] = []
    apart = Apart(place)  # as it is measured by engine_benchmark
    try:
        for number in range(ROUNDS + 1):
            samples = [apart.sample("run_true") for _run in range(RUNS)]
            failures = [sample["failure"] for sample in samples if sample["failure"]]
            if failures:
                raise RuntimeError(f"{item.name}: {failures[0]}")
            theirs = _hyperfine(base, words)
            if number:  # the first round warms up
                own += [sample["measures"][0][2] for sample in samples]
                other += theirs
    finally:
        apart.close()
    return own, other


def _command(item: engine.Engine) -> list[str]:
    """The command that the adapter runs for `run_true`: it is run once, and what it asks the system for is noted."""
    noted: list[list[str]] = []
    plain = subprocess.Popen

    def note(arguments, *rest, **keywords):
        noted.append(list(arguments))
        return plain(arguments, *rest, **keywords)

    subprocess.Popen = note
    try:
        item.run_true("agreement-hyperfine")
    finally:
        subprocess.Popen = plain
    if len(noted) != 1:
        raise RuntimeError(f"{item.name}: run_true is {len(noted)} commands, and hyperfine measures one")
    return noted[0]


def _hyperfine(base: Path, words: list[str]) -> list[int]:
    told = base / "hyperfine.json"
    command = ["hyperfine", "--shell=none", "--style=none", "--runs", str(RUNS), "--export-json", str(told)]
    subprocess.run([*command, shlex.join(words)], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return [int(seconds * 1e9) for seconds in json.loads(told.read_text())["results"][0]["times"]]


@contextlib.contextmanager
def _docker(base: Path):
    """A daemon of our own, where there is one to run, for the adapter of Docker to find."""
    if not shutil.which("dockerd"):
        yield
        return
    before = os.environ.get("DOCKER_HOST")
    base.mkdir()
    with own_dockerd.running(base) as address:
        os.environ["DOCKER_HOST"] = address
        try:
            yield
        finally:
            if before is None:
                del os.environ["DOCKER_HOST"]
            else:
                os.environ["DOCKER_HOST"] = before


def agrees() -> bool:
    """Whether the medians are as near to each other as they are to be; tells of each engine."""
    if not shutil.which("hyperfine"):
        print("  hyperfine: left out, for it is not installed")
        return True
    base = Path(tempfile.mkdtemp(prefix="ocilab-bench-"))  # on a disk, as the engines' own
    try:
        with _docker(base / "dockerd"):
            measured = measure(base)
    finally:
        shutil.rmtree(base, ignore_errors=True)
    held = bool(measured)
    for name, (own, other) in measured.items():
        ours, theirs = statistics.median(own), statistics.median(other)
        off = abs(ours / theirs - 1)
        held = held and off <= BAR
        times = f"{ours / 1e6:.1f} ms to hyperfine's {theirs / 1e6:.1f} ms of {len(own)} runs each"
        print(f"  run_true of {name}: {times}: off by {off:.3f}, bar {BAR}: {'held' if off <= BAR else 'MISSED'}")
    return held
