# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is started: the bundle of `runc spec`, with a filter of system calls and limits as Docker gives them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

from ansible_collections.ocilab.hosts.plugins.module_utils.spec import seccomp

PROGRAM = "a static `true` (busybox)"
BUNDLE = "`runc spec`, the collection's default filter (Docker's list of calls, for x86_64, x86 and x32), -m 256M"
BUNDLE += " --pids-limit 100 --cpus 1"


def make_rootfs(root: Path) -> None:
    """A root filesystem of busybox as /bin/true and /bin/sleep."""
    (root / "bin").mkdir(parents=True)
    shutil.copy("/bin/busybox", root / "bin" / "true")
    (root / "bin" / "sleep").symlink_to("true")


def make_bundle(path: Path, args: list[str]) -> Path:
    """A bundle at path that runs args."""
    make_rootfs(path / "rootfs")
    subprocess.run(["runc", "spec"], cwd=path, check=True)
    config = json.loads((path / "config.json").read_text())
    config["process"].update(terminal=False, args=args)
    # runc's own default, which it leaves out by itself: they are not inheritable
    config["process"]["capabilities"].pop("ambient", None)
    linux = config["linux"]
    linux["seccomp"] = seccomp.default_profile(os.uname().machine)
    if os.uname().machine == "x86_64":
        linux["seccomp"]["architectures"] = ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]
    linux["resources"]["memory"] = {"limit": 256 << 20, "swap": 512 << 20}
    linux["resources"]["pids"] = {"limit": 100}
    linux["resources"]["cpu"] = {"quota": 100000, "period": 100000}
    (path / "config.json").write_text(json.dumps(config))
    return path
