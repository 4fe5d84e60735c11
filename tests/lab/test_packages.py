# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module engine_packages in a lab host: its four steps, owners that share packages, no repository at all."""

from __future__ import annotations

import base64
import json
import subprocess
import sys

import pytest
from lab_hosts import ANSIBLE

pytestmark = [pytest.mark.root, pytest.mark.engines]
LIST = "dpkg-query -W -f '${Package} ${Version} ${db:Status-Abbrev}\\n'; apt-mark showmanual"
LEDGER = "/var/lib/ocilab.hosts/packages.json"


@pytest.fixture(scope="module")
def host(lab):
    lab.bring(lab.names[:1])
    lab.shell(lab.names[0], "apt-get update -qq 2>&1", timeout=300)
    yield lab.names[0]
    lab.bring(state="absent")


@pytest.fixture
def run(lab, host, tmp_path):
    """Run the module in the lab host."""
    inventory = tmp_path / "inventory.json"
    known = dict(lab.bring([host], "created")[0]["vars"])
    inventory.write_text(json.dumps({"all": {"hosts": {host: known}}}))

    def call(check=False, **arguments):
        words = [sys.executable, "-m", "ansible", "adhoc", host, "-i", str(inventory)]
        words += ["-m", "ocilab.hosts.engine_packages", "-a", json.dumps(arguments)] + (["--check"] if check else [])
        environment = dict(ANSIBLE, ANSIBLE_STDOUT_CALLBACK="ansible.builtin.minimal")
        result = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=600, check=False)
        text = result.stdout
        return dict(json.loads(text[text.index(" => ") + 4 :]), failed=result.returncode != 0)

    return call


def four_steps(run, **arguments):
    """Check mode tells the truth, and what is done is not done again; what the run has returned."""
    predicted = run(check=True, **arguments)
    done = run(**arguments)
    assert not done["failed"], done
    assert done["changed"] is True
    assert {key: predicted[key] for key in ("changed", "installed", "removed", "packages")} == {
        key: done[key] for key in ("changed", "installed", "removed", "packages")
    }
    assert run(check=True, **arguments)["changed"] is False
    assert run(**arguments)["changed"] is False
    return done


@pytest.mark.slow
def test_four_steps_and_back(lab, host, run):
    before = lab.shell(host, LIST)
    done = four_steps(run, owner="one", name=["containerd"])
    assert done["installed"] == ["containerd", "runc"]
    # Nothing has started it, and nothing of what kept it from starting is left.
    assert lab.exec(host, "systemctl is-active containerd")[1] == "inactive\n"
    lab.shell(host, "test ! -e /usr/sbin/policy-rc.d")
    assert four_steps(run, owner="two", name=["runc", "tini"])["installed"] == ["tini"]
    assert four_steps(run, owner="one", state="absent")["removed"] == ["containerd"]
    assert four_steps(run, owner="two", state="absent")["removed"] == ["runc", "tini"]
    assert lab.shell(host, LIST) == before
    lab.shell(host, "test ! -e /var/lib/ocilab.hosts")


def test_what_was_there_before_stays(lab, host, run):
    lab.shell(host, "apt-get install -y -qq tini >/dev/null 2>&1", timeout=300)
    before = lab.shell(host, LIST)
    run(owner="one", name=["tini"])
    assert run(owner="one", state="absent")["removed"] == []
    assert lab.shell(host, LIST) == before
    lab.shell(host, "apt-get purge -y -qq tini >/dev/null 2>&1", timeout=300)


@pytest.mark.slow
def test_without_a_repository(lab, host, run):
    folder = "mkdir -p /srv/debs && cd /srv/debs && apt-get download -qq tini && tar -cf /srv/debs.tar -C /srv debs"
    lab.shell(host, f"({folder}) 2>&1", timeout=300)
    there = {"package_dir": "/srv/debs", "remote_src": True}
    assert four_steps(run, owner="one", name=["tini"], **there)["installed"] == ["tini"]
    run(owner="one", state="absent")
    missing = run(owner="one", name=["runc"], **there)
    assert missing["failed"]
    assert "has no package runc" in missing["msg"]
    digest = lab.shell(host, "sha256sum /srv/debs.tar").split()[0]
    archive = {"owner": "one", "name": ["tini"], "archive_url": "file:///srv/debs.tar"}
    wrong = run(archive_sha256=digest[::-1], **archive)
    assert wrong["failed"]
    assert "sha256" in wrong["msg"]
    assert lab.exec(host, "dpkg -s tini")[0] != 0
    assert four_steps(run, archive_sha256=digest, **archive)["installed"] == ["tini"]
    run(owner="one", state="absent")


def test_packages_of_the_controller(lab, host, run, tmp_path):
    folder = tmp_path / "packages"
    folder.mkdir()
    empty = run(owner="one", name=["tini"], package_dir=str(folder))
    assert empty["failed"]
    assert "holds no package" in empty["msg"]
    lab.shell(host, "cd /run && apt-get download -qq tini 2>&1", timeout=300)
    (name,) = lab.shell(host, "cd /run && echo tini_*.deb").split()
    (folder / name).write_bytes(base64.b64decode(lab.shell(host, f"base64 /run/{name}; rm /run/{name}")))
    assert four_steps(run, owner="one", name=["tini"], package_dir=str(folder))["installed"] == ["tini"]
    assert lab.shell(host, "find / -xdev -name packages.tar -not -path '/proc/*'") == ""
    (folder / name).rename(folder / "renamed.deb")  # other bytes than before: looked at again
    assert run(owner="one", name=["tini"], package_dir=str(folder))["installed"] == []
    run(owner="one", state="absent")
    both = run(
        owner="one", name=["tini"], package_dir=str(folder), archive_url="file:///srv/x", archive_sha256="0" * 64
    )
    assert "only one can be the source" in both["msg"]
    missing = run(owner="one", name=["tini"], package_dir=str(folder / "missing"))
    assert missing["failed"]
    assert "missing" in missing["msg"]


def test_another_owners_package_is_not_removed(lab, host, run):
    """bcron and cron exclude each other."""
    lab.shell(host, "apt-get install -y -qq --no-install-recommends cron >/dev/null 2>&1", timeout=300)
    refused = run(owner="one", name=["bcron"])
    assert refused["failed"]
    assert "would remove cron" in refused["msg"]
    assert lab.exec(host, f"test -e {LEDGER}")[0] != 0
    assert run(owner="one", name=["bcron"], allow_removal=True)["removed"] == ["cron"]
    run(owner="one", state="absent")
    lab.shell(host, "apt-get purge -y -qq cron cron-daemon-common >/dev/null 2>&1", timeout=300)
