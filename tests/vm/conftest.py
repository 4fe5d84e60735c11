# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One virtual machine for all tests, a lab host of the vm backend."""

from __future__ import annotations

import os
import shutil

import pytest
from ansible_collections.ocilab.hosts.plugins.module_utils.linux.errors import Unsupported
from ansible_collections.ocilab.hosts.plugins.module_utils.machines import lab as labs
from lab_hosts import bring


@pytest.fixture(scope="session")
def lab(tmp_path_factory):
    """The tests' lab, in folders of its own."""
    folder = tmp_path_factory.mktemp("lab")
    return labs.Lab(
        labs.Places(str(folder / "data"), str(folder / "run"), str(folder / "images"), str(folder / "layers"))
    )


@pytest.fixture(scope="session")
def host(lab):
    """A running lab host. VM_RELEASE chooses its Debian (bookworm or trixie)."""
    definition = labs.Definition("checks", "vm", os.environ.get("VM_RELEASE", "bookworm"))
    try:
        bring(lab, definition, "started")
        yield lab.backend(definition)
    except Unsupported as reason:
        if shutil.which("qemu-img"):  # where QEMU installs, nothing is left out
            raise
        pytest.skip(str(reason))
    finally:
        bring(lab, definition, "absent")
