# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hostile root filesystems (cases R05 to R10, R19, R21): the host's canary stays as it is, and the control runs.

A known-bad control starts the same attack under Debian's old runc and expects the breach, so that the test is known to
see one.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from ansible_collections.ocilab.hosts.plugins.module_utils.labrun import bundle as bundles

pytestmark = pytest.mark.root

RACE_RUNS = int(os.environ.get("LABRUN_RACE_RUNS", "60"))  # 500 by hand


def snapshot(top):
    """What a breach would change: of everything below top its inode, mode, links, owner and content."""
    result = {}
    for path in [top, *sorted(top.rglob("*"))]:
        status = path.lstat()
        content = path.read_bytes() if stat.S_ISREG(status.st_mode) else None
        result[str(path)] = (status.st_ino, status.st_mode, status.st_nlink, status.st_uid, content)
    return result


@pytest.fixture
def canary(tmp_path_factory):
    """A directory of the host, outside of any root filesystem."""
    path = tmp_path_factory.mktemp("canary")
    (path / "file").write_text("canary\n")
    return path


@pytest.fixture
def box(bundle):
    for name in ("mkdir", "touch"):
        (bundle.path / "rootfs" / "bin" / name).symlink_to("busybox")
    return bundle


def runc(box, *words):
    """Run Debian's runc, where it is old enough to fall for it."""
    if not shutil.which("runc"):
        pytest.skip("runc, the known-bad control, is not installed")
    version = subprocess.run(["runc", "--version"], capture_output=True, text=True, check=True).stdout.split()[2]
    if not version.startswith("1.1.5"):
        pytest.skip(f"runc {version} is not the known-bad control, which is 1.1.5")
    box.write()
    arguments = ["runc", "--root", str(box.path / "runc"), *words]
    with tempfile.TemporaryFile("w+") as output:
        result = subprocess.run(
            arguments, stdout=output, stderr=output, stdin=subprocess.DEVNULL, timeout=60, check=False
        )
        output.seek(0)
        return result.returncode, output.read()


def run_runc(box):
    return runc(box, "run", "--bundle", str(box.path), box.name + "-runc")


def add(box, destination, kind, source, *options):
    box.config["mounts"].append(
        {"destination": destination, "type": kind, "source": str(source), "options": list(options)}
    )


def refused(box, *args):
    result = box.run(*(args or ["/bin/true"]))
    assert result.returncode == 1
    assert len(result.stderr.splitlines()) == 1, result.stderr
    box.assert_nothing_left()
    return result.stderr.replace('\\"', '"')


def replace_by_link(path, target):
    path.rmdir()
    path.symlink_to(target)


# --- R05, R06: /proc, /sys, /dev of the image are links ---


@pytest.mark.parametrize("name", ["proc", "sys"])
@pytest.mark.parametrize("target", ["outside", "inside", "up"])
def test_r05_proc_or_sys_is_a_link(box, canary, name, target):
    assert box.run("/bin/true").returncode == 0  # the positive control
    before = snapshot(canary)
    (box.path / "rootfs" / "trap").mkdir()
    targets = {"outside": str(canary), "inside": "/trap", "up": "../" * 20 + str(canary)}
    replace_by_link(box.path / "rootfs" / name, targets[target])
    assert f"/{name} must be mounted on ordinary directory; it is, or passes, a symbolic link" in refused(box)
    assert snapshot(canary) == before
    assert list((box.path / "rootfs" / "trap").iterdir()) == []


@pytest.mark.parametrize("with_mount", [True, False])
def test_r06_dev_is_a_link(box, canary, with_mount):
    if not with_mount:
        box.config["mounts"] = [item for item in box.config["mounts"] if not item["destination"].startswith("/dev")]
        add(box, "/dev/shm", "tmpfs", "tmpfs")
        shutil.rmtree(box.path / "rootfs" / "dev")
        (box.path / "rootfs" / "dev").mkdir()
    assert box.run("/bin/true").returncode == 0
    before = snapshot(canary)
    shutil.rmtree(box.path / "rootfs" / "dev")
    (box.path / "rootfs" / "dev").symlink_to(canary)
    refused(box)
    assert snapshot(canary) == before
    run_runc(box)
    assert snapshot(canary) != before, "runc 1.1.5 made links in the canary when this test was written"


# --- R07: a mask through a false /dev/null ---


def test_r07_a_mask_is_no_way_to_another_file(box, tmp_path):
    """/dev comes from the attacker, and its null is a link into procfs."""
    devices = tmp_path / "devices"
    devices.mkdir()
    os.mknod(devices / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    box.config["mounts"] = [item for item in box.config["mounts"] if not item["destination"].startswith("/dev")]
    add(box, "/dev", "none", devices, "bind")
    (box.path / "rootfs" / "masked").write_text("masked\n")
    box.config["linux"]["maskedPaths"] = ["/masked"]
    box.config["hostname"] = "breach"
    control = box.run("/bin/cat", "/masked")
    assert (control.returncode, control.stdout) == (0, "")
    (devices / "null").unlink()
    (devices / "null").symlink_to("/proc/sys/kernel/hostname")
    assert "/dev/null is not the null device" in refused(box, "/bin/cat", "/masked")
    _code, output = run_runc(box)
    assert "breach" in output, "runc 1.1.5 bound the file of procfs over the mask"


@pytest.mark.parametrize("kind", ["file", "another device", "directory"])
def test_r07_other_false_null_devices(box, kind):
    box.config["mounts"] = [item for item in box.config["mounts"] if not item["destination"].startswith("/dev")]
    assert box.run("/bin/true").returncode == 0
    null = box.path / "rootfs" / "dev" / "null"
    null.unlink()
    if kind == "file":
        null.write_text("")
    elif kind == "directory":
        null.mkdir()
    else:
        os.mknod(null, stat.S_IFCHR | 0o666, os.makedev(1, 5))
    assert "/dev/null exists and is not the device c 1:3" in refused(box)


# --- R08: the console ---


def create_with_terminal(command, path, name, base):
    """(exit code, output) of a create whose terminal goes to a socket that nobody but this test listens on."""
    with socket.socket(socket.AF_UNIX) as listener:
        address = str(Path(tempfile.mkdtemp(dir=base)) / "console.sock")
        listener.bind(address)
        listener.listen()
        words = [*command, "create", "--bundle", str(path), "--console-socket", address, name]
        with tempfile.TemporaryFile("w+") as output:
            result = subprocess.run(
                words, stdout=output, stderr=output, stdin=subprocess.DEVNULL, timeout=60, check=False
            )
            output.seek(0)
            os.unlink(address)
            return result.returncode, output.read()


def test_r08_console_is_a_link(box, canary, tmp_path_factory):
    base = tmp_path_factory.mktemp("sockets")
    add(box, "/volume", "none", canary, "bind")
    devices = box.path / "devices"
    (devices / "pts").mkdir(parents=True)
    (devices / "ptmx").symlink_to("pts/ptmx")
    os.mknod(devices / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    box.config["mounts"] = [item for item in box.config["mounts"] if not item["destination"].startswith("/dev")]
    add(box, "/dev", "none", devices, "bind")
    add(box, "/dev/pts", "devpts", "devpts", "newinstance", "ptmxmode=0666")
    box.config["process"]["terminal"] = True
    box.write()
    command = [str(box.labrun_path), "--root", str(box.state)]
    code, output = create_with_terminal(command, box.path, box.name, base)
    assert code == 0, output  # the positive control
    box.labrun("delete", "--force", box.name)
    (devices / "console").unlink()
    (devices / "console").symlink_to("/volume/file")
    before = snapshot(canary)
    code, output = create_with_terminal(command, box.path, box.name, base)
    assert code == 1
    assert "/dev/console is a symbolic link" in output
    assert snapshot(canary) == before
    runc(box, "list")  # skips without the known-bad control
    create_with_terminal(["runc", "--root", str(box.path / "runc")], box.path, box.name + "-runc", base)
    subprocess.run(["runc", "--root", str(box.path / "runc"), "delete", "--force", box.name + "-runc"], check=False)
    assert snapshot(canary) != before, "runc 1.1.5 truncated the canary"


# --- R09, the side of the mounts: nothing covers parts of procfs ---


@pytest.mark.parametrize("way", ["plainly", "through a link", "with dots"])
@pytest.mark.parametrize("kind", ["tmpfs", "bind"])
@pytest.mark.parametrize("place", ["self/attr", "sys/kernel", "1/oom_score_adj"])
def test_r09_nothing_is_mounted_inside_procfs(box, canary, kind, way, place):
    (box.path / "rootfs" / "link").symlink_to("/proc")
    destination = {
        "plainly": "/proc/" + place,
        "through a link": "/link/" + place,
        "with dots": "/tmp/../proc/./" + place,
    }[way]
    if kind == "tmpfs":
        add(box, destination, "tmpfs", "tmpfs")
    else:
        add(box, destination, "none", canary / "file" if place.startswith("1/") else canary, "bind")
    before = snapshot(canary)
    message = refused(box)
    assert "nothing may be mounted inside /proc" in message or "not a directory" in message or "tmpfs on" in message
    assert snapshot(canary) == before
    box.config["mounts"][-1]["destination"] = "/elsewhere"
    assert box.run("/bin/true").returncode == 0


# --- R10: what is made for a mount point is made inside ---


def test_r10_a_static_link_leads_nowhere_outside(box, canary):
    """Where it leads to nothing inside, that is made, and inside."""
    (box.path / "rootfs" / "absolute").symlink_to(canary)
    (box.path / "rootfs" / "up").symlink_to("../" * 30 + str(canary)[1:])
    (box.path / "rootfs" / "file").symlink_to(canary / "other" / "file")
    inside = box.path / "rootfs" / str(canary)[1:]
    before = snapshot(canary)
    for destination, made in (("/absolute/made/a", "made/a"), ("/up/made/b", "made/b"), ("/file", "other/file")):
        if destination == "/file":
            add(box, destination, "none", canary / "file", "bind")
        else:
            add(box, destination, "tmpfs", "tmpfs")
        assert not (inside / made).exists()
        result = box.run("/bin/true")
        assert (result.returncode, result.stderr) == (0, "")
        assert (inside / made).exists()
        assert snapshot(canary) == before


def test_r10_links_that_lead_to_each_other_end(box):
    for one, other in (("a", "b/x"), ("b", "a/y"), ("self", "self")):
        (box.path / "rootfs" / one).symlink_to(other)
    for destination in ("/a", "/b/file", "/self", "/self/below"):
        add(box, destination, "tmpfs", "tmpfs")
        assert "ELOOP" in refused(box)
        box.config["mounts"].pop()


RACER = """
import ctypes, sys
exchange = ctypes.CDLL(None).renameat2
first, second = sys.argv[1].encode(), sys.argv[2].encode()
while True:
    exchange(-100, first, -100, second, 2)
"""


@pytest.fixture
def race(box, canary, tmp_path):
    """A volume in which a directory and a link to the canary change places all the time."""
    volume = tmp_path / "volume"
    (volume / "swap").mkdir(parents=True)
    (volume / "link").symlink_to(canary)
    add(box, "/volume", "none", volume, "bind")
    add(box, "/volume/swap/made/deep", "tmpfs", "tmpfs")
    (tmp_path / "file").write_text("file\n")
    add(box, "/volume/swap/made/file", "none", tmp_path / "file", "bind")
    box.config["process"]["args"] = ["/bin/true"]
    box.write()
    racers = []

    def begin():
        racers.append(subprocess.Popen([sys.executable, "-c", RACER, str(volume / "swap"), str(volume / "link")]))

    def end():
        for racer in racers:
            racer.kill()
            racer.wait()

    yield volume, begin, end
    end()


def clear(volume):
    for name in ("swap", "link"):
        if not (volume / name).is_symlink():
            shutil.rmtree(volume / name / "made", ignore_errors=True)


def test_r10_a_race_of_exchanged_names(box, canary, race):
    volume, begin, _end = race
    assert box.run("/bin/true").returncode == 0  # the positive control: the mount points are made in the volume
    assert (volume / "swap" / "made" / "file").is_file()
    before = snapshot(canary)
    begin()
    codes = set()
    for _attempt in range(RACE_RUNS):
        clear(volume)
        codes.add(box.labrun("run", "--bundle", str(box.path), box.name).returncode)
        assert snapshot(canary) == before
    assert codes <= {0, 1}
    box.assert_nothing_left()


def test_r10_the_race_breaks_the_known_bad_control(box, canary, race):
    volume, begin, _end = race
    before = snapshot(canary)
    begin()
    for _attempt in range(200):
        clear(volume)
        run_runc(box)
        if snapshot(canary) != before:
            return
    pytest.skip("the race against runc 1.1.5 was not won in 200 runs")


# --- R19: cgroups that were asked for read-only are ---


def controllers():
    return [line.split()[0] for line in Path("/proc/cgroups").read_text().splitlines()]


def limit_of(name):
    places = [Path("/sys/fs/cgroup") / part / f"labrun-{name}" / "pids.max" for part in ("pids", "unified", "")]
    return [path.read_text().strip() for path in places if path.exists()]


@pytest.mark.parametrize("namespace", [True, False])
@pytest.mark.parametrize("capable", [True, False])
def test_r19_a_readonly_cgroup_mount(box, namespace, capable):
    """The limit of the container's own cgroup is the canary; it is read on the host while the container runs."""
    if "pids" not in controllers():
        pytest.skip("this host has no pids controller")
    if not namespace:
        box.config["linux"]["namespaces"] = [
            item for item in box.config["linux"]["namespaces"] if item["type"] != "cgroup"
        ]
    if capable:
        del box.config["linux"]["seccomp"]
        for kind in ("bounding", "permitted", "effective"):
            box.config["process"]["capabilities"][kind] = ["CAP_DAC_OVERRIDE"]
    box.config["linux"]["resources"]["pids"] = {"limit": 17}
    write = "for file in /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max; do echo 18 >$file; done; sleep 100"
    box.config["process"]["args"] = ["/bin/sh", "-c", write]
    mount = next(item for item in box.config["mounts"] if item["type"] == "cgroup")
    for options, expected in ((mount["options"], "17"), (["nosuid"], "18")):
        mount["options"] = options
        box.write()
        assert box.labrun("create", "--bundle", str(box.path), box.name).returncode == 0
        assert limit_of(box.name) == ["17"]
        assert box.labrun("start", box.name).returncode == 0
        wait_for_sleep(json.loads(box.labrun("state", box.name).stdout)["pid"])
        assert limit_of(box.name) == [expected]
        assert box.labrun("delete", "--force", box.name).returncode == 0


def wait_for_sleep(pid):
    children = Path(f"/proc/{pid}/task/{pid}/children")
    while not children.read_text().strip() and "sleep" not in Path(f"/proc/{pid}/cmdline").read_text():
        pass


# --- R21: an image's configuration is data ---


class HostileImage:
    """What an image may claim of itself beyond what image-spec lets it set."""

    name, digest = "hostile", "sha256:" + "0" * 64
    extra = {
        "hooks": {"prestart": [{"path": "/bin/sh"}]},
        "mounts": [{"destination": "/host", "source": "/", "options": ["rbind"]}],
        "linux": {"devices": [{"type": "b", "path": "/dev/sda", "major": 8, "minor": 0}], "namespaces": []},
        "annotations": {"run.oci.handler": "x"},
        "process": {"capabilities": {"bounding": ["CAP_SYS_ADMIN"]}},
    }
    config = dict(
        extra,
        config=dict(
            extra,
            Cmd=["/bin/true"],
            Volumes={"/": {}, "/proc": {}},
            Labels={"org.opencontainers.runtime.hooks": "x", "io.kubernetes.cri-o.Devices": "/dev/sda"},
            Env=["LD_PRELOAD=/evil.so", "A=b"],
            Hooks=extra["hooks"],
            Mounts=extra["mounts"],
        ),
    )


class PlainImage(HostileImage):
    config = {"config": {"Cmd": ["/bin/true"], "Env": ["LD_PRELOAD=/evil.so", "A=b"]}}


def test_r21_an_image_sets_nothing_but_its_process():
    options = {"user": "0"}
    hostile = bundles.describe(HostileImage(), None, options)
    assert hostile == bundles.describe(PlainImage(), None, options)
    assert "hooks" not in hostile
    assert hostile["process"]["env"][-1] == "A=b"  # the control: what an image may set is taken from it
