# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""What the pages share: texts in English and Korean, templates that escape what they are given, and writing a file."""

from __future__ import annotations

import difflib
import os
from pathlib import Path
from urllib.parse import quote

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

_HERE = Path(__file__).parent


def texts(name: str) -> dict[str, dict[str, str]]:
    """Key -> language -> text, of the file of that name beside this one."""
    return yaml.safe_load((_HERE / name).read_text(encoding="utf-8"))


def texts_if_any(name: str) -> dict[str, dict[str, str]]:
    """The texts of a file that may be missing."""
    return texts(name) if (_HERE / name).exists() else {}


def quoted(word: str) -> str:
    """A word as it may stand in an address."""
    return quote(word, safe="")


def environment(spoken: dict[str, dict[str, str]]) -> Environment:
    """Jinja2 over the templates, with say(key, **values)."""
    result = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )

    def say(key: str, **values: object) -> Markup:
        """A text in both languages, of which the style sheet shows one; values are escaped."""
        safe = {name: escape(value) for name, value in values.items()}
        parts = [f'<span lang="{lang}">{text.format(**safe)}</span>' for lang, text in spoken[key].items()]
        return Markup("".join(parts))

    def called(prefix: str, word: str) -> Markup:
        """The text PREFIX_WORD, or, of a word that came up later than the texts, the word itself."""
        return say(f"{prefix}_{word}") if f"{prefix}_{word}" in spoken else escape(word.replace("_", " "))

    result.globals.update(say=say, called=called)
    return result


def write(path: str, text: str, check_mode: bool, diff: bool) -> dict[str, object]:
    """Replace the file in one step, when it differs; changed, report and diff of the result. Raises OSError."""
    before = ""
    if os.path.exists(path):
        before = Path(path).read_text(encoding="utf-8")
    result: dict[str, object] = {"changed": before != text, "report": path}
    if before != text and diff:
        lines = difflib.unified_diff(before.splitlines(), text.splitlines(), path, path, lineterm="", n=0)
        result["diff"] = {"prepared": "\n".join(list(lines)[:40]) + "\n"}
    if before != text and not check_mode:
        temporary = path + ".new"
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        Path(temporary).write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    return result


def write_all(texts: dict[str, str], check_mode: bool, diff: bool) -> dict[str, object]:
    """Replace the files that differ; changed of all of them. The diff is that of Markdown, which people can read."""
    results = [write(path, text, check_mode, diff and path.endswith(".md")) for path, text in texts.items()]
    changed = {"changed": any(found["changed"] for found in results)}
    return next(({"diff": found["diff"]} for found in results if "diff" in found), {}) | changed
