# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The adapters' own thoughts: names of columns, of images and of users, and what programs tell of themselves."""

from __future__ import annotations

import pytest
from ansible_collections.ocilab.hosts.plugins.module_utils.engines import components, cri_engine, lxc, registry
from ansible_collections.ocilab.hosts.plugins.module_utils.linux.errors import InvalidInput


def test_columns_come_in_their_order():
    assert registry.NAMES[:3] == ("labrun", "labrun-module", "runc")
    assert registry.NAMES[-2:] == ("crio", "lxc")
    assert len(registry.NAMES) == len(set(registry.NAMES)) == 24
    chosen = registry.all_engines(["podman", "docker+crun", "labrun"])
    assert [one.name for one in chosen] == ["labrun", "docker+crun", "podman"]
    assert [(one.engine, one.runtime) for one in chosen] == [("labrun", None), ("docker", "crun"), ("podman", None)]
    assert registry.all_engines([]) == []
    with pytest.raises(InvalidInput, match="engine nix: is none of labrun, "):
        registry.all_engines(["nix"])


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("Docker version 20.10.24+dfsg1, build 5d6db84", "20.10.24+dfsg1"),
        ("containerd github.com/containerd/containerd 1.6.20~ds1 1.6.20~ds1-1+deb12u3", "1.6.20~ds1"),
        ("containerd-shim-runc-v2:\n  Version:  1.6.20~ds1\n  Revision: \n", "1.6.20~ds1"),
        ("runsc version release-20221219.0\nspec: 1.0.2", "release-20221219.0"),
        ("conmon version 2.1.6\ncommit: unknown", "2.1.6"),
        ("5.0.2", "5.0.2"),
        ("it does not tell", None),
    ],
)
def test_a_version_is_found_in_what_a_program_tells(text, version):
    assert components.version_in(text) == version


@pytest.mark.parametrize(
    ("name", "full"),
    [
        ("busybox:1", "docker.io/library/busybox:1"),
        ("lab/busybox:1", "docker.io/lab/busybox:1"),
        ("localhost/lab:1", "localhost/lab:1"),
        ("registry.lab:5000/busybox", "registry.lab:5000/busybox"),
    ],
)
def test_names_of_images_are_completed_as_containerd_does(name, full):
    assert cri_engine._full(name) == full


def test_the_ids_of_lxc_containers_are_read():
    lines = ["lxc.net.0.type = veth", "lxc.idmap = u 0 165536 65536", "lxc.idmap = g 0 165536 65536"]
    assert lxc._first_id(lines) == 165536
    assert lxc._first_id(["lxc.idmap = b 0 200000 65536"]) == 200000
    assert lxc._first_id(["# lxc.idmap = u 0 1 1", "lxc.idmap = u 1000 1 1"]) == 0
