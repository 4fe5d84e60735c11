# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""All engines of a host in one shape; an engine that fails or is absent costs its own entry only."""

from __future__ import annotations

from ..engines.engine import EngineFailed
from ..linux.errors import InvalidInput, OcilabError
from . import services, shape
from .cri import CriEngine
from .docker import Docker
from .inspector import Inspector, Settings
from .labrun import Labrun
from .lxc import Lxc
from .podman import Podman
from .runtimes import NAMES as RUNTIMES
from .runtimes import Runtime

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from .services import Units

_CLASSES: dict[str, type[Inspector]] = {"labrun": Labrun, **dict.fromkeys(RUNTIMES, Runtime), "docker": Docker}
_CLASSES.update({"podman": Podman, "podman-rootless": Podman, "containerd": CriEngine, "crio": CriEngine, "lxc": Lxc})
NAMES = tuple(_CLASSES)
# What reading an answer raises that is not of the form that it should have.
_NOT_UNDERSTOOD = (LookupError, TypeError, ValueError, AttributeError)


def survey(names: Iterable[str] | None = None, settings: Settings | None = None) -> dict[str, dict[str, Any]]:
    """{name: shape.new(), filled in} of each engine, or of the named ones; changes nothing. Raises InvalidInput."""
    chosen = list(NAMES if names is None else names)
    unknown = [name for name in chosen if name not in NAMES]
    if unknown:
        raise InvalidInput("engine %s: is none of %s" % (unknown[0], ", ".join(NAMES)))
    given = settings or Settings()
    inspectors = [_CLASSES[name](name, given) for name in NAMES if name in chosen]
    try:
        units = services.show([one.unit for one in inspectors if one.unit], given.timeout_s)
    except EngineFailed:
        units = services.Units([], "")  # systemd does not answer; engines may
    return {one.name: _inspect(one, units) for one in inspectors}


def _inspect(inspector: Inspector, units: Units) -> dict[str, Any]:
    found = shape.new(inspector.kind)
    found["service"] = units.service(inspector.unit) if inspector.unit else None
    found["sockets"] = inspector.sockets()
    try:
        inspector.fill(found, units)
        found["available"] = True
    except OcilabError as error:
        found["unavailable_reason"] = str(error)
    except OSError as error:
        found["unavailable_reason"] = "%s: %s" % (error.filename or "system call", str(error.strerror).lower())
    except _NOT_UNDERSTOOD as error:
        found["unavailable_reason"] = "its answer is not understood: %s: %s" % (type(error).__name__, error)
    if found["available"]:
        _add_components(inspector, found)
    for objects in found["objects"].values():  # engines list them in no order that lasts
        objects.sort(key=_name_and_id)
    return found


def _add_components(inspector: Inspector, found: dict[str, Any]) -> None:
    try:
        found["components"] = inspector.components()
    except (OcilabError, OSError, *_NOT_UNDERSTOOD) as error:
        found["notes"].append("its parts could not be told: %s" % error)


def _name_and_id(one: dict[str, Any]) -> tuple[str, str]:
    return str(one.get("name") or (one.get("names") or [""])[0]), str(one.get("id", ""))
