# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab that all tests of a session share, so that its root filesystems are built once."""

from __future__ import annotations

import shutil
from pathlib import Path

import lab_hosts
import pytest
from ansible_collections.ocilab.hosts.plugins.module_utils.machines import image


@pytest.fixture(scope="session")
def lab(tmp_path_factory, labrun):
    """The lab. Its root filesystems are kept in ~/.cache/ocilab.hosts/lab, as the images of machines are beside it."""
    for program in ("mmdebstrap", "iptables"):
        if not shutil.which(program):
            pytest.skip(f"{program} is not installed")
    if not any(Path(folder, "bridge").exists() for folder in ("/usr/lib/cni", "/opt/cni/bin")):
        pytest.skip("there are no CNI plugins; install containernetworking-plugins")
    made = lab_hosts.Lab(tmp_path_factory.mktemp("lab"), labrun)
    kept = Path(image.default_cache()).parent / "lab"
    for folder in (kept, made.data / "lab"):
        folder.mkdir(parents=True, exist_ok=True)
    (made.data / "lab" / "@base").symlink_to(kept)
    yield made
    made.bring(state="absent")
    shutil.rmtree(made.data, ignore_errors=True)


@pytest.fixture
def clean_lab(lab):
    """The lab without machines, before and after."""
    lab.bring(state="absent")
    yield lab
    lab.bring(state="absent")
