# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""What a person wants to know of a container: its state with its image, labels, networks, ports, log and exit code."""

from __future__ import annotations

from . import bundle as bundles
from . import container as life

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def about(container: life.Container) -> dict[str, Any]:
    """The container's state with log_path and exit_code, and these:

    image: as NAME@DIGEST, '' where it was not made of one; labels: {key: value}; networks: [{"name", "address",
    "interface"}]; ports: [{"host_ip", "host_port", "container_port", "protocol"}]. Raises NotFound.
    """
    state = container.state()
    notes = state.get("annotations") or {}
    label = bundles.LABEL_ANNOTATION
    state["log_path"] = container.noted("log").get("path", "")
    state["exit_code"] = container.exit_code()
    state["image"] = notes.get(bundles.IMAGE_ANNOTATION, "")
    state["labels"] = {key[len(label) :]: value for key, value in notes.items() if key.startswith(label)}
    state["networks"], state["ports"] = _connected(container)
    return state


def _connected(container: life.Container) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    entries = [entry for entry in container.folder.journal() if entry["object"] == "network"]
    if not entries:
        return [], []
    from ..networks.registry import Registry

    connections, ports = [], []
    for entry in entries:
        record = Registry(entry["run_dir"]).load(entry["network"], entry["cni_id"])
        if not record:
            continue
        connection = {"name": entry["network"], "address": record["address"], "interface": record["interface"]}
        connections.append(connection)
        for port in record["ports"]:
            told = {"host_ip": port["hostIP"], "host_port": port["hostPort"], "protocol": port["protocol"]}
            ports.append(dict(told, container_port=port["containerPort"]))
    return connections, ports
