# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The page of a container's steps: each object once, both languages, hostile values, and a real browser."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.ocilab.hosts.plugins.plugin_utils.report import anatomy, pages

REPOSITORY = Path(__file__).resolve().parent.parent.parent


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
