# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The adapters of engines that this machine has, each through its whole interface, against the real engines."""

from __future__ import annotations

import shutil

import columns
import pytest
from ansible_collections.ocilab.hosts.plugins.module_utils.engines import engine
from ansible_collections.ocilab.hosts.plugins.module_utils.engines.docker import Docker

pytestmark = pytest.mark.root
# With a daemon of our own, which has no bridge; containers of Podman's and labrun's own reach each other.
NEEDS = {
    "labrun": "",
    "labrun-module": "",
    "runc": "runc",
    "crun": "crun",
    "docker": "dockerd",
    "podman": "podman",
    "podman+runc": "podman",
    "podman+crun": "podman",
    "podman+labrun": "podman",
}


@pytest.fixture(scope="module")
def bench():
    with columns.Workbench() as made:
        yield made


@pytest.mark.slow
@pytest.mark.parametrize(
    "column", [name if not NEEDS[name] else pytest.param(name, marks=pytest.mark.engines) for name in NEEDS]
)
def test_whole_interface(column, bench, request, monkeypatch):
    if NEEDS[column] and not shutil.which(NEEDS[column]):
        pytest.skip(f"{NEEDS[column]} is not installed")
    if column == "docker":
        monkeypatch.setenv("DOCKER_HOST", request.getfixturevalue("dockerd"))
    found = columns.seen(column, bench)
    if "crun" in column and "hybrid" in found.get("unavailable", ""):
        pytest.skip("crun refuses this host's cgroups: " + found["unavailable"])
    columns.judge(column, found, network=column != "docker")


def test_what_is_not_there_is_told(bench, monkeypatch, tmp_path):
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    for column in ("docker", "kata-runtime", "crio"):
        assert columns.seen(column, bench)["unavailable"]


@pytest.mark.engines
def test_docker_is_asked_for_its_runtimes(bench, dockerd, monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", dockerd)
    reason = columns.seen("docker+youki", bench)["unavailable"]
    assert "knows no runtime youki" in reason
    assert "runc" in reason


@pytest.mark.engines
def test_columns_of_one_engine_do_not_take_each_others_image(bench, dockerd, monkeypatch):
    """As where a column cannot be measured and is cleaned up while its sister is."""
    monkeypatch.setenv("DOCKER_HOST", dockerd)
    one, other = Docker(), Docker("runc")
    for adapter in (one, other):
        adapter.detect()
        adapter.prepare(bench.workload)
    other.clean_up()
    assert one.output("tt-still", engine.Wanted(["/bin/echo", "there"])) == "there\n"
    one.clean_up()
    with pytest.raises(engine.EngineFailed):
        one.image_bytes(bench.workload.image)
