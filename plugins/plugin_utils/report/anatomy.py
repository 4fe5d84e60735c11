# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""The steps of one container (module_utils/labrun/anatomy.py) as lines of text and as a page."""

from __future__ import annotations

from typing import Any

from . import pages

_TEXTS = "anatomy.yml"


def view(steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each step as {"number", "step", "copied", "left", "groups": [{"kind", "rows": [(name, value)]}]}."""
    seen: set[str] = set()
    result = []
    for number, step in enumerate(steps, 1):
        new = step["new"]
        made = [item for item in new["cgroups"] if item["path"] not in seen]
        joined = [item for item in new["cgroups"] if item["processes"]]
        seen.update(item["path"] for item in made)
        rows = {
            "files": [(path, "") for path in new["files"]],
            "cgroups": [(item["path"], _limits(item["limits"])) for item in made],
            "joined": [(item["path"], " ".join(str(pid) for pid in item["processes"])) for item in joined],
            "namespaces": [(item["kind"], f"{item['inode']} ≠ {item['host_inode']}") for item in new["namespaces"]],
            "mounts": [(item["target"], f"{item['type']}  {item['options']}") for item in new["mounts"]],
            "process": [(item["name"], item["value"]) for item in new["process"]],
        }
        groups = [{"kind": kind, "rows": found} for kind, found in rows.items() if found]
        shown = {"number": number, "step": step["step"], "copied": step["copied_mounts"], "left": step["left"]}
        result.append(dict(shown, groups=groups))
    return result


def _limits(limits: dict[str, str]) -> str:
    return ", ".join(f"{name} = {value}" for name, value in limits.items())


def text(step: dict[str, Any], language: str) -> list[str]:
    """A step of view() as lines."""
    texts = {key: found[language] for key, found in pages.texts(_TEXTS).items()}
    lines = [f"{step['number']}. {step['step']}: {texts[step['step']]}"]
    for group in step["groups"]:
        lines.append(f"  + {texts[group['kind']]}")
        for name, value in group["rows"]:
            shown = texts["process_" + name] if group["kind"] == "process" else name
            lines.append(f"      {shown}: {value}" if value else f"      {shown}")
    if step["copied"]:
        lines.append("  " + texts["copied"].format(count=step["copied"]))
    if step["step"] == "delete":
        lines.append("  " + (texts["left"].format(paths=" ".join(step["left"])) if step["left"] else texts["nothing"]))
    return lines


def html(host: str, steps: list[dict[str, Any]]) -> str:
    """The page of the steps of view(), in English and Korean, without scripts."""
    environment = pages.environment(pages.texts(_TEXTS))
    return environment.get_template("anatomy.html.j2").render(host=host, steps=steps)
