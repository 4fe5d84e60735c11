# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One virtual machine for all tests, a lab host of the vm backend."""

from __future__ import annotations

import os
import shutil
import sys
import time

import pytest
from ansible_collections.ocilab.hosts.plugins.module_utils.linux.errors import Unsupported
from ansible_collections.ocilab.hosts.plugins.module_utils.machines import virtual


def tell(line):
    """Straight to the terminal: a build takes minutes, and pytest would keep its lines to itself."""
    sys.__stderr__.write(time.strftime("%H:%M:%S ") + line + "\n")
    sys.__stderr__.flush()


@pytest.fixture(scope="session")
def progress():
    return tell


@pytest.fixture(scope="session")
def lab(tmp_path_factory):
    """The folder of the tests' lab hosts."""
    return tmp_path_factory.mktemp("lab")


@pytest.fixture(scope="session")
def host(lab):
    """A running lab host. VM_RELEASE chooses its Debian (bookworm or trixie)."""
    made = virtual.VirtualMachine("checks", str(lab), os.environ.get("VM_RELEASE", "bookworm"))
    try:
        made.start(tell)
        yield made
    except Unsupported as reason:
        if shutil.which("qemu-img"):  # where QEMU installs, nothing is left out
            raise
        pytest.skip(str(reason))
    finally:
        made.remove()
