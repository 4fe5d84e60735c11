# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real engines, each with the runtime under test in the place of runc.

DROPIN_RUNTIME=/usr/sbin/runc puts another runtime in labrun's place, which tests the tests.
DROPIN_RECORD=FOLDER writes a file into FOLDER for each call of the runtime: arguments, streams, config.json, output.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tarfile
import time
from pathlib import Path

import pytest
from lab import Client, Lab, copy_image

BUSYBOX = "/bin/busybox"
USER = 4711  # of the rootless engine; it exists only in the room


def pytest_collection_modifyitems(items):
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.root)
            item.add_marker(pytest.mark.engines)


def need(*commands):
    for command in commands:
        if not shutil.which(command, path="/usr/sbin:/usr/bin:/sbin:/bin"):
            pytest.skip(f"{command} is not installed")


@pytest.fixture(scope="session")
def lab():
    if os.geteuid() != 0:
        pytest.skip("needs root")
    made = Lab()
    yield made
    made.close()


@pytest.fixture(scope="session")
def runtime(lab, request):
    """The path, in the room, of the runtime under test; everybody may run it."""
    source = os.environ.get("DROPIN_RUNTIME") or request.getfixturevalue("labrun")
    path = Path("/run/lab/bin") / Path(source).name
    folder = os.environ.get("DROPIN_RECORD")
    inside = lab.path(path)
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        Path(folder).chmod(0o777)
        real = lab.path("/run/lab/bin/real") / Path(source).name
        real.parent.mkdir()
        shutil.copy(source, real)
        shutil.copy(Path(__file__).parent / "record.py", inside)
        inside.chmod(0o755)
        settings = {"runtime": f"/run/lab/bin/real/{real.name}", "folder": str(Path(folder).resolve())}
        Path(f"{inside}.json").write_text(json.dumps(settings))
    else:
        shutil.copy(source, inside)
    return str(path)


@pytest.fixture(scope="session")
def image(tmp_path_factory):
    """A tar archive of a root filesystem."""
    if not os.path.exists(BUSYBOX):
        pytest.skip("there is no /bin/busybox; install busybox-static")
    folder = tmp_path_factory.mktemp("image")
    copy_image(folder / "rootfs", BUSYBOX)
    with tarfile.open(folder / "image.tar", "w") as archive:
        archive.add(folder / "rootfs", ".")
    return (folder / "image.tar").read_bytes()


@pytest.fixture(autouse=True)
def nothing_left(lab):
    """After each test the room is as it was before: processes, mounts, cgroups, state."""
    before = lab.footprint()
    yield
    deadline = time.monotonic() + 8
    while left := lab.footprint() - before:
        if time.monotonic() > deadline:
            pytest.fail("left after the test:\n" + "\n".join(sorted(left)))
        time.sleep(0.1)


def wait_for(daemon, log, question, seconds=60):
    deadline = time.monotonic() + seconds
    while question().returncode != 0:
        if daemon.poll() is not None or time.monotonic() > deadline:
            pytest.fail("it does not start: " + log.read_text()[-1500:])
        time.sleep(0.1)


@pytest.fixture(scope="session")
def iptables(lab):
    """Why containers get no bridge of Docker's; empty if they can have it."""
    if not shutil.which("iptables", path="/usr/sbin:/sbin:/usr/bin"):
        return "iptables is not installed"
    done = lab.run(
        "iptables", "-t", "nat", "-A", "POSTROUTING", "-m", "addrtype", "--src-type", "LOCAL", "-j", "RETURN"
    )
    return "" if done.returncode == 0 else "the kernel refuses iptables: " + done.stderr.strip()


def start_docker(lab, runtime, image, iptables, log, name="docker", options=()):
    """The docker command on a daemon of our own, which knows the runtime under the name lab."""
    need("dockerd", "docker", "containerd")
    base = f"/run/lab/{name}"
    address = f"unix://{base}/socket"
    lab.path(base).mkdir()
    lab.path(f"{base}/daemon.json").write_text("{}")  # not the host's
    words = ["dockerd", "--config-file", f"{base}/daemon.json", "--data-root", f"{base}/data"]
    words += ["--exec-root", f"{base}/exec", "--pidfile", f"{base}/pid", "--host", address]
    words += ["--storage-driver", "vfs", "--exec-opt", "native.cgroupdriver=cgroupfs"]
    words += ["--cgroup-parent", f"/{lab.cgroup}", "--add-runtime", f"lab={runtime}", *options]
    client = Client(lab, "docker", "--host", address)
    client.daemon = lab.daemon(*words, *(["--iptables=false", "--bridge=none"] if iptables else []), log=log)
    wait_for(client.daemon, log, lambda: client.result("info"))
    client("import", "-", "box:1", data=image)
    return client


@pytest.fixture(scope="session")
def docker(lab, runtime, image, iptables, tmp_path_factory):
    return start_docker(lab, runtime, image, iptables, tmp_path_factory.mktemp("docker") / "log")


@pytest.fixture(scope="session")
def engine_settings(lab, runtime):
    """Podman's files: no registry, any image, no systemd, no journal."""
    folder = lab.path("/etc/containers")
    if not folder.is_dir():
        pytest.skip("there is no /etc/containers")
    (folder / "policy.json").write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
    (folder / "registries.conf").write_text("unqualified-search-registries = []\n")
    name = Path(runtime).name
    (folder / "containers.conf").write_text(f"""\
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
infra_command = "/bin/sleep 100000"
infra_image = "localhost/box:1"
runtime_supports_json = ["{name}"]
runtime_supports_nocgroups = ["{name}"]
""")


@pytest.fixture(scope="session")
def limits():
    """Where the host refuses to raise limits, Podman's default ones keep a container from starting."""
    return ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024")


@pytest.fixture(scope="session")
def podman(lab, runtime, image, engine_settings):
    need("podman", "conmon")
    words = ["podman", "--root", "/run/lab/podman/root", "--runroot", "/run/lab/podman/run", "--runtime", runtime]
    words += ["--tmpdir", "/run/lab/podman/tmp", "--storage-driver", "vfs"]
    client = Client(lab, *words)
    client("import", "-", "localhost/box:1", data=image)
    return client


@pytest.fixture(scope="session")
def rootless(lab, runtime, image, engine_settings):
    """Podman of a normal user, who exists only in the room."""
    need("podman", "conmon", "newuidmap", "setpriv")
    for file, line in {
        "passwd": f"dropin:x:{USER}:{USER}::/run/lab/{USER}:/bin/sh\n",
        "group": f"dropin:x:{USER}:\n",
        "subuid": "dropin:200000:65536\n",
        "subgid": "dropin:200000:65536\n",
    }.items():
        with open(lab.path(f"/run/lab/{file}"), "a") as opened:
            opened.write(line)
    for folder in (f"/run/lab/{USER}", f"/run/user/{USER}"):
        lab.path(folder).mkdir(mode=0o700)
        os.chown(lab.path(folder), USER, USER)
    client = Client(lab, "podman", "--runtime", runtime, "--storage-driver", "vfs", user=USER)
    client("import", "-", "localhost/box:1", data=image)
    return client


CONTAINERD = """\
version = 2
root = "/run/lab/containerd/root"
state = "/run/lab/containerd/state"
[grpc]
  address = "/run/lab/containerd/socket"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "lab.invalid/pause:1"
  disable_tcp_service = true
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "/run/lab/containerd/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "native"
    default_runtime_name = "lab"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.lab]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.lab.options]
        BinaryName = "{runtime}"
"""


@pytest.fixture(scope="session")
def ctr(lab, runtime, image, tmp_path_factory):
    """The ctr command on a containerd of our own, whose CRI uses the runtime too."""
    need("containerd", "ctr", "containerd-shim-runc-v2")
    lab.path("/run/lab/containerd/cni").mkdir(parents=True)
    lab.path("/run/lab/containerd/config.toml").write_text(CONTAINERD.format(runtime=runtime))
    log = tmp_path_factory.mktemp("containerd") / "log"
    daemon = lab.daemon("containerd", "--config", "/run/lab/containerd/config.toml", log=log)
    client = Client(lab, "ctr", "--address", "/run/lab/containerd/socket")
    wait_for(daemon, log, lambda: client.result("version"))
    return client


def oci_archive(rootfs, name, entrypoint, folder):
    """An OCI image archive of one layer, as `ctr images import` takes it."""
    folder.mkdir()
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def blob(content):
        digest = hashlib.sha256(content).hexdigest()
        (blobs / digest).write_bytes(content)
        return {"digest": f"sha256:{digest}", "size": len(content)}

    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
    layer = blob(rootfs)
    described = {"architecture": machine, "os": "linux", "config": {"Entrypoint": entrypoint}}
    described["rootfs"] = {"type": "layers", "diff_ids": [layer["digest"]]}
    kind = "application/vnd.oci.image."
    manifest = {"schemaVersion": 2, "mediaType": kind + "manifest.v1+json"}
    manifest["config"] = {"mediaType": kind + "config.v1+json", **blob(json.dumps(described).encode())}
    manifest["layers"] = [{"mediaType": kind + "layer.v1.tar", **layer}]
    entry = {"mediaType": kind + "manifest.v1+json", **blob(json.dumps(manifest).encode())}
    entry["annotations"] = {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name}
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    subprocess.run(["tar", "-C", folder, "-cf", f"{folder}.tar", "."], check=True)
    return Path(f"{folder}.tar")
