# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the engines of these tests are started, and the image archive that containerd takes."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from lab import Client

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


def need(*commands):
    for command in commands:
        if not shutil.which(command, path="/usr/sbin:/usr/bin:/sbin:/bin"):
            pytest.skip(f"{command} is not installed")


def wait_for(daemon, log, question, seconds=60):
    deadline = time.monotonic() + seconds
    while question().returncode != 0:
        if daemon.poll() is not None or time.monotonic() > deadline:
            pytest.fail("it does not start: " + log.read_text()[-1500:])
        time.sleep(0.1)


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
