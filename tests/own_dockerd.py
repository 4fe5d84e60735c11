# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Docker daemon of our own, beside one that the host may have: for the tests and the benchmark."""

from __future__ import annotations

import contextlib
import subprocess
import time
from pathlib import Path

_START_TIMEOUT_S = 60


@contextlib.contextmanager
def running(base: Path, network: tuple[str, ...] = ("--iptables=false", "--bridge=none")):
    """Run dockerd with all that it keeps below base; the value for DOCKER_HOST. It leaves no mount and no cgroup.

    network: () for Docker's own, which belongs in a network namespace of the test's own.
    """
    address = f"unix://{base}/docker.sock"
    before = set(_cgroups())
    arguments = ["dockerd", "--data-root", str(base / "data"), "--exec-root", str(base / "exec"), "--host", address]
    arguments += ["--pidfile", str(base / "pid"), *network]
    with open(base / "log", "wb") as log:
        daemon = subprocess.Popen(arguments, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + _START_TIMEOUT_S
        while subprocess.run(["docker", "--host", address, "info"], capture_output=True, check=False).returncode != 0:
            if daemon.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("dockerd does not start: " + (base / "log").read_text()[-800:])
            time.sleep(0.3)
        yield address
    finally:
        daemon.terminate()
        daemon.wait(timeout=60)
        for mount in reversed(Path("/proc/self/mounts").read_text().splitlines()):
            target = mount.split()[1]
            if target.startswith(str(base)):
                subprocess.run(["umount", "-l", target], check=False)
        for path in set(_cgroups()) - before:
            subprocess.run(["find", path, "-depth", "-type", "d", "-exec", "rmdir", "{}", ";"], check=False)


def _cgroups():
    return [str(path) for pattern in ("*/docker", "docker") for path in Path("/sys/fs/cgroup").glob(pattern)]
