# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""Engines of a host proven, one or several at once: each is tried while a container of every other one stands."""

from __future__ import annotations

import os
import shutil
import tempfile
import time

from ..engines import engine
from ..images import archive
from ..images.store import Store
from ..labrun import bundle as bundles
from ..linux.errors import OcilabError, Unsupported
from . import checks, subjects
from .listener import Listener

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

_TIMEOUT_S = 90.0


def verify(
    names: list[str], expected: bool, wishes: checks.Wishes, image_name: str, store: Store, layers_root: str
) -> list[dict[str, Any]]:
    """The results of all checks, in order; expected: whether an engine that is not there has failed.

    Nothing is left of it on the host. Raises NotFound for an image that the store has not, OcilabError where something
    could not be taken away again.
    """
    image = store.get(image_name)
    work_dir = tempfile.mkdtemp(prefix="ocilab-verify-", dir=os.path.dirname(store.path))
    os.chmod(work_dir, 0o711)  # users' engines reach their volumes
    bundle = bundles.Bundle(os.path.join(work_dir, "bundle"))
    prefix = "ocilab-verify-%d" % os.getpid()
    failures: list[str] = []
    with Listener(prefix) as listener:
        verification = Verification(expected)
        try:
            bundle.create(image, store, layers_root, bundles.describe(image, store, {"command": [engine.PROGRAM]}))
            tag = "ocilab-verify:%d" % os.getpid()
            path = os.path.join(work_dir, "image.tar")
            archive.write_docker_archive(store, image, path, tag)
            workload = engine.Workload(work_dir, bundle.path, path, tag, _TIMEOUT_S)
            for name in names:
                subject = subjects.subject(name, image_name, store, layers_root)
                volume = os.path.join(work_dir, "volume-" + name)
                os.mkdir(volume)
                os.chmod(volume, 0o1777)  # root of a container may be anybody here
                verification.begin(checks.Scene(subject, prefix, prefix, listener.port, volume, wishes), workload)
            verification.check()
        finally:
            failures += verification.end()
            bundle.remove()
            shutil.rmtree(work_dir)
    if failures:
        raise OcilabError("left behind: " + "; ".join(failures))
    return verification.results


def failed(result: dict[str, Any]) -> bool:
    """Whether a result is a failure."""
    return not (result["passed"] or result["left_out"])


def line(result: dict[str, Any]) -> str:
    """What people read of a failure."""
    others = " while %s stood" % ", ".join(result["while"]) if result["while"] else ""
    return "%s: %s%s: %s" % (result["engine"], result["check"], others, result["reason"])


def table(results: list[dict[str, Any]]) -> list[str]:
    """A line for each engine: what it does, what it does not, what was left out, and how long it took."""
    lines = []
    for name in dict.fromkeys(result["engine"] for result in results):
        own = [result for result in results if result["engine"] == name]
        passed = " ".join(result["check"] for result in own if result["passed"])
        failures = " ".join(result["check"] for result in own if failed(result))
        parts = ["works: " + passed] if passed else []
        parts += ["FAILED: " + failures] if failures else []
        parts += ["left out: %s (%s)" % (result["check"], result["reason"]) for result in own if result["left_out"]]
        seconds = sum(result["seconds"] for result in own)
        lines.append("%-16s%5.1f s  %s" % (name, seconds, "; ".join(parts)))
    return lines


class Verification:
    """results: dicts with engine, check, while, passed, left_out, reason and seconds."""

    def __init__(self, expected: bool) -> None:
        self.expected = expected
        self.results: list[dict[str, Any]] = []
        self.begun: list[checks.Scene] = []
        self.ready: list[checks.Scene] = []

    def begin(self, scene: checks.Scene, workload: engine.Workload) -> None:
        """Make an engine ready, and start the container that stands; an engine that cannot is tried no further."""
        absent = scene.subject.absent() or ("" if self.expected else scene.subject.unready())
        if absent:
            self._add(scene, "run", "" if self.expected else absent, absent)
            return
        self._try(scene, checks.service)
        self.begun.append(scene)
        if self._try(scene, lambda _scene: _make_ready(scene, workload), "run", is_preparation=True):
            self.ready.append(scene)

    def check(self) -> None:
        """Try each engine that is ready."""
        for scene in self.ready:
            others = [other.subject.name for other in self.ready if other is not scene]
            if self._try(scene, checks.run, others=others):
                for check in checks.OF_CONTAINERS:
                    self._try(scene, check, others=others)
            scene.subject.adapter.remove(scene.tried)
        for scene in self.ready:
            self._try(scene, checks.standing, others=[other.subject.name for other in self.ready if other is not scene])

    def end(self) -> list[str]:
        """Take all away; what could not be."""
        return [
            "%s: %s" % (scene.subject.name, failure)
            for scene in self.begun
            for failure in scene.subject.end([scene.tried, scene.standing])
        ]

    def _try(
        self,
        scene: checks.Scene,
        check: Callable[[checks.Scene], None],
        name: str = "",
        others: list[str] | None = None,
        is_preparation: bool = False,
    ) -> bool:
        """Whether the check passed. is_preparation: whether that is no result yet."""
        name = name or check.__name__
        begun = time.monotonic()
        left_out, failure = scene.subject.left_out.get(name, ""), ""
        try:
            if not left_out:
                check(scene)
        except OcilabError as error:
            # An engine that says so of a container at all does not work here.
            is_lack = isinstance(error, checks.LeftOut) or (isinstance(error, Unsupported) and name != "run")
            left_out, failure = (str(error), "") if is_lack else ("", str(error))
        except OSError as error:
            failure = "%s: %s" % (error.filename or "system call", str(error.strerror).lower())
        passed = not (left_out or failure)
        if not (passed and is_preparation):
            self._add(scene, name, left_out, failure, others, time.monotonic() - begun)
        return passed

    def _add(
        self,
        scene: checks.Scene,
        name: str,
        left_out: str,
        failure: str,
        others: list[str] | None = None,
        seconds: float = 0.0,
    ) -> None:
        self.results.append(
            {
                "engine": scene.subject.name,
                "check": name,
                "while": others or [],
                "passed": not (left_out or failure),
                "left_out": bool(left_out),
                "reason": left_out or failure,
                "seconds": round(seconds, 2),
            }
        )


def _make_ready(scene: checks.Scene, workload: engine.Workload) -> None:
    scene.subject.begin(workload)
    scene.stand()
    scene.subject.settle()
