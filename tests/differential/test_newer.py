# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Properties that runc 1.1.5 is too old for, or refuses: what labrun has to show, by the specification."""

from __future__ import annotations

import re
from typing import Any

import pytest
from cases_linux import MIB, MKDIR, MKDIRS, errno, linux, mapped, resources, seccomp
from cases_mounts import mount
from cases_process import both, process, top

pytestmark = pytest.mark.root


def namespaces(*items):
    return lambda config, _case: config["linux"]["namespaces"].extend(items)


def idmapped(option, *more):
    """A bind mount whose owner 0 on disk is shown as 1000."""
    ids = [{"containerID": 0, "hostID": 1000, "size": 65536}]

    def change(config, case):
        mount("bind", "volume", option, *more)(config, case)
        config["mounts"][-1].update(uidMappings=ids, gidMappings=ids)

    return change


# name: (change, shell, the fields and what they have to match)
CASES: dict[str, tuple[Any, str, dict[str, str]]] = {
    "domainname": (top(domainname="lab.example"), "", {"sys.domainname": r"lab\.example"}),
    "scheduler": (process(scheduler={"policy": "SCHED_BATCH", "nice": 5}), "", {"stat.policy": "3", "stat.nice": "5"}),
    "nice": (
        process(scheduler={"policy": "SCHED_OTHER", "nice": 19}),
        "",
        {"stat.policy": "0", "stat.nice": "19"},
    ),
    "priority of input and output": (
        process(ioPriority={"class": "IOPRIO_CLASS_BE", "priority": 6}),
        "",
        {"ioprio": "best-effort: prio 6"},
    ),
    "idle input and output": (
        process(ioPriority={"class": "IOPRIO_CLASS_IDLE", "priority": 0}),
        "",
        {"ioprio": "idle.*"},
    ),
    "personality": (linux(personality={"domain": "LINUX32"}), "uname -m", {"personality": "00000008", "extra": "i686"}),
    "time namespace": (
        both(
            namespaces({"type": "time"}),
            linux(timeOffsets={"monotonic": {"secs": 500, "nanosecs": 7}, "boottime": {"secs": 9}}),
        ),
        "",
        {"namespace.time": "own", "timens_offsets": r"monotonic +500 +7\nboottime +9 +0"},
    ),
    "huge pages": (
        resources(hugepageLimits=[{"pageSize": "2MB", "limit": 4 * MIB}]),
        "",
        {r"limit.unified.hugetlb.2MB.max": str(4 * MIB)},
    ),
    "seccomp flags": (
        seccomp("SCMP_ACT_ALLOW", errno(MKDIRS), flags=["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"]),
        MKDIR,
        {"extra": "1\n0", "status.Speculation_Store_Bypass": ".*vulnerable.*"},
    ),
    "tmpfs with defaults": (mount("tmpfs", "tmpfs", "defaults"), "", {"mountinfo./at": "tmpfs tmpfs .*"}),
    "bind that follows no links": (
        mount("bind", "volume", "bind", "nosymfollow"),
        "",
        {"mountinfo./at": ".*nosymfollow.*"},
    ),
    "unbindable root": (linux(rootfsPropagation="unbindable"), "", {"mountinfo./": ".* unbindable"}),
    "read-only recursively": (
        mount("bind", "volume", "rbind", "rro"),
        "touch /at/x || echo refused",
        {"extra": "refused", "mountinfo./at": ".* ro,.*"},
    ),
    "id-mapped": (idmapped("bind", "idmap"), "stat -c '%u %g' /at/file", {"extra": "1000 1000"}),
    "id-mapped recursively": (idmapped("rbind", "ridmap"), "stat -c '%u %g' /at/file", {"extra": "1000 1000"}),
    "id-mapped by the user namespace": (
        both(mapped(), lambda config, case: mount("bind", "volume", "bind", "idmap", at="/home")(config, case)),
        "stat -c '%u %g' /home/file",
        {"extra": "0 0"},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_what_runc_is_too_old_for(pair, name, case_of):
    change, extra, expected = CASES[name]
    config = case_of(change, extra)
    seen = pair.observe(pair.labrun, config)
    assert (seen["create"], seen.get("start"), seen.get("delete")) == ("0", "0", "0"), seen.get("why")
    wrong = {
        key: seen.get(key) for key, value in expected.items() if not re.fullmatch(value, seen.get(key, ""), re.DOTALL)
    }
    assert not wrong


REFUSED = {
    "an errno of what returns none": seccomp("SCMP_ACT_ALLOW", errno(MKDIRS), defaultErrnoRet=38),
    "resource control that the host lacks": linux(intelRdt={"closID": "x", "l3CacheSchema": "L3:0=f"}),
    "an idmap option of an unknown range": lambda config, case: (
        mount("bind", "volume", "bind", "idmap")(config, case),
        config["mounts"][-1].update(uidMappings=[], gidMappings=[]),
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_specification_refuses(pair, name, case_of):
    seen = pair.observe(pair.labrun, case_of(REFUSED[name], ""))
    assert seen["create"] == "1"
    assert len(seen["why"].splitlines()) == 1
    assert seen["left"] == "False"
