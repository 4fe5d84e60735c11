# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report and its statistics: hostile and broken results, a missing reference, several hosts, and a real browser."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import pytest
from ansible_collections.ocilab.hosts.plugins.module_utils.comparison import statistics
from ansible_collections.ocilab.hosts.plugins.plugin_utils.report import anatomy, data, pages, render
from jsonschema import Draft202012Validator

REPOSITORY = Path(__file__).resolve().parent.parent.parent
MEDIANS = {"labrun": 26, "labrun-module": 9, "runc": 29, "docker": 350, "podman": 450}
KINDS = {"docker": "client-server", "podman": "daemonless", "labrun-module": "library"}


def engine(name, available=True):
    noise = random.Random(name)
    benchmarks = {}
    for case in ("run_true", "lifecycle") if available else ():
        phases = {
            phase: [int(MEDIANS[name] * share * noise.uniform(0.8, 1.3) * 1e6) for _sample in range(25)]
            for phase, share in (("create", 0.5), ("start", 0.2), ("wait", 0.1), ("delete", 0.2))
        }
        benchmarks[case] = {"samples_ns": [sum(times) for times in zip(*phases.values())], "failures": []}
        if case == "lifecycle":
            benchmarks[case]["phases_ns"] = phases
    return {
        "available": available,
        "version": "1.0" if available else None,
        "unavailable_reason": None if available else f"{name} is not installed",
        "kind": KINDS.get(name, "runtime"),
        "notes": "",
        "benchmarks": benchmarks,
    }


def document(host="lab1", absent=()):
    environment = {
        "kernel": "6.1.0",
        "architecture": "x86_64",
        "distribution": "Debian GNU/Linux 12 (bookworm)",
        "cgroup_mode": "v2",
        "cpu_model": "A processor",
        "cpu_count": 2,
        "cpu_governor": None,
        "memory_bytes": 8 << 30,
        "storage": "ext4",
        "load_average": [0.1, 0.2, 0.3],
        "python_version": "3.11.2",
        "virtualization": None,
        "time": "2026-11-24T10:00:00Z",
    }
    plan = {"samples": 25, "warmup": 2, "blocks": 5, "seed": 1, "timeout_s": 60, "cases": ["run_true", "lifecycle"]}
    engines = {name: engine(name, name not in absent) for name in MEDIANS}
    plan["engines"] = list(engines)
    order = [{"engine": "labrun", "case": "run_true", "block": 0, "index": 0}]
    return {
        "schema_version": 1,
        "host": host,
        "environment": environment,
        "plan": plan,
        "engines": engines,
        "order": order,
    }


def rendered(tmp_path, *documents):
    for found in documents:
        (tmp_path / f"{found['host']}.json").write_text(json.dumps(found))
    return render.html(data.load(str(tmp_path)))


def test_the_sample_fits_the_published_schema():
    schema = json.loads((REPOSITORY / "docs" / "results.schema.json").read_text())
    Draft202012Validator.check_schema(schema)
    Draft202012Validator(schema).validate(document(absent=("docker",)))
    broken = document()
    broken["engines"]["runc"]["benchmarks"]["run_true"]["samples_ns"][0] = 1.5
    assert not Draft202012Validator(schema).is_valid(broken)


def test_statistics():
    assert statistics.median([5, 1, 3]) == 3
    assert statistics.percentile([0, 10, 20, 30], 50) == 15
    low, high = statistics.median_interval([10, 11, 12, 13, 14, 15, 16])
    assert 10 <= low <= 13 <= high <= 16
    ratio, low, high = statistics.ratio_interval([20, 22, 24], [10, 11, 12])
    assert low <= ratio == 2 <= high


def test_the_same_results_give_the_same_report(tmp_path):
    assert rendered(tmp_path, document()) == rendered(tmp_path, document())


def test_ratios_are_to_labrun_where_runc_is_absent(tmp_path):
    text = rendered(tmp_path, document(absent=("runc",)))
    assert "runc is absent here, so ratios are to labrun." in text
    assert "runc is not installed" in text
    assert "runc is absent here" not in rendered(tmp_path, document())


def test_nothing_measured_is_said(tmp_path):
    assert "nothing could be measured" in rendered(tmp_path, document(absent=tuple(MEDIANS)))


def test_the_summary_tells_why_an_engine_failed(tmp_path):
    failing = document()
    cases = failing["engines"]["runc"]["benchmarks"]
    for result in cases.values():
        result.update(samples_ns=[], failures=[{"index": 0, "message": "no room"}])
    rendered(tmp_path, failing)
    hosts = data.load(str(tmp_path))
    assert "  runc failed, first by: no room" in data.table(hosts)
    row = next(row for row in data.summary(hosts) if row["engine"] == "runc")
    assert (row["medians_ms"], row["failures"], row["first_failure"]) == ({}, len(cases), "no room")


def test_several_hosts_have_an_overview(tmp_path):
    text = rendered(tmp_path, document("one"), document("two"))
    assert "All hosts at a glance" in text


def test_hostile_results_stay_text(tmp_path):
    hostile = document()
    hostile["engines"]["runc"]["version"] = "<script>alert(1)</script>"
    hostile["engines"]["docker"] = dict(engine("docker", False), unavailable_reason="{{ 7*7 }} {0} <img src=x>")
    text = rendered(tmp_path, hostile)
    assert "<script" not in text
    assert "<img" not in text
    assert "{{ 7*7 }} {0} &lt;img" in text


@pytest.mark.parametrize("content", ["{", "[]", '{"schema_version": 2}', '{"schema_version": 1, "host": "x"}'])
def test_a_broken_file_is_one_clear_line(tmp_path, content):
    (tmp_path / "lab1.json").write_text(content)
    with pytest.raises(data.BadResults, match=r"lab1\.json: ") as caught:
        data.load(str(tmp_path))
    assert "\n" not in str(caught.value)


@pytest.fixture
def browser(tmp_path):
    if not shutil.which("chromium") or not shutil.which("chromedriver"):
        pytest.skip("chromium or chromedriver is not installed")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for word in [
        "headless=new",
        "no-sandbox",
        "disable-gpu",
        "disable-quic",
        "no-first-run",
        "disable-background-networking",
        "disable-component-update",
        "disable-sync",
        "hide-scrollbars",
    ]:
        options.add_argument("--" + word)
    options.add_argument(f"--user-data-dir={tmp_path}/profile")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    yield driver
    driver.quit()


@pytest.mark.browser
@pytest.mark.parametrize(("width", "height"), [(1280, 800), (1920, 1080), (360, 740)])
def test_the_report_in_a_real_browser(tmp_path, browser, width, height):
    results = tmp_path / "results"
    results.mkdir()
    report = tmp_path / "report.html"
    report.write_text(rendered(results, document(absent=("docker",))), encoding="utf-8")
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get(report.as_uri())
    assert browser.get_log("browser") == []
    assert browser.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")
    assert browser.execute_script("return performance.getEntriesByType('resource').length") == 0
    charts = browser.find_elements("css selector", ".chart svg")
    assert len([chart for chart in charts if chart.is_displayed()]) == 3
    screenshots = REPOSITORY / "build" / "screenshots"
    screenshots.mkdir(parents=True, exist_ok=True)
    title = browser.find_element("tag name", "h1")
    assert title.text == "Container engines side by side"
    browser.save_screenshot(str(screenshots / f"report-{width}-en.png"))
    browser.find_element("css selector", "label[for=lang-ko]").click()
    assert title.text == "컨테이너 엔진 비교"
    browser.save_screenshot(str(screenshots / f"report-{width}-ko.png"))


def anatomy_steps():
    """A container's steps, with something hostile in each kind of value."""
    empty = {kind: [] for kind in ("files", "cgroups", "namespaces", "mounts", "process")}
    cgroup = {"path": "/sys/fs/cgroup/pids/labrun-x", "limits": {"pids.max": "20"}, "processes": []}
    bad = "<script>alert(1)</script>" + "x" * 120
    news = [
        ("receive_bundle", {"files": ["/run/labrun/" + bad]}),
        ("create_cgroup", {"cgroups": [cgroup]}),
        ("create_namespaces", {"namespaces": [{"kind": "pid", "inode": 2, "host_inode": 1}]}),
        ("build_rootfs", {"cgroups": [dict(cgroup, processes=[42])]}),
        ("become_process", {"mounts": [{"target": bad, "type": "tmpfs", "source": "x", "options": "ro"}]}),
        ("start", {"process": [{"name": "command", "value": bad}, {"name": "pid", "value": "42"}]}),
        ("delete", {}),
    ]
    return [{"step": name, "new": dict(empty, **new), "copied_mounts": 0, "left": []} for name, new in news]


def test_the_anatomy_tells_each_object_once_in_both_languages():
    steps = anatomy.view(anatomy_steps())
    english = ["\n".join(anatomy.text(step, "en")) for step in steps]
    korean = ["\n".join(anatomy.text(step, "ko")) for step in steps]
    assert "/sys/fs/cgroup/pids/labrun-x: pids.max = 20" in english[1]
    assert "pids.max" not in english[3]
    assert "/sys/fs/cgroup/pids/labrun-x: 42" in english[3]
    assert "pid: 2 ≠ 1" in english[2]
    assert "pid on the host: 42" in english[5]
    assert "호스트에서의 pid: 42" in korean[5]
    assert english[6].endswith("Nothing of it is left on the host.")
    assert all(set(found) == {"en", "ko"} for found in pages.texts("anatomy.yml").values())


@pytest.mark.browser
@pytest.mark.parametrize(("width", "height"), [(1280, 800), (360, 740)])
def test_the_anatomy_in_a_real_browser(tmp_path, browser, width, height):
    page = tmp_path / "anatomy.html"
    page.write_text(anatomy.html("lab1", anatomy.view(anatomy_steps())), encoding="utf-8")
    assert "<script" not in page.read_text(encoding="utf-8")
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get(page.as_uri())
    assert browser.get_log("browser") == []
    assert browser.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")
    assert browser.execute_script("return performance.getEntriesByType('resource').length") == 0
    title = browser.find_element("tag name", "h1")
    assert title.text == "The anatomy of a container"
    screenshots = REPOSITORY / "build" / "screenshots"
    screenshots.mkdir(parents=True, exist_ok=True)
    browser.save_screenshot(str(screenshots / f"anatomy-{width}-en.png"))
    browser.find_element("css selector", "label[for=lang-ko]").click()
    assert title.text == "컨테이너 해부"
    browser.save_screenshot(str(screenshots / f"anatomy-{width}-ko.png"))
