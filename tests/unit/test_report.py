# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report: its statistics, broken and hostile results, outliers, several runs, the module, and its other forms."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import fleet_documents
import numpy as np
import pytest
import yaml
from ansible_collections.ocilab.hosts.plugins.module_utils.comparison import catalogue
from ansible_collections.ocilab.hosts.plugins.plugin_utils.report import (
    answers,
    charts,
    documents,
    inventory,
    isolation,
    outliers,
    pages,
    render,
    runs,
    statistics,
    tables,
    units,
)
from ansible_collections.ocilab.hosts.plugins.plugin_utils.report.fleet import Fleet
from jsonschema import Draft202012Validator

REPOSITORY = Path(__file__).resolve().parent.parent.parent
REPORT = REPOSITORY / "plugins" / "plugin_utils" / "report"


def fleet(folder, *found):
    return Fleet(documents.load(str(fleet_documents.write(folder, found))))


def rendered(folder, *found):
    return render.html([fleet(folder, *found)], "results/", "report.md")


def variants(count, **changes):
    original = fleet_documents.document()
    return [fleet_documents.variant(original, number, count) for number in range(count)]


def test_the_samples_fit_the_published_schema():
    schema = json.loads((REPOSITORY / "docs" / "results.schema.json").read_text())
    validator = Draft202012Validator(schema)
    validator.validate(fleet_documents.document(absent=("crio", "docker")))
    validator.validate(fleet_documents.unreachable())
    validator.validate(variants(12)[1])
    assert set(fleet_documents.CASES) == set(catalogue.CASES)


def test_percentiles_of_rows():
    rows = np.array([[1.0, 3, 5], [10, 20, 90]])
    assert statistics.percentile(rows, 50).tolist() == [3, 20]
    assert statistics.percentile(np.array([[0.0, 10, 20, 30]]), 50).tolist() == [15]


def test_the_interval_is_that_of_a_plain_bootstrap():
    generator = np.random.default_rng(7)
    ours, base = np.sort(generator.lognormal(3, 0.2, (1, 25))), np.sort(generator.lognormal(2, 0.2, (1, 25)))
    low, high = statistics.ratio_intervals(ours, base)
    plain = [
        np.median(generator.choice(ours[0], 25)) / np.median(generator.choice(base[0], 25)) for _resample in range(4000)
    ]
    assert low[0] == pytest.approx(np.percentile(plain, 2.5), rel=0.03)
    assert high[0] == pytest.approx(np.percentile(plain, 97.5), rel=0.03)
    assert low[0] < np.median(ours) / np.median(base) < high[0]


def test_an_interval_covers_the_truth_about_as_often_as_it_says():
    generator = np.random.default_rng(3)
    ours, base = np.sort(generator.normal(20, 2, (1500, 25))), np.sort(generator.normal(10, 1, (1500, 25)))
    low, high = statistics.ratio_intervals(ours, base)
    assert 0.90 < np.mean((low < 2) & (high > 2)) < 0.995


def test_few_samples_give_no_interval():
    four = np.array([[1.0, 2, 3, 4]])
    assert np.isnan(statistics.ratio_intervals(four, np.array([[1.0, 2, 3, 4, 5]]))).all()
    assert statistics.median_interval(np.array([1.0, 2, 3, 4])) is None


def test_the_spread_is_deaf_to_outliers():
    quiet, loud = np.full(50, 10.0) * np.linspace(0.9, 1.1, 50), np.full(50, 10.0) * np.linspace(0.9, 1.1, 50)
    loud[0] = 1e6
    scores, spread = statistics.deviations(np.stack([quiet, loud], axis=1))
    assert spread[0] == pytest.approx(spread[1], rel=0.05)
    assert abs(scores[0, 1]) > 50
    assert abs(scores[:, 0]).max() < 3


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (26_100_000, "ns", "26.1 ms"),
        (95, "ns", "95.0 ns"),
        (4.2e9, "ns", "4,200 ms"),
        (2e10, "ns", "20.0 s"),
        (0, "bytes", "0 B"),
        (1536, "bytes", "1.50 KiB"),
        (3 << 30, "bytes_per_s", "3.00 GiB/s"),
        (0.5, "per_s", "0.500 /s"),
        (999.7, "per_s", "1,000 /s"),
    ],
)
def test_figures(value, unit, text):
    assert units.figure(value, unit) == text


def test_scales():
    log = charts.axis(np.array([10e6, 20e6, 700e6]), "ns")
    assert log.log
    assert [label for _place, label in log.ticks] == ["10", "20", "50", "100", "200", "500"]
    linear = charts.axis(np.array([0.0, 5e6, 9e6]), "ns")
    assert not linear.log
    assert linear.ticks[0] == (0.0, "0")
    assert charts.axis(np.array([0.0, 0.0]), "bytes").ticks
    assert [charts.heat(ratio, "lower") for ratio in (0.1, 1, 2, 20)] == [-3, 0, 2, 4]
    assert charts.heat(0.5, "higher") == charts.heat(2, "lower")


def test_the_same_results_give_the_same_report(tmp_path):
    first = rendered(tmp_path / "a", *variants(6))
    assert first == rendered(tmp_path / "b", *variants(6))


def test_the_questions_are_answered(tmp_path):
    text = rendered(tmp_path, fleet_documents.document())
    assert "crun starts fastest: a container from nothing to nothing takes" in text
    assert "가장 빠른 엔진은 crun입니다." in text
    assert "crun holds most" in text
    assert "podman-rootless shuts most doors by default" in text
    assert "to 5 with docker, the command itself among them" in text
    assert "labrun-module starts fastest" not in text
    for case in catalogue.CASES:
        assert f'data-chart="{case}"' in text or case == "density"
        assert pages.texts("texts.yml")["case_" + case]["ko"] in text


def test_level_engines_are_called_level(tmp_path):
    found = fleet_documents.document()
    found["engines"]["runc"]["benchmarks"]["run_true"] = found["engines"]["crun"]["benchmarks"]["run_true"]
    answer = answers.fastest(fleet(tmp_path, found))
    assert answer.key == "start_level"
    assert {answer.values["engine"], answer.values["level"]} == {"crun", "runc"}


def test_ratios_are_to_another_where_runc_is_absent(tmp_path):
    found = fleet(tmp_path, fleet_documents.document(absent=("runc", "crio")))
    assert found.references["run_true"] == "labrun"
    assert found.references["pull"] == "docker"


def test_few_samples_are_told(tmp_path):
    text = rendered(tmp_path, fleet_documents.document(samples=4))
    assert "it would promise too much" in text
    assert fleet(tmp_path, fleet_documents.document(samples=4)).ratio_interval("run_true", "crun", "runc") is None


def test_nothing_measured_is_said(tmp_path):
    found = fleet_documents.document(absent=tuple(fleet_documents.ENGINES))
    assert "Nothing could be measured" in rendered(tmp_path, found)
    assert tables.markdown(fleet(tmp_path, found))
    assert all(row["medians_ms"] == {} for row in tables.summary(fleet(tmp_path, found)))


def test_only_hosts_that_were_not_reached(tmp_path):
    text = rendered(tmp_path, fleet_documents.unreachable())
    assert "No route to host" in text
    assert "Nothing could be measured" in text


def test_hosts_not_reached_are_named_with_the_reason(tmp_path):
    text = rendered(tmp_path / "results", fleet_documents.document(), fleet_documents.unreachable("lab9"))
    assert "lab9" in text
    assert "No route to host" in text
    found = Fleet(documents.load(str(tmp_path / "results")))
    assert any(line.startswith("lab9 not reached: Failed to connect") for line in tables.table(found))
    assert "No route to host" in tables.markdown(found)
    assert "lab9" in tables.comma_separated(found)


def test_failures_and_left_out_cases_are_told(tmp_path):
    failing = fleet_documents.document()
    for result in failing["engines"]["runc"]["benchmarks"].values():
        result.update(measures={}, failures=[{"index": 0, "message": "no room"}], left_out=None)
    text = rendered(tmp_path, failing)
    assert "run_true #0: no room" in text
    assert "has no registry client" in text
    found = fleet(tmp_path, failing)
    assert "  runc failed, first by: no room" in tables.table(found)
    row = next(row for row in tables.summary(found) if row["engine"] == "runc")
    assert (row["medians_ms"], row["failures"], row["first_failure"]) == ({}, len(catalogue.CASES), "no room")
    lines = list(csv.DictReader(io.StringIO(tables.comma_separated(found))))
    assert any(line["engine"] == "runc" and line["failures"] == "1" and not line["median"] for line in lines)


def test_outliers_have_their_likely_reason(tmp_path):
    found = variants(30)
    for number, changes in (
        (3, {"storage": "overlay"}),
        (4, {"storage": "overlay"}),
        (9, {"load_average": [9.0, 8, 7]}),
    ):
        found[number]["environment"].update(changes)
        for engine in found[number]["engines"].values():
            for result in engine["benchmarks"].values():
                for measured in result["measures"].values():
                    if measured["unit"] == "ns":
                        measured["values"] = [value * 4 for value in measured["values"]]
    odd = {item.host: item for item in outliers.outliers(fleet(tmp_path, *found)) if not item.engine}
    assert {"host03", "host04", "host09"} <= set(odd)
    assert [(reason.field, reason.value, reason.usual) for reason in odd["host03"].reasons] == [
        ("storage", "overlay", "ext4")
    ]
    assert odd["host09"].reasons[0].field == "load"
    assert 2 < odd["host03"].factor < 6


def test_an_engine_that_is_odd_on_one_host(tmp_path):
    found = variants(12)
    engine = found[5]["engines"]["podman"]
    engine["version"] = "0.1"
    for result in engine["benchmarks"].values():
        for measured in result["measures"].values():
            measured["values"] = [value * 6 for value in measured["values"]]
    odd = [item for item in outliers.outliers(fleet(tmp_path, *found)) if item.engine]
    assert ("host05", "podman") in {(item.host, item.engine) for item in odd}
    assert odd[0].reasons[0].field == "version"


def test_few_hosts_have_no_outliers(tmp_path):
    assert outliers.outliers(fleet(tmp_path, *variants(4))) == []


def test_the_isolation_matrix_marks_what_differs(tmp_path):
    found = variants(3)
    found[0]["engines"]["docker"]["isolation"]["findings"]["capability"]["CAP_SYS_ADMIN"] = "effective"
    matrix = isolation.matrix(fleet(tmp_path, *found))
    assert matrix.base == "labrun"
    row = next(row for row in matrix.rows if row.item == "CAP_SYS_ADMIN")
    docker = row.cells[matrix.engines.index("docker")]
    assert (docker.value, docker.others, docker.shut, docker.differs) == ("absent", 1, True, False)
    seccomp = next(row for row in matrix.rows if row.topic == "seccomp")
    runc = seccomp.cells[matrix.engines.index("runc")]
    assert (runc.value, runc.shut, runc.differs, seccomp.differs) == ("disabled", False, True, True)
    scores = {score.engine: score.shut for score in matrix.scores}
    assert scores["podman-rootless"] > scores["docker"] > scores["crun"]


def test_a_probe_that_failed_is_told(tmp_path):
    found = fleet_documents.document()
    found["engines"]["lxc"]["isolation"] = {"findings": {}, "failure": "no shell in the image"}
    assert "lxc: the probe failed: no shell in the image" in rendered(tmp_path, found)


def test_an_engine_that_is_not_there_failed_at_no_probe(tmp_path):
    found = fleet_documents.document()
    found["engines"]["lxc"].update(available=False, unavailable_reason="lxc is not installed", benchmarks={})
    found["engines"]["lxc"]["isolation"] = {"findings": {}, "failure": "lxc is not installed"}
    text = rendered(tmp_path, found)
    assert "lxc is not installed" in text
    assert "the probe failed" not in text


def test_layers_are_those_that_were_seen(tmp_path):
    chains = {found.engine: found for found in inventory.layers(fleet(tmp_path, fleet_documents.document()))}
    assert [len(parts) for parts in chains["docker"].parts.values()] == [1, 1, 1, 1, 1, 1]
    assert (chains["docker"].between, chains["runc"].between, chains["podman"].between) == (5, 1, 3)


def test_machines_that_are_shared(tmp_path):
    found = variants(12)
    found[3]["machine"] = {"shared_with": ["host04"], "measured_alone": False}
    found[4]["info"]["docker"].update(system=None, disk_usage=None, service=None)  # what it could not tell
    machines = inventory.machines(fleet(tmp_path, *found))
    assert ["host00", "host01"] in machines.groups
    assert machines.disturbed == ["host03"]
    assert "Measured while another host of the same machine was: host03" in rendered(tmp_path, *found)


def test_what_changed_from_run_to_run(tmp_path):
    before, after = fleet_documents.document(), fleet_documents.document()
    after["environment"]["time"] = "2026-11-25T10:00:00Z"
    measured = after["engines"]["docker"]["benchmarks"]["run_true"]["measures"]["run"]
    measured["values"] = [value / 2 for value in measured["values"]]
    rate = after["engines"]["lxc"]["benchmarks"]["exec"]["measures"]["exec"]
    rate["values"] = rate["values"][:3]
    fleets = runs.in_order([fleet(tmp_path / "b", after), fleet(tmp_path / "a", before)])
    changes = {change.engine: change for change in runs.changes(fleets)["run_true"]}
    assert changes["docker"].verdict == "better"
    assert changes["docker"].ratio == pytest.approx(0.5)
    assert changes["runc"].verdict == "level"
    assert {change.engine: change.verdict for change in runs.changes(fleets)["exec"]}["lxc"] == "unknown"
    text = render.html(fleets, "results/", "report.md")
    assert 'id="runs"' in text
    assert "verdict-better" in text


def test_synthetic_hosts_are_called_so(tmp_path):
    assert "Synthetic data" in rendered(tmp_path / "made", *variants(2))
    assert "**Synthetic data" in tables.markdown(Fleet(documents.load(str(tmp_path / "made"))))
    assert 'class="synthetic"' not in rendered(tmp_path / "real", fleet_documents.document())


def test_hostile_results_stay_text(tmp_path):
    hostile = fleet_documents.document(host="=cmd|' /C calc'!A0")
    hostile["engines"]["runc"]["version"] = "<script>alert(1)</script>"
    hostile["engines"]["docker"] = fleet_documents.engine("docker", False)
    hostile["engines"]["docker"]["unavailable_reason"] = "{{ 7*7 }} {0} <img src=x>"
    hostile["engines"]["<b>x</b>"] = fleet_documents.engine("crun")
    hostile["engines"]["lxc"]["isolation"]["findings"]["path"]["</script><i>"] = "<i>"
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "host.json").write_text(json.dumps(hostile))
    found = Fleet(documents.load(str(tmp_path / "x")))
    text = render.html([found], "results/", "report.md")
    assert text.count("<script") == 2
    assert "<img" not in text
    assert "<i>" not in text
    assert "<b>x" not in text
    assert "{{ 7*7 }} {0} &lt;img" in text
    assert "<b>" not in tables.markdown(found).replace("\\<b", "")
    assert tables.comma_separated(found).splitlines()[1].startswith("'=cmd")


def test_the_report_asks_nothing_of_the_network(tmp_path):
    text = rendered(tmp_path, *variants(3))
    assert not re.search(r"""(src|href)=["'](https?:)?//""", text)
    assert "@import" not in text
    assert re.search(r"script-src 'sha256-[A-Za-z0-9+/=]+'\"", text)


def test_every_text_is_in_both_languages():
    texts = pages.texts("texts.yml")
    for key, found in texts.items():
        assert set(found) == {"en", "ko"}, key
        fields = [set(re.findall(r"\{(\w+)\}", words)) for words in found.values()]
        assert fields[0] == fields[1], key
    for case in catalogue.CASES:
        assert {"case_" + case, "about_" + case} <= set(texts)
    for topic in isolation.TOPICS:
        assert "topic_" + topic in texts


def test_sentences_of_isolation_are_shown_where_there_are_any(tmp_path):
    path = REPORT / "isolation.yml"
    if not path.exists():
        pytest.skip("there are no sentences of isolation yet")
    found = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert all(set(words) == {"en", "ko"} for words in found.values())


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        '{"schema_version": 1}',
        '{"schema_version": 2, "host": "x"}',
        '{"schema_version": 2, "unreachable": "why"}',
    ],
)
def test_a_broken_file_is_one_clear_line(tmp_path, content):
    (tmp_path / "lab1.json").write_text(content)
    with pytest.raises(documents.BadResults, match=r"lab1\.json: ") as caught:
        documents.load(str(tmp_path))
    assert "\n" not in str(caught.value)


def test_an_engine_that_is_malformed_is_one_clear_line(tmp_path):
    found = fleet_documents.document()
    found["engines"]["runc"]["benchmarks"]["run_true"]["measures"]["run"]["values"][0] = "soon"
    fleet_documents.write(tmp_path, [found])
    with pytest.raises(documents.BadResults, match="malformed"):
        documents.load(str(tmp_path))


def test_an_empty_folder_is_told(tmp_path):
    with pytest.raises(documents.BadResults, match=r"there is no HOST\.json"):
        documents.load(str(tmp_path))


def module(*words, **arguments):
    """Run the module on this machine; its result, and whether it failed."""
    command = [sys.executable, "-m", "ansible", "adhoc", "localhost", "-m", "ocilab.hosts.comparison_report"]
    command += ["-a", json.dumps(arguments), *words]
    environment = dict(os.environ, ANSIBLE_STDOUT_CALLBACK="ansible.builtin.minimal", ANSIBLE_NOCOLOR="1")
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    start = result.stdout.index(" => ") + 4
    return json.JSONDecoder().raw_decode(result.stdout[start:])[0], result.returncode


def test_the_module_in_four_steps(tmp_path):
    results = fleet_documents.write(tmp_path / "results", [fleet_documents.document(), fleet_documents.unreachable()])
    arguments = {"results_dir": str(results), "report": str(tmp_path / "out" / "report.html")}
    predicted, _code = module("--check", **arguments)
    assert predicted["changed"] is True
    assert not (tmp_path / "out").exists()
    done, _code = module(**arguments)
    assert done["changed"] is True
    assert done["files"] == predicted["files"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["report.html", "report.md", "results.csv"]
    assert module(**arguments)[0]["changed"] is False
    assert module("--check", **arguments)[0]["changed"] is False


def test_the_module_tells_what_is_wrong(tmp_path):
    failed, code = module(results_dir=str(tmp_path), report=str(tmp_path / "report.html"))
    assert code
    assert "there is no HOST.json in it" in failed["msg"]


def test_the_playbook_compares_runs(tmp_path):
    before, after = fleet_documents.document(), fleet_documents.document(seed="later")
    after["environment"]["time"] = "2026-11-25T10:00:00Z"
    fleet_documents.write(tmp_path / "monday", [before])
    fleet_documents.write(tmp_path / "tuesday results", [after])
    wanted = {"report_base_dir": str(tmp_path), "report_results": "tuesday results", "report_earlier": ["monday"]}
    command = [sys.executable, "-m", "ansible", "playbook", "ocilab.hosts.report", "--diff", "-e", json.dumps(wanted)]
    environment = dict(os.environ, ANSIBLE_CONFIG=str(REPOSITORY / "playbooks" / "ansible.cfg"))
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 0, result.stdout[-3000:]
    assert "+# Container engines side by side" in result.stdout
    text = (tmp_path / "build" / "compare" / "report.html").read_text(encoding="utf-8")
    assert 'id="runs"' in text
    assert "../../tuesday%20results/" in text or "../../tuesday results/" in text
