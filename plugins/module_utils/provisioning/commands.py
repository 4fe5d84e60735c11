# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""Running a host's own commands: argv lists, an answer that is checked, and one line where one fails."""

from __future__ import annotations

import os
import shutil
import subprocess

from ..linux.errors import OcilabError, Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Mapping

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def has(program: str) -> bool:
    """Whether the host has the program."""
    return shutil.which(program, path=_PATH) is not None


def run(*words: str, timeout_s: float = 120, environment: Mapping[str, str] | None = None) -> str:
    """What the command prints. Raises Unsupported where it is missing, OcilabError where it fails."""
    code, output = attempt(*words, timeout_s=timeout_s, environment=environment)
    if code:
        lines = output.strip().splitlines() or ["it said nothing"]
        raise OcilabError("%s: failed with exit code %d: %s" % (" ".join(words), code, lines[-1]))
    return output


def attempt(*words: str, timeout_s: float = 120, environment: Mapping[str, str] | None = None) -> tuple[int, str]:
    """(exit code, what the command prints). Raises Unsupported where it is missing, OcilabError where it hangs."""
    try:
        done = subprocess.run(
            words,
            env=dict(os.environ, LC_ALL="C", PATH=_PATH, **(environment or {})),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=timeout_s,
            check=False,
        )
    except FileNotFoundError:
        raise Unsupported("%s: this host does not have the program" % words[0]) from None
    except subprocess.TimeoutExpired:
        raise OcilabError("%s: has not ended within %d s" % (" ".join(words), timeout_s)) from None
    return done.returncode, done.stdout.decode("utf-8", "replace")
