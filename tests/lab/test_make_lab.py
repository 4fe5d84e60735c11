# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The README's first command, with one host: from nothing to a report of every engine."""

from __future__ import annotations

import json

import pytest
from jsonschema import Draft202012Validator
from lab_hosts import REPOSITORY

pytestmark = [pytest.mark.root, pytest.mark.engines]
SCHEMA = json.loads((REPOSITORY / "docs" / "results.schema.json").read_text())
ENGINES = ["labrun", "runc", "crun", "runsc", "docker", "podman", "podman-rootless", "containerd", "lxc"]
# What an engine has not is left out with its reason; these all have.
CASES = ["run_true", "lifecycle", "exec", "stop", "parallel", "rate", "footprint", "syscall", "file_io"]


def test_from_nothing_to_the_report(clean_lab):
    name = clean_lab.names[0]
    _seconds, output = clean_lab.playbook("lab", lab_size=1, lab_host_names=[name])
    assert "FAILED" not in output
    assert " of at most " in output  # how far it was
    folder = clean_lab.folder / "build" / "lab"
    found = json.loads((folder / "results" / f"{name}.json").read_text())
    Draft202012Validator(SCHEMA).validate(found)
    assert found["plan"]["profile"] == "short"
    for engine in ENGINES:
        known = found["engines"][engine]
        assert known["available"], (engine, known["unavailable_reason"])
        for case in CASES:
            assert known["benchmarks"][case]["measures"], (engine, case, known["benchmarks"][case])
        assert known["isolation"]["failure"] is None, engine
        assert found["info"][engine]["available"], engine
    for engine in ("docker", "podman", "podman-rootless", "containerd"):
        pulled = found["engines"][engine]["benchmarks"]["pull"]
        assert pulled["measures"], (engine, pulled)
    assert "youki is not installed" in (folder / "report.html").read_text()
    assert (folder / "registry-password").stat().st_mode & 0o777 == 0o600
