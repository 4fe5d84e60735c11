# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""engine_info on a lab host that has all engines by the playbook provision: one task tells of each."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from lab_hosts import ANSIBLE
from role_host import RoleHost

pytestmark = [pytest.mark.root, pytest.mark.engines, pytest.mark.slow]
ENGINES = ("labrun", "runc", "crun", "runsc", "docker", "podman", "podman-rootless", "containerd", "lxc")
KINDS = {"images", "containers", "volumes", "build_cache"}
# One image for all that have images, and something for each to list.
OBJECTS = """
set -e
mkdir -p /srv/box/bin /srv/box/proc /srv/box/dev /srv/box/sys
cp /bin/busybox /srv/box/bin/busybox
ln -sf busybox /srv/box/bin/sleep
tar -C /srv/box -cf /srv/box.tar .
docker import /srv/box.tar test/box:1
docker run --detach --name one --volume data:/data test/box:1 /bin/sleep 600
docker save --output /srv/image.tar test/box:1
chmod 644 /srv/image.tar
podman load --quiet --input /srv/image.tar
podman volume create data
su - student -c 'XDG_RUNTIME_DIR=/run/user/$(id -u) podman load --quiet --input /srv/image.tar'
ctr --namespace k8s.io images import /srv/image.tar
mkdir -p /var/lib/lxc/one
printf 'lxc.rootfs.path = dir:/srv/box\\nlxc.uts.name = one\\n' >/var/lib/lxc/one/config
"""
LASTING = (
    "ps -eo comm= | sort -u | grep -E '^(dockerd|containerd|podman|conmon|catatonit|crio)$'; cat /proc/self/mounts"
)


@pytest.fixture(scope="module", params=["bookworm", "trixie"])
def host(request, lab, tmp_path_factory):
    """The host, with busybox, and with gRPC for the CRI."""
    made = RoleHost(lab, lab.names[0], request.param, tmp_path_factory.mktemp("engine_info"))
    variables = {
        "podman_users": [{"name": "student"}],
        "docker_remote_api": True,
        "docker_tls_client_dir": str(made.folder / "client"),
    }
    words = [sys.executable, "-m", "ansible", "playbook", "-i", str(made.inventory), "ocilab.hosts.provision"]
    words += ["-e", json.dumps(variables)]
    done = subprocess.run(words, env=ANSIBLE, capture_output=True, text=True, timeout=1800, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr
    packages = {"owner": "test", "name": ["python3-grpcio", "busybox-static"]}
    assert not module(made, "engine_packages", **packages)["failed"]
    made.shell(OBJECTS)
    yield made
    lab.bring(state="absent")


def module(host, of_name, check=False, **arguments):
    words = [sys.executable, "-m", "ansible", "adhoc", host.name, "-i", str(host.inventory)]
    words += ["-m", f"ocilab.hosts.{of_name}"] + (["-a", json.dumps(arguments)] if arguments else [])
    environment = dict(ANSIBLE, ANSIBLE_STDOUT_CALLBACK="ansible.builtin.minimal")
    words += ["--check"] if check else []
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=600, check=False)
    return dict(json.loads(done.stdout.partition(" => ")[2]), failed=done.returncode != 0)


@pytest.fixture(scope="module")
def told(host):
    """What one task returns, and what it has left of the host."""
    before = host.shell(LASTING)
    result = module(host, "engine_info", check=True)
    assert (result["failed"], result["changed"]) == (False, False), result
    assert host.shell(LASTING) == before
    return result["engines"]


def test_one_task_tells_of_every_engine(told):
    for name in ENGINES:
        found = told[name]
        assert found["available"], (name, found["unavailable_reason"])
        assert found["version"]["client"] or found["version"]["server"], name
        assert found["system"]["kernel"] and found["system"]["default_runtime"], name
        assert set(found["disk_usage"]) == KINDS
        assert found["disk_usage"]["containers"]["count"] == len(found["objects"]["containers"]), name
        assert found["components"], (name, found["notes"])
    for name in ("youki", "kata-runtime", "crio"):
        assert told[name]["unavailable_reason"] == f"{name} is not installed"


def test_services_and_sockets(host, told):
    for name, unit in (("docker", "docker.service"), ("containerd", "containerd.service")):
        service = told[name]["service"]
        assert (service["unit"], service["load"], service["active"]) == (unit, "loaded", "active")
        assert service["main_pid"] == host.pid(unit)
        assert service["since"].endswith("Z")
        daemons = [part for part in told[name]["components"] if part["pid"] == service["main_pid"]]
        assert [part["unit"] for part in daemons] == [unit]
        assert [one["listening"] for one in told[name]["sockets"]] == [True]
    assert told["crio"]["service"]["load"] == "not-found"
    assert told["docker"]["sockets"][0]["group"] == "docker"


def test_images_and_volumes_are_counted(told):
    for name in ("docker", "podman", "podman-rootless", "containerd"):
        images = told[name]["objects"]["images"]
        assert any("test/box:1" in one for image in images for one in image["names"]), (name, images)
        usage = told[name]["disk_usage"]["images"]
        assert usage["count"] == len(images)
        assert usage["size_bytes"] > 1 << 19, name
    assert [one["name"] for one in told["docker"]["objects"]["containers"]] == ["one"]
    assert told["docker"]["disk_usage"]["images"]["active"] == 1
    assert told["docker"]["disk_usage"]["volumes"]["active"] == 1
    assert told["podman"]["disk_usage"]["volumes"] == dict(told["podman"]["disk_usage"]["volumes"], count=1, active=0)
    assert [(one["name"], one["status"]) for one in told["lxc"]["objects"]["containers"]] == [("one", "stopped")]
    assert told["podman-rootless"]["system"]["rootless"] is True
    assert told["podman-rootless"]["system"]["root_dir"].startswith("/home/student/")


def test_docker_by_its_remote_api(host, told):
    client = next((host.folder / "client").iterdir())
    place = "/srv/client"
    host.shell(f"mkdir -p {place}")
    for name in ("ca.pem", "cert.pem", "key.pem"):
        host.shell(f"cat >{place}/{name} <<'END'\n{(client / name).read_text()}END\n")
    given = {f"docker_{name}": f"{place}/{name}.pem" for name in ("ca", "cert", "key")}
    result = module(host, "engine_info", engines=["docker"], docker_host="tcp://localhost:2376", **given)
    over_tls = result["engines"]["docker"]
    assert over_tls["available"], over_tls["unavailable_reason"]
    for key in ("system", "objects"):
        assert over_tls[key] == told["docker"][key]
    del given["docker_cert"], given["docker_key"]
    refused = module(host, "engine_info", engines=["docker"], docker_host="tcp://localhost:2376", **given)
    assert refused["engines"]["docker"]["available"] is False


def test_no_socket_wakes_a_daemon_that_is_down(host):
    host.shell("systemctl stop docker.service; systemctl start docker.socket")
    try:
        found = module(host, "engine_info", engines=["docker", "labrun"])["engines"]
        assert "its daemon is down (docker.service)" in found["docker"]["unavailable_reason"]
        assert found["docker"]["service"]["active"] == "inactive"
        assert found["docker"]["sockets"][0]["listening"] is True
        assert found["labrun"]["available"] is True
        assert host.shell("systemctl is-active docker.service || true").strip() == "inactive"
    finally:
        host.shell("systemctl start docker.service")
