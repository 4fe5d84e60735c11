# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""The isolation of one engine's container, and what differs between two."""

from __future__ import annotations

import os
from signal import SIGKILL

from ..engines.engine import Engine, Wanted
from ..linux.errors import OcilabError
from . import answer, host, script

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .answer import Findings

_STAYS = ["/bin/sleep", "600"]
_BECOMES_S = 0.5
_NETWORKED = ("client-server", "daemonless")  # kinds of engines that put a container into a network unless told not to
_OF_ENGINE, _FAILED, _NONE = "the engine's", "none, for the engine's own failed", "none"
# What the host sees as well, by what the container sees: told once where both differ alike
_SEEN_TWICE = {
    ("host", "seccomp"): ("seccomp", "mode"),
    ("host", "no_new_privs"): ("process", "no_new_privs"),
    ("host", "lsm"): ("lsm", "label"),
}


def probe(engine: Engine, container_id: str, options: tuple[str, ...] = ()) -> Findings:
    """What a container of the engine may do, and what the host sees of it: topic -> item -> value.

    Two containers, one after the other: the first tells of itself, the second is looked at. options: words of the
    engine's own command line. Raises OcilabError; IncompleteAnswer holds what was found nevertheless.
    """
    machine = os.uname().machine
    output, network = _told(engine, container_id, script.words(machine), options)
    found = answer.findings(output, container_id, host.namespaces(), machine)
    try:
        seen = _seen(engine, container_id, Wanted(_STAYS, network == _OF_ENGINE, options=options))
        found["host"] = dict(seen, network=network)
    except (OcilabError, OSError) as error:
        message = "what the host sees of the container could not be found: %s" % error
        raise answer.IncompleteAnswer(message, found) from None
    return found


def _told(engine: Engine, container_id: str, words: list[str], options: tuple[str, ...]) -> tuple[str, str]:
    """What the script printed, and which network the container was in: the engine's, where it has one that works."""
    if engine.kind not in _NETWORKED:
        return _output(engine, container_id, Wanted(words, options=options)), _NONE
    try:
        return _output(engine, container_id, Wanted(words, True, options=options)), _OF_ENGINE
    except OcilabError:
        return _output(engine, container_id, Wanted(words, options=options)), _FAILED


def _output(engine: Engine, container_id: str, wanted: Wanted) -> str:
    try:
        return engine.output(container_id, wanted)
    except OcilabError:
        engine.remove(container_id)  # a command that was ended for its time leaves its container
        raise


def _seen(engine: Engine, container_id: str, wanted: Wanted) -> dict[str, str]:
    try:
        engine.start(container_id, wanted)
        pid = engine.process(container_id)
        host.wait_for(pid, os.path.basename(_STAYS[0]), _BECOMES_S)
        seen = host.view(pid, container_id)
        os.kill(pid, SIGKILL)  # some engines give a first process, which heeds no other signal, ten seconds to end
        return seen
    finally:
        engine.remove(container_id)


def row(engine: Engine, container_id: str) -> dict[str, object]:
    """An engine's row of results: {"findings", "failure"}; it costs only itself when the engine fails."""
    try:
        return {"findings": probe(engine, container_id), "failure": None}
    except answer.IncompleteAnswer as error:
        return {"findings": error.findings, "failure": str(error)}
    except OcilabError as error:
        return {"findings": {}, "failure": str(error)}


def differences(one: Findings, other: Findings) -> list[tuple[str, str, str, str]]:
    """(topic, item, value of one, value of other) for all that differs; absent where only one has the item."""
    result = []
    for topic in sorted(set(one) | set(other)):
        left, right = one.get(topic, {}), other.get(topic, {})
        for item in sorted(set(left) | set(right)):
            values = left.get(item, "absent"), right.get(item, "absent")
            if values[0] != values[1]:
                result.append((topic, item, *values))
    told = {(topic, item): values for topic, item, *values in result}
    return [row for row in result if row[:2] not in _SEEN_TWICE or told.get(_SEEN_TWICE[row[:2]]) != list(row[2:])]
