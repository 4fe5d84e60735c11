# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""labrun held against runc, over hand-written cases for each property of config.json."""

from __future__ import annotations

import copy

import cases_linux
import cases_mounts
import cases_process
import cases_refused
import known
import observation
import pytest

pytestmark = pytest.mark.root


def by_name(cases):
    return pytest.mark.parametrize("case", cases, ids=[case.name for case in cases])


@by_name([*cases_process.CASES, *cases_mounts.CASES, *cases_linux.CASES])
def test_the_process_sees_what_runc_would_show_it(pair, case_of, case):
    pair.compare(case_of(case.change, case.extra), also_known=case.known)


@by_name(cases_refused.CASES)
def test_what_runc_refuses_is_refused(pair, case_of, case):
    config = case_of(case.change, case.extra)
    expected, found = (pair.observe(side, copy.deepcopy(config)) for side in (pair.runc, pair.labrun))
    assert expected["create"] != "0" or expected["start"] != "0", "the case is none: runc accepts it"
    unknown = known.unknown(observation.differences(expected, found), case.known)
    assert not unknown, (unknown, expected["why"], found.get("why"))


def test_the_same_runtime_twice_differs_in_nothing(pair):
    assert observation.differences(*(pair.observe(pair.runc, pair.config()) for _ in "12")) == {}


def test_a_planted_difference_is_found(pair):
    one, other = pair.config(), pair.config()
    other["process"]["rlimits"][0]["soft"] = 99
    other["linux"]["resources"]["pids"] = {"limit": 77}
    found = observation.differences(pair.observe(pair.runc, one), pair.observe(pair.runc, other))
    assert set(found) == {"limits.Max open files", "limit.pids.pids.max"}


@pytest.mark.parametrize("code", [0, 1, 7, 255])
def test_run_passes_the_exit_code_on(pair, code):
    config = pair.config()
    config["process"]["args"] = ["/bin/sh", "-c", f"echo said; exit {code}"]
    assert pair.run(pair.labrun, config) == pair.run(pair.runc, config)


def test_run_tells_of_a_signal_as_runc_does(pair):
    config = pair.config()
    config["process"]["args"] = ["/bin/sh", "-c", "kill -9 $$"]
    config["linux"]["namespaces"].remove({"type": "pid"})  # the first process of its own would not get it
    assert pair.run(pair.labrun, config) == pair.run(pair.runc, config)
