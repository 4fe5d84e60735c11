# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every traced call and every step has its words; the sources are asked which there are."""

from __future__ import annotations

import ast
from pathlib import Path

from ansible_collections.ocilab.hosts.plugins.module_utils.labrun import explain

SOURCES = Path(__file__).resolve().parent.parent.parent / "plugins" / "module_utils"


def dotted(node):
    """'trace.call' for that attribute, of whatever else it may be one, and a name itself; '' for anything else."""
    if not isinstance(node, ast.Attribute):
        return getattr(node, "id", "")
    return f"{getattr(node.value, 'id', getattr(node.value, 'attr', ''))}.{node.attr}"


def first_arguments(*functions):
    """(file, first argument or None where it is no constant) of each call of one of the functions."""
    found = []
    for folder in ("linux", "networks", "labrun"):
        for path in sorted((SOURCES / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and dotted(node.func) in functions:
                    first = node.args[0] if node.args else None
                    found.append((path.name, first.value if isinstance(first, ast.Constant) else None))
    return found


def test_every_traced_call_has_an_effect():
    calls = first_arguments("trace.call")
    assert len(calls) > 40
    assert {(file, name) for file, name in calls if name is None} == {("scheduling.py", None)}
    of_scheduling = [(file, name) for file, name in first_arguments("_call") if file == "scheduling.py"]
    names = {name for _file, name in calls + of_scheduling if name}
    assert names - set(explain.EFFECTS) == set()
    assert set(explain.EFFECTS) - names - {"execve"} == set()


def record(step, call, result="ok"):
    return {"step": step, "call": call, "arguments": ["x"], "duration_us": 2, "result": result}


def test_every_step_has_a_purpose():
    names = {name for _file, name in first_arguments("trace.step")}
    assert set(explain.STEPS) | {"start", "kill", "exec", "pause", "resume", "update", "delete"} <= names
    assert all(step["purpose"] for step in explain.steps([record(name, "write") for name in sorted(names)], ""))


def test_a_start_is_told_in_five_steps_between_what_came_before_and_after():
    order = [
        "delete",
        "receive_bundle",
        "create_cgroup",
        "create_namespaces",
        "build_rootfs",
        "become_process",
        "start",
    ]
    found = explain.steps([record(name, "write") for name in order], "/bin/true")
    assert [step["step"] for step in found] == ["delete", *explain.STEPS, "start"]
    assert found[5]["system_calls"][-1]["arguments"] == ["/bin/true"]
    assert found[0]["duration_us"] == 2


def test_no_start_no_execve_and_a_failure_is_shown():
    found = explain.steps([record("pause", "write", "errno 13")], "/bin/true")
    assert explain.lines(found) == [
        "pause: freeze the cgroup: no process in it runs on (2 us)",
        "  write(x) = errno 13  -- a setting of the kernel",
    ]
    assert explain.steps([], "/bin/true") == []
