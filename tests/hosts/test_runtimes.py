# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Low-level runtimes: each tells its version and its features, and Docker and Podman know those of the role."""

from __future__ import annotations

import json

import engines
import pytest

testinfra_hosts = ["ansible://all?force_ansible=True"]


@pytest.mark.parametrize("name", ["runc", "crun", "runsc", "youki", "labrun"])
def test_it_tells_its_version(host, name):
    engines.need(host, name)
    assert host.check_output("%s --version", name)


@pytest.mark.parametrize("name", ["labrun"])
def test_it_tells_its_features(host, name):
    engines.need(host, name)
    features = json.loads(host.check_output("%s features", name))
    assert features["ociVersionMax"]


def test_docker_knows_those_of_the_role(host):
    engines.need(host, "docker")
    noted = host.file("/etc/docker/ocilab-runtimes.json")
    if not noted.exists:
        pytest.skip("the role oci_runtimes has told Docker of none")
    known = engines.told(host, "docker info", "{{json .Runtimes}}")
    assert set(json.loads(noted.content_string)) <= set(known)


def test_labrun_is_hardened(host):
    engines.need(host, "labrun")
    assert engines.deviations(host, "labrun") == []
