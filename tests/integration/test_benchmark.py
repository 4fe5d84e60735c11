# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""engine_benchmark through Ansible: every case with the engines of this machine, and what fails among them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.ocilab.hosts.plugins.module_utils.comparison import catalogue
from jsonschema import Draft202012Validator

pytestmark = pytest.mark.root
REPOSITORY = Path(__file__).resolve().parent.parent.parent
SCHEMA = json.loads((REPOSITORY / "docs" / "results.schema.json").read_text())
SMALL = {"repeats": 1, "parallel": [1, 2], "rate_s": 0.3, "density": [2], "syscalls": 20000}
SMALL.update(io_bytes=1 << 20, network_bytes=4 << 20, exchanges=50)
EVERY_CASE = {"samples": 2, "blocks": 1, "warmup": 1, "cases": list(catalogue.CASES), "sizes": SMALL}


@pytest.fixture(scope="module")
def image(tmp_path_factory, rootfs):
    """The arguments that name an image of busybox."""
    base = tmp_path_factory.mktemp("benchmark")
    places = {"store": str(base / "images"), "layers": str(base / "layers")}
    given = dict(places, name="lab/busybox:1", source=str(rootfs), config={"cmd": ["/bin/sh"]})
    assert not module("labrun_image", given)[0]["failed"]
    return dict(places, image="lab/busybox:1", host="here")


def module(of_name, arguments, *options, **environment):
    """Run a module on this machine; its result, and what Ansible showed before it."""
    command = [sys.executable, "-m", "ansible", "adhoc", "localhost", "-m", f"ocilab.hosts.{of_name}"]
    command += ["-a", json.dumps(arguments), *options]
    variables = dict(os.environ, ANSIBLE_STDOUT_CALLBACK="ansible.builtin.minimal", ANSIBLE_NOCOLOR="1", **environment)
    result = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=600, check=False)
    shown, _arrow, told = result.stdout.partition(" => ")
    assert told, result.stdout + result.stderr
    return dict(json.loads(told), failed=result.returncode != 0), shown


def benchmark(image, plan, *options, **environment):
    """The document of a plan, which fits the schema, and what was shown on the way."""
    before = left_behind()
    result, shown = module("engine_benchmark", dict(image, plan=plan), *options, **environment)
    assert not result["failed"], result["msg"]
    assert result["changed"] is False
    assert left_behind() == before
    Draft202012Validator(SCHEMA).validate(result["document"])
    return result["document"], shown


def left_behind():
    """What a comparison could leave on this host."""
    found = sorted(str(path) for path in Path("/sys/fs/cgroup").glob("*/*ocilab-compare*"))
    found += sorted(str(path) for path in Path("/tmp").glob("ocilab-compare-*"))
    jobs = Path.home() / ".ansible_async"
    mounts = Path("/proc/self/mounts").read_text().splitlines()
    found += [line for line in mounts if "ocilab-compare" in line or "/var/lib/containers" in line]
    return found, sorted(os.listdir(jobs)) if jobs.exists() else []


def measures(document, engine):
    """case -> names of what was measured of the engine, which all have the repetitions that the plan wants."""
    found = {}
    for case, told in document["engines"][engine]["benchmarks"].items():
        assert told["failures"] == [], (engine, case)
        expected = 2 if case in ("run_true", "lifecycle", "exec", "stop") else 1
        assert {len(measure["values"]) for measure in told["measures"].values()} <= {expected}
        assert all(value > 0 for measure in told["measures"].values() for value in measure["values"]) or case in (
            "density",
            "footprint",
        )
        found[case] = set(told["measures"])
    return found


@pytest.mark.engines
def test_every_case_of_every_engine(image, dockerd):
    engines = ["labrun", "labrun-module", "runc", "docker", "podman"]
    document, shown = benchmark(image, dict(EVERY_CASE, engines=engines), DOCKER_HOST=dockerd)
    told = [int(part) for part in re.findall(r"localhost: +(\d+) %, +\d+ s of at most 3600 s: \w", shown)]
    assert len(told) > 1 and told == sorted(told) and told[0] <= 5, shown
    life = {
        "run_true": {"run"},
        "lifecycle": {"create", "start", "wait", "delete", "total"},
        "exec": {"exec"},
        "stop": {"stop"},
        "parallel": {"starts_1", "starts_2"},
        "rate": {"rate"},
        "density": {"monitors_2", "daemons_2", "cgroup_2", "total_2"},
        "footprint": {"daemons"},
        "syscall": {"call"},
        "file_io": {"root", "volume"},
        "pull": set(),
    }
    image_cases = {"unpack": {"load", "disk"}}
    network = {"network": {"throughput", "latency"}}
    none = {"unpack": set(), "network": set()}
    assert measures(document, "runc") == dict(life, **none)
    assert measures(document, "labrun") == dict(life, **none)
    assert measures(document, "labrun-module") == dict(life, **network, unpack=set())
    assert measures(document, "podman") == dict(life, **image_cases, **network)
    # the daemon of the tests has no bridge, so that it changes no firewall
    assert measures(document, "docker") == dict(life, **image_cases, network=set())
    assert "no address" in document["engines"]["docker"]["benchmarks"]["network"]["left_out"]
    figures = document["engines"]["docker"]["benchmarks"]
    assert figures["footprint"]["measures"]["daemons"]["values"][0] > 10 << 20
    assert figures["density"]["measures"]["monitors_2"]["values"][0] > 1 << 20
    assert [part["role"] for part in document["engines"]["docker"]["components"]] == [
        "client",
        "daemon",
        "high-level runtime",
        "monitor",
        "low-level runtime",
        "container",
    ]
    assert document["engines"]["docker"]["runtime"] == "runc"
    for engine in engines:
        for case, told in document["engines"][engine]["benchmarks"].items():
            headline = catalogue.CASES[case].headline_of(told["measures"])
            assert bool(headline) != bool(told["left_out"]), (engine, case)
            if headline:
                assert told["measures"][headline]["unit"] == catalogue.CASES[case].unit


def broken_runtime(folder):
    """A runtime that is runc but for two commands, which fail as they do where a runtime does not get along."""
    folder.mkdir()
    path = folder / "crun"
    path.write_text(
        "#!/bin/sh\nfor word; do case $word in exec|kill) echo 'this runtime is broken' >&2; exit 1; esac; done\n"
        'exec runc "$@"\n'
    )
    path.chmod(0o755)
    return str(folder)


@pytest.mark.engines
def test_a_failing_engine_costs_its_own_rows_only(image, tmp_path):
    plan = dict(EVERY_CASE, engines=["labrun", "runc", "crun"], cases=["run_true", "exec", "stop", "rate", "syscall"])
    document, _shown = benchmark(image, plan, PATH=f"{broken_runtime(tmp_path / 'bin')}:{os.environ['PATH']}")
    broken = document["engines"]["crun"]["benchmarks"]
    for case in ("exec", "stop", "syscall"):
        assert broken[case]["measures"] == {}
        assert len(broken[case]["failures"]) == 1, "a case whose warm-up or only sample fails is tried once"
        assert "this runtime is broken" in broken[case]["failures"][0]["message"]
    for case in ("run_true", "rate"):
        assert broken[case]["failures"] == [] and broken[case]["measures"]
    for engine in ("labrun", "runc"):
        assert all(
            told["measures"] and not told["failures"] for told in document["engines"][engine]["benchmarks"].values()
        )


@pytest.mark.slow
def test_the_budget_ends_it_and_says_so(image):
    plan = dict(EVERY_CASE, engines=["labrun"], cases=["run_true", "density"], samples=10000, blocks=1, budget_s=15)
    document, _shown = benchmark(image, plan)
    told = document["engines"]["labrun"]["benchmarks"]
    assert 0 < len(told["run_true"]["measures"]["run"]["values"]) < 10000
    assert told["run_true"]["left_out"] == told["density"]["left_out"] == "the budget of 15 s was spent"
    assert told["density"]["measures"] == {}


def test_check_mode_predicts(image):
    document, _shown = benchmark(image, {"engines": ["labrun", "youki"]}, "--check")
    assert document["engines"]["labrun"]["available"] is True
    assert document["engines"]["labrun"]["benchmarks"] == {}
    assert document["order"] == []


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"plan": {"sizes": {"density": [0]}}}, "plan: sizes: density: 0 is not an integer from 1 to 10000"),
        ({"plan": {"budget_s": 0}}, "plan: budget_s: 0.0 is not a number of seconds up to 604800"),
        ({"image": "lab/none:1"}, "lab/none:1"),
    ],
)
def test_bad_input_is_one_clear_line(image, arguments, told):
    result, _shown = module("engine_benchmark", dict(image, **arguments))
    assert result["failed"] and told in result["msg"] and "\n" not in result["msg"]


def test_who_gives_a_file_reads_the_progress(image, tmp_path):
    given = dict(image, progress=str(tmp_path / "progress"), plan={"engines": ["labrun"], "samples": 1, "blocks": 1})
    result, shown = module("engine_benchmark", given)
    assert not result["failed"]
    assert "removing what was made for it" in (tmp_path / "progress").read_text()
    assert " s of at most " not in shown
