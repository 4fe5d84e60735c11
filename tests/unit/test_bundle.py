# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bundles, which are programs in an archive: put where they belong, told from packages, and taken back."""

from __future__ import annotations

import hashlib
import os
import tarfile

import pytest
from ansible_collections.ocilab.hosts.plugins.module_utils.linux.errors import AlreadyExists, InvalidInput, OcilabError
from ansible_collections.ocilab.hosts.plugins.module_utils.packages.bundle import Bundle, Rule


class Place:
    """A folder that stands for the host, archives, and the bundle of an owner there."""

    def __init__(self, folder):
        self.folder = folder
        self.host = folder / "host"
        self.host.mkdir()

    def archive(self, **files):
        tree = self.folder / "tree" / "top"
        for name, content in files.items():
            path = tree / name.replace("__", "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        path = self.folder / "archive.tar.gz"
        with tarfile.open(path, "w:gz") as archive:
            archive.add(tree, "./top")
        return {"archive_url": f"file://{path}", "archive_sha256": hashlib.sha256(path.read_bytes()).hexdigest()}

    def bundle(self, **given):
        rules = [
            Rule("bin/main", f"{self.host}/bin/", 0o755, required=True),
            Rule("bin/*", f"{self.host}/libexec/deep/", 0o755),
            Rule("etc/conf", f"{self.host}/etc/conf", keep=True),
        ]
        return Bundle("one", rules, path=str(self.folder / "ledger" / "bundles.json"), **given)

    def carry_out(self, **given):
        """As a process of its own would, which holds the lock until it ends."""
        bundle = self.bundle(**given)
        try:
            return bundle.carry_out()
        finally:
            os.close(bundle._kept._lock)

    def files(self):
        return {str(path.relative_to(self.host)): path.read_text() for path in self.host.rglob("*") if path.is_file()}


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


def four_steps(place, **given):
    predicted = place.bundle(**given).plan()
    before = place.files()
    done = place.carry_out(**given)
    assert done == predicted
    assert done["changed"]
    assert place.files() != before
    assert not place.bundle(**given).plan()["changed"]
    assert not place.carry_out(**given)["changed"]
    return done


def test_in_again_other_and_out(place):
    given = place.archive(bin__main="1", bin__help="2", etc__conf="3", other="4")
    done = four_steps(place, **given)
    assert done["kind"] == "bundle"
    assert place.files() == {"bin/main": "1", "libexec/deep/help": "2", "etc/conf": "3"}
    assert (place.host / "bin/main").stat().st_mode & 0o777 == 0o755
    # What a person has changed: a program is put right, a setting stays.
    (place.host / "bin/main").write_text("broken")
    (place.host / "etc/conf").write_text("mine")
    assert place.carry_out(**given)["files"] == [f"{place.host}/bin/main"]
    assert place.files() == {"bin/main": "1", "libexec/deep/help": "2", "etc/conf": "mine"}
    # The next version has lost a program.
    (place.folder / "tree/top/bin/help").unlink()
    given = place.archive(bin__main="5")
    assert four_steps(place, **given)["removed"] == [f"{place.host}/libexec/deep/help"]
    assert not (place.host / "libexec").exists()
    assert sorted(four_steps(place)["removed"]) == [f"{place.host}/bin/main", f"{place.host}/etc/conf"]
    assert list(place.host.iterdir()) == []
    assert not (place.folder / "ledger").exists()


def test_what_was_there_stays(place):
    given = place.archive(bin__main="1", etc__conf="3")
    (place.host / "etc").mkdir()
    (place.host / "etc/conf").write_text("before")
    four_steps(place, **given)
    four_steps(place)
    assert place.files() == {"etc/conf": "before"}
    (place.host / "bin").mkdir()
    (place.host / "bin/main").write_text("somebody else's")
    for attempt in (place.bundle(**given).plan, lambda: place.carry_out(**given)):
        with pytest.raises(AlreadyExists, match="is there already"):
            attempt()
    assert place.files() == {"bin/main": "somebody else's", "etc/conf": "before"}
    (place.host / "bin/main").write_text("1")  # the same by chance: it is not ours to remove
    place.carry_out(**given)
    place.carry_out()
    assert place.files() == {"bin/main": "1", "etc/conf": "before"}


def test_packages_are_told_apart(place):
    given = place.archive(**{"cri-o_1.36.0-1_all.deb": "x", "conmon_2_amd64.deb": "x"})
    told = place.carry_out(**given)
    assert (told["kind"], told["packages"], told["files"]) == ("packages", ["conmon", "cri-o"], [])
    again = place.carry_out(**given)
    assert (again["changed"], again["kind"], again["packages"]) == (False, "packages", ["conmon", "cri-o"])
    assert place.files() == {}


def test_a_flipped_byte_or_another_archive_is_refused(place):
    given = place.archive(bin__main="1")
    path = place.folder / "archive.tar.gz"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(OcilabError, match="sha256"):
        place.carry_out(**given)
    (place.folder / "tree/top/bin/main").unlink()
    with pytest.raises(OcilabError, match="holds neither bin/main nor packages"):
        place.carry_out(**place.archive(other="1"))
    assert place.files() == {}
    with pytest.raises(InvalidInput):
        place.bundle(archive_url="file:///x")
    with pytest.raises(InvalidInput):
        Rule("x", "/usr/../etc/x")


def test_a_run_that_was_killed_is_finished_or_undone(place, monkeypatch):
    given = place.archive(bin__main="1", bin__help="2")

    def killed(_file):
        raise KeyboardInterrupt

    monkeypatch.setattr("ansible_collections.ocilab.hosts.plugins.module_utils.packages.bundle._put", killed)
    with pytest.raises(KeyboardInterrupt):
        place.carry_out(**given)
    monkeypatch.undo()
    assert place.carry_out(**given)["changed"]
    assert set(place.files()) == {"bin/main", "libexec/deep/help"}
    place.carry_out()
    assert list(place.host.iterdir()) == []


def test_an_archive_without_a_folder(place, tmp_path):
    path = tmp_path / "flat.tar.gz"
    (tmp_path / "main").write_text("1")
    with tarfile.open(path, "w:gz") as archive:
        archive.add(tmp_path / "main", "bin/main")
    given = {"archive_url": f"file://{path}", "archive_sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    assert four_steps(place, **given)["files"] == [f"{place.host}/bin/main"]
