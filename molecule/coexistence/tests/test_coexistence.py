# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The chain as the lab hosts have it: it is there before Docker, and comes back with the firewall."""

testinfra_hosts = ["ansible://all?force_ansible=True"]
CHAIN = "OCILAB-FORWARD"


def forward(host):
    return host.check_output("iptables -S FORWARD").splitlines()


def test_forward_passes_to_the_chain_last(host):
    assert host.service("ocilab-forward.service").is_enabled
    assert forward(host)[-1] == f"-A FORWARD -j {CHAIN}"
    rules = host.check_output(f"iptables -S {CHAIN}").splitlines()
    assert f"-A {CHAIN} -i lxcbr+ -j ACCEPT" in rules
    # What goes to Docker's networks is decided by Docker alone.
    assert rules.index(f"-A {CHAIN} -o docker+ -j RETURN") < rules.index(f"-A {CHAIN} -i lxcbr+ -j ACCEPT")


def test_it_starts_before_docker(host):
    assert (
        "docker.service" in host.check_output("systemctl show --property Before --value ocilab-forward.service").split()
    )


def test_a_reload_brings_it_back_and_does_not_double_it(host):
    host.check_output(f"iptables -D FORWARD -j {CHAIN}")
    for _time in range(2):
        host.check_output("systemctl reload ocilab-forward.service")
        assert forward(host).count(f"-A FORWARD -j {CHAIN}") == 1
