# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The flow of the role crio, with a stand-in (crio_stand_in.py) in CRI-O's place: nothing here shows that CRI-O works.

What is real: the packages, keys, archive and files; their order, checks and removal; the configuration as TOML.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess

import crio_stand_in
import pytest
import tomllib
from role_host import RoleHost

pytestmark = [pytest.mark.root, pytest.mark.engines, pytest.mark.slow]
PORT = 8099
CONF = "/etc/crio/crio.conf.d/50-ocilab-hosts.conf"


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    if not shutil.which("gpg"):
        pytest.skip("gpg is not installed")
    folder = tmp_path_factory.mktemp("keys")
    made = [crio_stand_in.Key(folder / name, name) for name in ("right", "wrong")]
    yield made
    for key in made:
        key.end()


class Host(RoleHost):
    """A lab host with a mirror on it, and the role run there."""

    def __init__(self, lab, name, release, folder):
        super().__init__(lab, name, release, folder)
        shell = f"mkdir -p /srv/mirror && systemd-run -q --working-directory=/srv/mirror python3 -m http.server {PORT}"
        self.shell(shell)

    def push(self, path, into):
        """Copy a file or a folder's content into the folder on the host."""
        packed = subprocess.run(
            ["tar", "-C", str(path.parent), "-c", path.name], capture_output=True, check=True
        ).stdout
        words = [str(self.lab.labrun_path), "--root", str(self.lab.root), "exec", self.name, "tar", "-C", into, "-x"]
        self.shell(f"mkdir -p '{into}'")
        subprocess.run(words, input=packed, check=True, timeout=60)

    def crio(self, check=False, **variables):
        return self.role("crio", check, **variables)


@pytest.fixture(scope="module", params=["bookworm", "trixie"])
def host(request, lab, tmp_path_factory):
    name = lab.names[0]
    yield Host(lab, name, request.param, tmp_path_factory.mktemp("host"))
    lab.bring(state="absent")


@pytest.fixture
def folder(tmp_path):
    return tmp_path


def mirror(host, folder, signer, claimed=None, damage=""):
    """A repository in the documented place; the variables that name it. claimed: whose key is shown."""
    host.shell("rm -rf /srv/mirror/*")
    package = crio_stand_in.package(folder)
    place = crio_stand_in.repository(folder / "mirror", signer, package)
    if claimed:
        (place / "Release.key").write_bytes(claimed.public())
    if damage:
        path = place / damage
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(bytes(data))
    host.push(folder / "mirror" / "isv:", "/srv/mirror")
    return {"mirror": f"http://127.0.0.1:{PORT}"}


@contextlib.contextmanager
def in_and_out(host, before, **variables):
    """The four steps both ways, with what has to be between them."""
    failed, predicted, output = host.crio(check=True, **variables)
    assert not failed, output
    assert predicted > 0
    assert host.snapshot() == before
    failed, changed, output = host.crio(**variables)
    assert not failed, output
    assert changed >= predicted
    pid = host.pid("crio")
    for check in (False, True):
        failed, changed, output = host.crio(check=check, **variables)
        assert (failed, changed) == (False, 0), output
    assert host.pid("crio") == pid != 0
    yield
    failed, predicted, output = host.crio(check=True, **dict(variables, state="absent"))
    assert not failed, output
    assert predicted > 0
    assert host.pid("crio") != 0
    failed, changed, output = host.crio(**dict(variables, state="absent"))
    assert not failed, output
    assert host.snapshot() == before
    assert host.lab.exec(host.name, "grep -e crio /proc/mounts; ls -d /run/crio /run/containers 2>/dev/null")[1] == ""
    failed, changed, output = host.crio(state="absent")
    assert (failed, changed) == (False, 0), output


def test_from_a_repository(host, folder, keys):
    before = host.snapshot()
    given = mirror(host, folder, keys[0])
    given["key_fingerprint"] = [keys[0].fingerprint]
    with in_and_out(host, before, **given):
        settings = tomllib.loads(host.shell(f"cat {CONF}"))["crio"]
        assert settings["runtime"]["cgroup_manager"] in ("cgroupfs", "systemd")
        assert {one["monitor_path"] for one in settings["runtime"]["runtimes"].values()} == {"/usr/libexec/crio/conmon"}
        assert settings["image"]["pause_image"] == "localhost/ocilab/pause:1"
        network = json.loads(host.shell("cat /etc/crio/net.d/10-ocilab.conflist"))
        assert network["plugins"][0]["ipam"]["ranges"] == [[{"subnet": "10.85.0.0/16"}]]
        pid = host.pid("crio")
        # What CRI-O does not take is not written, and the daemon runs on.
        failed, _changed, output = host.crio(config={"runtime": {"cgroup_manager": "none"}}, **given)
        assert failed, output
        assert "cgroup manager: unknown" in output
        assert host.pid("crio") == pid
        assert tomllib.loads(host.shell(f"cat {CONF}"))["crio"] == settings
        # Another configuration restarts it.
        failed, _changed, output = host.crio(config={"api": {"stream_port": "0"}}, **given)
        assert not failed, output
        assert host.pid("crio") != pid
        failed, _changed, output = host.crio(**given)
        assert not failed, output
        # The verifier sees that it has stopped.
        host.shell("systemctl stop crio")
        failed, _changed, output = host.role("crio", entry="verify")
        assert failed
        assert "the CRI at /run/crio/crio.sock" in output
        host.shell("systemctl start crio")


@pytest.mark.parametrize("case", ["another key", "another signer", "damaged index", "damaged package"])
def test_what_is_not_right_is_refused(host, folder, keys, case):
    """A09: a swapped key, a key that has not signed, and flipped bytes; nothing of CRI-O is there then."""
    right, wrong = keys
    before = host.snapshot()
    given = {
        "another key": lambda: mirror(host, folder, wrong),
        "another signer": lambda: mirror(host, folder, wrong, claimed=right),
        "damaged index": lambda: mirror(host, folder, right, damage="Packages"),
        "damaged package": lambda: mirror(host, folder, right, damage="all/cri-o_1.36.0-1_all.deb"),
    }[case]()
    failed, _changed, output = host.crio(key_fingerprint=[right.fingerprint], **given)
    assert failed, output
    assert {"another key": "was asked for"}.get(case, "packages") in output
    failed, _changed, output = host.crio(state="absent")
    assert not failed, output
    assert host.snapshot() == before


def test_from_the_static_bundle(host, folder):
    before = host.snapshot()
    path, digest = crio_stand_in.bundle(folder)
    host.push(path, "/srv/archives")
    given = {"archive_url": f"file:///srv/archives/{path.name}", "archive_sha256": digest}
    failed, _changed, output = host.crio(**dict(given, archive_sha256=digest[::-1]))
    assert failed
    assert "sha256" in output
    assert host.snapshot() == before
    # A file of the same name that was there before is nobody's to overwrite.
    host.shell("mkdir -p /opt/cni/bin && echo mine >/opt/cni/bin/bridge")
    failed, _changed, output = host.crio(**given)
    assert failed
    assert "/opt/cni/bin/bridge: is there already" in output
    host.shell("rm -r /opt/cni")
    failed, _changed, output = host.crio(state="absent")
    assert host.snapshot() == before
    with in_and_out(host, before, **given):
        settings = tomllib.loads(host.shell(f"cat {CONF}"))["crio"]
        assert settings["network"]["plugin_dirs"] == ["/opt/cni/bin"]
        host.shell("cd /usr/local/bin && test -x crio -a -x pinns -a -x crictl && test -x /usr/libexec/crio/runc")
        assert "/usr/local/bin/crio" in host.shell("systemctl cat crio")


@pytest.mark.parametrize("how", ["directory", "archive"])
def test_from_packages(host, folder, how):
    before = host.snapshot()
    package = crio_stand_in.package(folder)
    place = folder / "packages"
    place.mkdir()
    shutil.move(package, place / package.name)
    if how == "directory":
        given = {"package_dir": str(place)}
    else:
        archive = folder / "packages.tar"
        subprocess.run(["tar", "-C", str(folder), "-cf", str(archive), "packages"], check=True)
        host.push(archive, "/srv/archives")
        digest = subprocess.run(["sha256sum", str(archive)], capture_output=True, text=True, check=True).stdout.split()[
            0
        ]
        given = {"archive_url": "file:///srv/archives/packages.tar", "archive_sha256": digest}
    with in_and_out(host, before, **given):
        assert host.shell("dpkg-query -W -f '${Version}' cri-o") == "1.36.0-1"
