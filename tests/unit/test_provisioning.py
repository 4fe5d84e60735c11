# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ranges of subordinate ids, wishes for users, TOML, and when the command labrun is current."""

from __future__ import annotations

import os
import subprocess

import pytest
from ansible_collections.ocilab.hosts.plugins.module_utils.labrun import command
from ansible_collections.ocilab.hosts.plugins.module_utils.linux import errors
from ansible_collections.ocilab.hosts.plugins.module_utils.provisioning import accounts, subids, toml


def ranges(*items):
    return [subids.Range(user, start, count) for user, start, count in items]


def test_a_free_range_overlaps_none_of_those_that_are_taken():
    taken = ranges(("a", 100000, 65536), ("b", 231071, 10), ("c", 300000, 65536))
    chosen = subids.free("d", 65536, taken)
    assert not any(chosen.overlaps(item) for item in taken)
    assert (chosen.start, str(chosen)) == (231081, "231081-296616")
    assert subids.free("d", 1000, taken).start == 165536
    with pytest.raises(errors.OcilabError, match="no 600000000 free"):
        subids.free("d", 600000000, taken)


def test_a_range_that_overlaps_anothers_is_refused():
    apart = ranges(("a", 100000, 65536), ("b", 165536, 65536))
    subids.refuse_overlap("a", "/etc/subuid", apart)
    shared = [*apart, *ranges(("c", 165535, 1))]
    with pytest.raises(errors.InvalidInput, match=r"100000-165535 of a overlaps 165535-165535 of c"):
        subids.refuse_overlap("a", "/etc/subuid", shared)
    subids.refuse_overlap("b", "/etc/subuid", shared)


def test_a_range_is_taken_out_of_its_file_alone(tmp_path):
    path = tmp_path / "subuid"
    path.write_text("a:100000:65536\nroot:165536:65536\n")
    path.chmod(0o640)
    subids.remove(str(path), subids.Range("root", 165536, 65536))
    assert path.read_text() == "a:100000:65536\n"
    assert path.stat().st_mode & 0o777 == 0o640
    assert os.listdir(tmp_path) == ["subuid"]


def test_a_file_that_is_damaged_is_named(tmp_path):
    path = tmp_path / "subuid"
    path.write_text("a:100000\n")
    with pytest.raises(errors.OcilabError, match="subuid: a line is not user:start:count: a:100000"):
        subids.read(str(path))
    assert subids.read(str(tmp_path / "none")) == []


@pytest.mark.parametrize("name", ["", ";id", "Root", "a b", "../x", "-x", "x" * 32, "x\n"])
def test_names_of_users_are_validated(name):
    with pytest.raises(errors.InvalidInput):
        accounts.Wish(name)
    assert accounts.Wish("student", units=["podman.socket"]).units == ["podman.socket"]


@pytest.mark.parametrize("given", [{"units": ["x; id"]}, {"units": ["podman.socket"], "linger": False}, {"subids": -1}])
def test_wishes_are_validated(given):
    with pytest.raises(errors.InvalidInput):
        accounts.Wish("student", **given)


def test_toml_is_read_as_what_was_written():
    tomllib = pytest.importorskip("tomllib")
    tree = {
        "text": 'a "quoted" \\ path\n\ttab \x01 ü',
        "list": ["a", "b"],
        "yes": True,
        "number": 3,
        "table": {"of tables": {"x": {"y": [1, 2]}}, "empty": {}},
        "many": [{"base": "10.89.0.0/16", "size": 24, "deep": {"z": 1.5}}, {"base": "x"}],
        "nothing": [],
    }
    assert tomllib.loads(toml.dump(tree)) == tree
    assert toml.dump({"gone": None}) == "\n"
    with pytest.raises(errors.InvalidInput, match=r"a\.b: TOML has no value"):
        toml.dump({"a": {"b": object()}})


def test_what_was_written_is_read_by_the_filter():
    ansible_errors = pytest.importorskip("ansible.errors")
    filters = pytest.importorskip("ansible_collections.ocilab.hosts.plugins.filter.from_toml")
    tree = {"version": 2, "plugins": {"a.b": {"list": ["a"], "on": True}}}
    assert filters.from_toml(toml.dump(tree)) == tree
    with pytest.raises(ansible_errors.AnsibleFilterError, match="from_toml: "):
        filters.from_toml("version =")


def test_a_command_that_was_built_is_current_until_it_is_changed(tmp_path):
    path = tmp_path / "labrun"
    assert not command.is_current(str(path))
    command.write_executable(str(path))
    assert command.is_current(str(path))
    assert subprocess.run([str(path), "--version"], capture_output=True, timeout=60, check=False).returncode == 0
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert not command.is_current(str(path))
    path.write_bytes(content)
    assert command.is_current(str(path))
