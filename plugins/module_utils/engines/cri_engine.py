# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""containerd and CRI-O behind the interface of all engines, by the CRI: a container is one in a pod of its own.

A low-level runtime is one of the handlers that the engine's configuration names, as the role oci_runtimes writes them.
ctr could be given a runtime without any configuration, but it is a tool for debugging: no user drives containerd by it,
it has neither networks nor profiles, and what is measured with it would not compare to the column without a runtime.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tarfile

from ..labrun import logs
from ..linux.errors import OcilabError, Unsupported
from . import components, cri, cri_images, engine, held
from .first_use import FirstUse, cni_bridges

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

_ALL_LINES = 1 << 20
_STOP_TIMEOUT_S = 10
_LOG = "output.log"
_CGROUP = "k8s.io"  # containerd's, by its namespace; CRI-O's pods are in the host's root
_SLICE = "system.slice"  # a pod's cgroups want a slice to lie in where systemd makes them (runc's systemd driver)
_NO_NETWORK = "a container without a network of its own is in the host's: a pod has that or one"
# runc's shim watches a process for each container, and gVisor has one for the whole pod, which outlives them.
_NO_SHIM = "its runtime runsc is run by runc's shim, which never sees a container of gVisor in a pod end; that takes \
containerd-shim-runsc-v1, which Debian does not have"


class Cri(engine.Engine):
    """An engine by its CRI, "containerd" or "crio", with its default runtime or with a handler of that name."""

    kind = "client-server"
    forks = False

    def __init__(self, name: str, runtime: str | None = None) -> None:
        self.engine = name
        self.runtime = runtime
        self.name = "%s+%s" % (name, runtime) if runtime else name
        self.service: cri.Runtime | None = None
        self.cgroup_parent = ""
        self.loaded = False
        self.first_use: FirstUse | None = None
        self.made: dict[str, tuple[str, str]] = {}  # of a container its pod's id and its own

    def detect(self) -> str:
        self.path = engine.find_command(self.engine)
        try:
            self.service = cri.Runtime(cri.SOCKETS[self.engine])
            version = str(self.service.version()["runtime_version"])
            if self.runtime:
                self._refuse_unsuited(self.service.handlers())
            self.cgroup_parent = _SLICE if self.service.is_by_systemd(self.runtime or "") else ""
            return version
        except engine.Unavailable:
            raise
        except OcilabError as error:
            raise engine.Unavailable(str(error)) from None

    def _refuse_unsuited(self, handlers: dict[str, str]) -> None:
        if self.runtime not in handlers:
            raise engine.Unavailable("its configuration names no runtime %s; the role oci_runtimes does" % self.runtime)
        if self.runtime == "runsc" and ".runc." in handlers[self.runtime]:
            raise engine.Unavailable(_NO_SHIM)

    def _cri(self) -> cri.Runtime:
        if self.service is None:
            raise engine.Unavailable("%s: was not looked for yet" % self.name)
        return self.service

    def prepare(self, workload: engine.Workload) -> None:
        self.workload = workload
        self.notes = _NO_NETWORK
        self.first_use = FirstUse.begin(cni_bridges(), _CGROUP)
        self.load(workload.archive)
        held.take(self.engine, workload.image)
        self.loaded = True
        try:
            self.run_true(self.name.replace("+", "-") + "-probe")
        except OcilabError as error:
            self.remove(self.name.replace("+", "-") + "-probe")
            raise engine.Unavailable("it cannot run a container on this host: %s" % error) from None

    def clean_up(self) -> None:
        if self.loaded:
            self.loaded = False
            if held.give(self.engine, self.workload.image):
                self.forget(self.workload.image)
        if self.first_use:
            self.first_use.end()
            self.first_use = None
        if self.service:
            self.service.close()
            self.service = None

    # A container's life

    def run_true(self, container_id: str) -> None:
        for _name, phase in self.phases(container_id):
            phase()

    def phases(self, container_id: str) -> list[tuple[str, Callable[[], None]]]:
        return [
            ("create", lambda: self._create(container_id, engine.Wanted([engine.PROGRAM]))),
            ("start", lambda: self._cri().start(self._ids(container_id)[1])),
            ("wait", lambda: self._wait(container_id)),
            ("delete", lambda: self._delete(container_id)),
        ]

    def _create(self, container_id: str, wanted: engine.Wanted) -> None:
        memory_bytes = self._memory_bytes(wanted.options)
        logged = self._logs(container_id)
        os.makedirs(logged, mode=0o700, exist_ok=True)
        on_host = not wanted.network
        pod_config = cri.pod_config(
            container_id, log_directory=logged, host_network=on_host, cgroup_parent=self.cgroup_parent
        )
        mounts = [(wanted.volume, engine.VOLUME, False)] if wanted.volume else []
        config = cri.container_config(
            container_id,
            self.workload.image,
            wanted.words,
            mounts,
            memory_bytes=memory_bytes,
            log_path=_LOG,
            host_network=on_host,
        )
        pod = self._cri().run_pod(pod_config, self.runtime or "")
        self.made[container_id] = (pod, self._cri().create(pod, config, pod_config))

    def _memory_bytes(self, options: tuple[str, ...]) -> int:
        """The one option that there is, memory=BYTES; 0 for no limit."""
        limit = 0
        for word in options:
            name, _equals, number = word.partition("=")
            if name != "memory" or not number.isdigit():
                raise Unsupported("%s: the CRI has no command line to give %s to" % (self.name, word))
            limit = int(number)
        return limit

    def _logs(self, container_id: str) -> str:
        return os.path.join(self.workload.work_dir, self.engine + "-logs", container_id)

    def _ids(self, container_id: str) -> tuple[str, str]:
        if container_id not in self.made:
            raise engine.EngineFailed("container %s: does not exist" % container_id)
        return self.made[container_id]

    def _wait(self, container_id: str) -> None:
        code = self._cri().wait(self._ids(container_id)[1], self.workload.timeout_s)
        if code != 0:
            said = self._said(container_id, "stderr")
            told = ": " + said[-1] if said else ""
            raise engine.EngineFailed("the container ended with exit code %d%s" % (code, told))

    def _said(self, container_id: str, stream: str) -> list[str]:
        lines = logs.tail(os.path.join(self._logs(container_id), _LOG), _ALL_LINES)
        return [line["text"] for line in lines if line["stream"] == stream]

    def _delete(self, container_id: str) -> None:
        self._cri().remove_pod(self._ids(container_id)[0])
        del self.made[container_id]
        shutil.rmtree(self._logs(container_id), ignore_errors=True)

    def output(self, container_id: str, wanted: engine.Wanted) -> str:
        try:
            self.start(container_id, wanted)
            self._wait(container_id)
            return "".join(text + "\n" for text in self._said(container_id, "stdout"))
        finally:
            self.remove(container_id)

    def start(self, container_id: str, wanted: engine.Wanted) -> None:
        self._create(container_id, wanted)
        self._cri().start(self._ids(container_id)[1])

    def execute(self, container_id: str, words: list[str]) -> str:
        code, output, errors = self._cri().execute(self._ids(container_id)[1], words, self.workload.timeout_s)
        if code != 0:
            lines = errors.strip().splitlines()
            raise engine.EngineFailed("exit code %d: %s" % (code, lines[-1] if lines else "no message"))
        return output

    def stop(self, container_id: str) -> None:
        self._cri().stop(self._ids(container_id)[1], _STOP_TIMEOUT_S)

    def remove(self, container_id: str) -> None:
        for pod in self._cri().pods():
            if pod["metadata"]["namespace"] == cri.NAMESPACE and pod["metadata"]["name"] == container_id:
                self._cri().remove_pod(pod["id"])
        self.made.pop(container_id, None)
        shutil.rmtree(self._logs(container_id), ignore_errors=True)

    # What stands behind it

    def _info(self, container_id: str) -> dict[str, Any]:
        return self._cri().details(self._ids(container_id)[1])

    def process(self, container_id: str) -> int:
        return int(self._info(container_id)["pid"])

    def address(self, container_id: str) -> str:
        found = self._cri().pod_address(self._ids(container_id)[0])
        if not found:
            raise Unsupported("%s: container %s is in the host's network" % (self.name, container_id))
        return found

    def daemons(self) -> list[int]:
        pid = components.listener(cri.SOCKETS[self.engine])
        return [pid] if pid else []

    def components(self, container_id: str) -> list[dict[str, Any]]:
        socket = cri.SOCKETS[self.engine]
        version = "%d.%d.%d" % sys.version_info[:3]
        parts = [components.part("client", "python", version, os.path.realpath(sys.executable), os.getpid(), socket)]
        parts += [components.process("high-level runtime", pid, socket=socket) for pid in self.daemons()]
        if not container_id:
            return parts + _program(self.runtime or self._cri().default_handler())
        info = self._info(container_id)
        pid = int(info["pid"])
        monitors = components.monitor(pid)
        name = (info.get("runtimeOptions") or {}).get("binary_name") or components.runtime_of(monitors)
        runtime = _program(name or self.runtime or self._cri().default_handler())
        return [*parts, *monitors, *runtime, components.container(pid)]

    # Images

    def pull(self, reference: str) -> None:
        self._cri().pull(reference)

    def load(self, archive: str) -> None:
        for image in _names(archive):
            cri_images.load(self.engine, archive, _full(image))

    def forget(self, image: str) -> None:
        cri_images.remove(self.engine, _full(image))

    def image_bytes(self, image: str) -> int:
        found = self._cri().image(image)
        if not found:
            raise engine.EngineFailed("image %s: does not exist" % image)
        return int(found["size"])


def _program(name: str) -> list[dict[str, Any]]:
    """The low-level runtime of that name or path, as far as it is known."""
    path = shutil.which(name) if name else None
    if path:
        return [components.program("low-level runtime", path)]
    return [components.part("low-level runtime", name)] if name else []


def _names(archive: str) -> list[str]:
    """The names of the images of a docker-archive. Raises EngineFailed."""
    try:
        with tarfile.open(archive) as file:
            member = file.extractfile("manifest.json")
            return [name for entry in json.load(member) for name in entry["RepoTags"]] if member else []
    except (OSError, KeyError, ValueError, tarfile.TarError) as error:
        raise engine.EngineFailed("archive %s: is no docker-archive: %s" % (archive, error)) from None


def _full(name: str) -> str:
    """The name as these engines complete it: without a host an image is Docker Hub's, and without a folder its own."""
    first, slash, _rest = name.partition("/")
    if not slash:
        return "docker.io/library/" + name
    return name if "." in first or ":" in first or first == "localhost" else "docker.io/" + name
