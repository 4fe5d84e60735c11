# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the modules have made, as the lab host itself sees it."""

import json

import pytest

testinfra_hosts = ["ansible://all?force_ansible=True"]


def pid(host, name):
    return json.loads(host.file(f"/run/labrun/{name}/state.json").content_string)["pid"]


@pytest.mark.parametrize(
    ("name", "command", "hostname"),
    [("of-bundle", "/bin/sleep 2000", "from-a-bundle"), ("limited-1", "/bin/sleep 1000", "limited")],
)
def test_the_container_runs(host, name, command, hostname):
    number = pid(host, name)
    assert host.check_output(f"tr '\\0' ' ' </proc/{number}/cmdline").strip() == command
    assert host.check_output(f"nsenter --target {number} --uts hostname") == hostname


def test_the_limits_are_the_kernels(host):
    number = pid(host, "limited-2")
    assert "limited-2" in host.check_output(f"cat /proc/{number}/cgroup")


def test_the_store_is_an_image_layout(host):
    index = json.loads(host.file("/var/lib/labrun/images/index.json").content_string)
    names = [entry["annotations"]["org.opencontainers.image.ref.name"] for entry in index["manifests"]]
    assert names == ["molecule/busybox:1"]
