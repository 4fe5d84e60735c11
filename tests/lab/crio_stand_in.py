# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Something to install in CRI-O's place, for tests of the role's flow: the layout is CRI-O's, the program is not.

The layouts are those of cri-o/packaging: templates/latest/cri-o/cri-o.spec for the package, bundle/install and
scripts/bundle/build for the archive. As a script it builds the package in the folder that it is given.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

STREAM = "v1.36"
MIRROR_PATH = f"isv:/cri-o:/stable:/{STREAM}/deb"

PROGRAM = '''\
#!/usr/bin/python3
"""No CRI-O: it stands for it in tests of the role. It reads the configuration, and answers three calls of the CRI."""
import os, signal, socket, sys, tomllib
from concurrent import futures

def load(path, into):
    with open(path, "rb") as file:
        read = tomllib.load(file)
    merge(into, read)

def merge(into, read):
    for key, value in read.items():
        if isinstance(value, dict):
            merge(into.setdefault(key, {}), value)
        else:
            into[key] = value

def configuration(words):
    config, directory = "/etc/crio/crio.conf", "/etc/crio/crio.conf.d"
    while words and words[0].startswith("--"):
        word = words.pop(0)
        if word == "--config":
            config = words.pop(0)
        elif word.startswith("--config-dir="):
            directory = word.partition("=")[2]
    settings = {}
    if os.path.exists(config):
        load(config, settings)
    for name in sorted(os.listdir(directory)) if directory else []:
        load(os.path.join(directory, name), settings)
    check(settings)
    return settings["crio"], words

def check(settings):
    if set(settings) - {"crio"}:
        sys.exit("level=fatal msg=\\"unknown table\\"")
    runtime = settings["crio"]["runtime"]
    if runtime["cgroup_manager"] not in ("systemd", "cgroupfs"):
        sys.exit("level=fatal msg=\\"cgroup manager: unknown\\"")
    if runtime["default_runtime"] not in runtime["runtimes"]:
        sys.exit("level=fatal msg=\\"default_runtime set to an unknown runtime\\"")
    for handler in runtime["runtimes"].values():
        if runtime["cgroup_manager"] == "cgroupfs" and handler.get("monitor_cgroup", "") not in ("", "pod"):
            sys.exit("level=fatal msg=\\"cgroupfs manager conmon cgroup should be pod or empty\\"")

def text(number, value):
    data = value.encode() if isinstance(value, str) else value
    return bytes([number << 3 | 2, len(data)]) + data

def serve(crio):
    import grpc
    condition = lambda name: text(1, text(1, name) + bytes([2 << 3, 1]))
    answers = {
        "Version": text(1, "0.1.0") + text(2, "stand-in") + text(3, "0") + text(4, "v1"),
        "Status": text(1, condition("RuntimeReady") + condition("NetworkReady")),
        "ListPodSandbox": b"",
    }
    handlers = {
        name: grpc.unary_unary_rpc_method_handler(lambda _request, _context, answer=answer: answer)
        for name, answer in answers.items()
    }
    path = crio["api"]["listen"]
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if os.path.exists(path):
        os.unlink(path)
    server = grpc.server(futures.ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("runtime.v1.RuntimeService", handlers),))
    server.add_insecure_port("unix:" + path)
    server.start()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os._exit(0))
    if os.environ.get("NOTIFY_SOCKET"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.sendto(b"READY=1", os.environ["NOTIFY_SOCKET"].replace("@", "\\0", 1))
    while True:
        signal.pause()

crio, rest = configuration(sys.argv[1:])
if rest == ["config"]:
    print(crio)
else:
    serve(crio)
'''
UNIT = """\
[Unit]
Description=A stand-in for CRI-O
[Service]
Type=notify
EnvironmentFile=-/etc/sysconfig/crio
ExecStart=/usr/local/bin/crio $CRIO_CONFIG_OPTIONS
OOMScoreAdjust=-999
Restart=on-failure
[Install]
WantedBy=multi-user.target
Alias=cri-o.service
"""
CONF = """\
[crio.image]
signature_policy = "/etc/crio/policy.json"
[crio.runtime]
default_runtime = "crun"
[crio.runtime.runtimes.crun]
runtime_path = "/usr/libexec/crio/crun"
monitor_path = "/usr/libexec/crio/conmon"
"""
TRUE = "#!/bin/sh\nexit 0\n"
POLICY = '{ "default": [{ "type": "insecureAcceptAnything" }] }\n'
CRICTL = 'runtime-endpoint: "unix:///var/run/crio/crio.sock"\n'
# Path in the bundle: content; those in bin and cni-plugins are programs.
BUNDLE = {
    "bin/crio": PROGRAM,
    **{f"bin/{name}": TRUE for name in ("pinns", "crictl", "conmon", "conmonrs", "crun", "runc")},
    **{f"cni-plugins/{name}": TRUE for name in ("bridge", "host-local", "loopback", "firewall")},
    "contrib/crio.service": UNIT,
    "contrib/policy.json": POLICY,
    "contrib/registries.conf": 'unqualified-search-registries = ["docker.io"]\n',
    "contrib/10-crio-bridge.conflist.disabled": "{}\n",
    "etc/crictl.yaml": CRICTL,
    "etc/crio": "# options\n",
    "etc/10-crio.conf": CONF,
    "etc/crio-umount.conf": "/var/run/containers/*\n",
    "man/crio.8": ".TH crio\n",
    "man/crio.conf.5": ".TH crio.conf\n",
    "completions/bash/crio": "\n",
    "install": "exit 1\n",
}
# Path on the host: path in the bundle.
PACKAGE = {
    "usr/bin/crio": "bin/crio",
    "usr/bin/pinns": "bin/pinns",
    **{f"usr/libexec/crio/{name}": f"bin/{name}" for name in ("conmon", "conmonrs", "crun", "runc")},
    "etc/crio/crio.conf.d/10-crio.conf": "etc/10-crio.conf",
    "etc/crio/policy.json": "contrib/policy.json",
    "etc/containers/registries.conf.d/crio.conf": "contrib/registries.conf",
    "etc/crictl.yaml": "etc/crictl.yaml",
    "etc/default/crio": "etc/crio",
    "etc/cni/net.d/10-crio-bridge.conflist.disabled": "contrib/10-crio-bridge.conflist.disabled",
    "usr/lib/systemd/system/crio.service": "contrib/crio.service",
}


def _write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    path.chmod(0o755 if content.startswith("#!") else 0o644)


def bundle(folder):
    """The archive; its path and sha256."""
    for name, content in BUNDLE.items():
        _write(folder / "cri-o" / name, content)
    path = folder / f"cri-o.amd64.{STREAM}.0.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        archive.add(folder / "cri-o", "cri-o")
    return path, hashlib.sha256(path.read_bytes()).hexdigest()


def package(folder, version="1.36.0-1"):
    """The package's file."""
    tree = folder / f"tree-{version}"
    for name, source in PACKAGE.items():
        _write(tree / name, BUNDLE[source].replace("/usr/local/bin", "/usr/bin"))
    conffiles = "".join(f"/{name}\n" for name in PACKAGE if name.startswith("etc/"))
    (tree / "DEBIAN").mkdir()
    (tree / "DEBIAN" / "conffiles").write_text(conffiles)
    (tree / "DEBIAN" / "control").write_text(
        f"Package: cri-o\nVersion: {version}\nArchitecture: all\nMaintainer: the tests of ocilab.hosts <>\n"
        "Depends: iptables\nDescription: a stand-in for CRI-O, which it is not\n"
    )
    path = folder / f"cri-o_{version}_all.deb"
    subprocess.run(["dpkg-deb", "--root-owner-group", "--build", str(tree), str(path)], check=True, capture_output=True)
    return path


class Key:
    """A key that signs a repository, made for the test."""

    def __init__(self, home, name):
        home.mkdir(mode=0o700, parents=True)
        self.environment = dict(os.environ, GNUPGHOME=str(home))
        self.gpg(
            "--quick-generate-key", "--batch", "--passphrase", "", f"{name} <{name}@example.com>", "rsa2048", "sign"
        )
        listed = self.gpg("--list-keys", "--with-colons").decode().splitlines()
        self.fingerprint = next(line.split(":")[9] for line in listed if line.startswith("fpr"))

    def gpg(self, *words):
        return subprocess.run(["gpg", "--quiet", *words], env=self.environment, check=True, capture_output=True).stdout

    def public(self):
        return self.gpg("--armor", "--export", self.fingerprint)

    def end(self):
        """End the agent that gpg has started."""
        subprocess.run(["gpgconf", "--kill", "all"], env=self.environment, check=False, capture_output=True)


def repository(folder, key, *packages):
    """A flat repository as the openSUSE Build Service publishes it, below the path that it has there."""
    place = folder / MIRROR_PATH
    (place / "all").mkdir(parents=True, exist_ok=True)
    paragraphs = []
    for path in packages:
        data = path.read_bytes()
        (place / "all" / path.name).write_bytes(data)
        control = subprocess.run(["dpkg-deb", "--field", str(path)], check=True, capture_output=True, text=True).stdout
        digest = hashlib.sha256(data).hexdigest()
        paragraphs.append(f"{control.strip()}\nFilename: all/{path.name}\nSize: {len(data)}\nSHA256: {digest}\n")
    text = "\n".join(paragraphs)
    (place / "Packages").write_text(text)
    digest = hashlib.sha256(text.encode()).hexdigest()
    date = time.strftime("%a, %d %b %Y %H:%M:%S UTC", time.gmtime())
    release = (
        f"Origin: obs://build.opensuse.org/isv:cri-o\nDate: {date}\nSHA256:\n {digest} {len(text.encode())} Packages\n"
    )
    (place / "Release").write_text(release)
    (place / "InRelease").unlink(missing_ok=True)
    key.gpg("--clearsign", "--output", str(place / "InRelease"), str(place / "Release"))
    (place / "Release.key").write_bytes(key.public())
    return place


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        made = package(Path(scratch))
        Path(sys.argv[1]).mkdir(parents=True, exist_ok=True)
        Path(sys.argv[1], made.name).write_bytes(made.read_bytes())
