# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""linux.netDevices: a device of the host moves into the container, with its addresses, and up."""

from __future__ import annotations

import json
import os
import shutil
import subprocess

import pytest

pytestmark = pytest.mark.root


def ip(*words):
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout


@pytest.fixture
def device():
    """One end of a veth pair, with addresses; the other end stays on the host."""
    if not shutil.which("ip"):
        pytest.skip("ip is not installed (iproute2)")
    number = os.getpid() % 100000
    name, peer = f"lab{number}", f"labp{number}"
    ip("link", "add", name, "type", "veth", "peer", "name", peer)
    try:
        ip("address", "add", "192.0.2.7/24", "dev", name)
        ip("address", "add", "2001:db8::7/64", "dev", name, "nodad")
        ip("link", "set", name, "mtu", "1400", "up")
        yield name
    finally:
        subprocess.run(["ip", "link", "delete", peer], capture_output=True, check=False)


def hold(bundle):
    bundle.config["process"]["args"] = ["/bin/sleep", "100"]
    bundle.write()
    assert bundle.labrun("run", "--detach", "--bundle", str(bundle.path), bundle.name).returncode == 0
    pid = json.loads(bundle.labrun("state", bundle.name).stdout)["pid"]
    return ["nsenter", "--target", str(pid), "--net", "ip", "-json"]


@pytest.mark.parametrize("new_name", ["", "eth9"])
def test_a_device_moves_with_its_addresses(bundle, device, new_name):
    bundle.config["linux"]["netDevices"] = {device: {"name": new_name} if new_name else {}}
    inside = hold(bundle)
    seen = json.loads(
        subprocess.run([*inside, "address", "show", new_name or device], check=True, capture_output=True).stdout
    )[0]
    addresses = {item["local"] for item in seen["addr_info"] if item["scope"] == "global"}
    assert addresses == {"192.0.2.7", "2001:db8::7"}
    assert "UP" in seen["flags"]
    assert seen["mtu"] == 1400
    assert subprocess.run(["ip", "link", "show", device], capture_output=True, check=False).returncode != 0
    assert bundle.labrun("delete", "--force", bundle.name).returncode == 0
    bundle.assert_nothing_left()


def test_the_loopback_device_is_up(bundle):
    inside = hold(bundle)
    seen = json.loads(subprocess.run([*inside, "link", "show", "lo"], check=True, capture_output=True).stdout)[0]
    assert "UP" in seen["flags"]


@pytest.mark.parametrize(
    ("devices", "message"),
    [
        ({"nosuchdevice": {}}, "this host has no network device of that name"),
        ({"a/b": {}}, "is not a name of a network device"),
        ({"lo": {"name": "x" * 16}}, "is not a name of a network device"),
        ({"one": {"name": "same"}, "two": {"name": "same"}}, "two of them would get one name"),
    ],
)
def test_a_device_that_cannot_be_moved_is_one_clear_line(bundle, devices, message):
    bundle.config["linux"]["netDevices"] = devices
    result = bundle.run("/bin/true")
    assert result.returncode == 1
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1
    bundle.assert_nothing_left()


def test_a_name_that_is_taken_in_the_container_is_refused(bundle, device):
    bundle.config["linux"]["netDevices"] = {device: {"name": "lo"}}
    result = bundle.run("/bin/true")
    assert result.returncode == 1
    assert f"the network device {device} as lo" in result.stderr
    assert subprocess.run(["ip", "link", "show", device], capture_output=True, check=False).returncode == 0
    bundle.assert_nothing_left()


def test_without_a_network_namespace_a_device_is_refused(bundle, device):
    bundle.config["linux"]["netDevices"] = {device: {}}
    namespaces = bundle.config["linux"]["namespaces"]
    bundle.config["linux"]["namespaces"] = [item for item in namespaces if item["type"] != "network"]
    assert "needs a network namespace" in bundle.run("/bin/true").stderr
