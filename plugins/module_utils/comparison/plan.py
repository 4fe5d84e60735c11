# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""A benchmark plan: what is measured how often and how large, as YAML gives it, checked."""

from __future__ import annotations

from ..linux.errors import InvalidInput
from .catalogue import CASES as CATALOGUE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

CASES = tuple(CATALOGUE)
DEFAULT_CASES = ("run_true", "lifecycle")
DEFAULT_ENGINES = ("labrun", "labrun-module", "runc", "docker", "podman")
# Bounds that keep a typing error from occupying a host for days.
_INTEGERS = {
    "samples": (1, 10000),
    "warmup": (0, 100),
    "blocks": (1, 10000),
    "seed": (0, 2**32),
    "budget_containers": (1, 10000),
}
_SECONDS = {"timeout_s": 3600, "budget_s": 7 * 24 * 3600}
_SIZES = {
    "repeats": (1, 100),
    "syscalls": (0, 10**9),
    "io_bytes": (0, 2**40),
    "network_bytes": (0, 2**40),
    "exchanges": (0, 10**7),
}
_LISTS = ("parallel", "density")
DEFAULT_SIZES: dict[str, Any] = {
    "repeats": 3,
    "parallel": [1, 2, 4],
    "rate_s": 3.0,
    "density": [10],
    "syscalls": 500000,
    "io_bytes": 64 << 20,
    "network_bytes": 256 << 20,
    "exchanges": 1000,
    "pull_image": "",
}
DEFAULTS: dict[str, Any] = {
    "profile": "default",
    "samples": 25,
    "warmup": 2,
    "blocks": 5,
    "seed": 1,
    "timeout_s": 60.0,
    "cases": list(DEFAULT_CASES),
    "engines": list(DEFAULT_ENGINES),
    "sizes": DEFAULT_SIZES,
    "budget_s": 3600.0,
    "budget_containers": 200,
}


def checked(plan: dict[str, Any], engines: Sequence[str]) -> dict[str, Any]:
    """The plan with its defaults, as the schema of results wants it; engines: all names. Raises InvalidInput."""
    _refuse_unknown(plan, DEFAULTS, "plan")
    result = dict(DEFAULTS, **plan)
    for name, (low, high) in _INTEGERS.items():
        _check_integer(result[name], low, high, name)
    for name, most in _SECONDS.items():
        _check_seconds(result[name], most, name)
    if not isinstance(result["profile"], str) or not result["profile"].isprintable():
        raise InvalidInput("plan: profile: %r is not a name" % (result["profile"],))
    for name, known in (("cases", CASES), ("engines", engines)):
        value = result[name]
        if not isinstance(value, list) or not value or set(map(str, value)) - set(known):
            raise InvalidInput("plan: %s: %r; give a list of %s" % (name, value, ", ".join(known)))
        result[name] = [item for item in known if item in value]  # each once, in the order of all reports
    if result["blocks"] > result["samples"]:
        raise InvalidInput(
            "plan: %d blocks of %d samples: a block needs a sample" % (result["blocks"], result["samples"])
        )
    result["sizes"] = _checked_sizes(result["sizes"])
    return result


def _checked_sizes(sizes: Any) -> dict[str, Any]:
    if not isinstance(sizes, dict):
        raise InvalidInput("plan: sizes: %r is not a dictionary" % (sizes,))
    _refuse_unknown(sizes, DEFAULT_SIZES, "plan: sizes")
    result = dict(DEFAULT_SIZES, **sizes)
    for name, (low, high) in _SIZES.items():
        _check_integer(result[name], low, high, "sizes: " + name)
    for name in _LISTS:
        if not isinstance(result[name], list):
            raise InvalidInput("plan: sizes: %s: %r is not a list of numbers" % (name, result[name]))
        for value in result[name]:
            _check_integer(value, 1, 10000, "sizes: " + name)
        result[name] = sorted(set(result[name]))
    _check_seconds(result["rate_s"], 3600, "sizes: rate_s")
    if not isinstance(result["pull_image"], str):
        raise InvalidInput("plan: sizes: pull_image: %r is not an image's name" % (result["pull_image"],))
    return result


def _refuse_unknown(given: dict[str, Any], known: dict[str, Any], where: str) -> None:
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise InvalidInput("%s: %r is not a setting of a plan; use %s" % (where, unknown[0], ", ".join(known)))


def _check_integer(value: Any, low: int, high: int, name: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise InvalidInput("plan: %s: %r is not an integer from %d to %d" % (name, value, low, high))


def _check_seconds(value: Any, most: int, name: str) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= most:
        raise InvalidInput("plan: %s: %r is not a number of seconds up to %d" % (name, value, most))
