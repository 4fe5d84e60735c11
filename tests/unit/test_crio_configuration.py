# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The configuration that the role crio writes, as TOML, for hosts of both kinds of cgroups and for what they have."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import tomllib
import yaml

ROLE = Path(__file__).resolve().parents[2] / "roles" / "crio"
CGROUP2 = "/sys/fs/cgroup/cgroup.controllers"


@pytest.fixture
def rendered(tmp_path):
    """The settings for a host that has the paths."""

    def render(*there, **variables):
        task = {
            "ansible.builtin.template": {
                "src": str(ROLE / "templates" / "settings.conf.j2"),
                "dest": f"{tmp_path}/conf",
            },
            "vars": {"crio_settings": "{{ crio_defaults | combine({'crio': crio_config}, recursive=true) }}"},
        }
        files = [str(ROLE / name) for name in ("defaults/main.yml", "vars/main.yml", "vars/Debian.yml")]
        play = {"hosts": "localhost", "gather_facts": False, "vars_files": files, "tasks": [task]}
        (tmp_path / "play.yml").write_text(yaml.safe_dump([play]))
        given = {"crio_there": list(there), **{"crio_" + key: value for key, value in variables.items()}}
        words = [sys.executable, "-m", "ansible", "playbook", str(tmp_path / "play.yml"), "-e", json.dumps(given)]
        environment = dict(os.environ, ANSIBLE_NOCOLOR="1", ANSIBLE_LOCALHOST_WARNING="false")
        done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return tomllib.loads((tmp_path / "conf").read_text())["crio"]

    return render


def test_with_cgroup_v1(rendered):
    settings = rendered("/usr/bin/crio", "/usr/libexec/crio/crun", "/usr/libexec/crio/runc", "/usr/libexec/crio/conmon")
    runtime = settings["runtime"]
    assert (runtime["cgroup_manager"], runtime["default_runtime"]) == ("cgroupfs", "runc")
    assert {one["monitor_cgroup"] for one in runtime["runtimes"].values()} == {"pod"}
    assert settings["network"] == {"network_dir": "/etc/crio/net.d", "plugin_dirs": ["/usr/lib/cni"]}


def test_with_cgroup_v2_and_a_bundle(rendered):
    there = [
        CGROUP2,
        "/usr/local/bin/crio",
        "/usr/libexec/crio/crun",
        "/usr/libexec/crio/conmon",
        "/opt/cni/bin/bridge",
    ]
    settings = rendered(*there, config={"image": {"pause_image": "a/b:1"}, "runtime": {"log_level": "debug"}})
    runtime = settings["runtime"]
    assert (runtime["cgroup_manager"], runtime["default_runtime"]) == ("systemd", "crun")
    assert list(runtime["runtimes"]) == ["crun"]
    assert runtime["runtimes"]["crun"]["monitor_cgroup"] == "system.slice"
    assert settings["network"]["plugin_dirs"] == ["/opt/cni/bin"]
    assert (settings["image"]["pause_image"], runtime["log_level"]) == ("a/b:1", "debug")


def test_with_the_distributions_runtime_and_monitor(rendered):
    """A CRI-O that somebody has built, without what its authors put beside it."""
    runtime = rendered("/usr/local/bin/crio", "/usr/sbin/runc", "/usr/bin/conmon")["runtime"]
    assert runtime["default_runtime"] == "runc"
    handler = runtime["runtimes"]["runc"]
    assert (handler["runtime_path"], handler["monitor_path"]) == ("/usr/sbin/runc", "/usr/bin/conmon")
