# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Users of a registry and their hashes, and what a registry said when it did not start."""

from __future__ import annotations

import os
import stat

import pytest
from ansible_collections.ocilab.hosts.plugins.module_utils.linux.errors import InvalidInput
from ansible_collections.ocilab.hosts.plugins.module_utils.registries import configuration, passwords
from ansible_collections.ocilab.hosts.plugins.module_utils.registries.htpasswd import Htpasswd

# A vector of bcrypt's own authors.
KNOWN = "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"


def test_a_hash_is_bcrypts():
    assert passwords.fits("U*U", KNOWN)
    assert not passwords.fits("U*V", KNOWN)
    made = passwords.hashed("U*U", 4)
    assert made.startswith("$2b$04$")
    assert made != passwords.hashed("U*U", 4)  # each with a salt of its own
    assert passwords.fits("U*U", made)


@pytest.mark.parametrize("known", ["", "plain", "$1$salt$hash", "$2b$", "$2b$04$\u00e9", "*0", "$2y$99$" + "C" * 53])
def test_what_is_no_bcrypt_hash_fits_nobody(known):
    assert not passwords.fits("U*U", known)
    assert not passwords.fits(known or "x", known)


@pytest.mark.parametrize("password", ["", "x" * 73, "\u00e9" * 37, "a\0b"])
def test_what_bcrypt_would_not_look_at_as_a_whole(password):
    with pytest.raises(InvalidInput, match="1 to 72 bytes"):
        passwords.hashed(password, 4)


@pytest.fixture
def file(tmp_path):
    return Htpasswd(str(tmp_path / "users"), os.getgid(), 4)


pytestmark = pytest.mark.root  # the file is root's


def test_users_come_change_and_go(file):
    old = os.umask(0)
    try:
        assert file.carry_out({"one": "1", "two": "2"}) == [("one", "add"), ("two", "add")]
    finally:
        os.umask(old)
    assert stat.S_IMODE(os.stat(file.path).st_mode) == 0o640
    before = open(file.path).read()
    assert file.carry_out({"one": "1", "two": "2"}) == []
    assert open(file.path).read() == before
    assert file.carry_out({"one": "3", "new": "4"}) == [("one", "change"), ("new", "add"), ("two", "remove")]
    names = [line.partition(":")[0] for line in open(file.path)]
    assert names == ["one", "new"]
    assert file.carry_out({}) == [("one", "remove"), ("new", "remove")]


def test_a_dry_run_writes_nothing(file):
    assert file.carry_out({"one": "1"}, dry=True) == [("one", "add")]
    assert not os.path.exists(file.path)


def test_a_file_that_others_read_is_made_private(file):
    file.carry_out({"one": "1"})
    os.chmod(file.path, 0o644)
    assert file.carry_out({"one": "1"}) == [("", "protect")]
    assert stat.S_IMODE(os.stat(file.path).st_mode) == 0o640


def test_a_link_is_replaced_not_followed(file, tmp_path):
    (tmp_path / "canary").write_text("as it was\n")
    os.symlink(tmp_path / "canary", file.path)
    file.carry_out({"one": "1"})
    assert (tmp_path / "canary").read_text() == "as it was\n"
    assert not os.path.islink(file.path)


@pytest.mark.parametrize("name", ["", "a:b", "a\nb", "../a", "-a", "a" * 65])
def test_names_that_would_break_the_file(file, name):
    with pytest.raises(InvalidInput, match="is no name"):
        file.carry_out({name: "1"})
    assert not os.path.exists(file.path)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (
            'time="t" level=info msg="redis not configured"\npanic: no such driver\n\ngoroutine 1 [running]:\n',
            "no such driver",
        ),
        (
            "configuration error: error parsing /x: unknown\n\nUsage:\n  registry serve <config>\n",
            "error parsing /x: unknown",
        ),
        ('time="t" level=fatal msg="open /none: no such file or directory"\n', "open /none: no such file or directory"),
        ('time="t" level=fatal msg="it fails" go.version=go1.19.8 instance.id=1\n', "it fails"),
        ("", "it said nothing"),
    ],
)
def test_why_a_registry_does_not_start(said, why):
    assert configuration.reason(said) == why
