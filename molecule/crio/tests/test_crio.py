# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role crio brings, with a stand-in for CRI-O itself: of CRI-O's own work nothing is seen here."""

import json

testinfra_hosts = ["ansible://all?force_ansible=True"]


def test_the_service_runs(host):
    assert host.service("crio").is_running
    assert host.service("crio").is_enabled


def test_the_configuration_counts(host):
    merged = host.check_output("crio config")
    assert "'pause_image': 'localhost/ocilab/pause:1'" in merged
    assert "'network_dir': '/etc/crio/net.d'" in merged
    registries = host.file("/etc/containers/registries.conf.d/50-ocilab-crio.conf").content_string
    assert 'location = "mirror.example:5000"' in registries


def test_the_network_is_the_roles(host):
    network = json.loads(host.file("/etc/crio/net.d/10-ocilab.conflist").content_string)
    assert network["plugins"][0]["ipam"]["ranges"] == [[{"subnet": "10.85.0.0/16"}]]


def test_pods_have_an_image_without_a_registry(host):
    place = "containers-storage:[overlay@/var/lib/containers/crio+/run/containers/crio]localhost/ocilab/pause:1"
    assert "schemaVersion" in host.check_output("skopeo --insecure-policy inspect --raw '%s'", place)
