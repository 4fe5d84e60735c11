# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The registries as a host has them: services of their own, files that are nobody else's, and who is let in."""

import pytest

testinfra_hosts = ["ansible://all?force_ansible=True"]
ASK = """
import base64, ssl, sys, urllib.error, urllib.request
request = urllib.request.Request(sys.argv[1])
if len(sys.argv) > 2:
    request.add_header("Authorization", "Basic " + base64.b64encode(sys.argv[2].encode()).decode())
try:
    context = ssl.create_default_context(cafile="/etc/ocilab-registry/tls/ca.pem")
    print(urllib.request.urlopen(request, context=context).status)
except urllib.error.HTTPError as error:
    print(error.code)
"""


def status(host, *words):
    return host.check_output("python3 -c '%s' " % ASK.replace("'", '"') + " ".join(f"'{word}'" for word in words))


@pytest.mark.parametrize("instance", ["private", "cache"])
def test_each_is_a_service_of_its_own(host, instance):
    service = host.service(f"docker-registry-{instance}")
    assert service.is_running
    assert service.is_enabled
    assert service.systemd_properties["User"] == "docker-registry"
    pid = service.systemd_properties["MainPID"]
    granted = host.check_output(f"grep -E '^(CapEff|NoNewPrivs)' /proc/{pid}/status").split()
    assert granted == ["CapEff:", "0000000000000000", "NoNewPrivs:", "1"]
    assert host.check_output(f"stat -c %U /proc/{pid}") == "docker-registry"


def test_the_packages_own_instance_does_not_start(host):
    service = host.service("docker-registry")
    assert not service.is_running
    assert not service.is_enabled


def test_files_are_nobody_elses(host):
    found = host.check_output(
        "cd /etc/ocilab-registry && stat -c '%n %a %U:%G' . private.yml cache.yml users tls/*-key.pem"
    )
    assert found.splitlines() == [
        ". 750 root:docker-registry",
        "private.yml 640 root:docker-registry",
        "cache.yml 640 root:docker-registry",
        "users 640 root:docker-registry",
        "tls/ca-key.pem 600 root:root",
        "tls/server-key.pem 640 root:docker-registry",
    ]
    assert host.check_output("cut -c 1-15 /etc/ocilab-registry/users") == "student:$2b$10$"


def test_who_is_let_in(host):
    private, cache = "https://localhost:5000/v2/", "https://localhost:5001/v2/"
    assert status(host, private) == "401"
    assert status(host, private, "student:guessed") == "401"
    assert status(host, private, "student:of the scenario alone") == "200"
    assert status(host, cache) == "200"


def test_what_was_pulled_through_is_kept(host):
    assert status(host, "https://localhost:5001/v2/library/probe/tags/list") == "200"
    kept = host.check_output(
        "find /var/lib/docker-registry/cache -path '*library/probe/_manifests/revisions/sha256/*' -name link"
    )
    assert len(kept.splitlines()) == 1


def test_the_firewall_knows_the_networks(host):
    own = host.check_output("ip -4 route show scope link | awk '$3 == \"eth0\" {print $1}'")
    rules = host.check_output("iptables -S OCILAB-REGISTRY").splitlines()
    assert rules[1:] == [
        "-A OCILAB-REGISTRY -i lo -p tcp -m tcp --dport 5001 -j RETURN",
        f"-A OCILAB-REGISTRY -s {own} -p tcp -m tcp --dport 5001 -j RETURN",
        "-A OCILAB-REGISTRY -p tcp -m tcp --dport 5001 -j REJECT --reject-with tcp-reset",
    ]
    assert host.check_output("iptables -S INPUT 1") == "-A INPUT -p tcp -j OCILAB-REGISTRY"
