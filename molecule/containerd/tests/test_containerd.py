# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""containerd as the lab hosts have it: a container runs, and its CRI service has the network of the role."""

import json

testinfra_hosts = ["ansible://all?force_ansible=True"]

ROOT = """\
set -e
mkdir -p /run/root/bin /run/root/proc
cp /bin/sh /run/root/bin/
for file in $(ldd /bin/sh | grep -o '/lib[^ ]*' | sort -u); do
  mkdir -p /run/root$(dirname $file)
  cp -L $file /run/root$file
done
"""


def test_a_container_runs(host):
    host.check_output(ROOT)
    run = "ctr run --rm --rootfs /run/root one /bin/sh -c 'echo it runs'"
    assert host.check_output(run) == "it runs"
    host.check_output("rm -rf /run/root")


def test_the_configuration_counts(host):
    dump = host.check_output("containerd --config /etc/containerd/ocilab.toml config dump")
    assert 'conf_dir = "/etc/containerd/net.d"' in dump
    assert 'config_path = "/etc/containerd/certs.d"' in dump
    assert "--config /etc/containerd/ocilab.toml" in host.check_output(
        "tr '\\0' ' ' </proc/$(pidof -s containerd)/cmdline"
    )
    assert "https://mirror.example:5000" in host.file("/etc/containerd/certs.d/docker.io/hosts.toml").content_string


def test_the_cri_service_works(host):
    assert host.check_output("ctr plugins list id==cri | tail -n 1").split()[-1] == "ok"


def test_the_network_is_the_roles(host):
    network = json.loads(host.file("/etc/containerd/net.d/10-ocilab.conflist").content_string)
    assert network["plugins"][0]["ipam"]["ranges"] == [[{"subnet": "10.86.0.0/24"}]]
