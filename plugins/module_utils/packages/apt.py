# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""apt and dpkg, by their commands: what is installed, what a change would do, and the change."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
import time

from ..linux import files
from ..linux.errors import InvalidInput, OcilabError, Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Iterable, Iterator

LISTS = "/var/lib/apt/lists"
STATES = "/var/lib/apt/extended_states"
POLICY = "/usr/sbin/policy-rc.d"
_POLICY_TEXT = (
    b"#!/bin/sh\n# ocilab.hosts: no service starts before it is configured. Goes when apt is done.\nexit 101\n"
)
_NAME = re.compile(r"^[a-z0-9][a-z0-9+.-]+\Z")
_VERSION = re.compile(r"^[0-9][0-9A-Za-z.+:~*-]*\Z")
_STEP = re.compile(r"^(Inst|Remv|Purg) (\S+)(?: \[(\S+?)\])?(?: \((\S+) )?", re.MULTILINE)
_LOCK_TIMEOUT_S = 600
_STATES_BYTES = 1 << 24
# Lists that are younger need no update before packages are installed.
_FRESH_S = 3600


class Plan:
    """What a command would do. new, changed: version by name; removed: names."""

    def __init__(self, output: str, before: dict[str, str]) -> None:
        self.new: dict[str, str] = {}
        self.changed: dict[str, str] = {}
        self.removed: set[str] = set()
        for step, name, _old, version in _STEP.findall(output):
            if step == "Inst":
                (self.changed if name in before else self.new)[name] = version
            else:
                self.removed.add(name)


class Apt:
    """options: further -o options; configuration: a file of settings; no_proxy: hosts that no proxy is between."""

    def __init__(self, options: Iterable[str] = (), configuration: str = "", no_proxy: str = "") -> None:
        if not shutil.which("apt-get"):
            raise Unsupported("packages: this host has no apt-get")
        self.options = list(options)
        self.configuration = configuration
        self.no_proxy = no_proxy

    def run(self, *words: str) -> str:
        """What the command prints. Raises OcilabError with its own error line."""
        environment = dict(os.environ, LC_ALL="C", DEBIAN_FRONTEND="noninteractive", APT_LISTCHANGES_FRONTEND="none")
        if self.no_proxy:
            environment["no_proxy"] = self.no_proxy
        result = subprocess.run(
            words,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        if result.returncode != 0:
            errors = re.findall(r"^(?:E: |dpkg: error|dpkg-deb: error).*$", result.stderr, re.MULTILINE)
            lines = errors or result.stderr.strip().splitlines()[-2:] or result.stdout.strip().splitlines()[-2:]
            raise OcilabError("%s: %s" % (" ".join(words[:1]), "; ".join(line.strip() for line in lines)))
        return result.stdout

    def get(self, *words: str) -> str:
        """apt-get with the options of this house."""
        options = ["-c", self.configuration] if self.configuration else []
        options += ["-o", "DPkg::Lock::Timeout=%d" % _LOCK_TIMEOUT_S]
        for option in ["Dpkg::Options::=--force-confdef", "Dpkg::Options::=--force-confold", *self.options]:
            options += ["-o", option]
        return self.run("apt-get", "-q", "-y", *options, *words)

    def architecture(self) -> str:
        return self.run("dpkg", "--print-architecture").strip()

    def installed(self) -> dict[str, str]:
        """Version by name; packages of a foreign architecture as name:architecture."""
        native = self.architecture()
        shown = "${db:Status-Status}\t${Package}\t${Architecture}\t${Version}\n"
        rows = [line.split("\t") for line in self.run("dpkg-query", "-W", "-f", shown).splitlines()]
        return {
            name if architecture in (native, "all") else name + ":" + architecture: version
            for status, name, architecture, version in rows
            if status == "installed"
        }

    def leftovers(self) -> set[str]:
        """The packages that were removed, all but their configuration."""
        rows = self.run("dpkg-query", "-W", "-f", "${db:Status-Status} ${Package}\n").splitlines()
        return {row.split()[1] for row in rows if row.startswith("config-files ")}

    def manual(self) -> set[str]:
        """The packages that somebody asked for: what apt-mark(8) shows, without its half second."""
        native, auto = self.architecture(), set()
        try:
            stanzas = files.read(STATES, _STATES_BYTES).decode("utf-8", "replace").split("\n\n")
        except FileNotFoundError:
            stanzas = []
        for stanza in stanzas:
            fields = dict(row.split(": ", 1) for row in stanza.splitlines() if ": " in row)
            if fields.get("Auto-Installed") == "1":
                name, architecture = fields["Package"], fields.get("Architecture", native)
                auto.add(name if architecture in (native, "all") else name + ":" + architecture)
        return set(self.installed()) - auto

    def mark(self, how: str, names: Iterable[str]) -> None:
        """how: auto or manual."""
        words = sorted(names)
        if words:
            self.run("apt-mark", how, *words)

    def stale(self) -> bool:
        """Whether the lists of packages want an update before something is installed."""
        try:
            lists = any(name.endswith("Packages") or "_Packages" in name for name in os.listdir(LISTS))
            return not lists or time.time() - os.stat(LISTS).st_mtime > _FRESH_S
        except FileNotFoundError:
            return True

    def update(self) -> None:
        """Update the lists of packages; waits for another update. Raises OcilabError."""
        until = time.monotonic() + _LOCK_TIMEOUT_S
        while True:
            try:
                # A repository that cannot be reached is a warning to apt, and the cause of what fails later.
                self.get("-o", "APT::Update::Error-Mode=any", "update")
                return
            except OcilabError as error:
                if "Could not get lock" not in str(error) or time.monotonic() > until:
                    raise
                time.sleep(1)

    def plan(self, *words: str) -> Plan:
        """What apt-get would do with these words."""
        return Plan(self.get("-s", *words), self.installed())

    @contextlib.contextmanager
    def services_stay(self) -> Iterator[None]:
        """No package starts a service meanwhile (policy-rc.d); a policy of the host's own is left alone."""
        if not os.path.lexists(POLICY):
            files.replace(POLICY, _POLICY_TEXT, 0o755)
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                with open(POLICY, "rb") as file:
                    ours = file.read() == _POLICY_TEXT
                if ours:  # also one that a killed run has left
                    os.unlink(POLICY)

    def unneeded(self, auto: Iterable[str], manual: Iterable[str]) -> set[str]:
        """The packages that nobody would need if auto were marked as automatically installed, and manual as asked for.

        Those that others only recommend or suggest count as unneeded. Nothing changes: apt has a copy of its marks.
        """
        with tempfile.TemporaryDirectory(prefix="ocilab-") as folder:
            states = os.path.join(folder, "extended_states")
            shutil.copyfile(STATES, states) if os.path.exists(STATES) else open(states, "w").close()
            os.chmod(folder, 0o755)
            copy = "Dir::State::extended_states=" + states
            for how, names in (("auto", sorted(auto)), ("manual", sorted(manual))):
                if names:
                    self.run("apt-mark", "-o", copy, how, *names)
            words = ("-o", copy, "-o", "APT::AutoRemove::RecommendsImportant=false")
            return self.plan(*words, "-o", "APT::AutoRemove::SuggestsImportant=false", "autoremove").removed


def check_name(name: str, what: str = "package") -> str:
    """The name, if Debian's policy (5.6.1) allows it for a package. Raises InvalidInput."""
    if not _NAME.match(name):
        raise InvalidInput("%s %r: is no name, as small letters and digits are" % (what, name))
    return name


def check_version(name: str, version: str) -> str:
    """The version, which may hold asterisks. Raises InvalidInput."""
    if not _VERSION.match(version):
        raise InvalidInput("package %s: %r is no version" % (name, version))
    return version
