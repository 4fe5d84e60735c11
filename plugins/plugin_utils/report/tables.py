# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""The report's other forms: Markdown for a note, CSV for a spreadsheet, and rows and lines for who calls."""

from __future__ import annotations

import csv
import io
import math
from collections import Counter
from typing import Any

from . import answers, inventory, isolation, outliers, pages, statistics, units
from .documents import Key
from .fleet import Fleet

_SHORT = 10  # hosts, beyond which lines are of engines over all hosts
_COLUMNS = [
    "host",
    "engine",
    "case",
    "measure",
    "unit",
    "samples",
    "median",
    "p95",
    "reference",
    "ratio",
    "ratio_low",
    "ratio_high",
    "failures",
    "left_out",
]


def markdown(fleet: Fleet) -> str:
    """The answers, and the medians of each engine, in English."""
    texts = {key: found["en"] for key, found in pages.texts("texts.yml").items()}
    found = answers.answers(fleet, isolation.matrix(fleet), inventory.layers(fleet))
    lines = ["# " + texts["title"], ""]
    lines += ["**%s**" % texts["synthetic"], ""] if fleet.synthetic else []
    lines += [_lead(fleet, texts), ""]
    for answer in found:
        lines += [
            "## " + texts["question_" + answer.question],
            "",
            _escaped(texts[answer.key].format(**answer.values)),
            "",
        ]
    lines += _medians(fleet, texts) + _unusual(fleet, texts)
    lines += [f"- {item.name}: {_escaped(item.why)}" for item in fleet.unreached]
    return "\n".join(lines).rstrip() + "\n"


def _lead(fleet: Fleet, texts: dict[str, str]) -> str:
    date = fleet.run.time[:10]
    if len(fleet.hosts) == 1:
        return _escaped(
            texts["lead_one"].format(engines=len(fleet.available), host=fleet.hosts[0].name, date=date) + "."
        )
    return texts["lead_many"].format(engines=len(fleet.available), hosts=len(fleet.hosts), date=date) + "."


def _medians(fleet: Fleet, texts: dict[str, str]) -> list[str]:
    lines = []
    for case, rows in fleet.measured.items():
        reference, unit = fleet.references[case], fleet.units[case, fleet.headline(case)]
        lines += [
            "## " + texts["case_" + case],
            "",
            f"| engine | median | to {reference or '–'} | hosts |",
            "|---|---:|---:|---:|",
        ]
        for row in rows:
            ratio = units.ratio(row.ratio) if row.ratio is not None else "–"
            lines.append(f"| {_escaped(row.engine)} | {units.figure(row.median, unit)} | {ratio} | {row.hosts} |")
        lines.append("")
    return lines


def _unusual(fleet: Fleet, texts: dict[str, str]) -> list[str]:
    odd = outliers.outliers(fleet)
    lines = ["## " + texts["outliers"], ""] if odd else []
    for found in odd[:40]:
        reasons = "; ".join(
            f"{texts['reason_' + reason.field]} {reason.value} (most: {reason.usual})" for reason in found.reasons
        )
        lines.append(
            _escaped(f"- {found.host} {found.engine}: ×{units.ratio(found.factor)}, {reasons or texts['reason_none']}")
        )
    lines += [""] if odd else []
    return lines + (["## " + texts["unreached_hosts"], ""] if fleet.unreached else [])


def _escaped(text: str) -> str:
    """Without what Markdown would read as more than text."""
    for sign in "\\`*_<>|[]":
        text = text.replace(sign, "\\" + sign)
    return " ".join(text.split())


def comma_separated(fleet: Fleet) -> str:
    """A line for each host, engine, case and measure, in base units; ratios stand with a case's headline."""
    output = io.StringIO()
    writer = csv.writer(output, lineterminator="\n")
    writer.writerow(_COLUMNS)
    failures = Counter(
        (host.name, engine, case) for host in fleet.hosts for engine, case, _index, _message in host.failures
    )
    names = {key: _line([_plain(key[0]), *key[1:], fleet.units[key[1:]]]) for key in fleet.keys}
    ratios = _ratio_texts(fleet)
    medians, p95s, counts = fleet.medians.tolist(), fleet.p95s.tolist(), fleet.counts.tolist()
    for number, host in enumerate(fleet.hosts):
        name = _line([_plain(host.name)])
        for key in host.keys:
            column = fleet.keys[key]
            figures = f"{counts[number][column]},{medians[number][column]:.6g},{p95s[number][column]:.6g}"
            ratio = ratios[key][number] if key in ratios else ",,"
            failed = failures[host.name, key[0], key[1]]
            output.write(f"{name},{names[key]},{figures},{fleet.references[key[1]]},{ratio},{failed},\n")
        writer.writerows(_without(host, failures))
    for item in fleet.unreached:
        writer.writerow([_plain(item.name), "", "", "", "", 0, "", "", "", "", "", "", 0, _plain(item.why)])
    return output.getvalue()


def _line(words: list[str]) -> str:
    """Words as they stand in CSV."""
    output = io.StringIO()
    csv.writer(output, lineterminator="").writerow(words)
    return output.getvalue()


def _ratio_texts(fleet: Fleet) -> dict[Key, list[str]]:
    """Of each headline the ratio and its interval on each host, as CSV."""
    result = {}
    for case, rows in fleet.measured.items():
        for row in rows:
            table = zip(row.ratios.tolist(), row.lows.tolist(), row.highs.tolist())
            texts = [",".join("" if math.isnan(value) else f"{value:.4g}" for value in values) for values in table]
            result[row.engine, case, fleet.headline(case)] = texts
    return result


def _without(host: Any, failures: Counter[tuple[str, str, str]]) -> list[list[Any]]:
    """Lines of what has no samples: engines that are not there, cases that were left out or failed."""
    lines = []
    have = {key[:2] for key in host.keys}
    for engine, described in host.engines.items():
        if not described["available"]:
            lines.append((engine, "", 0, described["unavailable_reason"] or ""))
    for (engine, case), why in host.left_out.items():
        lines.append((engine, case, failures[host.name, engine, case], why))
    for (name, engine, case), count in failures.items():
        if name == host.name and (engine, case) not in have and (engine, case) not in host.left_out:
            lines.append((engine, case, count, ""))
    return [
        [_plain(host.name), _plain(engine), case, "", "", 0, "", "", "", "", "", "", count, _plain(why)]
        for engine, case, count, why in lines
    ]


def _plain(text: str) -> str:
    """A cell that no spreadsheet takes for a formula."""
    return "'" + text if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text


def summary(fleet: Fleet) -> list[dict[str, Any]]:
    """A row for each host and engine: headlines in base units, times also in ms, failures, or why it is left out."""
    rows = []
    for number, host in enumerate(fleet.hosts):
        failed: dict[str, list[str]] = {}
        for engine, _case, _index, message in host.failures:
            failed.setdefault(engine, []).append(message)
        for name, engine in host.engines.items():
            medians = _headlines(fleet, number, name)
            ratio = _ratio(fleet, number, name)
            rows.append(
                {
                    "host": host.name,
                    "engine": name,
                    "version": engine["version"] or "",
                    "medians": medians,
                    "medians_ms": {
                        case: round(value / 1e6, 2)
                        for case, value in medians.items()
                        if fleet.units[case, fleet.headline(case)] == "ns"
                    },
                    "ratio": round(ratio, 2) if not math.isnan(ratio) else None,
                    "reference": fleet.references.get("run_true", ""),
                    "failures": len(failed.get(name, [])),
                    "first_failure": failed.get(name, [""])[0],
                    "unavailable_reason": engine["unavailable_reason"] or "",
                }
            )
    return rows


def _headlines(fleet: Fleet, row: int, engine: str) -> dict[str, float]:
    result = {}
    for case in fleet.cases:
        column = fleet.keys.get((engine, case, fleet.headline(case)))
        if column is not None and fleet.counts[row, column]:
            result[case] = float(fleet.medians[row, column])
    return result


def _ratio(fleet: Fleet, row: int, engine: str) -> float:
    return next(
        (float(found.ratios[row]) for found in fleet.measured.get("run_true", []) if found.engine == engine),
        float("nan"),
    )


def table(fleet: Fleet) -> list[str]:
    """The summary as lines of aligned text: of each host, or of many hosts over all."""
    lines = []
    if len(fleet.hosts) > _SHORT:
        lines += [f"{len(fleet.hosts)} hosts", *_aligned(_over_all(fleet))]
    else:
        rows = summary(fleet)
        for host in fleet.hosts:
            lines.append(f"{host.name}: {host.environment['distribution']}, kernel {host.environment['kernel']}")
            lines += _host_lines(fleet, [row for row in rows if row["host"] == host.name])
    return lines + [f"{item.name} not reached: {item.why}" for item in fleet.unreached]


def _host_lines(fleet: Fleet, rows: list[dict[str, Any]]) -> list[str]:
    head = ["engine", "version", "run ms", f"to {fleet.references.get('run_true', '') or '-'}", "failures"]
    there = [row for row in rows if not row["unavailable_reason"]]
    figures = [
        [row["engine"], row["version"], _text(row["medians_ms"].get("run_true")), _text(row["ratio"]), row["failures"]]
        for row in there
    ]
    lines = _aligned([head, *figures])
    lines += [f"  {row['engine']} failed, first by: {row['first_failure']}" for row in there if row["failures"]]
    absent = [row for row in rows if row["unavailable_reason"]]
    return lines + [f"  {row['engine']} left out: {row['unavailable_reason']}" for row in absent]


def _over_all(fleet: Fleet) -> list[list[str]]:
    reference = fleet.references.get("run_true", "") or "-"
    cells = [["engine", "run ms", f"to {reference}", "spread", "hosts"]]
    for row in fleet.measured.get("run_true", []):
        spread = float(statistics.deviations(row.medians[:, None])[1][0])
        cells.append(
            [
                row.engine,
                _text(round(row.median / 1e6, 2)),
                _text(row.ratio and round(row.ratio, 2)),
                f"{100 * (spread - 1):.0f} %",
                str(row.hosts),
            ]
        )
    return cells


def _aligned(table: list[list[Any]]) -> list[str]:
    cells = [[str(cell) for cell in line] for line in table]
    widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]
    return ["  " + "  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in cells]


def _text(number: float | None) -> str:
    return "-" if number is None else f"{number:g}"
