# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lab hosts from a cold start to the last trace of them: by the playbooks, and by the module in four steps."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
import yaml

pytestmark = pytest.mark.root

# The bars hold on an idle machine of two processors; on a busy one it takes as much longer as others take of it.
FIRST_S, FURTHER_S = 90.0, 5.0


def slowness():
    return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1) + 1)


def test_a_lab_comes_up_works_and_leaves_nothing(clean_lab, record_property):
    lab = clean_lab
    before = set(Path("/proc/sys/net/ipv4/conf").iterdir())
    names = lab.names[:3]
    first, _output = lab.playbook("lab_up", lab_host_names=names[:1])
    all_of_them, _output = lab.playbook("lab_up", lab_host_names=names)
    record_property("first_s", first)
    record_property("all_s", all_of_them)
    factor = slowness()
    assert first < FIRST_S * factor
    assert all_of_them < FURTHER_S * len(names) * factor

    _again, output = lab.playbook("lab_up", lab_host_names=names)
    assert re.search(r"changed=0 ", output), output
    inventory = yaml.safe_load((lab.folder / "build" / "lab" / "inventory.yml").read_text())
    assert list(inventory["lab"]["hosts"]) == names
    assert f"build/bin/labrun exec -t {names[0]} bash" in output

    for name in names:
        assert lab.shell(name, "systemctl is-system-running") == "running\n"
        assert lab.shell(name, "hostname; cat /etc/hostname").split() == [name, name]
        for other in names:
            lab.shell(name, f"ping -c 1 -W 5 {other}")
    ids = {lab.shell(name, "cat /etc/machine-id") for name in names}
    assert len(ids) == len(names)
    lab.shell(names[0], "apt-get update -qq && apt-get install -y -qq busybox-static", timeout=300)
    assert lab.exec(names[1], "test -e /bin/busybox")[0] == 1

    traces = lab.traces()
    for kind in ("mounts", "cgroups", "rules", "processes", "namespaces", "links", "state"):
        assert getattr(traces, kind if kind != "state" else "files"), kind
    _down, output = lab.playbook("lab_down")
    assert traces.left() == {}
    assert not (lab.folder / "build" / "lab" / "inventory.yml").exists()
    assert sorted(path.name for path in (lab.data / "lab").iterdir()) == ["@base", "@lock"]
    assert set(Path("/proc/sys/net/ipv4/conf").iterdir()) - before == set() or traces.left() == {}
    _down, output = lab.playbook("lab_down")
    assert re.search(r"changed=0 ", output), output


def four_steps(lab, **arguments):
    """Check, run, run again, check again; what the run returned."""
    before = lab.traces()
    predicted = lab.module(check=True, **arguments)
    assert predicted["changed"] is True, predicted
    now = lab.traces()
    assert (now.mounts, now.cgroups, now.rules, now.links) == (
        before.mounts,
        before.cgroups,
        before.rules,
        before.links,
    )
    done = lab.module(**arguments)
    assert done["changed"] is True, done
    assert [machine["actions"] for machine in done["machines"]] == [item["actions"] for item in predicted["machines"]]
    assert "--- before\n+++ after\n" in predicted["shown"]
    assert lab.module(**arguments)["changed"] is False
    assert lab.module(check=True, **arguments)["changed"] is False
    return done


def test_the_module_in_four_steps(clean_lab):
    lab = clean_lab
    names = lab.names[:2]
    made = four_steps(lab, name=names, state="created")
    assert {machine["status"] for machine in made["machines"]} == {"stopped"}
    started = four_steps(lab, name=names)
    assert [machine["actions"] for machine in started["machines"]] == [["start"], ["start"]]
    assert all(machine["address"] for machine in started["machines"])
    lab.shell(names[0], "echo kept >/root/kept")
    limited = four_steps(lab, name=names[:1], memory="512M")
    assert limited["machines"][0]["actions"] == ["define", "stop", "start"]
    assert lab.shell(
        names[0],
        "cat /root/kept; cat /sys/fs/cgroup/memory*/memory.limit_in_bytes /sys/fs/cgroup/memory.max"
        " 2>/dev/null || true",
    ).split() == ["kept", str(512 << 20)]
    stopped = four_steps(lab, name=names, state="stopped")
    assert {machine["status"] for machine in stopped["machines"]} == {"stopped"}
    four_steps(lab, name=names[:1], memory="512M")
    assert lab.shell(names[0], "cat /root/kept") == "kept\n"
    anew = lab.module(check=True, name=names[:1], packages=["less"])
    assert anew["machines"][0]["actions"] == ["remove", "create", "start"]
    traces = lab.traces()
    four_steps(lab, name=names, state="absent")
    assert traces.left() == {}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": ["a/b"]}, "a host name of a-z"),
        ({"name": ["UPPER"]}, "a host name of a-z"),
        ({"name": ["-x"]}, "a host name of a-z"),
        ({"name": ["nobody"], "state": "stopped"}, "does not exist"),
        ({"name": ["x"], "packages": ["a b"]}, "is not the name of a Debian package"),
        ({"name": ["x"], "memory": "much"}, "is not a number of bytes"),
        ({"name": ["x"], "image": "lab/none"}, "not in the store"),
        ({"state": "started"}, "name"),
    ],
)
def test_bad_input_is_one_clear_line_and_changes_nothing(lab, arguments, message):
    result = lab.module(**arguments)
    assert result["failed"] is True
    assert message in result["msg"]
    assert len(result["msg"].splitlines()) == 1
    assert not [path for path in (lab.data / "lab").glob("*") if path.name not in ("@base", "@lock")]


@pytest.mark.slow  # molecule's example runs on it, too
def test_debian_13_works_as_well(clean_lab):
    lab = clean_lab
    (name,) = lab.names[:1]
    lab.bring([name], release="trixie")
    assert lab.shell(name, "systemctl is-system-running; . /etc/os-release; echo $VERSION_CODENAME").split() == [
        "running",
        "trixie",
    ]
    lab.shell(name, "apt-get update -qq", timeout=300)
    assert lab.bring([name], release="trixie")[0]["actions"] == []
    traces = lab.traces()
    lab.bring([name], "absent")
    assert traces.left() == {}
