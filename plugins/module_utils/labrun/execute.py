# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""exec: a further process in the namespaces and the cgroup of a running container."""

from __future__ import annotations

import os

from ..linux import namespaces, trace
from ..linux.cgroups import manager as cgroups
from ..linux.errors import InvalidInput, WrongState
from ..spec import document, fields, validate
from . import create as creation
from . import init as child
from . import process
from .container import Container

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable


def _config(container: Container) -> dict[str, Any]:
    return document.read(os.path.join(container.folder.load()["bundle"], "config.json"))


def process_for(container: Container, args: list[str], changes: dict[str, Any]) -> dict[str, Any]:
    """A process object like the container's own, that runs args, with changes (env is added to, the rest replaced)."""
    configured = _config(container)["process"]
    result = dict(configured, args=args)
    for key, value in changes.items():
        result[key] = (configured.get("env") or []) + value if key == "env" else value
    return result


def execute(
    container: Container,
    described: dict[str, Any],
    debug: Callable[[str], None],
    warn: Callable[[str], None],
    stdio: list[int] | None = None,
    preserved: list[int] | None = None,
) -> int:
    """Start the described process (a process object of config.json) in a running container; its pid, a child of ours.

    Raises WrongState when the container is not running, InvalidInput, KernelRefused, CommandNotFound,
    CommandNotExecutable.
    """
    state = container.state()
    if state["status"] != "running":
        raise WrongState("container %s: cannot exec in it, it is %s" % (container.id, state["status"]))
    validate.shape(described, fields.PROCESS, "process", "exec", debug)
    validate.process(described, "exec: process")
    linux = _config(container).get("linux") or {}
    prepared = process.Prepared(described, linux.get("seccomp"), debug, warn)
    kinds = [item["type"] for item in linux.get("namespaces") or []]
    joined = {kind: "/proc/%d/ns/%s" % (state["pid"], namespaces.KINDS[kind][1]) for kind in kinds}
    return _start(container, prepared, joined, stdio, preserved or [])


def _start(
    container: Container,
    prepared: process.Prepared,
    joined: dict[str, str],
    stdio: list[int] | None,
    preserved: list[int],
) -> int:
    entry = cgroups.Entry(container.noted("cgroup")["paths"])
    pipes = child.Pipes()

    def body() -> None:
        os.setsid()
        entry.enter()
        if "user" in joined:
            os.setresgid(0, 0, 0)
            os.setresuid(0, 0, 0)
        process.become_process(prepared, trace.end)

    def start_child() -> None:
        pipes.close_parent_ends()
        child.run_child(pipes, entry.descriptors() + preserved, stdio, body)

    try:
        pid = creation.spawn(joined, [], entry.clone_into, start_child)
        pipes.close_child_ends()
        os.write(pipes.go_write, child.GO)
        report = child.receive_report(pipes.report_read)
    finally:
        entry.close()
        pipes.close_all()
    if report:
        os.waitpid(pid, 0)
        child.raise_reported(report)
    return pid


def user(text: str) -> dict[str, Any]:
    """The user object of UID or UID:GID, as runc's exec takes it. Raises InvalidInput."""
    uid, _colon, gid = text.partition(":")
    for part in (uid, gid or "0"):
        if not part.isdigit() or int(part) > validate.MAX_ID:
            raise InvalidInput("--user %r: give UID or UID:GID as numbers" % text)
    return {"uid": int(uid), "gid": int(gid or 0)}
