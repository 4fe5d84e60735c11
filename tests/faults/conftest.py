# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A container under fault: a bundle with a token in the environment of all its processes, so that none can hide."""

from __future__ import annotations

import json
import os

import leaks
import pytest


class Victim:
    """A bundle whose processes are found again wherever they are."""

    def __init__(self, bundle):
        self.bundle = bundle
        self.config = bundle.config
        self.name = bundle.name
        self.path = bundle.path
        self.rootfs = bundle.path / "rootfs"
        self.token = f"VICTIM_{os.getpid()}"
        self.config["process"]["env"].append(self.token + "=1")
        self.environment = dict(os.environ, **{self.token: "1"})

    def shell(self, script):
        """Make the script what the container runs."""
        self.config["process"]["args"] = ["/bin/sh", "-c", script]

    def labrun(self, *words):
        return self.bundle.labrun(*words, env=self.environment, stdin=-3)

    def must(self, *words):
        result = self.labrun(*words)
        assert result.returncode == 0, (words, result.stderr)
        return result

    def create(self):
        self.bundle.write()
        return self.labrun("create", "--bundle", str(self.path), self.name)

    def run(self):
        self.bundle.write()
        return self.labrun("run", "--bundle", str(self.path), self.name)

    def begin(self):
        """Create and start it."""
        result = self.create()
        assert result.returncode == 0, result.stderr
        self.must("start", self.name)

    def status(self):
        result = self.labrun("state", self.name)
        return json.loads(result.stdout)["status"] if result.returncode == 0 else "absent"

    def pid(self):
        return json.loads(self.must("state", self.name).stdout)["pid"]

    def left(self, grace_s=3.0):
        return leaks.find(self.name, self.token, [str(self.path)], self.bundle.state, grace_s=grace_s)


@pytest.fixture
def victim(bundle):
    made = Victim(bundle)
    yield made
    leaks.clear(made.name, made.token)
