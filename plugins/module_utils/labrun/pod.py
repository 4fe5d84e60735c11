# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""Pods: containers that share namespaces. A pod is a container of its own, whose process (pause.py) only holds them."""

from __future__ import annotations

import os

from ..linux.errors import InvalidInput, NotFound, WrongState
from ..spec import runtime
from ..spec.seccomp import default_profile
from . import bundle as bundles
from . import container as life
from . import pause
from .state import check_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_SHARED = ("network", "ipc", "uts")
_FILES = {"network": "net"}  # under /proc/PID/ns


def describe(name: str, options: dict[str, Any]) -> dict[str, Any]:
    """The config.json of a pod's own container.

    options: hostname, labels, networks (of bundle.connect()), and share_processes: whether "pid" is shared, too.
    """
    result = runtime.config(["/" + pause.NAME])
    result["hostname"] = options.get("hostname") or name[:64]
    result["root"]["readonly"] = True
    result["process"]["capabilities"] = {}
    result["process"]["noNewPrivileges"] = True
    result["linux"]["seccomp"] = default_profile(os.uname().machine)
    shared = _SHARED + ("pid",) * bool(options.get("share_processes"))
    result["annotations"] = {bundles.POD_ANNOTATION: ",".join(shared)}
    for key, value in (options.get("labels") or {}).items():
        result["annotations"][bundles.LABEL_ANNOTATION + key] = value
    if options.get("networks"):
        bundles.connect(result, options["networks"])
    return result


def join(config: dict[str, Any], name: str, root: str) -> dict[str, Any]:
    """The config of a container that is to be in the pod: in the pod's namespaces, and with its hosts and resolv.conf.

    Raises NotFound, WrongState and InvalidInput for a pod that is none, or whose process does not run.
    """
    check_id(name)
    try:
        state = life.Container(name, root).state()
    except NotFound:
        raise NotFound("pod %s: does not exist in %s; make it with labrun_pod" % (name, root)) from None
    notes = state.get("annotations") or {}
    if bundles.POD_ANNOTATION not in notes:
        raise InvalidInput("pod %s: is a container and no pod" % name)
    if not state["pid"]:
        raise WrongState("pod %s: is stopped; start it with labrun_pod" % name)
    shared = notes[bundles.POD_ANNOTATION].split(",")
    own = [item for item in config["linux"]["namespaces"] if item["type"] not in shared]
    joined = [{"type": kind, "path": "/proc/%d/ns/%s" % (state["pid"], _FILES.get(kind, kind))} for kind in shared]
    result = dict(config, linux=dict(config["linux"], namespaces=own + joined))
    result.pop("hostname", None)  # the pod's
    result["annotations"] = dict(config["annotations"], **{bundles.MEMBER_ANNOTATION: name})
    if bundles.NETWORKS_ANNOTATION in notes:
        taken = {item["destination"] for item in config["mounts"]}
        files = [file for file in bundles.FILES if "/etc/" + file not in taken]
        result["mounts"] = config["mounts"] + [bundles.own_file(state["bundle"], file) for file in files]
    return result


def members(name: str, root: str) -> list[dict[str, Any]]:
    """The id and status of each container that was made for the pod, by id."""
    found = []
    for container in life.containers(root):
        try:
            state = container.state()
        except NotFound:
            continue  # deleted meanwhile
        if (state.get("annotations") or {}).get(bundles.MEMBER_ANNOTATION) == name:
            found.append({"id": container.id, "status": state["status"]})
    return found
