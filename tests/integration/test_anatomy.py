# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A container taken apart on a real kernel: what each step is said to have made is on the host, and was not before."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.ocilab.hosts.plugins.module_utils.labrun import anatomy
from ansible_collections.ocilab.hosts.plugins.module_utils.linux.errors import NotFound

pytestmark = pytest.mark.root
REPOSITORY = Path(__file__).resolve().parent.parent.parent


class Checked(anatomy.Observer):
    """Holds each step against the host at the moment at which the container's process waits."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.pid = 0

    def observe(self, step, pid):
        super().observe(step, pid)
        self.pid = pid or self.pid
        new = self.steps[-1]["new"]
        for path in new["files"]:
            assert os.path.exists(path)
        for item in new["cgroups"]:
            for name, value in item["limits"].items():
                assert "; ".join(Path(item["path"], name).read_text().split("\n")).strip("; ") == value
            assert [int(word) for word in Path(item["path"], "cgroup.procs").read_text().split()] == item["processes"]
        for item in new["namespaces"]:
            assert os.stat(f"/proc/{pid}/ns/{anatomy.namespaces.KINDS[item['kind']][1]}").st_ino == item["inode"]
            assert item["inode"] != item["host_inode"]
        mounted = Path(f"/proc/{pid}/mountinfo").read_text() if pid else ""
        for item in new["mounts"]:
            assert f" {item['target']} " in mounted


def test_each_step_brings_what_it_is_for(bundle):
    bundle.config["process"]["args"] = ["/bin/sleep", "60"]
    bundle.config["linux"]["resources"]["pids"] = {"limit": 20}
    bundle.write()
    observer = Checked(bundle.name, str(bundle.path), str(bundle.state))
    steps = observer.run()
    assert [step["step"] for step in steps] == list(anatomy.STEPS)
    new = {step["step"]: step["new"] for step in steps}
    assert not any(new["receive_bundle"][kind] for kind in ("cgroups", "namespaces", "mounts", "process"))
    assert any(item["limits"].get("pids.max") == "20" for item in new["create_cgroup"]["cgroups"])
    assert new["create_cgroup"]["process"] == new["create_cgroup"]["namespaces"] == []
    kinds = {item["kind"] for item in new["create_namespaces"]["namespaces"]}
    assert kinds == {"pid", "network", "ipc", "uts", "mount"}
    assert new["create_namespaces"]["mounts"] == []
    assert {item["name"]: item["value"] for item in new["create_namespaces"]["process"]}["pid_inside"] == "1"
    assert [item["kind"] for item in new["build_rootfs"]["namespaces"]] == ["cgroup"]
    targets = {item["target"] for item in new["build_rootfs"]["mounts"]}
    assert {"/", "/proc", "/dev", "/sys"} <= targets
    assert any(item["processes"] == [observer.pid] for item in new["build_rootfs"]["cgroups"])
    started = {item["name"]: item["value"] for item in new["start"]["process"]}
    assert started["command"] == "/bin/sleep 60"
    rights = {item["name"]: item["value"] for item in new["become_process"]["process"] + new["start"]["process"]}
    assert rights["capabilities"].startswith("14: ")
    assert (rights["seccomp"], rights["no_new_privs"]) == ("2", "1")
    assert steps[-1]["left"] == []
    bundle.assert_nothing_left()


def test_a_failure_in_the_middle_leaves_nothing(bundle):
    class Failing(anatomy.Observer):
        def observe(self, step, pid):
            super().observe(step, pid)
            if step == "build_rootfs":
                raise NotFound("the observer failed")

    bundle.config["process"]["args"] = ["/bin/sleep", "60"]
    bundle.write()
    observer = Failing(bundle.name, str(bundle.path), str(bundle.state))
    with pytest.raises(NotFound, match="the observer failed"):
        observer.run()
    assert [step["step"] for step in observer.steps][-1] == "build_rootfs"
    bundle.assert_nothing_left()


def host_state():
    cgroups = sorted(str(path) for path in Path("/sys/fs/cgroup").glob("*/labrun-anatomy-*"))
    temporary = sorted(str(path) for path in Path("/tmp").glob("ocilab-work-*"))
    mounted = [line for line in Path("/proc/self/mounts").read_text().splitlines() if "ocilab-work-" in line]
    return cgroups, temporary, mounted, sorted(str(path) for path in Path("/run/labrun").glob("anatomy-*"))


def test_the_playbook_tells_the_steps_and_leaves_the_host_as_it_was(tmp_path):
    before = host_state()
    wanted = {"anatomy_base_dir": str(tmp_path), "anatomy_language": "ko"}
    command = [sys.executable, "-m", "ansible", "playbook", "ocilab.hosts.anatomy", "-e", json.dumps(wanted)]
    environment = dict(os.environ, ANSIBLE_CONFIG=str(REPOSITORY / "playbooks" / "ansible.cfg"))
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 0, result.stdout[-3000:]
    for words in (
        "5. become_process",
        "컨테이너 안에서의 pid: 1",
        "명령줄: /bin/sleep 60",
        "호스트에 남은 것이 없습니다.",
    ):
        assert words in result.stdout
    page = (tmp_path / "build" / "anatomy" / "anatomy.html").read_text(encoding="utf-8")
    assert "pids.max = 20" in page
    assert host_state() == before
