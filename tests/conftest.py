# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests share: skips with their reasons, a root filesystem, a bundle, the labrun command, a Docker daemon."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import own_dockerd
import pytest
from ansible_collections.ocilab.hosts.plugins.module_utils.labrun import command
from ansible_collections.ocilab.hosts.plugins.module_utils.spec import runtime, seccomp

REPOSITORY = Path(__file__).resolve().parent.parent
APPLETS = ("cat", "echo", "false", "id", "ls", "sh", "sleep", "true")


def pytest_collection_modifyitems(items):
    no_engines = os.environ.get("TEST_ENGINES") == "none"
    for item in items:
        if item.get_closest_marker("root") and os.geteuid() != 0:
            item.add_marker(pytest.mark.skip(reason="needs root"))
        if item.get_closest_marker("slow") and os.environ.get("TEST_SLOW") != "all":
            item.add_marker(pytest.mark.skip(reason="takes minutes, or is much like others; TEST_SLOW=all runs it"))
        for marker in ("engines", "browser", "vm"):
            if item.get_closest_marker(marker) and no_engines:
                item.add_marker(pytest.mark.skip(reason=f"TEST_ENGINES=none leaves out what needs {marker}"))


@pytest.fixture(scope="session")
def rootfs(tmp_path_factory):
    """A root filesystem of Debian's static busybox."""
    busybox = Path("/bin/busybox")
    if not busybox.exists():
        pytest.skip("there is no /bin/busybox; install busybox-static")
    root = tmp_path_factory.mktemp("busybox") / "rootfs"
    for name in ("bin", "dev", "etc", "proc", "sys", "tmp"):
        (root / name).mkdir(parents=True)
    shutil.copy(busybox, root / "bin" / "busybox")
    for applet in APPLETS:
        (root / "bin" / applet).symlink_to("busybox")
    (root / "etc" / "passwd").write_text("root:x:0:0:root:/:/bin/sh\nstudent:x:1000:1001::/:/bin/sh\n")
    (root / "etc" / "group").write_text("root:x:0:\nlab:x:2000:student\n")
    return root


@pytest.fixture(scope="session")
def labrun(tmp_path_factory):
    """The command, as `make labrun` builds it."""
    path = tmp_path_factory.mktemp("bin") / "labrun"
    command.write_executable(str(path), "/usr/bin/python3" if os.access("/usr/bin/python3", os.X_OK) else "")
    return path


class BundleFolder:
    """A bundle over a copy of the root filesystem, whose configuration a test changes."""

    def __init__(self, path, rootfs, labrun):
        self.path = path
        self.name = f"test-{os.getpid()}"  # its cgroup is named after it, and two runs of the tests may share a host
        self.labrun_path = labrun
        self.state = path / "state"
        shutil.copytree(rootfs, path / "rootfs", symlinks=True)
        self.config = runtime.config(["/bin/true"], seccomp.default_profile(os.uname().machine))

    def write(self):
        (self.path / "config.json").write_text(json.dumps(self.config))

    def labrun(self, *words, **keywords):
        """Run the command; its output goes to files, for a created container keeps it open."""
        arguments = [str(self.labrun_path), "--root", str(self.state), *words]
        with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
            result = subprocess.run(arguments, stdout=output, stderr=errors, timeout=60, check=False, **keywords)
            for file in (output, errors):
                file.seek(0)
            result.stdout, result.stderr = output.read(), errors.read()
        return result

    def run(self, *args, name=None):
        """Run args in a container of this bundle."""
        if args:
            self.config["process"]["args"] = list(args)
        self.write()
        return self.labrun("run", "--bundle", str(self.path), self.name if name is None else name)

    def shell(self, script):
        """What the script prints in a container."""
        result = self.run("/bin/sh", "-c", script)
        assert result.returncode == 0, result.stderr
        return result.stdout

    def assert_nothing_left(self):
        name = self.name
        assert not (self.state / name).exists()
        left = subprocess.run(
            ["find", "/sys/fs/cgroup", "-name", f"labrun-{name}"], capture_output=True, text=True, check=False
        )
        assert left.stdout == ""


@pytest.fixture
def bundle(tmp_path, rootfs, labrun):
    made = BundleFolder(tmp_path, rootfs, labrun)
    yield made
    if made.state.exists():
        for folder in made.state.iterdir():
            made.labrun("delete", "--force", folder.name)


@pytest.fixture(scope="session")
def probe_program(tmp_path_factory):
    """tests/probe.c, built static: what a process sees of itself only by system calls."""
    path = tmp_path_factory.mktemp("probe") / "probe"
    if not shutil.which("gcc"):
        pytest.skip("there is no gcc to build tests/probe.c with")
    arguments = ["gcc", "-O1", "-static", "-o", str(path), str(REPOSITORY / "tests" / "probe.c")]
    built = subprocess.run(arguments, capture_output=True, text=True, check=False)
    if built.returncode != 0:
        pytest.skip("gcc cannot build a static program here: " + built.stderr[-200:])
    return path


@pytest.fixture
def probe(bundle, probe_program):
    """The bundle with /bin/probe in its root filesystem."""
    shutil.copy(probe_program, bundle.path / "rootfs" / "bin" / "probe")
    return bundle


@pytest.fixture(scope="session")
def dockerd(tmp_path_factory):
    """A Docker daemon of our own; the value for DOCKER_HOST."""
    if not shutil.which("dockerd"):
        pytest.skip("dockerd is not installed")
    with own_dockerd.running(tmp_path_factory.mktemp("dockerd")) as address:
        yield address
