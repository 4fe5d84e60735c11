# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The collection's metadata agrees with its files, and make and its scripts fail aloud, never half done."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from ansible_collections.ocilab.hosts.plugins.module_utils.labrun import cli

REPOSITORY = Path(__file__).resolve().parent.parent.parent


def run(folder, *arguments, **environment):
    variables = dict(os.environ, **environment)
    return subprocess.run(arguments, cwd=folder, env=variables, capture_output=True, text=True, timeout=60, check=False)


def distribution(line):
    """The normalized name in a line of requirements."""
    return re.sub(r"[-_.]+", "-", re.split(r"[=<>; ]", line)[0]).lower()


def requirements(name):
    lines = (REPOSITORY / name).read_text().splitlines()
    return {distribution(line) for line in lines if line and not line.startswith("#")}


@pytest.fixture
def checkout(tmp_path):
    """What make and its scripts need, in a folder with a space in its name, with an environment that lacks pip."""
    folder = tmp_path / "a space"
    (folder / ".venv").mkdir(parents=True)
    for name in ("Makefile", "constraints.txt", "requirements.txt", "requirements-test.txt"):
        shutil.copy(REPOSITORY / name, folder)
    shutil.copytree(REPOSITORY / "scripts", folder / "scripts")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / ".venv"], check=True)
    packages = next((folder / ".venv" / "lib").glob("python3*")) / "site-packages"
    (packages / "ansible").mkdir()
    (packages / "ansible_collections" / "ocilab").mkdir(parents=True)
    return folder


def link(checkout):
    return next(checkout.glob(".venv/lib/python3*/site-packages/ansible_collections/ocilab")) / "hosts"


def test_action_group_names_every_module():
    groups = yaml.safe_load((REPOSITORY / "meta" / "runtime.yml").read_text())["action_groups"]
    modules = sorted(path.stem for path in (REPOSITORY / "plugins" / "modules").glob("*.py"))
    assert groups["labrun"] == modules


def test_one_version():
    assert yaml.safe_load((REPOSITORY / "galaxy.yml").read_text())["version"] == cli.VERSION


def test_whatever_is_installed_is_pinned():
    installed = {distribution(found.metadata["Name"]) for found in importlib.metadata.distributions()}
    pinned = requirements("constraints.txt")
    assert installed - pinned - {"pip", "setuptools", "wheel"} == set()
    assert requirements("requirements.txt") | requirements("requirements-test.txt") <= pinned


def test_a_failed_installation_leaves_no_stamp(checkout):
    result = run(checkout, "make", "venv")
    assert result.returncode != 0
    assert "requirements.txt into .venv failed" in result.stderr
    assert not (checkout / ".venv" / ".run").exists()


@pytest.mark.parametrize("moved", [False, True])
def test_an_environment_of_another_place_is_out_of_date(checkout, moved):
    link(checkout).symlink_to(checkout.parent if moved else checkout)
    (checkout / ".venv" / ".run").touch()
    assert (run(checkout, "make", "--question", "venv").returncode != 0) == moved


@pytest.mark.parametrize("python", ["/bin/false", "/nonexistent/python3"])
def test_a_python_that_does_not_do_is_named_in_one_line(checkout, python):
    result = run(checkout, "scripts/make-venv", python, "requirements.txt")
    assert result.returncode != 0
    assert result.stderr.splitlines() == [
        f"{python} is not Python 3.11 or newer, which the controller needs; "
        "install it or run make PYTHON=/path/to/python3"
    ]


@pytest.mark.parametrize("repository", ["none", "empty"])
def test_sanity_refuses_to_check_nothing(checkout, repository):
    if repository == "empty":
        assert run(checkout, "git", "init").returncode == 0
        (checkout / ".git" / "info" / "exclude").write_text("*\n")
    result = run(checkout, "scripts/sanity", GIT_CEILING_DIRECTORIES=str(checkout.parent))
    assert result.returncode != 0
    assert ("not a git repository" if repository == "none" else "nothing to check") in result.stderr
    assert "ansible-test" not in result.stderr


def test_another_system_is_named_in_one_line(checkout, tmp_path):
    (tmp_path / "uname").write_text("#!/bin/sh\necho Darwin\n")
    (tmp_path / "uname").chmod(0o755)
    result = run(checkout, "scripts/check-host", PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert result.returncode == 1
    assert len(result.stderr.splitlines()) == 1
    assert "on Darwin use a Linux virtual machine" in result.stderr


@pytest.mark.root
def test_a_run_without_root_is_refused_in_one_line():
    script = REPOSITORY / "scripts" / "check-host"
    with script.open() as source:
        result = subprocess.run(
            ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "/bin/sh"],
            stdin=source,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert result.returncode == 1
    assert len(result.stderr.splitlines()) == 1
    assert "needs root" in result.stderr
