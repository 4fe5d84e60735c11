# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""A benchmark plan: what is measured how often, as YAML gives it, checked."""

from __future__ import annotations

from ..linux.errors import InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

CASES = ("run_true", "lifecycle")
# Bounds that keep a typing error from occupying a host for hours.
_NUMBERS = {"samples": (1, 10000), "warmup": (0, 100), "blocks": (1, 10000), "seed": (0, 2**32)}
_DEFAULTS = {"samples": 25, "warmup": 2, "blocks": 5, "seed": 1, "timeout_s": 60, "cases": list(CASES)}


def checked(plan: dict[str, Any], engines: tuple[str, ...]) -> dict[str, Any]:
    """The plan with its defaults: samples, warmup, blocks, seed, timeout_s, cases, engines. Raises InvalidInput."""
    unknown = sorted(set(plan) - set(_DEFAULTS) - {"engines"})
    if unknown:
        allowed = ", ".join([*_DEFAULTS, "engines"])
        raise InvalidInput("plan: %r is not a setting of a plan; use %s" % (unknown[0], allowed))
    result = dict(dict(_DEFAULTS, engines=list(engines)), **plan)
    for name, (low, high) in _NUMBERS.items():
        value = result[name]
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise InvalidInput("plan: %s: %r is not an integer from %d to %d" % (name, value, low, high))
    if not isinstance(result["timeout_s"], (int, float)) or not 0 < result["timeout_s"] <= 3600:
        raise InvalidInput("plan: timeout_s: %r is not a number of seconds up to 3600" % result["timeout_s"])
    for name, allowed_names in (("cases", CASES), ("engines", engines)):
        value = result[name]
        if not isinstance(value, list) or not value or set(map(str, value)) - set(allowed_names):
            raise InvalidInput("plan: %s: %r; give a list of %s" % (name, value, ", ".join(allowed_names)))
    if result["blocks"] > result["samples"]:
        raise InvalidInput(
            "plan: %d blocks of %d samples: a block needs a sample" % (result["blocks"], result["samples"])
        )
    return result
