# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role busybox on a host without package lists, whose own busybox needs libraries: it takes neither for good."""

from __future__ import annotations

import json

import pytest
from fleet import Fleet

pytestmark = pytest.mark.root
BUSYBOX_WITH_LIBRARIES = "apt-get update -qq && apt-get install -y -qq busybox >/dev/null 2>&1 && ldd /bin/busybox"
TASK = {"ansible.builtin.include_role": {"name": "ocilab.hosts.busybox"}, "vars": {"busybox_dir": "/root/work"}}


@pytest.mark.parametrize("check", [False, True])
def test_a_static_one_is_fetched_and_the_host_stays_as_it_is(clean_lab, tmp_path, check):
    fleet = Fleet(clean_lab, tmp_path, "bookworm")
    fleet.shell(f"{BUSYBOX_WITH_LIBRARIES} && rm -rf /var/lib/apt/lists/* && mkdir -m 700 /root/work", timeout=300)
    before = fleet.snapshot()
    play = tmp_path / "play.yml"
    play.write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": [TASK]}]))
    assert fleet.playbook(str(play), check) == 0
    fleet.shell("chroot /root/work/rootfs /bin/true")
    assert fleet.shell("find /var/lib/apt/lists -mindepth 1") == ""
    assert fleet.snapshot() == before
