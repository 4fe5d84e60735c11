# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""Image names: the grammar of the distribution-spec (pulling manifests), as NAME[:TAG]."""

from __future__ import annotations

import re

from ..linux.errors import InvalidInput

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_HOST = r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9.-]*[a-zA-Z0-9])?(?::[0-9]+)?/)?"
_REFERENCE = re.compile(r"(%s%s(?:/%s)*)(?::([a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}))?" % (_HOST, _COMPONENT, _COMPONENT))


def normal(name: str) -> str:
    """NAME:TAG with the tag filled in (latest). Raises InvalidInput for what is not an image name."""
    match = _REFERENCE.fullmatch(name)
    if not match or len(name) > 255:
        hint = "use NAME[:TAG] in lower case, as lab/busybox:1"
        raise InvalidInput("image name %r: not a name by the distribution specification; %s" % (name, hint))
    return "%s:%s" % (match.group(1), match.group(2) or "latest")
