# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What verify leaves on the lab hosts: nothing."""

import json

testinfra_hosts = ["ansible://all?force_ansible=True"]


def test_no_container_is_left(host):
    assert host.check_output("lxc-ls") == ""
    assert host.check_output("ctr --namespace k8s.io containers list --quiet") == ""
    assert host.check_output("labrun list --quiet") == ""


def test_no_image_network_or_folder_is_left(host):
    assert "ocilab-verify" not in host.check_output("ctr --namespace k8s.io images list --quiet")
    assert host.run("ls /var/tmp | grep ocilab").stdout == ""
    assert "lr-" not in host.check_output("ip -brief link")


def test_the_hardening_has_a_reason_for_each_item(host):
    asked = json.dumps({"engines": ["containerd", "lxc", "labrun"]})
    items = host.ansible("ocilab.hosts.engine_verify", asked, check=False)["hardening"]
    assert {item["engine"] for item in items} == {"containerd", "lxc", "labrun"}
    assert all(item["reason"] for item in items)
    assert [item["id"] for item in items if item["state"] == "deviates"] == []
