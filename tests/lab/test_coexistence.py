# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Engines come and go in any order, and the containers of the others keep their network all the while."""

from __future__ import annotations

import random
import shutil
import subprocess
from pathlib import Path

import pytest
from fleet import Fleet, difference
from pulses import Pulses

pytestmark = [pytest.mark.root, pytest.mark.engines, pytest.mark.slow]
REPOSITORY = Path(__file__).resolve().parents[2]
ENGINES = ["docker", "podman", "containerd", "lxc", "oci_runtimes"]
# Each is first once, last once, and removed once while the others run: the one that was first goes first.
ORDERS = [ENGINES[number:] + ENGINES[:number] for number in range(len(ENGINES))]
SEED = 5
START = {
    "docker": "tar -C /srv/pulse -c . | docker import - pulse && docker run -d --name pulse pulse /pulse $WORDS",
    "podman": "tar -C /srv/pulse -c . | podman import - pulse && podman run -d --name pulse pulse /pulse $WORDS",
    # ctr finds plugins and networks of CNI in these places only.
    "containerd": """
mkdir -p /opt/cni /etc/cni/net.d
ln -sfn /usr/lib/cni /opt/cni/bin
ln -sfn /etc/containerd/net.d/10-ocilab.conflist /etc/cni/net.d/10-pulse.conflist
ctr run -d --cni --rootfs /srv/pulse pulse /pulse $WORDS
""",
    "lxc": """
mkdir -p /var/lib/lxc/pulse
cat >/var/lib/lxc/pulse/config <<END
lxc.include = /etc/lxc/default.conf
lxc.net.0.ipv4.address = 10.0.3.77/24
lxc.net.0.ipv4.gateway = auto
lxc.rootfs.path = dir:/srv/pulse
lxc.init.cmd = /pulse $WORDS
lxc.signal.halt = SIGTERM
END
chmod 755 /srv/pulse
lxc-start --name pulse
""",
}
# What the containers were made of; engines leave their data.
CLEAN = """
rm -rf /opt/cni /etc/cni/net.d/10-pulse.conflist /var/lib/lxc/pulse
rmdir /etc/cni/net.d /etc/cni 2>/dev/null
true
"""


@pytest.fixture(scope="module")
def pulse(tmp_path_factory):
    if not shutil.which("gcc"):
        pytest.skip("there is no gcc to build tests/lab/pulse.c with")
    path = tmp_path_factory.mktemp("pulse") / "pulse"
    source = REPOSITORY / "tests" / "lab" / "pulse.c"
    subprocess.run(["gcc", "-O1", "-static", "-o", str(path), str(source)], check=True)
    return path


@pytest.fixture
def fleet(lab, tmp_path, request):
    made = Fleet(lab, tmp_path, request.param)
    yield made
    lab.bring(state="absent")


class Watch:
    """A container in each engine whose pulse is watched."""

    def __init__(self, fleet, pulse):
        self.fleet = fleet
        self.pulses = Pulses()
        gateway = fleet.shell("ip -4 route show default").split()[2]
        self.words = f"{gateway} {self.pulses.port}"
        fleet.put(pulse, "/srv/pulse/pulse")
        fleet.shell("mkdir -p /srv/pulse/proc /srv/pulse/dev /srv/pulse/sys /srv/pulse/etc /srv/pulse/run")

    def begin(self, engine):
        if engine == "oci_runtimes":
            self.fleet.module("ocilab.hosts.labrun_network", name="pulse")
            self.fleet.module("ocilab.hosts.labrun_image", name="pulse:1", source="/srv/pulse")
            command = ["/pulse", engine, *self.words.split()]
            self.fleet.module(
                "ocilab.hosts.labrun_container", name="pulse", image="pulse:1", command=command, networks=["pulse"]
            )
        else:
            self.fleet.shell(f"set -e; WORDS='{engine} {self.words}'; {START[engine]}", timeout=300)
        self.pulses.wait(engine)

    def end(self, engine):
        """Before the removal of the engine, which stops containers itself, but for labrun's."""
        self.pulses.forget(engine)
        if engine == "oci_runtimes":
            self.fleet.module("ocilab.hosts.labrun_container", name="pulse", state="absent")
            self.fleet.module("ocilab.hosts.labrun_network", name="pulse", state="absent")


def drop_what_no_rule_accepts(fleet):
    """As dockerd does where it is the one to switch forwarding on."""
    fleet.shell("iptables -P FORWARD DROP")


@pytest.mark.parametrize(
    ("fleet", "order", "removal"),
    [(("bookworm", "trixie")[number % 2], order, order) for number, order in enumerate(ORDERS)]
    + [("trixie", random.Random(SEED).sample(ENGINES, 5), random.Random(SEED + 1).sample(ENGINES, 5))],
    indirect=["fleet"],
    ids=[f"{order[0]}-first" for order in ORDERS] + ["random"],
)
def test_the_others_keep_their_network(fleet, pulse, order, removal):
    # labrun's networks want these of the host.
    install = (
        "apt-get update -qq && apt-get install -y -qq --no-install-recommends iptables containernetworking-plugins"
    )
    fleet.shell(f"({install}) >/dev/null 2>&1; echo 0 >/proc/sys/net/ipv4/ip_forward", timeout=300)
    before = fleet.snapshot()
    watch = Watch(fleet, pulse)
    try:
        for engine in order:
            fleet.playbook("ocilab.hosts.provision", provision_engines=[engine])
            assert watch.pulses.losses() == {}, f"while {engine} came"
            watch.begin(engine)
        assert sorted(watch.pulses.seen) == sorted(ENGINES)
        drop_what_no_rule_accepts(fleet)
        fleet.shell("systemctl restart docker.service")
        assert watch.pulses.losses() == {}, "while Docker was restarted"
        for engine in removal:
            watch.end(engine)
            fleet.playbook("ocilab.hosts.teardown", provision_engines=[engine])
            watch.pulses.forget(engine)
            assert watch.pulses.losses() == {}, f"while {engine} went"
    finally:
        watch.pulses.close()
    fleet.playbook("ocilab.hosts.teardown")
    fleet.shell(CLEAN)
    assert difference(before, fleet.snapshot()) == []
    assert fleet.shell("cat /proc/sys/net/ipv4/ip_forward") == "0\n"


DAEMONS = """
systemctl show --property MainPID docker containerd
systemctl show --property ActiveEnterTimestamp lxc-net ocilab-forward podman.socket
"""


@pytest.mark.parametrize("fleet", ["bookworm", "trixie"], indirect=True)
def test_from_bare_and_back(fleet):
    before = fleet.snapshot()
    predicted = fleet.playbook("ocilab.hosts.provision", check=True)
    assert predicted > 0
    assert difference(before, fleet.snapshot()) == []
    assert fleet.playbook("ocilab.hosts.provision") > 0
    provisioned, daemons = fleet.snapshot(), fleet.shell(DAEMONS)
    assert fleet.playbook("ocilab.hosts.provision", check=True) == 0
    assert fleet.playbook("ocilab.hosts.provision") == 0
    assert fleet.shell(DAEMONS) == daemons
    assert difference(provisioned, fleet.snapshot()) == []
    assert fleet.playbook("ocilab.hosts.teardown", check=True) > 0
    assert difference(provisioned, fleet.snapshot()) == []
    assert fleet.playbook("ocilab.hosts.teardown") > 0
    assert difference(before, fleet.snapshot()) == []
    assert fleet.playbook("ocilab.hosts.teardown") == 0


def test_the_watch_notices_a_network_that_fails(lab, pulse, tmp_path):
    """The control: without the chain, a policy of DROP cuts off a bridge whose engine has no rule of its own."""
    fleet = Fleet(lab, tmp_path, "bookworm")
    fleet.playbook("ocilab.hosts.provision", provision_engines=["docker", "lxc"])
    watch = Watch(fleet, pulse)
    try:
        watch.begin("lxc")
        drop_what_no_rule_accepts(fleet)
        for way in "io":
            fleet.shell(f"iptables -D FORWARD -{way} lxcbr0 -j ACCEPT")
        watch.pulses.forget("lxc")
        watch.pulses.wait("lxc")
        assert watch.pulses.losses() == {}
        fleet.shell("systemctl stop ocilab-forward.service; sleep 5")
        assert set(watch.pulses.losses()) == {"lxc"}
    finally:
        watch.pulses.close()
        lab.bring(state="absent")
