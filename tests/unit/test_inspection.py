# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What engine_info reads out of engines' answers, from answers as they were or would be given, without an engine."""

from __future__ import annotations

import http.server
import json
import os
import shutil
import socketserver
import subprocess
import threading
from pathlib import Path

import pytest
from ansible_collections.ocilab.hosts.plugins.module_utils.engines.engine import EngineFailed, Unavailable
from ansible_collections.ocilab.hosts.plugins.module_utils.inspection import (
    cri,
    disk,
    docker,
    inspector,
    lxc,
    podman,
    runtimes,
    services,
    shape,
    sockets,
    survey,
)
from ansible_collections.ocilab.hosts.plugins.module_utils.inspection.http import Certificates, Client
from ansible_collections.ocilab.hosts.plugins.module_utils.linux.errors import InvalidInput

RECORDED = Path(__file__).with_name("recorded")


def recorded(name):
    return json.loads((RECORDED / f"{name}.json").read_text())


class Answers(http.server.BaseHTTPRequestHandler):
    """Gives the recorded answers of one engine; anything else is refused as Docker refuses."""

    documents = {}

    def do_GET(self):
        path = self.path.partition("?")[0]
        found = self.documents.get(path, self.documents.get(path.partition("/v1.51")[2]))
        text = json.dumps({"message": "page not found"} if found is None else found).encode()
        self.send_response(404 if found is None else 200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def address_string(self):
        return "a unix socket"

    def log_message(self, format, *arguments):
        """Nothing is to be seen."""


class UnixServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


@pytest.fixture
def serve(tmp_path):
    """Serve documents by their paths at a unix socket; its path."""
    servers = []

    def start(documents):
        path = str(tmp_path / f"{len(servers)}.sock")
        handler = type("Handler", (Answers,), {"documents": documents})
        server = UnixServer(path, handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return path

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


EMPTY = {
    "/system/df": {"LayersSize": 0, "Images": None, "Containers": [], "Volumes": None, "BuildCache": None},
    "/containers/json": [],
    "/images/json": [],
    "/networks": [{"Name": "bridge", "Driver": "bridge", "IPAM": {"Config": [{"Subnet": "172.17.0.0/16"}]}}],
    "/volumes": {"Volumes": None},
}


def test_docker_desktop_is_recognised_by_its_commands_answers():
    found = shape.new("client-server")
    docker.describe(found, recorded("docker_desktop_version"), recorded("docker_desktop_info"))
    assert found["system"]["desktop"] is True
    assert found["version"] == {
        "client": "28.3.0",
        "server": "28.3.0",
        "api": "1.51",
        "details": {
            "containerd": "1.7.27",
            "runc": "1.2.5",
            "docker-init": "0.19.0",
            "platform": "Docker Desktop 4.43.0 (198134)",
            "context": "desktop-linux",
        },
    }
    assert found["system"]["storage_driver"] == "overlayfs"
    assert found["system"]["cgroup_version"] == "v2"
    assert found["system"]["kernel"] == "6.10.14-linuxkit"


def test_docker_desktop_behind_a_socket_tells_why_its_parts_are_not_seen(serve):
    documents = dict(EMPTY)
    documents["/version"] = recorded("docker_desktop_version")["Server"]
    documents["/info"] = {key: value for key, value in recorded("docker_desktop_info").items() if key != "ClientInfo"}
    path = serve(documents)
    found = survey.survey(["docker"], inspector.Settings(docker_host="unix://" + path))["docker"]
    assert found["available"] is True, found["unavailable_reason"]
    assert found["system"]["desktop"] is True
    assert found["service"] is None
    assert "virtual machine" in found["notes"][0]
    assert [one["path"] for one in found["sockets"]] == [path]
    assert found["sockets"][0]["listening"] is True
    parts = {part["name"]: part for part in found["components"] if part["role"] != "client"}
    assert {name: part["version"] for name, part in parts.items()} == {
        "dockerd": "28.3.0",
        "containerd": "1.7.27",
        "runc": "1.2.5",
    }
    assert all(part["pid"] is None and part["path"] is None for part in parts.values())
    assert found["objects"]["networks"] == [{"name": "bridge", "driver": "bridge", "subnets": ["172.17.0.0/16"]}]


def test_a_daemon_of_this_host_is_no_docker_desktop():
    found = shape.new("client-server")
    version, info = recorded("docker_desktop_version"), recorded("docker_desktop_info")
    version["Server"]["Platform"]["Name"] = "Docker Engine - Community"
    info.update(OperatingSystem="Debian GNU/Linux 12 (bookworm)", Name="docker-desktop")
    docker.describe(found, version, info)
    assert found["system"]["desktop"] is False


def test_an_answer_that_is_not_understood_costs_one_engine(serve):
    path = serve({"/version": {"ApiVersion": "1.51"}, "/info": {}})
    found = survey.survey(["docker", "labrun"], inspector.Settings(docker_host="unix://" + path))
    assert found["docker"]["available"] is False
    assert found["docker"]["unavailable_reason"].startswith("its answer is not understood: ")
    assert found["labrun"]["available"] is True
    assert found["docker"].keys() == found["labrun"].keys() == shape.new("").keys()


def test_docker_disk_usage_is_counted_as_its_command_counts():
    answer = {
        "LayersSize": 1000,
        "Images": [
            {"Containers": 2, "Size": 700, "SharedSize": 300},
            {"Containers": 0, "Size": 600, "SharedSize": 300},
        ],
        "Containers": [{"State": "running", "SizeRw": 5}, {"State": "exited", "SizeRw": 7}, {"State": "created"}],
        "Volumes": [{"UsageData": {"RefCount": 1, "Size": 10}}, {"UsageData": {"RefCount": 0, "Size": 30}}],
        "BuildCache": [
            {"InUse": True, "Shared": False, "Size": 50},
            {"InUse": False, "Shared": True, "Size": 40},
            {"InUse": False, "Shared": False, "Size": 20},
        ],
    }
    assert docker.disk_usage(answer) == {
        "images": {"count": 2, "active": 1, "size_bytes": 1000, "reclaimable_bytes": 600},
        "containers": {"count": 3, "active": 1, "size_bytes": 12, "reclaimable_bytes": 7},
        "volumes": {"count": 2, "active": 1, "size_bytes": 40, "reclaimable_bytes": 30},
        "build_cache": {"count": 3, "active": 1, "size_bytes": 70, "reclaimable_bytes": 20},
    }


def test_podman_disk_usage_of_older_and_newer_releases():
    older = '{"Type":"Images","Total":2,"Active":1,"Size":20,"Reclaimable":5}\n'
    newer = (
        '{"Type":"Images","Total":2,"Active":1,"RawSize":20,"RawReclaimable":5,"TotalCount":2,'
        '"Size":"20B","Reclaimable":"5B (25%)"}\n'
    )
    told = {"images": {"count": 2, "active": 1, "size_bytes": 20, "reclaimable_bytes": 5}}
    assert podman.disk_usage(older) == podman.disk_usage(newer) == told


SHOWN = """\
Id=docker.service
LoadState=loaded
ActiveState={active}
SubState=dead
UnitFileState=enabled
MainPID=812
MemoryCurrent=96370688
ActiveEnterTimestamp=Wed 2026-11-25 21:40:30 UTC

Id=crio.service
LoadState=not-found
ActiveState=inactive
SubState=dead
UnitFileState=
MainPID=0
MemoryCurrent=[not set]
ActiveEnterTimestamp=

Id=docker.socket
LoadState=loaded
ActiveState=active
SubState={socket}
UnitFileState=enabled
Listen=/run/docker.sock (Stream)
Listen=127.0.0.1:2375 (Stream)
Triggers=docker.service
"""


def units(active, socket):
    return services.Units(["docker.service", "crio.service"], SHOWN.format(active=active, socket=socket))


def test_services():
    known = units("active", "running")
    assert known.service("docker.service") == {
        "unit": "docker.service",
        "load": "loaded",
        "active": "active",
        "enabled": "enabled",
        "main_pid": 812,
        "memory_bytes": 96370688,
        "since": "2026-11-25T21:40:30Z",
    }
    absent = known.service("crio.service")
    assert (absent["load"], absent["enabled"], absent["main_pid"]) == ("not-found", None, None)
    assert (absent["memory_bytes"], absent["since"]) == (None, None)
    assert known.asleep_behind("/run/docker.sock") == ""


def test_a_socket_that_would_start_its_service_is_seen_before_it_is_asked():
    known = units("inactive", "listening")
    assert known.asleep_behind("/run/docker.sock") == "docker.service"
    assert known.asleep_behind("/run/other.sock") == ""
    one = docker.Docker("docker", inspector.Settings(docker_host="unix:///run/docker.sock"))
    with pytest.raises(Unavailable, match=r"docker\.service\), and to ask its socket would start it"):
        one.fill(shape.new("client-server"), known)


def test_the_context_that_a_user_has_chosen_tells_the_address(tmp_path, monkeypatch):
    for name in ("DOCKER_HOST", "DOCKER_CONTEXT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    one = docker.Docker("docker", inspector.Settings())
    assert (one._address(), one.context) == ("unix:///var/run/docker.sock", "default")
    if not shutil.which("docker"):
        pytest.skip("docker is not installed")
    endpoint = f"host=unix://{tmp_path}/desktop.sock"
    subprocess.run(["docker", "context", "create", "desktop-linux", "--docker", endpoint], check=True)
    (tmp_path / "config.json").write_text('{"currentContext": "desktop-linux"}')
    assert (one._address(), one.context) == (f"unix://{tmp_path}/desktop.sock", "desktop-linux")


def test_no_service_is_told_of_without_systemd():
    known = services.Units([], "")
    assert known.service("docker.service") is None
    assert known.asleep_behind("/run/docker.sock") == ""


def test_sockets(serve, tmp_path):
    path = serve({})
    os.chmod(path, 0o660)
    found = sockets.describe(path)
    assert (found["mode"], found["listening"]) == ("0660", True)
    assert sockets.describe(str(tmp_path / "none")) is None
    (tmp_path / "file").touch()
    assert sockets.describe(str(tmp_path / "file")) is None


def test_http(serve, tmp_path):
    client = Client("unix://" + serve({"/version": {"Version": "1"}}), 5)
    assert client.get("/version") == {"Version": "1"}
    assert client.get("/version") == {"Version": "1"}
    with pytest.raises(EngineFailed, match=r"GET /nothing: 404 page not found"):
        client.get("/nothing")
    client.close()
    with pytest.raises(Unavailable, match="there is no such socket"):
        Client(f"unix://{tmp_path}/none", 5).get("/version")
    with pytest.raises(Unavailable, match="nobody listens there"):
        Client("tcp://127.0.0.1:1", 5).get("/version")
    for address in ("ssh://host", "tcp://", "tcp://host:port", "docker"):
        with pytest.raises(InvalidInput, match="is none of unix:///PATH"):
            Client(address, 5)
    with pytest.raises(InvalidInput, match="cannot be used"):
        Client("tcp://127.0.0.1:1", 5, Certificates(str(tmp_path / "ca.pem")))


def test_what_folders_take(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "one").write_bytes(b"x" * 100000)
    os.link(tmp_path / "folder" / "one", tmp_path / "folder" / "two")
    (tmp_path / "folder" / "link").symlink_to("/")
    with open(tmp_path / "folder" / "sparse", "wb") as file:
        file.truncate(1 << 30)
    counted = subprocess.run(["du", "-s", "-B1", str(tmp_path / "folder")], capture_output=True, text=True, check=True)
    assert disk.allocated(str(tmp_path / "folder")) == int(counted.stdout.split()[0])
    assert disk.allocated(str(tmp_path / "none")) == 0


def test_lxc_tables():
    table = "NAME STATE   UNPRIVILEGED \nweb  RUNNING false        \ndb   STOPPED true         \n"
    assert [(one["NAME"], one["STATE"]) for one in lxc.listed(table)] == [("web", "RUNNING"), ("db", "STOPPED")]
    assert lxc.listed("") == []


def test_what_a_runtime_says_of_itself():
    text = "runc version 1.1.5+ds1\ncommit: 1.1.5+ds1-1\nspec: 1.0.2-dev\ngo: go1.19.8\nlibseccomp: 2.5.4\n"
    assert runtimes.said(text) == {
        "commit": "1.1.5+ds1-1",
        "spec": "1.0.2-dev",
        "go": "go1.19.8",
        "libseccomp": "2.5.4",
    }
    assert runtimes.said("crun version 1.21\nspec: 1.0.0\n+SYSTEMD +SECCOMP +WASM:wasmedge\n") == {"spec": "1.0.0"}


def test_containerd_by_its_cri_configuration():
    config = {
        "containerdRootDir": "/var/lib/containerd",
        "containerd": {
            "snapshotter": "overlayfs",
            "defaultRuntimeName": "runc",
            "runtimes": {"runc": {"options": {"SystemdCgroup": True}}, "crun": {"options": {}}},
        },
    }
    assert cri.of_containerd({"config": json.dumps(config)}) == {
        "storage_driver": "overlayfs",
        "cgroup_driver": "systemd",
        "default_runtime": "runc",
        "runtimes": ["crun", "runc"],
        "root_dir": "/var/lib/containerd",
    }


def test_an_unknown_engine_is_refused():
    with pytest.raises(InvalidInput, match="engine rkt: is none of labrun, "):
        survey.survey(["rkt"])
