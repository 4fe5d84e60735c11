# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The logic of a comparison without engines: plans, the order of samples, budgets, and what a failure costs."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import yaml
from ansible_collections.ocilab.hosts.plugins.module_utils.comparison import benchmark, budget, catalogue, schedule
from ansible_collections.ocilab.hosts.plugins.module_utils.comparison import plan as plans
from ansible_collections.ocilab.hosts.plugins.module_utils.comparison.cases import memory, seat, table
from ansible_collections.ocilab.hosts.plugins.module_utils.comparison.place import Place
from ansible_collections.ocilab.hosts.plugins.module_utils.comparison.progress import Progress
from ansible_collections.ocilab.hosts.plugins.module_utils.engines import components, engine, registry
from ansible_collections.ocilab.hosts.plugins.module_utils.linux.errors import InvalidInput, Unsupported
from jsonschema import Draft202012Validator

REPOSITORY = Path(__file__).resolve().parent.parent.parent
SCHEMA = json.loads((REPOSITORY / "docs" / "results.schema.json").read_text())


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


class Fake(engine.Engine):
    """An engine in memory: behaviour tells what a call of run_true does."""

    def __init__(self, name, behaviour=lambda: None):
        self.name = name
        self.behaviour = behaviour
        self.running = set()
        self.calls = 0

    def run_true(self, container_id):
        self.calls += 1
        self.running.add(container_id)
        self.behaviour()
        self.running.remove(container_id)

    def start(self, container_id, wanted):
        self.running.add(container_id)
        if wanted.volume:
            raise Unsupported("it has no volumes")

    def execute(self, container_id, words):
        assert container_id in self.running
        return ""

    def remove(self, container_id):
        self.running.discard(container_id)

    def daemons(self):
        return [os.getpid()]

    def components(self, container_id):
        return []


def measured(tmp_path, engines, clock=None, **given):
    """A benchmark that has run."""
    plan = plans.checked(dict({"samples": 4, "blocks": 2, "warmup": 1, "cases": ["run_true"]}, **given), registry.NAMES)
    limits = budget.Budget(plan["budget_s"], plan["budget_containers"], clock or Clock())
    work = engine.Workload(str(tmp_path), "", "", "image:1", 10)
    places = [Place(item, seat.Seat(item, work, plan["sizes"], limits, item.name)) for item in engines]
    made = benchmark.Benchmark(plan, places, limits, Progress(str(tmp_path / "progress"), limits))
    made.run()
    assert [item.running for item in engines] == [set()] * len(engines)
    return made


def plan_of(**given):
    return plans.checked(given, registry.NAMES)


def schema_of_plan():
    return dict(SCHEMA["oneOf"][0]["properties"]["plan"], **{"$schema": SCHEMA["$schema"]})


@pytest.mark.parametrize("name", ["default", "short", "full"])
def test_the_plans_of_the_playbook_are_valid(name):
    given = yaml.safe_load((REPOSITORY / "playbooks" / "plans" / f"{name}.yml").read_text())
    plan = plan_of(**given)
    assert plan["profile"] == name
    Draft202012Validator(schema_of_plan()).validate(plan)
    if name != "default":
        assert plan["cases"] == list(catalogue.CASES)
        assert plan["engines"] == list(registry.NAMES)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"sample": 3}, "'sample' is not a setting"),
        ({"samples": 0}, "samples: 0 is not an integer from 1"),
        ({"samples": True}, "samples: True"),
        ({"blocks": 9, "samples": 3}, "9 blocks of 3 samples"),
        ({"timeout_s": 0}, "timeout_s: 0"),
        ({"budget_s": "long"}, "budget_s: 'long'"),
        ({"budget_containers": 0}, "budget_containers: 0"),
        ({"cases": ["sleep"]}, "cases: \\['sleep'\\]"),
        ({"engines": []}, "engines: \\[\\]"),
        ({"sizes": []}, "sizes: \\[\\] is not a dictionary"),
        ({"sizes": {"denity": [1]}}, "'denity' is not a setting"),
        ({"sizes": {"density": [0]}}, "density: 0"),
        ({"sizes": {"parallel": 4}}, "parallel: 4 is not a list"),
        ({"sizes": {"io_bytes": -1}}, "io_bytes: -1"),
        ({"sizes": {"rate_s": 0}}, "rate_s: 0"),
        ({"sizes": {"pull_image": None}}, "pull_image: None"),
    ],
)
def test_a_bad_plan_is_one_clear_line(given, named):
    with pytest.raises(InvalidInput, match=named):
        plan_of(**given)


def test_a_plan_has_each_case_and_size_once_in_order():
    plan = plan_of(cases=["stop", "run_true", "stop"], sizes={"parallel": [4, 1, 4]})
    assert plan["cases"] == ["run_true", "stop"]
    assert plan["sizes"]["parallel"] == [1, 4]


def test_every_case_of_the_catalogue_has_a_function_and_one_place_in_the_order():
    assert list(table.FUNCTIONS) == list(catalogue.CASES)
    places = [*table.AT_FIRST, *table.IN_BLOCKS, *table.WITH_STANDING, *table.ALONE]
    assert sorted(places) == sorted(catalogue.CASES)


def test_blocks_are_complete_shuffled_and_the_same_for_a_seed():
    pairs = [(name, case) for name in ("a", "b", "c") for case in ("run_true", "stop", "rate", "footprint")]
    plan = plan_of(samples=5, blocks=2, warmup=2, sizes={"repeats": 2})
    entries = schedule.entries(plan, pairs)
    again = schedule.entries(plan, pairs)
    assert [item.record() for item in entries] == [item.record() for item in again]
    assert [item.record() for item in entries] != [
        item.record() for item in schedule.entries(dict(plan, seed=2), pairs)
    ]
    assert [item.case for item in entries[:6]] == ["footprint"] * 6
    assert [item.index for item in entries[6:18]] == [schedule.WARM_UP] * 12
    for block, indices in ((0, {0, 1, 2}), (1, {3, 4})):
        inside = [item for item in entries[18:48] if item.block == block]
        found = {(item.engine, item.case, item.index) for item in inside}
        assert found == {(name, case, index) for name in "abc" for case in ("run_true", "stop") for index in indices}
        assert len(found) == len(inside)
    assert [item.case for item in entries[48:]] == ["rate"] * 6


def test_every_value_is_kept_with_its_unit(tmp_path):
    made = measured(tmp_path, [Fake("a"), Fake("b")], cases=["run_true", "exec", "footprint"])
    for name in ("a", "b"):
        found = made.results(name)
        assert [found[case]["failures"] for case in found] == [[], [], []]
        assert found["run_true"]["measures"]["run"]["unit"] == "ns"
        assert len(found["run_true"]["measures"]["run"]["values"]) == 4
        assert len(found["exec"]["measures"]["exec"]["values"]) == 4
        assert found["footprint"]["measures"]["daemons"]["values"][0] > 1 << 20
    assert len(made.order) == 2 * (4 + 4 + 3)


def test_a_failing_engine_costs_its_own_rows_only(tmp_path):
    def fail():
        raise engine.EngineFailed("it is broken")

    broken = Fake("broken", fail)
    made = measured(tmp_path, [Fake("a"), broken], cases=["run_true", "exec"])
    found = made.results("broken")
    assert found["run_true"] == {
        "measures": {},
        "failures": [{"index": schedule.WARM_UP, "message": "it is broken"}],
        "left_out": None,
    }
    assert broken.calls == 1  # a case whose warm-up fails is not tried again
    assert len(found["exec"]["measures"]["exec"]["values"]) == 4
    assert len(made.results("a")["run_true"]["measures"]["run"]["values"]) == 4


def test_an_engine_that_fails_now_and_then_goes_on_and_one_that_always_fails_does_not(tmp_path):
    counts = {"now": 0, "always": 0}

    def now_and_then():
        counts["now"] += 1
        if counts["now"] % 2:
            raise engine.EngineFailed("now and then")

    def always():
        counts["always"] += 1
        raise engine.EngineFailed("always")

    made = measured(tmp_path, [Fake("now", now_and_then), Fake("always", always)], samples=10, blocks=1, warmup=0)
    found = made.results("now")["run_true"]
    assert len(found["failures"]) == 5 and len(found["measures"]["run"]["values"]) == 5
    assert {failure["index"] for failure in found["failures"]} < set(range(10))
    assert len(made.results("always")["run_true"]["failures"]) == counts["always"] == 3


def test_what_an_engine_has_not_is_left_out_with_its_reason(tmp_path):
    def lack():
        raise Unsupported("it has no such thing")

    lacking = Fake("lacking", lack)
    found = measured(tmp_path, [lacking]).results("lacking")["run_true"]
    assert found == {"measures": {}, "failures": [], "left_out": "it has no such thing"}
    assert lacking.calls == 1
    pulled = measured(tmp_path, [Fake("a")], cases=["pull"]).results("a")["pull"]
    assert pulled["left_out"] == "the plan names no image in a registry (sizes.pull_image)"
    nothing = measured(tmp_path, [Fake("a")], cases=["syscall"], sizes={"syscalls": 0}).results("a")["syscall"]
    assert nothing["left_out"] == "the plan's size syscalls is 0"


def test_what_comes_after_the_budget_is_left_out(tmp_path):
    clock = Clock()

    def take():
        clock.now += 10

    made = measured(tmp_path, [Fake("a", take)], clock, warmup=0, budget_s=25, cases=["run_true", "footprint", "rate"])
    found = made.results("a")
    assert found["footprint"]["left_out"] is None
    assert len(found["run_true"]["measures"]["run"]["values"]) == 3
    assert found["run_true"]["left_out"] == found["rate"]["left_out"] == "the budget of 25 s was spent"
    assert found["rate"]["measures"] == {}


def test_sizes_above_the_budget_of_containers_are_left_out(tmp_path):
    sizes = {"parallel": [1, 2, 3], "repeats": 1}
    found = measured(tmp_path, [Fake("a")], cases=["parallel"], sizes=sizes, budget_containers=2).results("a")
    assert sorted(found["parallel"]["measures"]) == ["starts_1", "starts_2"]
    assert found["parallel"]["left_out"] == "3 containers at once are more than the budget of 2"


def noting(engines, at_once):
    """What an engine executes then: it notes how many containers run in all of them."""
    return lambda container_id, words: at_once.append(sum(len(item.running) for item in engines))


def test_no_more_containers_stand_by_than_the_budget_allows(tmp_path):
    most = {}
    for containers in (1, 10):
        engines = [Fake(name) for name in "abc"]
        at_once = []
        for item in engines:
            item.execute = noting(engines, at_once)
        measured(tmp_path, engines, cases=["exec"], budget_containers=containers)
        most[containers] = max(at_once)
    assert most == {1: 1, 10: 3}


def test_a_failure_among_those_at_once_is_told(tmp_path):
    def fail():
        raise engine.EngineFailed("it is broken")

    found = measured(tmp_path, [Fake("a", fail)], cases=["parallel"], sizes={"parallel": [2], "repeats": 1})
    failures = found.results("a")["parallel"]["failures"]
    assert [failure["message"] for failure in failures] == ["2 of 2 at once failed: it is broken"]


def test_what_a_runtime_has_no_part_in_is_measured_once_an_engine(tmp_path):
    made = measured(tmp_path, [Fake("docker"), Fake("docker+crun")], cases=["run_true", "footprint"])
    twin = made.results("docker+crun")
    assert twin["footprint"]["left_out"] == "as docker: a low-level runtime has no part in it"
    assert twin["run_true"]["left_out"] is None
    alone = measured(tmp_path, [Fake("docker+crun")], cases=["footprint"]).results("docker+crun")
    assert alone["footprint"]["left_out"] is None


def test_progress_is_one_line(tmp_path):
    measured(tmp_path, [Fake("a")])
    text = (tmp_path / "progress").read_text()
    assert text.startswith(" 80 %,   0 s of at most 3600 s: run_true of a")
    assert text.count("\n") == 1


def test_monitors_are_the_ancestors_that_came_with_a_container():
    pid = os.getpid()
    assert memory.monitors([pid], set(components.pids())) == set()
    assert os.getppid() in memory.monitors([pid], set())
    assert memory.pss([pid]) > 1 << 20
    assert memory.pss([0x7FFFFFF]) == 0
