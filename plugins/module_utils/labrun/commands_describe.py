# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""The commands that need no container: features, what this runtime knows, and spec, a config.json to start from."""

from __future__ import annotations

import json
import os

from ..linux.errors import AlreadyExists, InvalidInput, OcilabError
from .options import Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TextIO

    from .log import Log
    from .options import Parsed

# Not the commit and not the checkpoints: those say what only runc's own repository knows, and what labrun does not do.
_VERSION_ANNOTATION = "org.ocilab.labrun.version"
_LIBSECCOMP_ANNOTATION = "io.github.seccomp.libseccomp.version"
_CHECKPOINT_ANNOTATION = "org.opencontainers.runc.checkpoint.enabled"


def features(_parsed: Parsed, _log: Log, output: TextIO) -> int:
    """features: the features structure as JSON (runtime-spec, features.md)."""
    from ..linux import capabilities, mounts, namespaces
    from ..spec import features as structure
    from .cli import VERSION

    seccomp, version = _seccomp()
    annotations = {_VERSION_ANNOTATION: VERSION, _CHECKPOINT_ANNOTATION: "false"}
    if version:
        annotations[_LIBSECCOMP_ANNOTATION] = version
    document = structure.describe(
        list(namespaces.KINDS),
        mounts.known_words(),
        ["CAP_" + name for name in capabilities.NAMES],
        seccomp,
        annotations,
    )
    output.write(json.dumps(document, indent=4) + "\n")
    return 0


def _seccomp() -> tuple[dict[str, Any], str]:
    """(the object seccomp of the features, libseccomp's version); without the library there are no filters."""
    version = _libseccomp_version()
    if not version:
        return {"enabled": False}, ""
    from ..linux import seccomp, seccomp_compile

    return {
        "enabled": True,
        "actions": sorted(seccomp_compile.ACTIONS),
        "operators": sorted(seccomp_compile.OPERATORS),
        "archs": sorted("SCMP_ARCH_" + name for name in seccomp_compile.ARCHITECTURES),
        "knownFlags": sorted(seccomp.FLAGS),
        "supportedFlags": sorted(seccomp.supported_flags()),
    }, version


def _libseccomp_version() -> str:
    """'2.5.4'; '' where the library is not installed."""
    import ctypes

    class Version(ctypes.Structure):
        _fields_ = [(name, ctypes.c_uint) for name in ("major", "minor", "micro")]

    try:
        function = ctypes.CDLL("libseccomp.so.2").seccomp_version
    except (OSError, AttributeError):
        return ""
    function.restype = ctypes.POINTER(Version)
    found = function().contents
    return "%d.%d.%d" % (found.major, found.minor, found.micro)


def spec(parsed: Parsed, _log: Log, _output: TextIO) -> int:
    """spec: write config.json into the bundle, where none is. Raises AlreadyExists and InvalidInput."""
    from ..linux.cgroups import manager as cgroups
    from ..spec import example

    try:
        is_v2 = cgroups.detect().mode == "v2"
    except OcilabError:
        is_v2 = True
    document = example.config(is_v2)
    if "--rootless" in parsed.options:
        example.make_rootless(document, os.geteuid(), os.getegid())
    path = os.path.join(parsed.options.get("--bundle") or ".", "config.json")
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    except FileExistsError:
        raise AlreadyExists("File %s exists. Remove it first" % path) from None
    except OSError as error:
        raise InvalidInput("%s: cannot be written: %s" % (path, str(error.strerror).lower())) from None
    with open(fd, "w") as file:
        file.write(json.dumps(document, indent="\t") + "\n")
    return 0


COMMANDS = {
    "features": (Command("features", "", "show what this runtime supports, as JSON", {}, {}), features),
    "spec": (
        Command(
            "spec",
            "",
            "write a config.json to start from",
            {
                "--bundle": "DIR  the bundle's directory (default: the current one)",
                "--rootless": "for a user who is not root",
            },
            {"-b": "--bundle"},
        ),
        spec,
    ),
}
