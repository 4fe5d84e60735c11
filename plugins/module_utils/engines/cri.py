# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""containerd and CRI-O as Kubernetes drives them: by the Container Runtime Interface, gRPC on a unix socket.

Runtime is the interface itself; cri_engine.py puts it behind the interface of all engines.
"""

from __future__ import annotations

import json
import os
import time

from ..linux.errors import AlreadyExists, NotFound, OcilabError, Unsupported
from . import cri_messages as messages
from . import engine
from .protobuf import Codec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SOCKETS = {"containerd": "/run/containerd/containerd.sock", "crio": "/run/crio/crio.sock"}
NAMESPACE = "ocilab"  # of Kubernetes' kind: pods of ours are told from others by it
_LARGEST_ANSWER = 16 << 20


class Runtime:
    """The runtime that listens on a socket.

    Raises Unsupported where Python has no gRPC, Unavailable where nobody listens. Its methods raise EngineFailed with
    what the runtime said, NotFound and AlreadyExists where it said that, and Unsupported for a method that it has not.
    """

    def __init__(self, socket: str, timeout_s: float = 30.0) -> None:
        try:
            import grpc  # type: ignore[import-untyped] # late: no other engine needs it
        except ImportError:
            message = "the CRI at %s: Python has no gRPC on this host; install the package python3-grpcio"
            raise Unsupported(message % socket) from None
        if not os.path.exists(socket):
            raise engine.Unavailable("the CRI at %s: there is no such socket; start its service" % socket)
        self.socket = socket
        self.timeout_s = timeout_s
        self._grpc = grpc
        self._codec = Codec(messages.MESSAGES)
        # The peer's name would otherwise be the socket's path, which no server accepts as a host.
        options = [("grpc.default_authority", "localhost"), ("grpc.enable_http_proxy", 0)]
        options.append(("grpc.max_receive_message_length", _LARGEST_ANSWER))
        self._channel = grpc.insecure_channel("unix://" + socket, options=options)

    def close(self) -> None:
        """End the connection."""
        self._channel.close()

    def call(self, method: str, timeout_s: float = 0, **fields: Any) -> dict[str, Any]:
        """The answer to a method of runtime.v1 as a dictionary; fields are those of its request (cri_messages.py)."""
        service = "ImageService" if method in messages.IMAGE_METHODS else "RuntimeService"
        request = self._codec.encode(method + "Request", fields)
        stub = self._channel.unary_unary("/runtime.v1.%s/%s" % (service, method))
        try:
            answer = stub(request, timeout=timeout_s or self.timeout_s)
        except self._grpc.RpcError as error:
            raise self._failure(method, error) from None
        return self._codec.decode(method + "Response", answer)

    def _failure(self, method: str, error: Any) -> OcilabError:
        codes = self._grpc.StatusCode
        kinds = {
            codes.NOT_FOUND: NotFound,
            codes.ALREADY_EXISTS: AlreadyExists,
            codes.UNIMPLEMENTED: Unsupported,
            codes.UNAVAILABLE: engine.Unavailable,
        }
        said = " ".join(str(error.details()).split()) or error.code().name
        return kinds.get(error.code(), engine.EngineFailed)("the CRI at %s: %s: %s" % (self.socket, method, said))

    # What it is

    def version(self) -> dict[str, Any]:
        """{"runtime_name", "runtime_version", "runtime_api_version", "version"}."""
        return self.call("Version")

    def conditions(self) -> dict[str, str]:
        """Why RuntimeReady and NetworkReady are not met; empty texts for what is met."""
        status = self.call("Status")["status"] or {"conditions": []}
        return {
            one["type"]: "" if one["status"] else one["message"] or one["reason"] or "it is not"
            for one in status["conditions"]
        }

    def _configuration(self) -> dict[str, Any]:
        """containerd's configuration of its runtimes; {} for an engine that tells none."""
        info = self.call("Status", verbose=True)["info"]
        try:
            found = json.loads(info.get("config") or "{}").get("containerd") or {}
        except ValueError:
            found = {}
        return dict(found)

    def handlers(self) -> dict[str, str]:
        """The low-level runtimes that it is configured for, as far as it tells them: name -> type, by its shim."""
        found = self._configuration().get("runtimes") or {}
        return {name: str(one.get("runtimeType")) for name, one in found.items()}

    def default_handler(self) -> str:
        """The one that it uses where none is asked for; empty where it does not tell."""
        return str(self._configuration().get("defaultRuntimeName") or "")

    def is_by_systemd(self, handler: str = "") -> bool:
        """Whether a runtime, or the default one, has systemd make its cgroups, as far as the engine tells."""
        return is_by_systemd(self._configuration(), handler)

    # Images

    def images(self) -> list[dict[str, Any]]:
        """[{"id", "repo_tags", "repo_digests", "size", ...}]."""
        return list(self.call("ListImages")["images"])

    def image(self, name: str) -> dict[str, Any] | None:
        """One as images() has them, or None."""
        found = self.call("ImageStatus", image={"image": name})["image"]
        return dict(found) if found else None

    def pull(self, name: str, auth: dict[str, str] | None = None, timeout_s: float = 300.0) -> str:
        """Pull the image; its reference. auth: of AuthConfig, as {"username", "password"}."""
        return str(self.call("PullImage", timeout_s, image={"image": name}, auth=auth)["image_ref"])

    def remove_image(self, name: str) -> None:
        """Remove the image; silent where there is none."""
        self.call("RemoveImage", image={"image": name})

    # Pods

    def pods(self, labels: dict[str, str] | None = None) -> list[dict[str, Any]]:
        """[{"id", "metadata", "state" (messages.READY), "labels", ...}] of all, or of those with the labels."""
        chosen = {"label_selector": labels} if labels else None
        return list(self.call("ListPodSandbox", filter=chosen)["items"])

    def run_pod(self, config: dict[str, Any], handler: str = "", timeout_s: float = 120.0) -> str:
        """Run a pod of the configuration, as pod_config() makes one; its id. handler: a runtime other than usual."""
        return str(self.call("RunPodSandbox", timeout_s, config=config, runtime_handler=handler)["pod_sandbox_id"])

    def pod_status(self, pod: str) -> dict[str, Any]:
        """{"id", "metadata", "state", "network": {"ip", "additional_ips"} or None, ...}."""
        return dict(self.call("PodSandboxStatus", pod_sandbox_id=pod)["status"])

    def pod_address(self, pod: str) -> str:
        """Its first address; empty for a pod in the host's network."""
        network = self.pod_status(pod)["network"]
        return str(network["ip"]) if network else ""

    def remove_pod(self, pod: str, timeout_s: float = 120.0) -> None:
        """Stop the pod with its containers, and remove all of it; silent where there is none."""
        for method in ("StopPodSandbox", "RemovePodSandbox"):
            try:
                self.call(method, timeout_s, pod_sandbox_id=pod)
            except NotFound:
                return

    # Containers

    def containers(self, pod: str = "") -> list[dict[str, Any]]:
        """[{"id", "pod_sandbox_id", "metadata", "state", "image", ...}] of all pods or of one."""
        chosen = {"pod_sandbox_id": pod} if pod else None
        return list(self.call("ListContainers", filter=chosen)["containers"])

    def create(self, pod: str, config: dict[str, Any], pod_config: dict[str, Any]) -> str:
        """Create a container, of container_config(), in a pod, whose configuration is given again; its id."""
        answer = self.call("CreateContainer", pod_sandbox_id=pod, config=config, sandbox_config=pod_config)
        return str(answer["container_id"])

    def start(self, container: str) -> None:
        """Start a container that was created."""
        self.call("StartContainer", container_id=container)

    def status(self, container: str) -> dict[str, Any]:
        """{"id", "state" (messages.RUNNING), "exit_code", "reason", "message", ...}."""
        return dict(self.call("ContainerStatus", container_id=container)["status"])

    def details(self, container: str) -> dict[str, Any]:
        """What the runtime tells of it beside the CRI: {"pid", "runtimeType", "runtimeOptions", ...}."""
        info = self.call("ContainerStatus", container_id=container, verbose=True)["info"]
        return dict(json.loads(info.get("info") or "{}"))

    def wait(self, container: str, timeout_s: float) -> int:
        """The exit code of a container, once it has ended. Raises EngineFailed when it takes longer."""
        deadline, pause_s = time.monotonic() + timeout_s, 0.005
        while True:
            status = self.status(container)
            if status["state"] == messages.EXITED:
                return int(status["exit_code"])
            if time.monotonic() > deadline:
                raise engine.EngineFailed("container %s: has not ended within %g s" % (container, timeout_s))
            time.sleep(pause_s)
            pause_s = min(pause_s * 1.5, 0.1)

    def execute(self, container: str, words: list[str], timeout_s: float = 30.0) -> tuple[int, str, str]:
        """Run a command in a running container: its exit code, output and errors."""
        answer = self.call("ExecSync", timeout_s + 5, container_id=container, cmd=words, timeout=int(timeout_s))
        texts = [answer[name].decode("utf-8", "replace") for name in ("stdout", "stderr")]
        return int(answer["exit_code"]), texts[0], texts[1]

    def memory_bytes(self, container: str) -> int:
        """The memory that it works with, by the runtime's own statistics."""
        stats = self.call("ContainerStats", container_id=container)["stats"]
        memory = stats and stats["memory"]
        return int(memory["working_set_bytes"]["value"]) if memory and memory["working_set_bytes"] else 0

    def stop(self, container: str, timeout_s: int = 10) -> None:
        """End the container: its stop signal, and after timeout_s seconds SIGKILL."""
        self.call("StopContainer", timeout_s + 30, container_id=container, timeout=timeout_s)

    def remove(self, container: str) -> None:
        """Remove the container, also a running one; silent where there is none."""
        try:
            self.call("RemoveContainer", container_id=container)
        except NotFound:
            pass


def is_by_systemd(configuration: dict[str, Any], handler: str = "") -> bool:
    """Runtime.is_by_systemd(), of containerd's configuration of its runtimes as its answer to Status has it."""
    own = (configuration.get("runtimes") or {}).get(handler or configuration.get("defaultRuntimeName")) or {}
    return bool((own.get("options") or {}).get("SystemdCgroup"))


def pod_config(
    name: str,
    dns: dict[str, list[str]] | None = None,
    ports: list[tuple[int, int]] | None = None,
    labels: dict[str, str] | None = None,
    log_directory: str = "",
    cgroup_parent: str = "",
    host_network: bool = False,
) -> dict[str, Any]:
    """The configuration of a pod.

    dns: {"servers", "searches", "options"}, without it the host's; ports: (on the host, in the pod), TCP;
    log_directory: where containers' log_path begin; cgroup_parent: of all its cgroups, as the runtime's cgroup manager
    writes them (a path, or a slice).
    """
    # With a process namespace of each container's own, as Kubernetes asks for, CRI-O starts no process for the pod.
    namespaces = {"network": messages.NODE if host_network else messages.POD, "pid": messages.CONTAINER}
    return {
        "metadata": {"name": name, "uid": name, "namespace": NAMESPACE},
        "hostname": "" if host_network else name,
        "log_directory": log_directory,
        "dns_config": dns,
        "port_mappings": [{"host_port": host, "container_port": inside} for host, inside in ports or []],
        "labels": labels or {},
        "linux": {"cgroup_parent": cgroup_parent, "security_context": {"namespace_options": namespaces}},
    }


def container_config(
    name: str,
    image: str,
    words: list[str],
    mounts: list[tuple[str, str, bool]] | None = None,
    environment: dict[str, str] | None = None,
    memory_bytes: int = 0,
    cpus: float = 0.0,
    unified: dict[str, str] | None = None,
    log_path: str = "",
    host_network: bool = False,
) -> dict[str, Any]:
    """The configuration of a container with the runtime's seccomp profile and no new privileges.

    words: its command, instead of the image's; mounts: (on the host, in the container, whether to be read only);
    memory_bytes, cpus: limits, 0 for none; unified: files of cgroup v2, for the limits that the CRI has no field for;
    host_network: as of its pod.
    """
    period_us = 100000
    return {
        "metadata": {"name": name},
        "image": {"image": image},
        "command": words,
        "envs": [{"key": key, "value": value} for key, value in (environment or {}).items()],
        "mounts": [{"host_path": host, "container_path": path, "readonly": only} for host, path, only in mounts or []],
        "log_path": log_path,
        "linux": {
            "resources": {
                "memory_limit_in_bytes": memory_bytes,
                "cpu_period": period_us if cpus else 0,
                "cpu_quota": int(cpus * period_us),
                "unified": unified or {},
            },
            "security_context": {
                "namespace_options": {
                    "network": messages.NODE if host_network else messages.POD,
                    "pid": messages.CONTAINER,
                },
                "no_new_privs": True,
                "seccomp": {"profile_type": messages.RUNTIME_DEFAULT},
            },
        },
    }
