# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A lab host is privileged, and yet keeps to itself what accidents would spread to its host."""

from __future__ import annotations

import os
import shlex
import stat
import string
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def host(lab):
    lab.bring(lab.names[:1])
    yield lab.names[0]
    lab.bring(state="absent")


def test_devices_of_the_host_cannot_be_used(lab, host):
    disk = os.stat("/").st_dev
    node = f"mknod /root/disk b {os.major(disk)} {os.minor(disk)} && head -c 1 /root/disk"
    code, output = lab.exec(host, node)
    assert code != 0
    assert "Operation not permitted" in output
    # the control: one of the list, made in the same way, can
    assert lab.shell(host, "mknod /root/zero c 1 5 && head -c 1 /root/zero | wc -c") == "1\n"
    found = lab.shell(host, "find /dev -type b -o -type c | grep -v ^/dev/pts | sort").split()
    assert set(found) <= {
        "/dev/" + name for name in ("full", "fuse", "net/tun", "null", "random", "tty", "urandom", "zero")
    }


def test_a_device_node_is_not_the_hosts(lab, host):
    before = os.stat("/dev/null")
    lab.shell(host, "chmod 600 /dev/null && chmod 666 /dev/null && chmod 600 /dev/fuse && touch /dev/null")
    after = os.stat("/dev/null")
    assert (before.st_mode, before.st_ino) == (after.st_mode, after.st_ino)
    assert lab.shell(host, "stat -c %a /dev/fuse") == "600\n"


def test_sysctls_but_the_networks_own_cannot_be_changed(lab, host):
    before = Path("/proc/sys/kernel/panic").read_text(), Path("/proc/sys/net/ipv4/ip_default_ttl").read_text()
    for name in ("kernel/panic", "vm/swappiness", "fs/pipe-max-size"):
        code, output = lab.exec(host, f"echo 7 >/proc/sys/{name}")
        assert code != 0
        assert "Read-only file system" in output
    lab.shell(host, "echo 77 >/proc/sys/net/ipv4/ip_default_ttl")  # the control
    after = Path("/proc/sys/kernel/panic").read_text(), Path("/proc/sys/net/ipv4/ip_default_ttl").read_text()
    assert before == after


def test_nothing_acts_on_the_whole_host(lab, host):
    for path in ("/proc/sysrq-trigger", "/proc/kcore", "/proc/keys"):
        if os.path.exists(path):
            assert lab.shell(host, f"wc -c <{path}") == "0\n"
    assert (
        lab.shell(host, "ls /run/host/proc | grep -vc '^[0-9]'; ls /run/host/proc | grep -cx sys || true").split()[1]
        == "0"
    )
    effective = int(lab.shell(host, "grep CapEff /proc/1/status").split()[1], 16)
    for number, name in ((16, "SYS_MODULE"), (17, "SYS_RAWIO"), (25, "SYS_TIME"), (34, "SYSLOG")):
        assert not effective & 1 << number, name
    assert effective & 1 << 21  # the control: SYS_ADMIN
    now = lab.exec(host, "date -s '2001-01-01'")
    assert "Operation not permitted" in now[1]
    kexec_load = {"x86_64": 246, "aarch64": 104}[os.uname().machine]
    call = f"import ctypes; print(ctypes.CDLL(None).syscall({kexec_load}, 0, 0, 0, 0))"
    assert lab.shell(host, f"python3 -c '{call}'") == "-1\n"


def test_cgroups_outside_its_own_cannot_be_reached(lab, host):
    for group in Path("/sys/fs/cgroup").glob("**/labrun-" + host):
        assert group.is_dir()
    roots = lab.shell(host, "awk '$9 ~ /cgroup/ || $10 ~ /cgroup/ {print $4}' /proc/self/mountinfo | sort -u").split()
    assert roots == ["/"]  # as its cgroup namespace shows its own folder
    name = f"from-inside-{os.getpid()}"
    lab.shell(host, f"mkdir /sys/fs/cgroup/pids/{name} 2>/dev/null || mkdir /sys/fs/cgroup/{name}")
    places = list(Path("/sys/fs/cgroup").glob(f"**/{name}"))
    assert places
    assert all(f"/labrun-{host}/" in str(path) for path in places)


def test_links_that_a_lab_host_plants_are_not_followed(lab, host, tmp_path):
    canary = tmp_path / "canary"
    canary.mkdir()
    (canary / "file").write_text("as it was\n")
    os.chmod(canary / "file", 0o640)
    plant = f"""
cd /etc
for name in hostname machine-id fstab; do rm -f $name; ln -s {canary}/file $name; done
rm -rf systemd/system.conf.d; ln -s {canary} systemd/system.conf.d
rm -rf /var/lib/docker/x; ln -s {canary} /var/lib/docker/x; ln -s {canary} /var/lib/labrun/x; ln -s {canary} /root/x
"""
    lab.shell(host, plant)
    state = os.stat(canary / "file")
    assert lab.bring([host], memory=600 << 20)[0]["actions"] == ["define", "stop", "start"]
    assert lab.shell(host, "echo it runs") == "it runs\n"
    lab.bring([host], "absent")
    lab.bring([host])  # for the tests that follow
    after = os.stat(canary / "file")
    assert (canary / "file").read_text() == "as it was\n"
    assert stat.S_IMODE(after.st_mode) == 0o640
    assert (after.st_ino, after.st_mtime_ns) == (state.st_ino, state.st_mtime_ns)
    assert sorted(path.name for path in canary.iterdir()) == ["file"]


MOUNTS = """\
set -e
for place in /mnt/one /var/lib/docker/one; do mkdir $place; mount -t tmpfs one $place; done
"""
IN_SHARED = """\
set -e
$UP
cat /proc/self/mountinfo >$FOLDER/before
$EXEC
diff $FOLDER/before /proc/self/mountinfo
"""


def test_its_mounts_do_not_show_where_the_hosts_are_shared(lab, tmp_path):
    """As systemd has them on a host; here in a mount namespace of its own, and without a network."""
    name = lab.names[4]
    variables = dict(
        FOLDER=str(tmp_path),
        UP=shlex.join(lab.command([name], network="")),
        EXEC=shlex.join([str(lab.labrun_path), "--root", str(lab.root), "exec", name, "sh", "-c", MOUNTS]),
    )
    script = string.Template(IN_SHARED).substitute(variables)
    command = ["unshare", "--mount", "--propagation", "shared", "sh", "-c", script]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert result.returncode == 0, result.stdout + result.stderr
        assert lab.shell(name, "grep -c ' one ' /proc/self/mountinfo; ls /sys/class/net").split() == ["2", "lo"]
    finally:
        lab.bring([name], "absent")
