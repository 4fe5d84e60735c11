# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real engines, each with the runtime under test in the place of runc.

DROPIN_RUNTIME=/usr/sbin/runc puts another runtime in labrun's place, which tests the tests.
DROPIN_RECORD=FOLDER writes a file into FOLDER for each call of the runtime: arguments, streams, config.json, output.
"""

from __future__ import annotations

import json
import os
import shutil
import tarfile
import time
from pathlib import Path

import pytest
from daemons import CONTAINERD, need, start_docker, wait_for
from lab import Client, Lab, copy_image

BUSYBOX = "/bin/busybox"
USER = 4711  # of the rootless engine; it exists only in the room


def pytest_collection_modifyitems(items):
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.root)
            item.add_marker(pytest.mark.engines)


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


@pytest.fixture(scope="session")
def iptables(lab):
    """Why containers get no bridge of Docker's; empty if they can have it."""
    if not shutil.which("iptables", path="/usr/sbin:/sbin:/usr/bin"):
        return "iptables is not installed"
    done = lab.run(
        "iptables", "-t", "nat", "-A", "POSTROUTING", "-m", "addrtype", "--src-type", "LOCAL", "-j", "RETURN"
    )
    return "" if done.returncode == 0 else "the kernel refuses iptables: " + done.stderr.strip()


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
[containers]
netns = "none"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
infra_image = "localhost/box:1"
runtime_supports_json = ["{name}"]
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
    client("import", "--change", 'CMD ["/bin/sleep", "100000"]', "-", "localhost/box:1", data=image)
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
    client("import", "--change", 'CMD ["/bin/sleep", "100000"]', "-", "localhost/box:1", data=image)
    return client


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
