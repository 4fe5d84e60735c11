# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""engine_info through Ansible with real engines: what it tells is held against what their own commands say."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import own_dockerd
import pytest

pytestmark = pytest.mark.root
IMAGE = "test/box:1"
KEYS = {"available", "unavailable_reason", "kind", "notes", "version", "system", "disk_usage", "service", "sockets"}
KEYS |= {"components", "objects"}
NOTHING_DOWN = {"DOCKER_HOST": "unix:///nonexistent/docker.sock"}


def module(of_name="engine_info", environment=None, check=False, **arguments):
    """Run a module on this machine; its result."""
    command = [sys.executable, "-m", "ansible", "adhoc", "localhost", "-m", f"ocilab.hosts.{of_name}"]
    command += ["-a", json.dumps(arguments)] if arguments else []
    command += ["--check"] if check else []
    given = dict(os.environ, ANSIBLE_STDOUT_CALLBACK="ansible.builtin.minimal", ANSIBLE_NOCOLOR="1")
    given.update(environment or {})
    result = subprocess.run(command, env=given, capture_output=True, text=True, timeout=180, check=False)
    return dict(json.loads(result.stdout.partition(" => ")[2]), failed=result.returncode != 0)


def told(engine, environment=None, **arguments):
    """What the module tells of an engine that is there."""
    result = module(environment=environment, engines=[engine], **arguments)
    assert not result["failed"], result
    found = result["engines"][engine]
    assert found["available"], found["unavailable_reason"]
    return found


def command(*words, **keywords):
    return subprocess.run(words, capture_output=True, text=True, timeout=120, check=True, **keywords).stdout.strip()


def human(size):
    """As Docker writes bytes: four digits, and units of a thousand."""
    units = ["B", "kB", "MB", "GB", "TB"]
    value = float(size)
    while value >= 1000 and len(units) > 1:
        value /= 1000
        units.pop(0)
    return f"{value:.4g}{units[0]}"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """An authority, certificates of it for a server at 127.0.0.1 and for a client, and a client's of another one."""
    if not shutil.which("openssl"):
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("certificates")
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    for authority, names in (("ca", ("server", "client")), ("other-ca", ("stranger",))):
        made = ["-keyout", f"{authority}-key.pem", "-out", f"{authority}.pem", "-subj", f"/CN={authority}"]
        command("openssl", "req", "-x509", *key, *made, cwd=folder)
        for name in names:
            made = ["-keyout", f"{name}-key.pem", "-out", f"{name}.csr", "-subj", f"/CN={name}"]
            command("openssl", "req", *key, *made, cwd=folder)
            use = "serverAuth" if name == "server" else "clientAuth"
            (folder / "extensions").write_text(f"subjectAltName=IP:127.0.0.1\nextendedKeyUsage={use}\n")
            sign = ["-CA", f"{authority}.pem", "-CAkey", f"{authority}-key.pem", "-CAcreateserial"]
            sign += ["-in", f"{name}.csr", "-out", f"{name}.pem", "-extfile", "extensions"]
            command("openssl", "x509", "-req", *sign, cwd=folder)
    return folder


@pytest.fixture(scope="module")
def archive(tmp_path_factory, rootfs):
    path = tmp_path_factory.mktemp("archive") / "rootfs.tar"
    command("tar", "-C", str(rootfs), "-cf", str(path), ".")
    return path


class Daemon:
    """dockerd at a socket and, for who has a certificate, at a port; with an image, two containers and two volumes."""

    def __init__(self, address, remote):
        self.address = address
        self.remote = remote

    def docker(self, *words):
        return command("docker", "--host", self.address, *words)


@pytest.fixture(scope="module")
def daemon(tmp_path_factory, certificates, archive):
    if not shutil.which("dockerd"):
        pytest.skip("dockerd is not installed")
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        remote = "tcp://127.0.0.1:%d" % one.getsockname()[1]
    options = ["--iptables=false", "--bridge=none", "--host", remote, "--tlsverify"]
    options += ["--tlscacert", f"{certificates}/ca.pem"]
    options += ["--tlscert", f"{certificates}/server.pem", "--tlskey", f"{certificates}/server-key.pem"]
    with own_dockerd.running(tmp_path_factory.mktemp("dockerd"), tuple(options)) as address:
        made = Daemon(address, remote)
        made.docker("import", str(archive), IMAGE)
        made.docker("volume", "create", "used")
        made.docker("volume", "create", "unused")
        run = ["run", "--detach", "--network", "none", "--name", "runs", "--volume", "used:/used", IMAGE]
        made.docker(*run, "/bin/sh", "-c", "echo 0123456789 >/used/file; echo 0123 >/tmp/file; sleep 600")
        made.docker("run", "--network", "none", "--name", "ended", IMAGE, "/bin/sh", "-c", "echo 01234567 >/tmp/file")
        made.docker("image", "tag", IMAGE, "test/box:2")
        yield made
        made.docker("rm", "--force", "runs", "ended")


def from_command(daemon):
    """docker system df, by kind: count, active, size and reclaimable as it writes them."""
    lines = daemon.docker("system", "df", "--format", "{{json .}}").splitlines()
    kinds = {"Images": "images", "Containers": "containers", "Local Volumes": "volumes", "Build Cache": "build_cache"}
    return {kinds[item["Type"]]: item for item in map(json.loads, lines)}


@pytest.mark.engines
def test_docker_over_its_socket(daemon):
    found = told("docker", docker_host=daemon.address)
    assert set(found) == KEYS
    path = daemon.address[len("unix://") :]
    assert found["kind"] == "client-server"
    assert found["version"]["client"] == command("docker", "--version").split()[2].rstrip(",")
    assert found["version"]["server"] == daemon.docker("version", "--format", "{{.Server.Version}}")
    assert {"containerd", "runc"} <= set(found["version"]["details"])
    template = "{{.Driver}} {{.CgroupDriver}} {{.DefaultRuntime}} {{.DockerRootDir}}"
    system = found["system"]
    assert daemon.docker("info", "--format", template) == " ".join(
        system[key] for key in ("storage_driver", "cgroup_driver", "default_runtime", "root_dir")
    )
    assert (system["desktop"], system["rootless"], system["kernel"]) == (False, False, os.uname().release)
    assert [(one["path"], one["listening"], one["owner"]) for one in found["sockets"]] == [(path, True, "root")]


@pytest.mark.engines
def test_docker_takes_what_its_own_command_says(daemon):
    usage = told("docker", docker_host=daemon.address)["disk_usage"]
    for kind, item in from_command(daemon).items():
        mine = usage[kind]
        assert (str(mine["count"]), str(mine["active"])) == (item["TotalCount"], item["Active"]), kind
        assert human(mine["size_bytes"]) == item["Size"], kind
        assert human(mine["reclaimable_bytes"]) == item["Reclaimable"].partition(" ")[0], kind
    assert usage["images"]["count"] == usage["containers"]["active"] == usage["volumes"]["active"] == 1
    assert usage["containers"]["count"] == usage["volumes"]["count"] == 2
    assert usage["containers"]["reclaimable_bytes"] > 0


@pytest.mark.engines
def test_docker_has_its_objects_and_parts(daemon):
    found = told("docker", docker_host=daemon.address)
    objects = found["objects"]
    containers = {item["name"]: item for item in objects["containers"]}
    assert {name: (item["status"], item["image"]) for name, item in containers.items()} == {
        "runs": ("running", IMAGE),
        "ended": ("exited", IMAGE),
    }
    assert containers["runs"]["id"] == daemon.docker("inspect", "--format", "{{.Id}}", "runs")
    assert containers["runs"]["created"][:19] == daemon.docker("inspect", "--format", "{{.Created}}", "runs")[:19]
    assert sorted(objects["images"][0]["names"]) == [IMAGE, "test/box:2"]
    assert {"none", "host"} <= {item["name"] for item in objects["networks"]}
    volumes = {item["name"]: item["path"] for item in objects["volumes"]}
    assert Path(volumes["used"], "file").read_text() == "0123456789\n"
    parts = {part["role"]: part for part in found["components"]}
    assert list(parts) == ["client", "daemon", "high-level runtime", "monitor", "low-level runtime"]
    assert parts["monitor"]["name"] == "containerd-shim-runc-v2"
    assert Path(f"/proc/{parts['daemon']['pid']}/comm").read_text() == "dockerd\n"
    assert Path(f"/proc/{parts['high-level runtime']['pid']}/comm").read_text() == "containerd\n"
    assert parts["daemon"]["version"] == found["version"]["server"]


@pytest.mark.engines
def test_docker_over_tls_tells_the_same(daemon, certificates):
    names = {"docker_ca": "ca.pem", "docker_cert": "client.pem", "docker_key": "client-key.pem"}
    given = {key: str(certificates / name) for key, name in names.items()}
    over_tls = told("docker", docker_host=daemon.remote, **given)
    over_socket = told("docker", docker_host=daemon.address)
    assert over_tls["sockets"] == [
        {"path": daemon.remote, "mode": None, "owner": None, "group": None, "listening": True}
    ]
    for key in ("version", "system", "disk_usage", "objects"):
        assert over_tls[key] == over_socket[key], key
    assert [part["role"] for part in over_tls["components"]][:2] == ["client", "daemon"]


@pytest.mark.engines
@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (("ca", None), "the server may want a certificate of its own authority"),
        (("ca", "stranger"), "the server may want a certificate of its own authority"),
        (("other-ca", "client"), "its certificate is refused: "),
        ((None, None), "Client sent an HTTP request to an HTTPS server"),
        (("nothing", None), "cannot be used: No such file or directory"),
    ],
)
def test_docker_over_tls_is_refused_in_one_line(daemon, certificates, names, reason):
    authority, client = names
    given = {"docker_ca": f"{certificates}/{authority}.pem"} if authority else {}
    if client:
        given.update(docker_cert=f"{certificates}/{client}.pem", docker_key=f"{certificates}/{client}-key.pem")
    found = module(engines=["docker"], docker_host=daemon.remote, **given)["engines"]["docker"]
    assert found["available"] is False
    assert reason in found["unavailable_reason"]
    assert "\n" not in found["unavailable_reason"]
    assert set(found) == KEYS


@pytest.fixture
def podman(tmp_path):
    """Root's Podman with a storage of the test's own; its environment."""
    if not shutil.which("podman"):
        pytest.skip("podman is not installed")
    storage = tmp_path / "storage.conf"
    lines = ["[storage]", 'driver = "vfs"', f'graphroot = "{tmp_path}/graph"', f'runroot = "{tmp_path}/run"']
    storage.write_text("\n".join(lines) + "\n")
    return {"CONTAINERS_STORAGE_CONF": str(storage)}


@pytest.mark.engines
def test_podman(podman, archive, tmp_path):
    environment = dict(os.environ, **podman)

    def own(*words):
        return command("podman", *words, env=environment)

    own("import", str(archive), IMAGE)
    own("volume", "create", "data")
    own("create", "--network", "none", "--name", "waits", "--volume", "data:/data", IMAGE, "/bin/true")
    found = told("podman", environment=podman)
    assert set(found) == KEYS
    assert found["kind"] == "daemonless"
    assert found["version"]["client"] == command("podman", "--version").split()[-1]
    assert found["system"]["root_dir"] == f"{tmp_path}/graph"
    assert (found["system"]["storage_driver"], found["system"]["rootless"]) == ("vfs", False)
    names = {kind: [item["name"] for item in found["objects"][kind]] for kind in ("containers", "volumes")}
    assert names == {"containers": ["waits"], "volumes": ["data"]}
    assert found["objects"]["containers"][0]["status"] == "created"
    assert found["objects"]["images"][0]["names"] == [f"localhost/{IMAGE}"]
    usage = {kind: (item["count"], item["active"]) for kind, item in found["disk_usage"].items() if item}
    assert usage == {"images": (1, 1), "containers": (1, 0), "volumes": (1, 1)}
    assert found["disk_usage"]["images"]["size_bytes"] > 1 << 19
    assert found["disk_usage"]["build_cache"] is None
    assert [part["role"] for part in found["components"]] == ["client", "monitor", "low-level runtime"]
    own("rm", "waits")


@pytest.mark.engines
def test_runc(bundle):
    if not shutil.which("runc"):
        pytest.skip("runc is not installed")
    bundle.config["process"]["args"] = ["/bin/sleep", "600"]
    bundle.write()
    subprocess.run(
        ["runc", "run", "--detach", "--bundle", str(bundle.path), bundle.name],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=True,
        timeout=60,
    )
    try:
        found = told("runc")
    finally:
        command("runc", "delete", "--force", bundle.name)
    assert set(found) == KEYS
    known = json.loads(command("runc", "features"))
    assert found["version"]["details"]["ociVersionMax"] == known["ociVersionMax"]
    assert command("runc", "--version").splitlines()[0] == "runc version " + found["version"]["client"]
    mine = [item for item in found["objects"]["containers"] if item["id"] == bundle.name]
    assert [item["status"] for item in mine] == ["running"]
    assert found["disk_usage"]["containers"]["active"] >= 1
    assert found["disk_usage"]["images"] is None


def test_labrun_from_its_library(tmp_path, rootfs):
    data, state, networks = tmp_path / "data", tmp_path / "run", tmp_path / "networks"
    places = {"store": str(data / "images"), "layers": str(data / "layers")}
    where = {"root": str(state), "data_root": str(data)}
    for name, source in (("test/box:1", rootfs), ("test/other:1", rootfs / "etc")):
        assert not module("labrun_image", name=name, source=str(source), **places)["failed"]
    wanted = {"image": "test/box:1", "volumes": ["data:/data"], "command": ["/bin/sh", "-c", "echo 1 >/f; sleep 600"]}
    name = f"info-{os.getpid()}"
    made = module("labrun_container", name=name, state="started", **wanted, **places, **where)
    assert not made["failed"], made
    try:
        found = told("labrun", network_config_dir=str(networks), **where)
    finally:
        module("labrun_container", name=name, state="absent", **places, **where)
    assert set(found) == KEYS
    assert [(one["name"], one["status"], one["image"]) for one in found["objects"]["containers"]] == [
        (name, "running", "test/box:1")
    ]
    assert [one["names"] for one in found["objects"]["images"]] == [["test/box:1"], ["test/other:1"]]
    assert [(one["name"], one["driver"]) for one in found["objects"]["volumes"]] == [("data", "named")]
    usage = found["disk_usage"]
    assert {kind: (item["count"], item["active"]) for kind, item in usage.items() if item} == {
        "images": (2, 1),
        "containers": (1, 1),
        "volumes": (1, 1),
    }
    counted = command("du", "-s", "-B1", "-c", places["store"], places["layers"]).split()[-2]
    assert usage["images"]["size_bytes"] == int(counted)
    assert 0 < usage["images"]["reclaimable_bytes"] < usage["images"]["size_bytes"]
    assert usage["containers"]["reclaimable_bytes"] == 0 < usage["containers"]["size_bytes"]
    after = told("labrun", network_config_dir=str(networks), **where)
    assert after["disk_usage"]["images"]["reclaimable_bytes"] == after["disk_usage"]["images"]["size_bytes"]


def test_all_engines_at_once_have_one_shape_and_nothing_changes(podman):
    before = Path("/proc/self/mounts").read_text()
    result = module(environment=dict(NOTHING_DOWN, **podman), check=True)
    assert (result["failed"], result["changed"]) == (False, False)
    engines = result["engines"]
    assert list(engines) and {"labrun", "docker", "podman", "podman-rootless", "containerd", "crio", "lxc"} <= set(
        engines
    )
    for name, found in engines.items():
        assert set(found) == KEYS, name
        assert (found["unavailable_reason"] is None) is found["available"], name
        assert found["version"].keys() == engines["labrun"]["version"].keys()
        assert found["system"].keys() == engines["labrun"]["system"].keys()
    assert engines["labrun"]["available"] is True
    assert "there is no such socket" in engines["docker"]["unavailable_reason"]
    if not shutil.which("crio"):
        assert engines["crio"]["unavailable_reason"] == "crio is not installed"
    assert Path("/proc/self/mounts").read_text() == before


def test_bad_input_gets_one_clear_line():
    assert module(timeout=0)["msg"] == "timeout: 0 is not above 0"
    assert "docker_key" in module(docker_cert="/etc/hostname", docker_host="tcp://lab:2376")["msg"]
    assert "value of engines must be one or more of" in module(engines=["rkt"])["msg"]
