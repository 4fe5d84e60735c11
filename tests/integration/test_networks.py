# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Networks of containers, in a network namespace of the test's own: interfaces, rules and settings are no other's."""

from __future__ import annotations

import json
import os
import random
import shlex
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import own_dockerd
import pytest
from ansible_collections.ocilab.hosts.plugins.module_utils.images import rootfs as images
from ansible_collections.ocilab.hosts.plugins.module_utils.images.store import Store
from ansible_collections.ocilab.hosts.plugins.module_utils.labrun import managed
from ansible_collections.ocilab.hosts.plugins.module_utils.linux import errors, syscalls
from ansible_collections.ocilab.hosts.plugins.module_utils.networks import firewall, names, plugins
from ansible_collections.ocilab.hosts.plugins.module_utils.networks.network import Network
from test_modules import module

pytestmark = pytest.mark.root

SLEEP = ["/bin/sleep", "600"]
SERVE = ["/bin/sh", "-c", "busybox mkdir /www; busybox hostname >/www/index.html; exec busybox httpd -f -p 80 -h /www"]


def run(*words, check=True):
    return subprocess.run(words, capture_output=True, text=True, timeout=60, check=check).stdout


@pytest.fixture
def outside():
    """This process in a network namespace with one neighbour, 198.51.100.2, whose pid it gives; forwarding is off."""
    for program in ("ip", "iptables", "nsenter"):
        if not shutil.which(program):
            pytest.skip(f"there is no {program}")
    if not Path("/usr/lib/cni/bridge").exists():
        pytest.skip("there are no CNI plugins; install containernetworking-plugins")
    own = os.open("/proc/self/ns/net", os.O_RDONLY)
    neighbour = None
    try:
        syscalls.unshare(syscalls.CLONE_NEWNET, "CLONE_NEWNET")
        neighbour = subprocess.Popen(["unshare", "--net", "sleep", "infinity"])
        while os.readlink(f"/proc/{neighbour.pid}/ns/net") == os.readlink("/proc/self/ns/net"):
            time.sleep(0.01)
        run("ip", "link", "set", "lo", "up")
        run("ip", "link", "add", "up0", "type", "veth", "peer", "name", "up1", "netns", str(neighbour.pid))
        run("ip", "address", "add", "198.51.100.1/24", "dev", "up0")
        run("ip", "link", "set", "up0", "up")
        run("ip", "route", "add", "default", "via", "198.51.100.2")
        for words in ("link set lo up", "address add 198.51.100.2/24 dev up1", "link set up1 up"):
            run("nsenter", f"--net=/proc/{neighbour.pid}/ns/net", "ip", *words.split())
        Path("/proc/sys/net/ipv4/ip_forward").write_text("0")
        yield neighbour.pid
    finally:
        if neighbour:
            neighbour.kill()
            neighbour.wait()
        syscalls.setns(own, syscalls.CLONE_NEWNET, "the test's own namespace")
        os.close(own)


def host(shared=True):
    """What a network may leave on the host; without shared, what goes only with the network is left out."""
    words = () if shared else ("CNI-HOSTPORT", "published ports", 'CNI-FORWARD"', "CNI-ADMIN")
    rules = {}
    for table in ("filter", "nat", "raw"):
        lines = run("iptables", "-t", table, "-S").splitlines()
        rules[table] = [line for line in lines if not any(word in line for word in words)]
    links = sorted(link["ifname"] for link in json.loads(run("ip", "-json", "link")))
    routes = sorted(run("ip", "route").splitlines())
    return rules, links, routes, Path("/proc/sys/net/ipv4/ip_forward").read_text()


class Lab:
    """Networks and containers in places of their own, by way of the floors below the modules."""

    def __init__(self, path, rootfs, labrun):
        self.path = path
        self.root = path / "state"
        self.data = path / "data"
        self.config_dir = path / "networks"
        self.registry = self.root / "@networks"
        self.prefix = f"net{os.getpid()}-"
        self.command = [str(labrun), "--root", str(self.root)]
        self.store = Store(str(path / "images"))
        images.import_rootfs(self.store, str(rootfs), "lab/net:1", {})

    def network(self, name, **options):
        made = Network(name, str(self.config_dir), str(self.registry))
        made.create(made.wanted(**options))
        return made

    def wanted(self, name, networks, ports=(), command=None, **options):
        wanted = managed.Wanted(self.prefix + name, str(self.root), str(self.data), None, 0)
        wish = {"networks": [names.wanted(item) for item in networks], "ports": [names.port(text) for text in ports]}
        options.update(networks=dict(wish, config_dir=str(self.config_dir)), command=command or SLEEP)
        wanted.describe_image("lab/net:1", self.store, str(self.path / "layers"), options)
        return wanted

    def start(self, name, networks, ports=(), **options):
        wanted = self.wanted(name, networks, ports, **options)
        list(managed.carry_out([(wanted, managed.plan(wanted, "started"))], False))
        return wanted.container

    def delete(self, name):
        wanted = managed.Wanted(self.prefix + name, str(self.root), str(self.data), None, 0)
        list(managed.carry_out([(wanted, managed.plan(wanted, "absent"))], False))

    def labrun(self, *words):
        return subprocess.run([*self.command, *words], capture_output=True, text=True, timeout=90, check=False)

    def inside(self, name, script):
        return self.labrun("exec", self.prefix + name, "/bin/sh", "-c", script)

    def hosts(self, name):
        return (self.data / "bundles" / (self.prefix + name) / "hosts").read_text()

    def leases(self, network):
        return sorted(path.name for path in (self.registry / "leases" / network).glob("[0-9]*"))

    def journal(self, name):
        lines = (self.root / (self.prefix + name) / "journal").read_text().splitlines()
        return [json.loads(line) for line in lines]

    def kill(self, name):
        """The container and its monitor at once."""
        processes = {entry["object"]: entry["pid"] for entry in self.journal(name) if "pid" in entry}
        for kind in ("monitor", "process"):
            if kind in processes:
                os.kill(processes[kind], 9)

    def close(self):
        for folder in (self.data / "bundles").glob("*"):
            self.delete(folder.name[len(self.prefix) :])
        for definition in self.config_dir.glob("*.conflist"):
            Network(definition.stem, str(self.config_dir)).remove()


@pytest.fixture
def lab(outside, tmp_path, rootfs, labrun):
    made = Lab(tmp_path, rootfs, labrun)
    yield made
    made.close()


def fetch(url):
    """What a server answers that may not have begun to listen."""
    deadline = time.monotonic() + 5
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return answer.read().decode().strip()
        except urllib.error.URLError:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.05)


def answers(lab, name, target):
    result = lab.inside(name, f"busybox ping -c 1 -W 2 {target}")
    return result.returncode == 0


def test_members_reach_each_other_by_name_and_the_world(lab):
    before = host()
    network = lab.network("lab")
    assert network.describe()["subnet"] == "10.231.0.0/24"
    for name in "abc":
        lab.start(name, [{"name": "lab", "aliases": [f"alias-{name}"]}], hostname=f"host-{name}")
    for name in "abc":
        assert answers(lab, name, f"host-{name}")
        for other in "abc":
            assert answers(lab, name, lab.prefix + other)
            assert answers(lab, name, f"alias-{other}")
    assert answers(lab, "a", "198.51.100.2")
    assert [entry["address"] for entry in network.attached(check=True)] == ["10.231.0.2", "10.231.0.3", "10.231.0.4"]
    assert {entry["problem"] for entry in network.attached(check=True)} == {""}
    lab.delete("b")
    assert "alias-b" not in lab.hosts("a")
    assert not answers(lab, "a", "alias-b")
    for name in "ac":
        lab.delete(name)
    network.remove()
    assert host() == before
    assert not lab.registry.exists()


@pytest.mark.parametrize("policy", ["ACCEPT", "DROP"])
def test_a_published_port_answers_from_everywhere(lab, outside, policy):
    """With Docker's policy of FORWARD, too."""
    run("iptables", "-P", "FORWARD", policy)
    before = host()
    lab.network("lab")
    lab.network("other")
    lab.start("web", ["lab"], ["8080:80"], command=SERVE, hostname="served")
    lab.start("near", ["lab"])
    lab.start("far", ["other"])
    for address in ("127.0.0.1", "198.51.100.1", "10.231.0.1"):
        assert fetch(f"http://{address}:8080/") == "served"
    neighbour = ["nsenter", f"--net=/proc/{outside}/ns/net", "busybox", "wget", "-qO-", "http://198.51.100.1:8080/"]
    assert run(*neighbour) == "served\n"
    by_host = "http://198.51.100.1:8080/"
    for name, url in (("near", f"http://{lab.prefix}web/"), ("near", by_host), ("far", by_host), ("web", by_host)):
        answer = lab.inside(name, f"busybox wget -qO- {url}")
        assert answer.stdout == "served\n", (name, url, answer.stderr)
    assert answers(lab, "far", "198.51.100.2")
    lab.close()
    assert host() == before


def test_a_port_of_one_address_only(lab, outside):
    lab.network("lab")
    lab.start("web", ["lab"], ["127.0.0.1:8080:80/tcp"], command=SERVE, hostname="served")
    assert fetch("http://127.0.0.1:8080/") == "served"
    with pytest.raises(OSError, match="refused"):
        fetch("http://198.51.100.1:8080/")


def test_an_internal_network_leads_nowhere(lab):
    network = lab.network("inner", internal=True)
    lab.network("outer")
    lab.start("a", ["inner"])
    lab.start("b", ["inner", "outer"])
    assert answers(lab, "a", f"{lab.prefix}b")
    assert not answers(lab, "a", "198.51.100.2")
    assert not answers(lab, "a", "198.51.100.1")
    assert answers(lab, "b", "198.51.100.2")  # by its second network
    with pytest.raises(errors.InvalidInput, match="not internal"):
        lab.start("c", ["inner"], ["8080:80"])
    assert network.describe()["gateway"] == ""


def test_what_was_killed_leaves_nothing(lab):
    """A container and its monitor killed at once, and `labrun delete --force` of the plain command."""
    lab.network("lab")
    lab.start("stays", ["lab"])
    before = host(shared=False), lab.hosts("stays"), lab.leases("lab")
    lab.start("killed", ["lab"], ["8080:80"])
    assert before[0] != host(shared=False)
    lab.kill("killed")
    gone = lab.labrun("delete", "--force", lab.prefix + "killed")
    assert gone.returncode == 0, gone.stderr
    assert not (lab.root / (lab.prefix + "killed")).exists()
    assert (host(shared=False), lab.hosts("stays"), lab.leases("lab")) == before


def test_a_start_killed_at_any_time_is_undone(lab):
    """The monitor amid the plugins' work, which goes on without it (case F01)."""
    lab.network("lab")
    lab.start("stays", ["lab"])
    before = host(shared=False), lab.hosts("stays"), lab.leases("lab")
    amid = 0
    for attempt in range(12):
        child = os.fork()
        if child == 0:
            try:
                lab.start("killed", ["lab"], ["8080:80"])
            finally:
                os._exit(0)
        journal = lab.root / (lab.prefix + "killed") / "journal"
        while not journal.exists() or '"network"' not in journal.read_text():
            time.sleep(0.001)
        time.sleep(random.Random(attempt).uniform(0, 0.3))
        lab.kill("killed")
        os.waitpid(child, 0)
        amid += bool(lab.leases("lab") != before[2])
        gone = lab.labrun("delete", "--force", lab.prefix + "killed")
        assert gone.returncode == 0, gone.stderr
        lab.delete("killed")
        assert (host(shared=False), lab.hosts("stays"), lab.leases("lab")) == before, attempt
    assert amid > 0


def test_the_chains_that_plugins_share_are_there_before_them(outside):
    """Of two plugins that find one missing at once, one fails; what another engine has made stays its own."""
    for chain in ("CNI-FORWARD", "CNI-ADMIN"):
        run("iptables", "-N", chain)
    before = host()
    noted = firewall.before()
    for _time in range(2):
        firewall.make_shared(noted)
        made = host()[0]
        assert made["filter"] == before[0]["filter"]
        assert {"-N CNI-HOSTPORT-DNAT", "-N CNI-HOSTPORT-SETMARK", "-N CNI-HOSTPORT-MASQ"} <= set(made["nat"])
    firewall.restore(noted)
    assert host() == before


def test_starts_at_the_same_time(lab):
    before = host()
    lab.network("lab")
    children = []
    for name in "abcd":
        children.append(os.fork())
        if children[-1] == 0:
            try:
                lab.start(name, ["lab"])
            finally:
                os._exit(0)
    for child in children:
        os.waitpid(child, 0)
    attached = Network("lab", str(lab.config_dir)).attached(check=True)
    assert len({entry["address"] for entry in attached} - {""}) == 4
    assert {entry["problem"] for entry in attached} == {""}
    for name in "abcd":
        assert all(lab.prefix + other in lab.hosts(name) for other in "abcd")
    admin = ["CNI-FORWARD", "-m", "comment", "--comment", "CNI firewall plugin admin overrides", "-j", "CNI-ADMIN"]
    run("iptables", "-A", *admin)  # what two plugins at once may leave twice
    lab.close()
    assert host() == before


def test_addresses_that_another_has_taken_meanwhile_are_refused(lab):
    lab.network("lab")
    run("ip", "link", "add", "br-other", "type", "bridge")
    run("ip", "address", "add", "10.231.0.1/24", "dev", "br-other")
    run("ip", "link", "set", "br-other", "up")
    with pytest.raises(errors.InvalidInput, match="of this host on br-other"):
        lab.start("a", ["lab"])
    run("ip", "link", "delete", "br-other")
    lab.start("a", ["lab"])


def test_a_plugin_that_fails_undoes_those_before(lab):
    network = lab.network("lab")
    lab.start("works", ["lab"])
    before = host(shared=False), lab.leases("lab")
    definition = json.loads(Path(network.path).read_text())
    definition["plugins"].append({"type": "tuning", "sysctl": {"net.ipv4.conf.eth0.none": "1"}})
    Path(network.path).write_text(json.dumps(definition))
    with pytest.raises(errors.OcilabError, match="CNI plugin tuning: ADD"):
        lab.start("fails", ["lab"], ["8080:80"])
    assert (host(shared=False), lab.leases("lab")) == before
    assert not (lab.root / (lab.prefix + "fails")).exists()
    assert [entry["id"] for entry in network.attached()] == [lab.prefix + "works"]


def test_check_tells_what_is_wrong(lab):
    network = lab.network("lab")
    container = lab.start("a", ["lab"])
    assert network.attached(check=True)[0]["problem"] == ""
    run("nsenter", f"--net=/proc/{container.pid}/ns/net", "ip", "address", "flush", "dev", "eth0")
    problem = network.attached(check=True)[0]["problem"]
    assert problem.startswith(f"network lab: container {container.id}: CNI plugin bridge: CHECK: ")
    assert len(problem.splitlines()) == 1


def test_what_cannot_be_had_is_refused_before_anything_is_made(lab):
    network = lab.network("lab")
    lab.start("a", [{"name": "lab", "address": "10.231.0.9"}], ["8080:80"])
    before = host(), sorted(str(path) for path in lab.path.rglob("*"))
    listener = socket.create_server(("127.0.0.1", 8081))
    cases = [
        ((["none"],), "network none: does not exist"),
        ((["lab"], ["8080:80"]), f"container {lab.prefix}a has it"),
        ((["lab"], ["8081:80"]), "address already in use"),
        ((["lab"], ["192.0.2.77:80:80"]), "cannot assign requested address"),
        (([{"name": "lab", "address": "10.231.0.9"}],), f"{lab.prefix}a has the address"),
        (([{"name": "lab", "address": "10.9.0.9"}],), "not a host's address in the subnet"),
        (([{"name": "lab", "address": "10.231.0.1"}],), "it is the gateway's"),
    ]
    try:
        for arguments, message in cases:
            with pytest.raises(errors.OcilabError, match=message):
                lab.start("b", *arguments)
    finally:
        listener.close()
    with pytest.raises(errors.InvalidInput, match="overlaps the network lab"):
        lab.network("overlap", subnet="10.231.0.128/25")
    with pytest.raises(errors.InvalidInput, match=r"overlaps the route 198\.51\.100\.0/24 of this host on up0"):
        lab.network("overlap", subnet="198.51.100.0/25")
    with pytest.raises(errors.WrongState, match=f"in use by {lab.prefix}a"):
        network.remove()
    assert (host(), sorted(str(path) for path in lab.path.rglob("*"))) == before
    lab.start("b", ["lab"], ["8081:80"])  # the control


@pytest.mark.parametrize(
    "given",
    [
        "a b",
        "a\n127.0.0.1 evil",
        "",
        "-a",
        "a/b",
        "a" * 300,
        {"name": "lab", "aliases": ["x\ny"]},
        {"name": "lab", "x": 1},
    ],
)
def test_hostile_names_are_refused(given):
    with pytest.raises(errors.InvalidInput) as caught:
        names.wanted(given)
    assert len(str(caught.value).splitlines()) == 1
    assert names.wanted({"name": "lab", "aliases": ["x"]})["aliases"] == ["x"]


@pytest.mark.parametrize(
    "given", ["80", "80:80:80:80", "0:80", "80:65536", "::1:80:80", "1.2.3:80:80", "80:80/xyz", "٣:80", "80:80\n", ""]
)
def test_odd_ports_are_refused(given):
    with pytest.raises(errors.InvalidInput) as caught:
        names.port(given)
    assert len(str(caught.value).splitlines()) == 1
    assert names.port("127.0.0.1:53:5353/udp") == {
        "hostIP": "127.0.0.1",
        "hostPort": 53,
        "containerPort": 5353,
        "protocol": "udp",
    }


def test_a_container_changes_only_its_own_hosts_file(lab):
    lab.network("lab")
    lab.start("a", ["lab"])
    script = "echo 192.0.2.1 kept >>/etc/hosts; echo '# labrun networks: begin' >>/etc/hosts; echo lost >>/etc/hosts"
    assert lab.inside("a", script).returncode == 0
    lab.start("b", ["lab"])
    assert "kept" not in lab.hosts("b")
    assert "192.0.2.1 kept" in lab.hosts("a")
    assert lab.prefix + "b" in lab.hosts("a")
    assert "lost" not in lab.hosts("a")
    assert lab.inside("a", "cat /etc/resolv.conf").stdout == Path("/etc/resolv.conf").read_text()
    assert lab.inside("a", "busybox rm /etc/hosts").returncode != 0


def test_the_plugins_are_explained(lab):
    lab.network("lab")
    wanted = lab.wanted("a", ["lab"], ["8080:80"])
    (done,) = managed.carry_out([(wanted, managed.plan(wanted, "started"))], True)
    (step,) = [step for step in done["steps"] if step["step"] == "attach_networks"]
    called = [call["arguments"] for call in step["system_calls"] if call["call"] == "vfork"]
    assert called == [[f"/usr/lib/cni/{name}", "ADD"] for name in ("loopback", "bridge", "portmap", "firewall")]
    assert all(call["effect"] for call in step["system_calls"])


def test_without_the_plugins_a_container_can_still_be_deleted(lab, monkeypatch):
    """As where a role has uninstalled them meanwhile."""
    network = lab.network("lab")
    lab.start("stays", ["lab"])
    before = host(shared=False), lab.leases("lab"), network.attached()
    lab.start("a", ["lab"], ["8080:80"])
    with monkeypatch.context() as patched:
        patched.setattr(plugins, "PATHS", ("/nowhere",))
        lab.delete("a")
    assert (host(shared=False), lab.leases("lab"), network.attached()) == before


@pytest.mark.parametrize("is_held", [False, True])
def test_a_network_whose_users_were_lost_is_removed(lab, is_held):
    """The state folder was removed by hand; also while the container's namespace, and so its device, is still there."""
    before = host()
    network = lab.network("lab")
    namespace = os.open(f"/proc/{lab.start('a', ['lab'], ['8080:80']).pid}/ns/net", os.O_RDONLY)
    if not is_held:
        os.close(namespace)
    lab.kill("a")
    for path in (lab.root / (lab.prefix + "a")).iterdir():
        path.unlink()
    (lab.root / (lab.prefix + "a")).rmdir()
    network.remove()
    if is_held:
        os.close(namespace)
    assert host() == before
    for path in Path("/sys/fs/cgroup").glob(f"*/labrun-{lab.prefix}a"):
        path.rmdir()


def test_the_hosts_loopback_device_is_out_of_reach(lab):
    """CVE-2020-8558: published ports need route_localnet, by which a neighbour sends to 127.0.0.1 of the host."""
    lab.network("lab")
    inside = f"--net=/proc/{lab.start('a', ['lab'], ['8080:80']).pid}/ns/net"
    for words in (
        "sysctl -q -w net.ipv4.conf.all.route_localnet=1",
        "ip address flush dev lo",
        "ip route add 127.0.0.0/8 via 10.231.0.1",
    ):
        run("nsenter", inside, *words.split())
    with socket.create_server(("127.0.0.1", 9999)) as listener:
        listener.settimeout(10)
        attempt = ["nsenter", inside, "busybox", "nc", "-w", "2", "127.0.0.1", "9999"]
        assert subprocess.run(attempt, input=b"", capture_output=True, timeout=30, check=False).returncode != 0
        (rule,) = [line for line in host()[0]["raw"] if "published ports" in line]
        run("iptables", "-t", "raw", "-D", *shlex.split(rule)[1:])
        with subprocess.Popen([*attempt[:-4], "-w", "5", *attempt[-2:]], stdin=subprocess.DEVNULL):
            listener.accept()[0].close()  # the control: it would be reached


def test_what_others_use_stays(lab):
    """Chains that were there before, or that hold another's rules, and forwarding that another bridge needs."""
    run("iptables", "-N", "CNI-FORWARD")
    before = host()
    lab.network("lab")
    lab.start("a", ["lab"], ["8080:80"])
    run("iptables", "-t", "nat", "-A", "CNI-HOSTPORT-DNAT", "-p", "tcp", "--dport", "99", "-j", "RETURN")
    run("ip", "link", "add", "br-other", "type", "bridge")
    lab.close()
    rules, links, _routes, forwarding = host()
    assert [line for line in rules["nat"] if "CNI-HOSTPORT-DNAT" in line and "99" in line]
    assert "-N CNI-FORWARD" in rules["filter"]
    assert links == sorted([*before[1], "br-other"])
    assert forwarding == "1\n"


@pytest.mark.engines
def test_beside_docker(lab, outside, tmp_path):
    """Docker, which comes first here and sets FORWARD to DROP, and goes before our networks do."""
    if not shutil.which("dockerd"):
        pytest.skip("dockerd is not installed")
    (tmp_path / "docker").mkdir()
    with own_dockerd.running(tmp_path / "docker", network=()):
        before = host()
        assert "-P FORWARD DROP" in before[0]["filter"]
        lab.network("lab")
        lab.start("web", ["lab"], ["8080:80"], command=SERVE, hostname="served")
        assert answers(lab, "web", "198.51.100.2")
        docker = next(line for line in run("ip", "-brief", "address", "show", "docker0").split() if "." in line)
        with pytest.raises(errors.InvalidInput, match="overlaps the route"):
            lab.network("overlap", subnet=docker.rpartition(".")[0] + ".0/24")
    neighbour = ["nsenter", f"--net=/proc/{outside}/ns/net", "busybox", "wget", "-qO-", "http://198.51.100.1:8080/"]
    assert run(*neighbour) == "served\n"
    assert answers(lab, "web", "198.51.100.2")
    lab.close()
    assert host() == before


def snapshot(lab):
    """All that a module could have changed, and nobody else on this machine."""
    files = sorted(str(path) for path in lab.path.rglob("*") if "tree" not in path.parts)
    mounts = sorted(line for line in Path("/proc/self/mounts").read_text().splitlines() if str(lab.path) in line)
    return files, mounts, sorted(Path("/sys/fs/cgroup").glob(f"*/labrun-{lab.prefix}*")), host()


def four_steps(lab, of_name, keys=(), **arguments):
    """Check, run, run again, check again; what the run returned."""
    before = snapshot(lab)
    predicted = module(of_name, check=True, **arguments)
    assert predicted["changed"] is True, predicted
    assert snapshot(lab) == before
    done = module(of_name, **arguments)
    assert done["changed"] is True, done
    assert {key: done[key] for key in keys} == {key: predicted[key] for key in keys}
    for checked in (False, True):
        assert module(of_name, check=checked, **arguments)["changed"] is False
    return done


def test_the_modules_in_four_steps(lab):
    before = host()
    config = {"root": str(lab.root), "config_dir": str(lab.config_dir)}
    network = dict(config, name="lab", labels={"course": "containers"})
    made = four_steps(lab, "labrun_network", keys=("network",), **network)
    assert made["network"]["labels"] == {"course": "containers"}
    changed = four_steps(lab, "labrun_network", keys=("network",), **dict(network, subnet="10.231.5.0/24"))
    assert changed["network"]["gateway"] == "10.231.5.1"
    places = {"root": str(lab.root), "data_root": str(lab.data), "network_config_dir": str(lab.config_dir)}
    places.update(store=str(lab.path / "images"), layers=str(lab.path / "layers"))
    ids = [lab.prefix + name for name in "ab"]
    container = dict(places, name=ids, image="lab/net:1", command=SLEEP, networks=["lab"], labels={"tier": 1})
    done = four_steps(lab, "labrun_container", **container)
    assert [entry["container"]["annotations"]["ocilab.hosts.label.tier"] for entry in done["containers"]] == ["1", "1"]
    shown = module("labrun_network", check=True, **dict(network, subnet="10.231.5.0/24"))["network"]["attached"]
    assert [entry["names"] for entry in shown] == [[ids[0]], [ids[1]]]
    assert len({entry["address"] for entry in shown}) == 2
    assert answers(lab, "a", ids[1])
    one = {**container, "name": ids[:1], "published_ports": ["127.0.0.1:8080:80"]}
    again = four_steps(lab, "labrun_container", keys=("actions",), **one)
    assert again["actions"] == ["delete", "create", "start"]
    for arguments in ({"state": "absent"}, {"subnet": "10.231.6.0/24"}):
        for checked in (True, False):
            refused = module("labrun_network", check=checked, **{**config, "name": "lab", **arguments})
            assert f"in use by {ids[0]}, {ids[1]}" in refused["msg"]
    relabelled = four_steps(lab, "labrun_network", **{**network, "subnet": "10.231.5.0/24", "labels": {"course": "x"}})
    assert len(relabelled["network"]["attached"]) == 2
    where = {"root": str(lab.root), "data_root": str(lab.data)}
    four_steps(lab, "labrun_container", name=ids, state="absent", stop_timeout=0, **where)
    four_steps(lab, "labrun_network", state="absent", **dict(config, name="lab"))
    assert host() == before


@pytest.mark.parametrize(
    ("of_name", "arguments", "message"),
    [
        ("labrun_network", {"name": "a b"}, "network name"),
        ("labrun_network", {"name": "x", "subnet": "10.0.0.1/24"}, "has host bits set"),
        ("labrun_network", {"name": "x", "subnet": "fd00::/64"}, "an IPv4 network"),
        ("labrun_network", {"name": "x", "labels": {"a\nb": "c"}}, "label"),
        ("labrun_container", {"name": "x", "image": "lab/none", "published_ports": ["80:80"]}, "without networks"),
        ("labrun_container", {"name": "x", "bundle": "/nowhere", "networks": ["lab"]}, "needs image"),
        ("labrun_container", {"name": ["x", "y"], "image": "lab/none", "published_ports": ["80:80"]}, "only for one"),
    ],
)
def test_bad_input_is_one_clear_line(tmp_path, of_name, arguments, message):
    where = {"root": str(tmp_path / "state")}
    where.update({"config_dir": str(tmp_path / "c")} if of_name == "labrun_network" else {})
    result = module(of_name, **where, **arguments)
    assert result["failed"] is True
    assert message in result["msg"]
    assert len(result["msg"].splitlines()) == 1
    assert list(tmp_path.iterdir()) == []
