# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A class of lab hosts: the first has the registries, another, where there is one, the cache's upstream."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

from lab_hosts import ANSIBLE

PUSHER = Path(__file__).resolve().parents[2] / "molecule" / "registry" / "push.py"
RELEASES = ("bookworm", "trixie", "bookworm")
# Not installed, so that it is no part of what the roles bring and take away.
UPSTREAM = """
set -e
mkdir -p /run/upstream
cd /run/upstream
apt-get update -qq
apt-get download -qq docker-registry busybox-static
for package in *.deb; do dpkg-deb --extract $package .; done
cat >config.yml <<END
version: 0.1
storage: {filesystem: {rootdirectory: /run/upstream/data}}
http: {addr: ":5005"}
END
systemd-run --quiet --unit upstream /run/upstream/usr/bin/docker-registry serve /run/upstream/config.yml
mkdir -p root/bin
cp $(find . -path '*bin/busybox' -type f | head -n 1) root/bin/busybox
ln -s busybox root/bin/cat
"""
# Pushed through another host's Docker, as a class's teacher does.
PUSH = """
set -e
mkdir -p /run/upstream/root
cd /run/upstream/root
echo {name} >which
tar -c . | docker import - localhost:5005/library/{name}:1 >/dev/null
docker push -q localhost:5005/library/{name}:1
docker rmi localhost:5005/library/{name}:1 >/dev/null
"""
PULL = {
    "docker": "docker pull -q {name}:1 >/dev/null && docker run --rm --network none {name}:1 /bin/cat /which",
    "podman": "podman pull -q docker.io/library/{name}:1 >/dev/null 2>&1"
    " && podman run --rm --network none docker.io/library/{name}:1 /bin/cat /which",
    "containerd": "ctr image pull --hosts-dir /etc/containerd/certs.d docker.io/library/{name}:1 >/dev/null"
    " && ctr run --rm docker.io/library/{name}:1 probe /bin/cat /which",
}
_REQUEST = re.compile(r'^(\S+) - \S+ \[[^]]*\] "(\w+) (/v2/\S*) HTTP/\S+" (\d+)')


class Class:
    """names: of the hosts; the first has the registries, the second or else the first the upstream."""

    def __init__(self, lab, folder, hosts=3):
        self.lab = lab
        self.names = lab.names[:hosts]
        self.upstream = min(1, hosts - 1)
        self.folder = folder
        self.inventory = folder / "inventory.json"
        hosts = {
            name: dict(lab.bring([name], release=release)[0]["vars"]) for name, release in zip(self.names, RELEASES)
        }
        groups = {"hosts": hosts, "children": {"registry_hosts": {"hosts": {self.names[0]: {}}}}}
        self.inventory.write_text(json.dumps({"all": groups}))
        self.shell(self.upstream, UPSTREAM, timeout=300)

    def shell(self, number, script, timeout=300):
        return self.lab.shell(self.names[number], script, timeout)

    def exec(self, number, script):
        return self.lab.exec(self.names[number], script)

    def address(self, number):
        return self.shell(number, "hostname -I").split()[0]

    def playbook(self, name, *words, check=False, **variables):
        """(whether it failed, how many tasks have changed something, what it printed)."""
        command = [sys.executable, "-m", "ansible", "playbook", "-i", str(self.inventory), str(name), *words]
        # Not by -e: the password would stand in the arguments of the test's own process.
        given = self.folder / "variables.json"
        given.write_text(json.dumps(variables))
        command += ["-e", f"@{given}"] + (["--check"] if check else [])
        done = subprocess.run(command, env=ANSIBLE, capture_output=True, text=True, timeout=2400, check=False)
        changed = sum(int(number) for number in re.findall(r" changed=(\d+)", done.stdout))
        return done.returncode != 0, changed, done.stdout + done.stderr

    def role(self, *words, entry="main", check=False, **variables):
        """An entry point of the role registry, on the registry's host. Variables lack the role's prefix."""
        task = {"ansible.builtin.include_role": {"name": "ocilab.hosts.registry", "tasks_from": entry}}
        playbook = self.folder / "play.yml"
        playbook.write_text(json.dumps([{"hosts": "registry_hosts", "gather_facts": False, "tasks": [task]}]))
        given = {f"registry_{key}": value for key, value in variables.items()}
        return self.playbook(playbook, *words, check=check, **given)

    def push(self, name):
        """An image that prints its name, in the upstream; its digests."""
        self.shell(1, PUSH.format(name=name))
        kept = self.shell(
            1, f"cd /run/upstream/data/docker/registry/v2/repositories/library/{name} && find . -name link"
        )
        return sorted(set(re.findall(r"sha256/([0-9a-f]{64})/link", kept)))

    def push_without_engine(self, name):
        """An image without layers."""
        words = [str(self.lab.labrun_path), "--root", str(self.lab.root), "exec", self.names[self.upstream]]
        words += ["python3", "-", "127.0.0.1", "5005", f"library/{name}", "1"]
        subprocess.run(words, input=PUSHER.read_bytes(), check=True, timeout=120)

    def pull(self, number, engine, name):
        return self.shell(number, PULL[engine].format(name=name)).strip()

    def requests(self, name):
        """What the upstream was asked for the image since it was pushed: (from, method, what, status)."""
        lines = self.shell(1, "journalctl --unit upstream --output cat").splitlines()
        found = [match.groups() for match in map(_REQUEST.match, lines) if match]
        return [request for request in found if f"/library/{name}/" in request[2] and request[0] != "127.0.0.1"]

    def wait_until_kept(self, digests):
        """Until the cache has its own copies, which it makes while it still answers who asked first."""
        script = "cd /var/lib/docker-registry/cache/docker/registry/v2/blobs/sha256 2>/dev/null || exit 1; "
        script += "for digest in {}; do test -s $(echo $digest | cut -c 1-2)/$digest/data || exit 1; done"
        wait = "for attempt in $(seq 100); do if ({}); then exit 0; fi; sleep 0.2; done; exit 1"
        self.shell(0, wait.format(script.format(" ".join(digests))))
