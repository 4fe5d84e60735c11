# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The scenarios of molecule/, and the example of docs/molecule.md as a user has it: in a folder of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

pytestmark = [pytest.mark.root, pytest.mark.engines]
REPOSITORY = Path(__file__).resolve().parents[2]
EXAMPLE = REPOSITORY / "docs" / "examples" / "molecule"
SCENARIOS = sorted(path.parent.name for path in (REPOSITORY / "molecule").glob("*/molecule.yml"))
LAB = Path("/var/lib/labrun/lab")


def molecule_test(project, scenario):
    """`molecule test` of a scenario, whole: what it prints when it fails, and that its hosts are gone afterwards."""
    # molecule finds ansible-playbook and pytest by PATH; the interpreter's own folder is the environment's.
    environment = dict(os.environ, PATH=os.path.dirname(sys.executable) + ":" + os.environ["PATH"], NO_COLOR="1")
    result = subprocess.run(
        [sys.executable, "-m", "molecule", "test", "--scenario-name", scenario],
        cwd=project,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=1200,
    )
    assert result.returncode == 0, result.stdout[-6000:]
    assert "Verifier completed successfully" in result.stdout
    settings = yaml.safe_load((Path(project) / "molecule" / scenario / "molecule.yml").read_text())
    names = [platform["name"] for platform in settings["platforms"]]
    assert [name for name in names if (LAB / name).exists() or Path("/run/labrun", name).exists()] == []


def test_there_are_scenarios():
    assert {"fleet", "modules"} <= set(SCENARIOS)


@pytest.mark.slow  # a minute or two each; the example below is one
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_scenario(scenario):
    molecule_test(REPOSITORY, scenario)


def test_a_users_own_project(tmp_path):
    project = shutil.copytree(EXAMPLE, tmp_path / "project")
    molecule_test(project, "default")
