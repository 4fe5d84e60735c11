# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bringing the tests' lab hosts into a state."""

from __future__ import annotations

import sys
import time


def tell(line):
    """Straight to the terminal: a build takes minutes, and pytest would keep its lines to itself."""
    sys.__stderr__.write(time.strftime("%H:%M:%S ") + line + "\n")
    sys.__stderr__.flush()


def bring(lab, definition, state):
    """Bring one lab host into a state; returns the actions."""
    begun = time.monotonic()
    actions = lab.carry_out([definition], state, 60, None, tell)[0]
    tell(f"{definition.name}: {state} after {time.monotonic() - begun:.0f} s")
    return actions
