# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""CRI-O: it runs, it is ready for pods, and its socket is root's."""

from __future__ import annotations

import json

import engines
import pytest

testinfra_hosts = ["ansible://all?force_ansible=True"]


@pytest.fixture(autouse=True)
def needed(host):
    engines.need(host, "crio")


def test_it_runs(host):
    assert host.service("crio").is_running


def test_it_is_ready_for_pods(host):
    asked = json.dumps({"socket": "/run/crio/crio.sock"})
    result = host.ansible("ocilab.hosts.engine_pods", asked, check=False)
    assert result.get("conditions") == {"RuntimeReady": "", "NetworkReady": ""}, result


def test_it_is_hardened(host):
    assert engines.deviations(host, "crio") == []
