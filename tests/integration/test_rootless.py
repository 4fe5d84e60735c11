# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""labrun as an ordinary user: with a single id mapping, and with the ranges of /etc/subuid by newuidmap(1)."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def user():
    """A user of this test's own, with ranges of subordinate ids."""
    for tool in ("useradd", "runuser"):
        if not shutil.which(tool, path="/usr/sbin:/sbin:/usr/bin:/bin"):
            pytest.skip(f"{tool} is not installed")
    name = f"labrun-t{os.getpid()}"
    subprocess.run(["useradd", "--create-home", name], check=True)
    try:
        yield pwd.getpwnam(name)
    finally:
        subprocess.run(["pkill", "-KILL", "-u", name], check=False)
        subprocess.run(["userdel", "--remove", name], capture_output=True, check=False)


class Rootless:
    """A bundle and a state folder of the user's own."""

    def __init__(self, user, path, rootfs, labrun):
        self.user = user
        self.path = path
        self.runtime_dir = path / "run"
        self.runtime_dir.mkdir()
        shutil.copy(labrun, path / "labrun")
        shutil.copytree(rootfs, path / "rootfs", symlinks=True)
        self.own()
        assert self.labrun("spec", "--rootless", "--bundle", str(path)).returncode == 0
        self.config = json.loads((path / "config.json").read_text())
        self.config["process"]["terminal"] = False
        self.config["root"]["readonly"] = False

    def own(self):
        subprocess.run(["chown", "-R", f"{self.user.pw_uid}:{self.user.pw_gid}", str(self.path)], check=True)

    def labrun(self, *words):
        arguments = ["runuser", "-u", self.user.pw_name, "--", str(self.path / "labrun"), *words]
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "XDG_RUNTIME_DIR": str(self.runtime_dir)}
        with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
            done = subprocess.run(
                arguments, stdout=output, stderr=errors, timeout=60, check=False, env=environment, cwd="/"
            )
            for file in (output, errors):
                file.seek(0)
            done.stdout, done.stderr = output.read(), errors.read()
        return done

    def write(self, *args):
        self.config["process"]["args"] = list(args)
        (self.path / "config.json").write_text(json.dumps(self.config))

    def shell(self, script):
        self.write("/bin/sh", "-c", script)
        done = self.labrun("run", "--bundle", str(self.path), "box")
        assert done.returncode == 0, done.stderr
        return done.stdout

    def map_ranges(self):
        """The own id as root, and the subordinate ones behind it."""
        for kind, own in (("uid", self.user.pw_uid), ("gid", self.user.pw_gid)):
            lines = [line.split(":") for line in Path(f"/etc/sub{kind}").read_text().splitlines()]
            start, size = next((int(line[1]), int(line[2])) for line in lines if line[0] == self.user.pw_name)
            self.config["linux"][kind + "Mappings"] = [
                {"containerID": 0, "hostID": own, "size": 1},
                {"containerID": 1, "hostID": start, "size": min(size, 65535)},
            ]


@pytest.fixture
def box(user, rootfs, labrun):
    path = Path(tempfile.mkdtemp(prefix="labrun-rootless-"))
    path.chmod(0o755)
    made = Rootless(user, path, rootfs, labrun)
    yield made
    made.labrun("delete", "--force", "box")
    shutil.rmtree(path)


def test_a_single_mapping(box):
    seen = box.shell("id -u; cat /proc/self/uid_map /proc/self/setgroups; echo x >/tmp/mine")
    assert seen.split() == ["0", "0", str(box.user.pw_uid), "1", "deny"]
    assert (box.path / "rootfs" / "tmp" / "mine").stat().st_uid == box.user.pw_uid
    assert list((box.runtime_dir / "labrun").glob("box*")) == []


def test_ranges_of_subordinate_ids(box):
    if not shutil.which("newuidmap"):
        pytest.skip("newuidmap is not installed (uidmap)")
    box.map_ranges()
    box.config["process"]["user"] = {"uid": 1000, "gid": 1001, "additionalGids": [2000]}
    os.chmod(box.path / "rootfs" / "tmp", 0o1777)
    seen = box.shell("id -u; cat /proc/self/setgroups; echo x >/tmp/mine")
    assert seen.split() == ["1000", "allow"]
    start = box.config["linux"]["uidMappings"][1]["hostID"]
    assert (box.path / "rootfs" / "tmp" / "mine").stat().st_uid == start + 999


def test_ids_that_are_not_the_users_are_refused(box):
    box.config["linux"]["uidMappings"] = [{"containerID": 0, "hostID": 0, "size": 1000}]
    box.write("/bin/true")
    done = box.labrun("run", "--bundle", str(box.path), "box")
    assert done.returncode == 1
    assert "newuidmap" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert list((box.runtime_dir / "labrun").glob("box*")) == []


def test_life_cycle_and_exec(box):
    box.write("/bin/sleep", "100")
    assert box.labrun("create", "--bundle", str(box.path), "box").returncode == 0
    assert box.labrun("start", "box").returncode == 0
    inside = box.labrun("exec", "--cwd", "/tmp", "box", "/bin/sh", "-c", "id -u; pwd; exit 3")
    assert (inside.stdout.split(), inside.returncode) == (["0", "/tmp"], 3)
    listed = box.labrun("list")
    assert box.user.pw_name in listed.stdout
    assert box.labrun("kill", "box", "KILL").returncode == 0
    assert box.labrun("delete", "--force", "box").returncode == 0
    assert not (box.runtime_dir / "labrun" / "box").exists()


def test_a_limit_without_a_cgroup_of_its_own_is_refused(box):
    box.config["linux"]["resources"] = {"memory": {"limit": 64 << 20}}
    box.write("/bin/true")
    done = box.labrun("run", "--bundle", str(box.path), "box")
    assert done.returncode == 1
    assert "linux.resources.memory.limit" in done.stderr
    assert len(done.stderr.splitlines()) == 1
