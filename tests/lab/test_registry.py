# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The registries of a class on three lab hosts: what engines pull reaches the upstream once, and who is kept out."""

from __future__ import annotations

import pytest
from class_registry import PULL, Class
from webhook import Webhook

pytestmark = [pytest.mark.root, pytest.mark.engines, pytest.mark.slow]
PASSWORD = "sentinel-of-a-password"
TOKEN = "sentinel-of-a-token"


@pytest.fixture(scope="module")
def webhook():
    made = Webhook()
    yield made
    made.close()


@pytest.fixture(scope="module")
def given(lab, webhook):
    """The role's variables."""
    return {"users": [{"name": "student", "password": PASSWORD}], "verify_image": "library/first:1"}


@pytest.fixture(scope="module")
def school(lab, webhook, given, tmp_path_factory):
    made = Class(lab, tmp_path_factory.mktemp("class"))
    gateway = made.shell(0, "ip -4 route show default").split()[2]
    given["cache_upstream"] = f"http://{made.names[1]}:5005"
    given["private_notifications"] = [
        {
            "name": "hook",
            "url": f"http://{gateway}:{webhook.port}/",
            "headers": {"Authorization": [TOKEN]},
            "timeout": "2s",
            "threshold": 5,
            "backoff": "1s",
        }
    ]
    variables = {f"registry_{key}": value for key, value in given.items()}
    failed, _changed, output = made.playbook(
        "ocilab.hosts.provision", provision_engines=["docker", "podman", "containerd"], **variables
    )
    assert not failed, output[-4000:]
    made.push("first")
    yield made
    traces = lab.traces()
    lab.bring(state="absent")
    assert traces.left() == {}


def changing(requests):
    """Those for content: who asks whether a tag has moved sends HEAD."""
    return [request for request in requests if request[1] == "GET"]


@pytest.mark.parametrize("engine", PULL)
def test_an_image_reaches_the_upstream_once(school, engine):
    name = f"of-{engine}"
    digests = school.push(name)
    assert len(digests) == 3  # manifest, configuration, layer
    before = len(school.requests(name))
    assert school.pull(0, engine, name) == name
    school.wait_until_kept(digests)
    first = school.requests(name)[before:]
    assert {request[0] for request in first} == {school.address(0)}
    manifests = [request for request in changing(first) if "/manifests/" in request[2]]
    assert len(manifests) == 1
    # A blob goes to who asks while the registry makes its own copy, each by a request.
    blobs = [request[2] for request in changing(first) if "/blobs/" in request[2]]
    assert {blobs.count(blob) for blob in blobs} <= {1, 2}
    assert len(set(blobs)) == 2
    for number in (1, 2):
        assert school.pull(number, engine, name) == name
    assert changing(school.requests(name)[before + len(first) :]) == []


def test_only_the_classs_network_reaches_the_cache(school):
    """A host of another network, as one that an address of its own makes of the third."""
    ask = "import socket; s = socket.create_connection(('{}', {}), 5); print('open')"

    def reaches(address, port):
        code, output = school.exec(2, 'python3 -c "' + ask.format(address, port) + '"')
        return "open" if code == 0 else output.strip().splitlines()[-1].split(":")[0]

    school.shell(0, "ip address add 10.99.0.1/24 dev eth0")
    school.shell(2, "ip address add 10.99.0.3/24 dev eth0")
    try:
        assert reaches(school.address(0).split()[0], 5001) == "open"  # the control: from the class's network
        assert reaches("10.99.0.1", 5001) == "ConnectionRefusedError"
        assert reaches("10.99.0.1", 5000) == "open"  # the control: the private one asks everybody for a password
    finally:
        school.shell(0, "ip address del 10.99.0.1/24 dev eth0")
        school.shell(2, "ip address del 10.99.0.3/24 dev eth0")


def test_pushes_and_pulls_of_the_class_are_told_to_the_webhook(school, webhook):
    registry = f"{school.names[0]}:5000"
    school.shell(1, "cd /run/upstream/root && tar -c . | docker import - mine:1")
    image = f"{registry}/class/mine:1"
    code, output = school.exec(1, f"docker tag mine:1 {image} && docker push -q {image}")
    assert code != 0
    assert "no basic auth credentials" in output
    login = f"echo {PASSWORD} | {{}} login --username student --password-stdin {registry}"
    school.shell(1, f"{login.format('docker')} && docker push -q {image}")
    webhook.wait("push", "class/mine")
    assert webhook.tokens == {TOKEN}
    code, output = school.exec(2, f"podman pull -q {image}")
    assert code != 0
    school.shell(2, f"{login.format('podman')} && podman pull -q {image}")
    webhook.wait("pull", "class/mine")
    school.shell(2, f"ctr image pull --hosts-dir /etc/containerd/certs.d --user student:{PASSWORD} {image}")


def test_engines_forget_it_again(school):
    failed, _changed, output = school.playbook("ocilab.hosts.teardown")
    assert not failed, output[-4000:]
    for number in range(3):
        left = school.shell(number, "find /etc /var/lib -name '*ocilab*' -o -name certs.d").splitlines()
        assert left == ["/etc/systemd/system.conf.d/ocilab.conf"]  # the lab host's own
    assert school.exec(0, "getent passwd docker-registry")[0] != 0
