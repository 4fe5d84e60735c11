# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Docker, Podman and containerd by plain apt in one lab host, a container in each at the same time, and in labrun."""

from __future__ import annotations

import subprocess

import pytest

pytestmark = [pytest.mark.root, pytest.mark.engines]

PACKAGES = "docker.io containerd podman runc busybox-static dnsmasq-base catatonit uidmap slirp4netns"
IMAGE = """\
mkdir -p /srv/rootfs/bin /srv/rootfs/proc /srv/rootfs/dev /srv/rootfs/sys
cp /bin/busybox /srv/rootfs/bin/
ln -sf busybox /srv/rootfs/bin/sh
ln -sf busybox /srv/rootfs/bin/sleep
tar -C /srv/rootfs -c . >/srv/rootfs.tar
"""
ENGINES = {
    "docker": """
docker import /srv/rootfs.tar lab/busybox:1
docker run -d --name one -m 64m --pids-limit 20 lab/busybox:1 /bin/sh -c 'echo it runs; sleep 300'
sleep 1
docker logs one
""",
    "podman": """
podman import /srv/rootfs.tar lab/busybox:1
podman run -d --name one lab/busybox:1 /bin/sh -c 'echo it runs; sleep 300'
sleep 1
podman logs one
""",
    "containerd": """
docker save lab/busybox:1 -o /srv/image.tar
ctr image import /srv/image.tar
ctr run -d docker.io/lab/busybox:1 one /bin/sh -c 'sleep 300'
ctr task exec --exec-id two one /bin/sh -c 'echo it runs'
""",
    "labrun": """
mkdir -p /var/lib/labrun/one
cp -a /srv/rootfs /var/lib/labrun/one/
cd /var/lib/labrun/one
labrun spec
sed -i 's|"terminal": true|"terminal": false|; s|"sh"|"/bin/sh", "-c", "echo it runs; sleep 300"|' config.json
labrun run -d one </dev/null >/srv/labrun.log 2>&1
sleep 1
cat /srv/labrun.log
""",
}


@pytest.fixture(scope="module")
def host(lab):
    """A lab host with the engines in it, and another beside it."""
    names = lab.names[:2]
    lab.bring(names)
    install = (
        f"apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq {PACKAGES} >/srv/apt.log 2>&1"
    )
    lab.shell(names[0], install, timeout=900)
    lab.shell(names[0], IMAGE)
    with open(lab.labrun_path, "rb") as file:
        words = [str(lab.labrun_path), "--root", str(lab.root), "exec", names[0], "sh", "-c"]
        words.append("cat >/usr/local/bin/labrun && chmod 755 /usr/local/bin/labrun")
        subprocess.run(words, stdin=file, check=True, timeout=60)
    yield names[0]
    traces = lab.traces()
    lab.bring(state="absent")
    assert traces.left() == {}


def test_each_engine_runs_a_container_at_the_same_time(lab, host):
    for name, script in ENGINES.items():
        assert lab.shell(host, "set -e" + script, timeout=300).splitlines()[-1] == "it runs", name
    running = lab.shell(
        host, "docker ps -q | wc -l; podman ps -q | wc -l; ctr task ls -q; labrun state one | grep status"
    )
    assert running.split() == ["1", "1", "one", '"status":', '"running",']
    assert lab.shell(host, "systemctl is-system-running") == "running\n"
    # What dockerd does to FORWARD is the machine's own affair: it still reaches the other, and is reached.
    lab.shell(host, f"ping -c 1 -W 5 {lab.names[1]}")
    lab.shell(lab.names[1], f"ping -c 1 -W 5 {host}")


def test_users_run_containers_of_their_own(lab, host):
    lab.shell(host, "id student 2>/dev/null || useradd -m student")
    script = "podman import /srv/rootfs.tar lab/busybox:1 && podman run --rm lab/busybox:1 /bin/sh -c 'echo it runs'"
    output = lab.shell(host, f'su - student -c "{script}" 2>&1', timeout=300)
    assert output.splitlines()[-1] == "it runs", output
