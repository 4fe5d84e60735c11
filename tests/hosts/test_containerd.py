# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""containerd: it runs, its CRI service is ready for pods, and its socket is root's."""

from __future__ import annotations

import json

import engines
import pytest

testinfra_hosts = ["ansible://all?force_ansible=True"]
SOCKET = "/run/containerd/containerd.sock"


@pytest.fixture(autouse=True)
def needed(host):
    engines.need(host, "containerd")


def test_it_runs(host):
    assert host.service("containerd").is_running
    assert "Version:" in host.check_output("ctr version")


def test_its_cri_is_ready_for_pods(host):
    if not host.file("/etc/containerd/ocilab.toml").exists:
        pytest.skip("no role has made containerd ready for pods on this host")
    result = host.ansible("ocilab.hosts.engine_pods", json.dumps({"socket": SOCKET}), check=False)
    conditions = dict(result.get("conditions", {}))
    conditions.setdefault("ContainerdHasNoDeprecationWarnings", "")  # of containerd 1.7 and later
    met = {"RuntimeReady": "", "NetworkReady": "", "ContainerdHasNoDeprecationWarnings": ""}
    assert conditions == met, result


def test_it_is_hardened(host):
    assert engines.deviations(host, "containerd") == []
