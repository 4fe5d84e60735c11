# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Build the labrun command from this checkout, for the Python that runs this script: scripts/build_labrun.py FILE."""

from __future__ import annotations

import os
import sys

sys.dont_write_bytecode = True
checkout = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
sys.path.insert(0, os.path.join(checkout, "plugins"))

from module_utils.labrun import command  # the path above makes it importable

if len(sys.argv) != 2:
    sys.exit("usage: scripts/build_labrun.py FILE")
os.makedirs(os.path.dirname(os.path.abspath(sys.argv[1])), exist_ok=True)
command.write_executable(sys.argv[1])
sys.stdout.write(
    "%s: %d bytes, for %s\n" % (sys.argv[1], os.path.getsize(sys.argv[1]), os.path.realpath(sys.executable))
)
