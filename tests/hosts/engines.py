# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the suites share: hosts that lack an engine skip its tests, and an image that no registry is asked for."""

from __future__ import annotations

import json

import pytest

# A root filesystem of the host's own shell, and the libraries that it needs.
IMAGE = """\
set -e
work=$(mktemp -d /var/tmp/ocilab-tests-XXXXXX)
trap 'rm -rf "$work"' EXIT
mkdir "$work/bin" "$work/proc" "$work/dev" "$work/sys"
for file in /bin/sh /bin/cat $(ldd /bin/sh /bin/cat | grep -o '/[^ ):]*\\.so[^ ):]*' | sort -u); do
    mkdir -p "$work${file%%/*}"
    cp -L "$file" "$work$file"
done
tar -C "$work" -c . | %s import - %s
"""
NAME = "localhost/ocilab-tests:1"


def need(host, program):
    """Skip where the host has no such program."""
    if not host.exists(program):
        pytest.skip(f"{program} is not installed on this host")


def image(host, command):
    """Import the image by the command, docker or podman; its name."""
    host.check_output(IMAGE % (command, NAME))
    return NAME


def as_text(template):
    """A template of Go's for a command line that Ansible would otherwise take for its own."""
    return "{% raw %}" + template + "{% endraw %}"


def told(host, command, template="{{json .}}"):
    """What a command tells in JSON by a template."""
    return json.loads(host.check_output(f"{command} --format '{as_text(template)}'"))


def enabled_units(host, *names):
    """Those of the units that systemd starts with the host."""
    return [name for name in names if host.run("systemctl is-enabled --quiet %s", name).rc == 0]


def deviations(host, engine):
    """The items of hardening that an engine does not meet, but for those that are options."""
    result = host.ansible("ocilab.hosts.engine_verify", json.dumps({"engines": [engine]}), check=False)
    assert "hardening" in result, result
    options = {"docker-userns"}
    return [item for item in result["hardening"] if item["state"] == "deviates" and item["id"] not in options]
