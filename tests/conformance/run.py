# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the validation programs of the OCI runtime-tools against an OCI runtime, and print what each of them said.

The suite is the caller's: a checkout of github.com/opencontainers/runtime-tools in which `make runtimetest
validation-executables` has run, so that validation/NAME/NAME.t exist. Root is needed. The programs share cgroup names:
two runs on one host at a time disturb each other.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import re
import shlex
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

_POINT = re.compile(r"^(not ok|ok) \d+(?: - (.*))?")
_COMPLAINT = re.compile(r'^ *"(?:error|stderr)": "(.*)",?$', re.MULTILINE)
_OUTPUT_KEPT = 6000  # characters; enough to see why
_ESCAPED = re.compile(r"\\([0-7]{3})")
# What the suite's programs call their cgroups (its cgroups.AbsCgroupPath and cgroups.RelCgroupPath, outermost first).
_CGROUPS = ("cgrouptest", "testdir")


def verdict(output: str, code: int | None) -> tuple[str, list[str]]:
    """('pass', 'fail', 'skip' or 'error', why) of one program, by its TAP lines (testanything.org).

    Some programs have no points: they say "1..0", and what they dislike stands in a diagnostic, or nothing does.
    """
    points = [match for match in map(_POINT.match, output.splitlines()) if match]
    failed = [match[2] or "" for match in points if match[1] == "not ok" and "# TODO" not in match[0]]
    if code is None:
        return "error", ["did not end in time"]
    if failed:
        return "fail", [*failed, *_COMPLAINT.findall(_before_a_failure(output))]
    if code != 0:
        return "error", [f"exit code {code}: {output.strip()[-300:]}"]
    if not points:
        complaints = _COMPLAINT.findall(output)
        return ("fail" if complaints else "pass"), complaints
    if all("# SKIP" in match[0] for match in points):
        return "skip", [match[2] or "" for match in points]
    return "pass", []


def _before_a_failure(output: str) -> str:
    """The diagnostics of the points that failed: each stands behind its point."""
    parts = re.split(r"^(?=(?:not )?ok \d)", output, flags=re.MULTILINE)
    return "".join(part for part in parts if part.startswith("not ok"))


class Runner:
    """Runs programs on a runtime. Its state and the bundles lie in a folder of ours, so that what is left is known."""

    def __init__(self, runtime: str, suite: Path, folder: Path, timeout_s: float) -> None:
        self.runtime = runtime
        self.suite = suite
        self.state = folder / "state"
        self.bundles = folder / "bundles"
        self.timeout_s = timeout_s
        for path in (self.state, self.bundles):
            path.mkdir()
        os.chmod(folder, 0o755)  # a container's root may be another user on the host
        self.command = folder / Path(runtime).name
        words = shlex.join([runtime, "--root", str(self.state)])
        self.command.write_text(f'#!/bin/sh\nexec {words} "$@"\n')
        self.command.chmod(0o755)

    def run(self, path: Path) -> tuple[str, list[str], str]:
        """The verdict, why, and the output of one program. Nothing of it is left afterwards."""
        environment = dict(os.environ, RUNTIME=str(self.command), TMPDIR=str(self.bundles))
        cgroups = _cgroups()
        with tempfile.TemporaryFile("w+", errors="replace") as output:
            # A session of its own, so that what the program started can be ended with it.
            program = subprocess.Popen(
                [path], cwd=self.suite, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                start_new_session=True,
            )  # fmt: skip
            try:
                code: int | None = program.wait(self.timeout_s)
            except subprocess.TimeoutExpired:
                code = None
            try:
                os.killpg(program.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            program.wait()
            self._clean(cgroups)
            output.seek(0)
            text = output.read()
        return (*verdict(text, code), text)

    def _clean(self, cgroups: set[Path]) -> None:
        for folder in sorted(self.state.iterdir()):
            delete = [self.runtime, "--root", str(self.state), "delete", "--force", folder.name]
            try:
                subprocess.run(delete, capture_output=True, timeout=self.timeout_s, check=False)
            except subprocess.TimeoutExpired:
                print(f"      {shlex.join(delete)} does not end", flush=True)
        for mount in reversed(_mount_points()):
            if mount.startswith(f"{self.bundles}/"):
                subprocess.run(["umount", "--lazy", mount], check=False)
        subprocess.run(["find", str(self.bundles), "-mindepth", "1", "-xdev", "-delete"], check=False)
        for path in sorted(_cgroups() - cgroups, reverse=True):
            try:
                path.rmdir()
            except OSError as error:
                print(f"      left: {path}: {error.strerror}", flush=True)


def _mount_points() -> list[str]:
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [_ESCAPED.sub(lambda match: chr(int(match[1], 8)), line.split()[4]) for line in lines]


def _cgroups() -> set[Path]:
    """The cgroups, in every hierarchy and at every depth, that are named as the suite's."""
    root = Path("/sys/fs/cgroup")
    tops = [top for name in _CGROUPS for pattern in (name, f"*/{name}") for top in root.glob(pattern)]
    return {Path(folder) for top in tops for folder, _folders, _files in os.walk(top)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runtime", help="the runtime's command")
    parser.add_argument("suite", type=Path, help="the directory of the built runtime-tools")
    parser.add_argument("--only", nargs="*", default=[], help="names of programs")
    parser.add_argument("--json", type=Path, help="write the results to this file, for tests/conformance/table")
    parser.add_argument("--timeout-s", type=float, default=60, help="for each program (default: 60)")
    parser.add_argument("-v", "--verbose", action="store_true", help="print why a program did not pass")
    arguments = parser.parse_args()
    suite = arguments.suite.resolve()
    programs = sorted(suite.glob("validation/*/*.t"))
    if arguments.only:
        programs = [path for path in programs if path.stem in arguments.only]
    if not programs:
        print(f"{suite}: no built programs validation/NAME/NAME.t; see --help", file=sys.stderr)
        return 2
    runtime = arguments.runtime if "/" not in arguments.runtime else str(Path(arguments.runtime).resolve())
    try:
        version = subprocess.run([runtime, "--version"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"{runtime} --version: {error}", file=sys.stderr)
        return 2
    results = {}
    with tempfile.TemporaryDirectory(prefix="conformance-") as folder:
        runner = Runner(runtime, suite, Path(folder), arguments.timeout_s)
        for path in programs:
            found, why, output = runner.run(path)
            results[path.stem] = {"verdict": found, "why": why}
            if found != "pass":
                results[path.stem]["output"] = output[-_OUTPUT_KEPT:]
            print(f"{found:5} {path.stem}", flush=True)
            if arguments.verbose:
                print("".join(f"        {point}\n" for point in why), end="", flush=True)
    verdicts = [item["verdict"] for item in results.values()]
    counts = {kind: verdicts.count(kind) for kind in ("pass", "fail", "skip", "error")}
    print(" ".join(f"{count} {kind}" for kind, count in counts.items()))
    if arguments.json:
        document = {
            "runtime": Path(runtime).name,
            "version": version.splitlines(),
            "suite": _revision(suite),
            "kernel": platform.release(),
            "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
            "programs": results,
        }
        arguments.json.write_text(json.dumps(document, indent=2) + "\n")
    return 0 if counts["fail"] + counts["error"] == 0 else 1


def _revision(suite: Path) -> str:
    """What git calls the suite's checkout; "unknown" where it is none."""
    said = subprocess.run(
        ["git", "-C", str(suite), "describe", "--always", "--tags"], capture_output=True, text=True, check=False
    )
    return said.stdout.strip() or "unknown"


if __name__ == "__main__":
    sys.exit(main())
