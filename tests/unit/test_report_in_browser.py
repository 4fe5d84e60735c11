# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report in a real browser: charts, sorting, filters, languages, hosts, print, a phone, no script, and a fleet."""

from __future__ import annotations

import base64
import time
from pathlib import Path

import fleet_documents
import pytest
from ansible_collections.ocilab.hosts.plugins.plugin_utils.report import documents, render, tables
from ansible_collections.ocilab.hosts.plugins.plugin_utils.report.fleet import Fleet

pytestmark = pytest.mark.browser
REPOSITORY = Path(__file__).resolve().parent.parent.parent


def written(folder, found):
    """A report of the documents, and the seconds of a processor that it took."""
    results = fleet_documents.write(folder / "results", found)
    began = time.process_time()  # of a machine that has other work, too
    fleet = Fleet(documents.load(str(results)))
    page = folder / "report.html"
    page.write_text(render.html([fleet], "results/", "report.md"), encoding="utf-8")
    (folder / "report.md").write_text(tables.markdown(fleet), encoding="utf-8")
    (folder / "results.csv").write_text(tables.comma_separated(fleet), encoding="utf-8")
    return page, time.process_time() - began


def opened(browser, page, address="", width=1280, height=900):
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get("about:blank")
    browser.get(page.as_uri() + address)
    wait(browser, "document.documentElement.dataset.ready === 'yes'")


def wait(browser, condition, seconds=60):
    ends = time.monotonic() + seconds
    while not browser.execute_script("return " + condition):
        assert time.monotonic() < ends, condition
        time.sleep(0.05)


def look(browser, name):
    """Keep a screenshot for people."""
    screenshots = REPOSITORY / "build" / "screenshots"
    screenshots.mkdir(parents=True, exist_ok=True)
    browser.save_screenshot(str(screenshots / f"{name}.png"))


def find(browser, selector):
    return browser.find_element("css selector", selector)


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    return written(tmp_path_factory.mktemp("one"), [fleet_documents.document()])[0]


@pytest.fixture(scope="module")
def several(tmp_path_factory):
    original = fleet_documents.document(samples=6)
    found = [fleet_documents.variant(original, number, 12) for number in range(12)]
    return written(tmp_path_factory.mktemp("several"), [*found, fleet_documents.unreachable()])[0]


@pytest.mark.parametrize(("width", "height"), [(1280, 900), (1920, 1080), (360, 740)])
def test_a_report_of_one_host(browser, one, width, height):
    opened(browser, one, width=width, height=height)
    assert browser.get_log("browser") == []
    assert browser.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")
    assert browser.execute_script("return performance.getEntriesByType('resource').length") == 0
    assert find(browser, "h1").text == "Container engines side by side"
    assert "crun" in find(browser, ".word").text
    drawn = (
        "[...document.querySelectorAll('[data-chart=run_true] svg.track .mid')].map(e => e.getBoundingClientRect().x)"
    )
    places = browser.execute_script("return " + drawn)
    assert places == sorted(places)
    assert len(set(places)) > 10
    assert browser.execute_script("return document.querySelectorAll('#host-page details').length") == 13
    look(browser, f"report-{width}-en")
    find(browser, "label[for=lang-ko]").click()
    assert find(browser, "h1").text == "컨테이너 엔진 비교"
    assert browser.execute_script("return [document.documentElement.lang, location.hash]") == ["ko", "#lang=ko"]
    assert browser.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")
    look(browser, f"report-{width}-ko")


def test_the_address_remembers_the_language(browser, one):
    opened(browser, one, "#density&lang=ko")
    assert find(browser, "h1").text == "컨테이너 엔진 비교"
    find(browser, "nav a[href='#layers']").click()
    assert browser.execute_script("return location.hash") == "#layers&lang=ko"
    assert find(browser, "h1").text == "컨테이너 엔진 비교"
    assert abs(browser.execute_script("return document.getElementById('layers').getBoundingClientRect().top")) < 120


def test_tables_are_sorted(browser, one):
    opened(browser, one)
    table = "#start details table"
    find(browser, "#start summary").click()
    cells = f"[...document.querySelectorAll('{table} tbody tr')].map(row => row.cells[%d].textContent)"
    header = "thead th:nth-child(%d) button"
    find(browser, f"{table} {header % 2}").click()
    rising = [float(text.replace(",", "")) for text in browser.execute_script("return " + cells % 1)]
    assert rising == sorted(rising)
    find(browser, f"{table} {header % 2}").click()
    falling = [float(text.replace(",", "")) for text in browser.execute_script("return " + cells % 1)]
    assert falling == rising[::-1]
    assert find(browser, f"{table} thead th:nth-child(2)").get_attribute("aria-sort") == "descending"
    find(browser, f"{table} {header % 1}").send_keys("\n")  # by the keyboard
    names = browser.execute_script("return " + cells % 0)
    assert (names[0], names[-1]) == ("containerd", "runsc")


def test_the_matrix_is_filtered(browser, one):
    opened(browser, one, "#matrix")
    shown = (
        "[...document.querySelectorAll('#matrix-table tbody tr:not(.topic)')].filter(row => row.offsetParent).length"
    )
    differing = browser.execute_script("return " + shown)
    find(browser, "#only-differences").click()
    everything = browser.execute_script("return " + shown)
    assert 0 < differing < everything
    find(browser, "[data-filter=matrix-table]").send_keys("sys_admin")
    assert browser.execute_script("return " + shown) == 1
    assert find(browser, "[data-count=matrix-table]").text == f"1 of {everything}"
    marked = browser.execute_script(
        "return getComputedStyle(document.querySelector('#matrix-table td.d')).backgroundColor"
    )
    plain = browser.execute_script(
        "return getComputedStyle(document.querySelector('#matrix-table td:not(.d)')).backgroundColor"
    )
    assert marked != plain


CHOOSE = """
const choice = document.querySelector('#heat-case');
choice.value = arguments[0];
choice.dispatchEvent(new Event('change'));
"""


def test_several_hosts(browser, several):
    opened(browser, several)
    assert browser.get_log("browser") == []
    assert "lab9" in find(browser, "#hosts").text
    assert "Synthetic data" in find(browser, ".synthetic").text
    before = browser.execute_script("return document.querySelector('#heat-table tbody').innerHTML")
    browser.execute_script(CHOOSE, "exec")
    after = browser.execute_script("return document.querySelector('#heat-table tbody').innerHTML")
    assert before != after
    assert "exec" in browser.execute_script("return location.hash")
    browser.execute_script(CHOOSE, "run_true")
    cells = (
        "[...document.querySelectorAll('#heat-table tbody td')].map(cell => cell.className + cell.textContent).join()"
    )
    again = browser.execute_script("return " + cells)
    opened(browser, several)
    assert browser.execute_script("return " + cells) == again  # script and template agree
    find(browser, "[data-filter=host-table]").send_keys("host07")
    browser.execute_script("document.querySelector('#host-table tbody tr:not([hidden]) a').click()")
    assert find(browser, "#host-page h3").text == "Host host07"
    assert "host=host07" in browser.execute_script("return location.hash")
    look(browser, "report-host")


def test_contrast_is_enough(browser, one):
    """Text against its ground at least 4.5 to 1, in light and dark."""
    for scheme in ("light", "dark"):
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        opened(browser, one)
        weak = browser.execute_script(CONTRAST)
        look(browser, f"report-{scheme}")
        assert weak == [], scheme
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


CONTRAST = """
const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
const seen = new Map();
const rgba = (text) => {
  if (!seen.has(text)) {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = text; canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data; seen.set(text, [r, g, b, a / 255]);
  }
  return seen.get(text);
};
const linear = (v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
const light = ([r, g, b]) => [r, g, b].map(v => linear(v / 255))
  .reduce((sum, v, place) => sum + v * [0.2126, 0.7152, 0.0722][place], 0);
const ground = (element) => {
  for (let node = element; node; node = node.parentElement) {
    const found = rgba(getComputedStyle(node).backgroundColor);
    if (found[3] > 0.99) return found;
  }
  return [255, 255, 255, 1];
};
const weak = [];
for (const element of document.querySelectorAll('body *')) {
  const own = [...element.childNodes].some(node => node.nodeType === 3 && node.textContent.trim());
  if (!own || !element.offsetParent) continue;
  const [a, b] = [light(rgba(getComputedStyle(element).color)), light(ground(element))].sort((x, y) => y - x);
  const ratio = (a + 0.05) / (b + 0.05);
  const words = element.textContent.trim().slice(0, 30);
  if (ratio < 4.5) weak.push(element.className + ' ' + words + ' ' + ratio.toFixed(2));
}
return [...new Set(weak)].slice(0, 10);
"""


def test_every_chart_and_field_has_a_name(browser, one):
    opened(browser, one)
    nameless = """
    const name = e => document.getElementById(e.getAttribute('aria-labelledby'))?.innerText.trim();
    const charts = [...document.querySelectorAll('[role=img]')].filter(e => !name(e));
    const fields = [...document.querySelectorAll('input:not([name=lang]), select')].filter(e => !e.labels?.length);
    const ids = [...document.querySelectorAll('[id]')].map(e => e.id);
    return [charts.length, fields.length, ids.length - new Set(ids).size];
    """
    assert browser.execute_script(nameless) == [0, 0, 0]


def test_print(browser, one):
    opened(browser, one)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert not find(browser, "nav").is_displayed()
    assert not find(browser, ".controls").is_displayed()
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    printed = browser.execute_cdp_cmd("Page.printToPDF", {"printBackground": True, "preferCSSPageSize": True})
    content = base64.b64decode(printed["data"])
    assert content.startswith(b"%PDF")
    (REPOSITORY / "build" / "screenshots").mkdir(parents=True, exist_ok=True)
    (REPOSITORY / "build" / "screenshots" / "report.pdf").write_bytes(content)


def test_without_scripts_it_is_readable(browser, several):
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    browser.get(several.as_uri())
    text = find(browser, "body").text
    for words in ("Which starts fastest?", "crun starts fastest", "host07", "CAP_SYS_ADMIN", "results.csv"):
        assert words in text
    assert not find(browser, ".controls").is_displayed()
    find(browser, "label[for=lang-ko]").click()
    assert find(browser, "h1").text == "컨테이너 엔진 비교"


def test_a_thousand_hosts(browser, tmp_path):
    original = fleet_documents.document(samples=10)
    page, seconds = written(tmp_path, (fleet_documents.variant(original, number, 1000) for number in range(1000)))
    assert seconds <= 20
    assert page.stat().st_size <= 12e6
    opened(browser, page)
    timing = "performance.getEntriesByType('navigation')[0]"
    assert browser.execute_script(f"return {timing}.loadEventEnd") <= 3000
    assert browser.get_log("browser") == []
    assert find(browser, "[data-count=host-table]").text == "1000 of 1000"
    look(browser, "report-1000")
