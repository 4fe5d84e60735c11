# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Cases A of the role registry, on one lab host without engines."""

from __future__ import annotations

import pytest
from class_registry import Class

pytestmark = [pytest.mark.root, pytest.mark.engines, pytest.mark.slow]
PASSWORD = "sentinel-of-a-password"


@pytest.fixture(scope="module")
def given():
    """The role's variables."""
    hook = {"name": "hook", "url": "http://127.0.0.1:9/", "headers": {"Authorization": ["sentinel-of-a-token"]}}
    return {
        "users": [{"name": "student", "password": PASSWORD}],
        "cache_upstream": "http://127.0.0.1:5005",
        "verify_image": "library/first:1",
        "private_notifications": [dict(hook, timeout="2s", threshold=5, backoff="1s")],
    }


@pytest.fixture(scope="module")
def school(lab, given, tmp_path_factory):
    made = Class(lab, tmp_path_factory.mktemp("class"), hosts=1)
    made.push_without_engine("first")
    failed, _changed, output = made.role(**given)
    assert not failed, output[-4000:]
    yield made
    traces = lab.traces()
    lab.bring(state="absent")
    assert traces.left() == {}


def test_a01_passwords_are_shown_nowhere(school, given):
    show = "cat /proc/*/cmdline /proc/*/environ 2>/dev/null | tr '\\0' '\\n' | grep -a 'sentinel-o[f]'"
    school.shell(0, f'echo "while sleep 0.05; do {show}; done >>/run/watched" >/run/watch')
    school.shell(0, "systemd-run --quiet --unit watch sh /run/watch")
    changed_users = [*given["users"], {"name": "pupil", "password": "sentinel-of-another"}]
    failed, changed, output = school.role("-vvvv", "--diff", **dict(given, users=changed_users))
    school.shell(0, "systemctl stop watch")
    assert not failed, output
    assert changed == 1
    assert "sentinel-of" not in output
    caught = school.shell(0, "cat /run/watched; journalctl --no-pager | grep 'sentinel-o[f]' || true")
    assert caught == ""
    failed, changed, output = school.role(**given)
    assert (failed, changed) == (False, 1), output


def test_a03_a04_nothing_to_do_is_nothing_done(school, given):
    state = """
systemctl show --property MainPID,ActiveEnterTimestampMonotonic docker-registry-private docker-registry-cache
find /etc/ocilab-registry /etc/systemd/system -type f -exec stat -c '%n %i %Y %a %U %G' {} + | sort
iptables -S
"""
    before = school.shell(0, state)
    assert school.role(check=True, **given)[:2] == (False, 0)
    assert school.role(**given)[:2] == (False, 0)
    other = dict(given, private_config={"log": {"level": "error"}})
    assert school.role(check=True, **other)[:2] == (False, 2)  # the configuration, and the restart
    assert school.shell(0, state) == before


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"users": []}, "registry_users names nobody"),
        ({"cache_upstream": "registry.example"}, "registry_cache_upstream: registry.example is no URL"),
        ({"users": [{"name": "a:b", "password": PASSWORD}]}, "is no name of letters, digits"),
        ({"users": [{"name": "a", "password": "x" * 73}]}, "1 to 72 bytes"),
        ({"cache_networks": ["the class"]}, "the class is no address of a network"),
        (
            {"private_config": {"storage": {"filesystem": {"maxthreads": "many"}}}},
            "the registry does not start with it",
        ),
        ({"private_config": {"http": {"tls": {"certificate": "/none"}}}}, "the registry does not start with it"),
    ],
)
def test_a06_a12_what_cannot_be_used_changes_nothing(school, given, wrong, said):
    state = "cd /etc/ocilab-registry && sha256sum *.yml users; ls . /run;"
    state += "systemctl show --property MainPID docker-registry-private docker-registry-cache"
    before = school.shell(0, state)
    failed, changed, output = school.role(**dict(given, **wrong))
    assert failed
    assert said in output, output[-2000:]
    assert "Traceback" not in output
    assert changed == 0
    assert school.shell(0, state) == before


def test_the_verification_notices(school, given):
    failed, _changed, output = school.role(entry="verify", **given)
    assert not failed, output
    school.shell(0, "systemctl stop docker-registry-cache")
    failed, _changed, output = school.role(entry="verify", **given)
    school.shell(0, "systemctl start docker-registry-cache")
    assert failed
    assert "cache registry: it is not so that it answers without a password" in output
