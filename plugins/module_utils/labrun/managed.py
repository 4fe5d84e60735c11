# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""Containers as a wish: what is to be done to bring one into a state, and doing it (for labrun_container)."""

from __future__ import annotations

import os
import time
from collections import deque
from contextlib import contextmanager

from ..images.store import Store
from ..linux import trace
from ..linux.errors import InvalidInput, NotFound, OcilabError
from . import bundle as bundles
from . import container as life
from . import create as creation
from . import monitor
from .explain import steps
from .state import check_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Iterator


class Wanted:
    """A container as a module asks for it. With an image it owns its bundle, <data_root>/bundles/<id>."""

    def __init__(self, container_id: str, root: str, data_root: str, bundle: str | None, stop_timeout_s: float) -> None:
        check_id(container_id)
        self.container = life.Container(container_id, root)
        self.own_bundle = bundles.Bundle(os.path.join(data_root, "bundles", container_id))
        self.bundle_path = bundle or self.own_bundle.path
        self.log_path = os.path.join(data_root, "logs", container_id + ".log")
        self.stop_timeout_s = stop_timeout_s
        self.is_pod = False
        self.make_bundle: Callable[[], None] | None = None  # where the bundle is the container's own
        self.config: dict[str, Any] = {}
        self.networks: dict[str, Any] = {}
        self.volumes_root = os.path.join(data_root, "volumes")
        self.volumes: list[dict[str, Any]] = []
        self.made_volumes: list[Any] = []

    def describe_image(
        self, name: str, store: Store, layers_root: str, options: dict[str, Any], pod_name: str = ""
    ) -> None:
        """Take the image and the options of labrun/bundle.py. Raises NotFound, InvalidInput, WrongState.

        Of networks only config_dir, networks and ports are given, as networks/attachment.py's plan() explains them; of
        volumes what volumes/volume.py's parse() gives.
        """
        options = self._connected(options)
        if options.get("volumes"):
            from . import filled_volumes

            self.volumes = filled_volumes.described(options["volumes"], self.volumes_root)
            options = dict(options, volumes=self.volumes)
        own, image, self.config = bundles.prepare(self.own_bundle.path, name, store, options)
        if pod_name:
            from . import pod

            self.config = pod.join(self.config, pod_name, self.container.folder.root)
        self.make_bundle = lambda: own.create(image, store, layers_root, self.config)

    def describe_pod(self, options: dict[str, Any], data_root: str) -> None:
        """Be a pod's own container, with the options of labrun/pod.py; networks as for describe_image()."""
        from . import pause, pod

        self.is_pod = True
        self.config = pod.describe(self.container.id, self._connected(options))
        pods = os.path.join(data_root, "pods")
        self.make_bundle = lambda: self.own_bundle.put(self.config, lambda: [pause.folder(pods)])

    def _connected(self, options: dict[str, Any]) -> dict[str, Any]:
        if not options.get("networks"):
            return options
        self.networks = dict(options["networks"], hosts=os.path.join(self.own_bundle.path, "hosts"))
        hostname = options.get("hostname") or self.container.id[:64]  # as long as sethostname(2) allows
        return dict(options, networks=self.networks, hostname=hostname)

    def differs(self) -> bool:
        """Whether the present container is another one than the one that is wanted."""
        if os.path.realpath(self.bundle_path) != self.container.folder.load()["bundle"]:
            return True
        return self.make_bundle is not None and self.own_bundle.config() != self.config

    def shown(self) -> dict[str, Any]:
        """The container's state with log_path and exit_code; {} when there is none."""
        try:
            state = self.container.state()
        except NotFound:
            return {}
        state["log_path"] = self.container.noted("log").get("path", "")
        state["exit_code"] = self.container.exit_code()
        return state


def plan(wanted: Wanted, state: str) -> list[str]:
    """The actions that bring the container into the state: delete, create, start, stop; [] when it is in it.

    Raises NotFound, InvalidInput for a pod where a container is meant or the other way round, and what is wrong with
    the bundle of one that is to be created: InvalidInput, Unsupported.
    """
    present = wanted.shown()
    status = present.get("status", "")
    if status and wanted.is_pod != (bundles.POD_ANNOTATION in present.get("annotations", {})):
        one, other = ("container", "pod") if wanted.is_pod else ("pod", "container")
        raise InvalidInput("%s %s: is a %s; use the module labrun_%s" % (other, wanted.container.id, one, one))
    if state == "absent":
        return ["delete"] if status or wanted.own_bundle.config() is not None else []
    if state == "stopped":
        if not status:
            raise NotFound("container %s: does not exist, so that it cannot be stopped" % wanted.container.id)
        return [] if status == "stopped" else ["stop"]
    path = os.path.join(os.path.realpath(wanted.bundle_path), "config.json")
    if wanted.make_bundle is None and not os.path.exists(path):
        raise InvalidInput("bundle %s: there is no config.json in it" % wanted.bundle_path)
    if status and not (wanted.differs() or status == "creating" or (state == "started" and status == "stopped")):
        return ["start"] if state == "started" and status == "created" else []
    if wanted.make_bundle is None:
        creation.read_config(path, lambda _told: None)
    anew = ["create", "start"] if state == "started" else ["create"]
    if wanted.networks:
        from ..networks import attachment

        attachment.plan(wanted.container.id, wanted.container.folder.root, wanted.networks)  # what cannot be had
    return ["delete", *anew] if status else anew


def predict(before: dict[str, Any], actions: list[str]) -> dict[str, Any]:
    """What the state will be like after the actions, as far as it can be known beforehand."""
    result = dict(before)
    for action in actions:
        result = {} if action == "delete" else dict(result)
        if action == "create":
            result["status"] = "created"
        elif action == "start":
            result["status"] = "running"
        elif action == "stop":
            result.update(status="stopped", pid=0)
    return result


def carry_out(planned: list[tuple[Wanted, list[str]]], explain: bool) -> Iterator[dict[str, Any]]:
    """Do the actions of each; in order, {"steps": those of labrun/explain.py if explain, "warnings": [text]}.

    All that are to end are asked to before any is waited for; of the rest as many are under way at once as there are
    processors. Raises what create() raises, of the first that fails: those that are under way are completed then, and
    none is begun any more. A container and a bundle that could not be completed are removed again.
    """
    limit = len(os.sched_getaffinity(0))
    works = [_Work(wanted, actions, explain) for wanted, actions in planned]
    begun: deque[_Work] = deque()
    for work in works:
        work.ask_to_stop()
    try:
        for work in works:
            work.begin()
            begun.append(work)
            if len(begun) > limit:
                yield begun.popleft().finish()
        while begun:
            yield begun.popleft().finish()
    finally:
        for work in begun:
            try:
                work.finish()
            except OcilabError:
                pass  # the first error is the one that is told


class _Work:
    """The actions for one container, in order: ask_to_stop(), begin() and finish()."""

    def __init__(self, wanted: Wanted, actions: list[str], explain: bool) -> None:
        self.wanted = wanted
        self.actions = actions
        self.explain = explain
        self.start: monitor.Start | None = None
        self.records: list[dict[str, Any]] = []
        self.deadline = 0.0

    def ask_to_stop(self) -> None:
        """Where it is to end and nothing takes its place: many end in the time of one. Raises OcilabError."""
        if self.actions not in (["stop"], ["delete"]) or not self.wanted.container.folder.exists():
            return
        self.deadline = time.monotonic() + self.wanted.stop_timeout_s
        with self._recorded():
            self.wanted.container.ask_to_stop()

    def begin(self) -> None:
        """All of the actions but for a creation, which is under way then. Raises OcilabError."""
        with self._recorded():
            for action in self.actions:
                if action == "delete":
                    self._delete(keep_bundle="create" in self.actions)
                elif action == "stop":
                    self._stop()
                elif action == "create":
                    self.start = _create(self.wanted, "start" in self.actions, self.explain)
                elif action == "start" and "create" not in self.actions:
                    self.wanted.container.start()

    @contextmanager
    def _recorded(self) -> Iterator[None]:
        if self.explain:
            trace.begin()
        try:
            yield
        finally:
            self.records += trace.take()
            trace.end()

    def _stop(self) -> None:
        if self.deadline:
            self.wanted.container.await_stop(max(0.0, self.deadline - time.monotonic()))
        else:
            self.wanted.container.stop(self.wanted.stop_timeout_s)

    def _delete(self, keep_bundle: bool) -> None:
        if self.wanted.container.folder.exists():
            self._stop()
            self.wanted.container.delete(force=True)
        if not keep_bundle or self.wanted.make_bundle is None:
            self.wanted.own_bundle.remove()

    def finish(self) -> dict[str, Any]:
        """Wait for the creation; see carry_out()."""
        warnings: list[str] = []
        if self.start:
            try:
                report = self.start.finish()
            except BaseException:
                _remove_half_made(self.wanted)
                raise
            self.records += report["trace"]
            warnings = report["warnings"]
        return {"steps": steps(self.records, _program(self.wanted)) if self.explain else [], "warnings": warnings}


def _program(wanted: Wanted) -> str:
    config = wanted.config or bundles.Bundle(wanted.bundle_path).config() or {}
    return " ".join((config.get("process") or {}).get("args") or [])


def _create(wanted: Wanted, run: bool, explain: bool) -> monitor.Start:
    if wanted.make_bundle is not None:
        wanted.make_bundle()
    try:
        folder = wanted.container.folder
        if wanted.volumes:
            from . import filled_volumes

            wanted.made_volumes = filled_volumes.prepare(
                wanted.volumes, wanted.volumes_root, wanted.own_bundle.rootfs, folder.root
            )
        return monitor.Start(folder.id, wanted.bundle_path, folder.root, wanted.log_path, run, explain)
    except BaseException:
        _remove_half_made(wanted)
        raise


def _remove_half_made(wanted: Wanted) -> None:
    if wanted.made_volumes:
        from . import filled_volumes

        filled_volumes.discard(wanted.made_volumes, wanted.container.folder.root)
    if wanted.make_bundle is not None:
        wanted.own_bundle.remove()
