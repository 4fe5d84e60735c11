# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Docker as the lab hosts have it: containers run, the configuration counts, clients need a certificate."""

import json
import os

import pytest
import testinfra

INVENTORY = os.path.dirname(os.environ["MOLECULE_INVENTORY_FILE"])
testinfra_hosts = ["ansible://all?force_ansible=True"]

# A root filesystem of the host's own shell and the libraries that it needs.
IMAGE = """\
set -e
mkdir -p /run/image/bin
cp /bin/sh /bin/cat /run/image/bin/
for file in $(ldd /bin/sh /bin/cat | grep -o '/lib[^ ]*' | sort -u); do
  mkdir -p /run/image$(dirname $file)
  cp -L $file /run/image$file
done
tar -C /run/image -c . | docker import - molecule/sh:1
"""


def info(host):
    # Ansible would take the braces for its own.
    return json.loads(host.check_output("docker info --format '{% raw %}{{json .}}{% endraw %}'"))


def curl(host, *arguments, server="localhost", authority="/etc/docker/tls/ca.pem"):
    """A request to the remote API by Python, which every lab host has; its exit code is 0 when it was answered."""
    script = "import ssl, sys, urllib.request as r; c = ssl.create_default_context(cafile=sys.argv[2]);"
    script += "a = sys.argv[3:]; a and c.load_cert_chain(*a);"
    script += "print(r.urlopen('https://%s:2376/_ping' % sys.argv[1], context=c).read().decode())"
    return host.run('python3 -c "%s" %s' % (script, " ".join([server, authority, *arguments])))


@pytest.fixture
def image(host):
    host.check_output(IMAGE)
    yield "molecule/sh:1"
    host.check_output("docker rmi molecule/sh:1 && rm -rf /run/image")


def test_a_container_runs_without_new_privileges(host, image):
    status = host.check_output("docker run --rm -m 64m --pids-limit 20 %s /bin/cat /proc/self/status", image)
    assert "NoNewPrivs:\t1" in status


def test_the_configuration_counts(host):
    seen = info(host)
    assert seen["LiveRestoreEnabled"] is True
    assert seen["Labels"] == ["scenario=docker"]
    bridge = json.loads(host.check_output("docker network inspect bridge"))[0]
    assert bridge["IPAM"]["Config"][0]["Subnet"].startswith("172.30.0.")


def test_the_remote_api_wants_a_certificate(host):
    tls = "/etc/docker/tls"
    assert curl(host, f"{tls}/client.pem", f"{tls}/client-key.pem").stdout.strip() == "OK"
    assert curl(host).rc != 0
    make = "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=foreign -keyout /run/foreign.key -out /run/foreign.pem"
    host.check_output(make)
    assert curl(host, "/run/foreign.pem", "/run/foreign.key").rc != 0
    expired = f"openssl x509 -req -in /run/late.csr -CA {tls}/ca.pem -CAkey {tls}/ca-key.pem -days 0 -out /run/late.pem"
    host.check_output("openssl req -new -key /run/foreign.key -subj /CN=late -out /run/late.csr")
    host.check_output(expired + " && sleep 2")
    assert curl(host, "/run/late.pem", "/run/foreign.key").rc != 0
    host.check_output(expired.replace("-days 0", "-days 2"))  # the control: it is the date that counted
    assert curl(host, "/run/late.pem", "/run/foreign.key").rc == 0
    host.check_output("rm /run/foreign.key /run/foreign.pem /run/late.csr /run/late.pem")
    assert not host.socket("tcp://0.0.0.0:2375").is_listening


def test_the_remote_api_answers_another_host(host):
    names = ["molecule-docker-12", "molecule-docker-13"]
    own = host.check_output("hostname")
    names.remove(own)
    other = testinfra.get_host(f"ansible://{names[0]}?force_ansible=True", ansible_inventory=INVENTORY)
    try:
        for name in ("ca.pem", "client.pem", "client-key.pem"):
            file = host.check_output("base64 -w 0 /etc/docker/tls/%s", name)
            other.check_output("echo %s | base64 -d >/run/%s", file, name)
        asked = {"server": own, "authority": "/run/ca.pem"}
        assert curl(other, "/run/client.pem", "/run/client-key.pem", **asked).stdout.strip() == "OK"
        assert curl(other, **asked).rc != 0
        foreign = ("/etc/docker/tls/client.pem", "/etc/docker/tls/client-key.pem")
        assert curl(other, *foreign, **asked).rc != 0
    finally:
        other.check_output("rm -f /run/ca.pem /run/client.pem /run/client-key.pem")


def test_keys_are_roots_alone(host):
    for name in ("ca-key.pem", "server-key.pem", "client-key.pem"):
        assert host.file(f"/etc/docker/tls/{name}").mode == 0o600
    assert host.file("/etc/docker/tls").mode == 0o700
