# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""numpy, which lies on the controller by requirements.txt; None where it does not, which the action tells in a line."""

from __future__ import annotations

try:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
except ImportError:
    np = NDArray = Floats = None
