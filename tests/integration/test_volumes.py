# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Volumes: they outlive their containers, are shared, filled, read-only to the last mount, and refused while in use."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from ansible_collections.ocilab.hosts.plugins.module_utils.images import rootfs as images
from ansible_collections.ocilab.hosts.plugins.module_utils.images.store import Store
from ansible_collections.ocilab.hosts.plugins.module_utils.labrun import filled_volumes, managed
from ansible_collections.ocilab.hosts.plugins.module_utils.linux import errors, mounts, syscalls
from ansible_collections.ocilab.hosts.plugins.module_utils.volumes import volume as volumes
from test_modules import module

pytestmark = pytest.mark.root


class Lab:
    """Containers and volumes in places of their own."""

    def __init__(self, path, rootfs, labrun):
        self.path = path
        self.root = str(path / "state")
        self.data = str(path / "data")
        self.prefix = f"vol{os.getpid()}-"
        self.command = [str(labrun), "--root", self.root]
        self.store = Store(str(path / "images"))
        images.import_rootfs(self.store, str(rootfs), "lab/vol:1", {})

    def wanted(self, name):
        return managed.Wanted(self.prefix + name, self.root, self.data, None, 0)

    def start(self, name, *wish, command=("/bin/sleep", "600"), image="lab/vol:1"):
        wanted = self.wanted(name)
        options = {"volumes": [volumes.parse(text) for text in wish], "command": list(command)}
        wanted.describe_image(image, self.store, str(self.path / "layers"), options)
        list(managed.carry_out([(wanted, managed.plan(wanted, "started"))], False))

    def inside(self, name, script):
        words = [*self.command, "exec", self.prefix + name, "/bin/sh", "-c", script]
        return subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)

    def delete(self, name):
        wanted = self.wanted(name)
        list(managed.carry_out([(wanted, managed.plan(wanted, "absent"))], False))

    def volume(self, name):
        return volumes.Volume(name, os.path.join(self.data, "volumes"))


@pytest.fixture
def lab(tmp_path, rootfs, labrun):
    made = Lab(tmp_path, rootfs, labrun)
    yield made
    for folder in (tmp_path / "data" / "bundles").glob("*"):
        made.delete(folder.name[len(made.prefix) :])
    for folder in (tmp_path / "data" / "volumes").glob("*"):
        made.volume(folder.name).remove(force=True)


def test_a_volume_outlives_its_container_and_is_shared(lab):
    lab.start("a", "pages:/srv/pages")
    assert lab.inside("a", "echo kept >/srv/pages/file").returncode == 0
    lab.delete("a")
    lab.start("b", "pages:/data")
    lab.start("c", "pages:/data:ro")
    assert lab.inside("b", "cat /data/file").stdout == "kept\n"
    assert lab.inside("c", "cat /data/file").stdout == "kept\n"
    assert lab.inside("b", "echo more >>/data/file").returncode == 0
    assert "ead-only" in lab.inside("c", "echo no >>/data/file").stderr
    assert filled_volumes.users("pages", lab.root) == [lab.prefix + "b", lab.prefix + "c"]
    assert filled_volumes.users("page", lab.root) == []


def test_read_only_reaches_what_is_mounted_below(lab):
    below = lab.path / "tree" / "below"
    below.mkdir(parents=True)
    syscalls.mount(b"tmpfs", os.fsencode(below), b"tmpfs", 0, b"")
    try:
        lab.start("a", f"{lab.path}/tree:/ro:ro", f"{lab.path}/tree:/rw")
        for path, code in (("/rw/below", 0), ("/ro/below", 1), ("/rw", 0), ("/ro", 1)):
            assert lab.inside("a", f"echo x >{path}/file").returncode == code, path
    finally:
        lab.delete("a")
        syscalls.umount(os.fsencode(below), 0)


def test_an_empty_volume_begins_with_the_images_content(lab, rootfs):
    tree = lab.path / "tree"
    subprocess.run(["cp", "-a", str(rootfs), str(tree)], check=True)
    (tree / "pages" / "sub").mkdir(parents=True)
    (tree / "pages" / "sub" / "file").write_text("of the image\n")
    os.chown(tree / "pages" / "sub" / "file", 1000, 1001)
    os.chmod(tree / "pages", 0o1777)
    (tree / "pages" / "link").symlink_to("/etc/shadow")
    images.import_rootfs(lab.store, str(tree), "lab/full:1", {})
    lab.start("a", "filled:/pages", image="lab/full:1")
    data = Path(lab.volume("filled").data)
    assert (data / "sub" / "file").read_text() == "of the image\n"
    assert ((data / "sub" / "file").stat().st_uid, data.stat().st_mode & 0o7777) == (1000, 0o1777)
    assert os.readlink(data / "link") == "/etc/shadow"
    assert lab.inside("a", "cat /pages/sub/file; echo new >/pages/sub/file").stdout == "of the image\n"
    lab.delete("a")
    lab.start("a", "filled:/pages", image="lab/full:1")  # it is not filled twice
    assert lab.inside("a", "cat /pages/sub/file").stdout == "new\n"


def test_an_images_link_does_not_lead_a_copy_out(lab, rootfs):
    """The image's directory is a link to a directory of the host that the root filesystem has not (case L01)."""
    secret = lab.path / "secret"
    secret.mkdir()
    (secret / "file").write_text("of the host")
    tree = lab.path / "tree"
    subprocess.run(["cp", "-a", str(rootfs), str(tree)], check=True)
    (tree / "pages").symlink_to(secret)
    (tree / "control").mkdir()
    (tree / "control" / "file").write_text("of the image")
    images.import_rootfs(lab.store, str(tree), "lab/link:1", {})
    lab.start("a", "stolen:/pages", image="lab/link:1")  # the link leads to a directory in the container
    assert os.listdir(lab.volume("stolen").data) == []
    assert lab.inside("a", "echo x >/pages/written").returncode == 0
    assert os.listdir(secret) == ["file"]
    lab.start("b", "given:/control", image="lab/link:1")
    assert os.listdir(lab.volume("given").data) == ["file"]


def test_a_start_that_fails_leaves_no_volume_of_its_own(lab):
    lab.volume("old").create(lab.volume("old").new())
    with pytest.raises(errors.OcilabError):
        lab.start("a", "fresh:/data", "old:/old", command=["/none"])
    assert not Path(lab.volume("fresh").path).exists()
    assert lab.volume("old").describe()
    with pytest.raises(errors.NotFound, match="does not exist on this host"):
        lab.start("a", "/nowhere/at/all:/data")


def test_a_tmpfs_volume(lab):
    scratch = lab.volume("scratch")
    scratch.create(scratch.new("tmpfs", size_bytes=1 << 20, mode="700"))
    assert not mounts.is_mounted(scratch.data)
    lab.start("a", "scratch:/scratch")
    lab.start("b", "scratch:/scratch")
    assert lab.inside("a", "echo shared >/scratch/file").returncode == 0
    assert lab.inside("b", "cat /scratch/file").stdout == "shared\n"
    assert lab.inside("b", "busybox dd if=/dev/zero of=/scratch/big bs=1M count=2").returncode != 0
    assert Path(scratch.data).stat().st_mode & 0o7777 == 0o700
    lab.delete("a")
    lab.delete("b")
    scratch.remove()
    assert not mounts.is_mounted(scratch.data)
    assert not Path(scratch.path).exists()


def test_a_bind_volume_leaves_its_directory(lab):
    device = lab.path / "device"
    device.mkdir()
    (device / "file").write_text("kept\n")
    bound = lab.volume("bound")
    bound.create(bound.new("bind", device=str(device)))
    lab.start("a", "bound:/data")
    assert lab.inside("a", "cat /data/file").stdout == "kept\n"
    lab.delete("a")
    bound.remove()
    assert (device / "file").read_text() == "kept\n"


def test_what_is_mounted_in_a_volume_is_not_removed(lab):
    volume = lab.volume("held")
    volume.create(volume.new())
    syscalls.mount(b"tmpfs", os.fsencode(volume.data), b"tmpfs", 0, b"")
    Path(volume.data, "file").write_text("kept")
    with pytest.raises(errors.WrongState, match="something is mounted"):
        volume.remove()
    assert Path(volume.data, "file").read_text() == "kept"
    syscalls.umount(os.fsencode(volume.data), 0)
    volume.remove()
    assert not Path(volume.path).exists()


@pytest.mark.parametrize(
    "given",
    ["", "a", "a:b", "a:/", "a:/b/..", "a:/b:xx", "a:/b:ro:ro", "../a:/b", "a\n:/b", ":/b", "/a:/b\0", "a b:/c"],
)
def test_odd_volumes_are_refused(given):
    with pytest.raises(errors.InvalidInput) as caught:
        volumes.parse(given)
    assert len(str(caught.value).splitlines()) == 1
    control = {"name": "a", "source": "", "destination": "/b", "read_only": True}
    assert volumes.parse("a:/b:ro") == control


def snapshot(lab):
    files = sorted((str(path), path.lstat().st_mtime_ns) for path in (lab.path / "data").rglob("*"))
    return files, sorted(entry["target"] for entry in mounts.table() if entry["target"].startswith(str(lab.path)))


def four_steps(lab, **arguments):
    """Check, run, run again, check again; what the run returned."""
    arguments = dict(arguments, root=lab.root, data_root=lab.data)
    before = snapshot(lab)
    predicted = module("labrun_volume", check=True, **arguments)
    assert predicted["changed"] is True, predicted
    assert snapshot(lab) == before
    done = module("labrun_volume", **arguments)
    assert (done["changed"], done["volume"]) == (True, predicted["volume"])
    for checked in (False, True):
        assert module("labrun_volume", check=checked, **arguments)["changed"] is False
    return done["volume"]


def test_the_module_in_four_steps(lab):
    four_steps(lab, name="pages", labels={"course": "containers"})
    assert four_steps(lab, name="pages", labels={"tier": 1})["labels"] == {"tier": "1"}
    lab.start("a", "pages:/data")
    where = {"root": lab.root, "data_root": lab.data}
    assert module("labrun_volume", name="pages", labels={"tier": 1}, **where)["volume"]["used_by"] == [lab.prefix + "a"]
    for arguments, message in (
        ({"state": "absent"}, f"in use by {lab.prefix}a"),
        ({"type": "tmpfs"}, "its type is named, not tmpfs"),
        ({"type": "bind"}, "device: needed"),
        ({"type": "bind", "device": "/nowhere"}, "not a directory"),
        ({"size": "1M"}, "for a tmpfs volume only"),
        ({"type": "tmpfs", "mode": "9"}, "an octal number"),
    ):
        refused = module("labrun_volume", name="pages", **where, **arguments)
        assert message in refused["msg"]
        assert len(refused["msg"].splitlines()) == 1
    lab.delete("a")
    four_steps(lab, name="pages", state="absent")
    assert not Path(lab.volume("pages").path).exists()
