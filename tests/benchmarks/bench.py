# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""labrun's speed and memory against Debian's runc and Docker: `make bench`. Exits with 1 when a limit is missed."""

from __future__ import annotations

import contextlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import agreement
import many
import memory
import own_dockerd
import pairs
import tasks
import workload
from ansible_collections.ocilab.hosts.plugins.module_utils.labrun import command

PYTHON = "/usr/bin/python3"
ROUNDS = 80
COMMAND_BAR = 1.0
IN_PROCESS_BAR = 0.3
MANY_BAR = 0.1
TASK_ROUNDS = 40
TASK_BAR = 1.1


def verdict(value: float, limit: float) -> str:
    return f"bar {limit}: {'held' if value <= limit else 'MISSED'}"


def first_line(*words: str) -> str:
    return subprocess.run(words, capture_output=True, text=True, check=False).stdout.splitlines()[0]


@contextlib.contextmanager
def on_tmpfs():
    """A folder on a tmpfs of its own: by default both runtimes keep their states on one, but not every /run is one."""
    with tempfile.TemporaryDirectory(prefix="ocilab-bench-", dir="/run") as name:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=0700", "ocilab-bench", name], check=True)
        try:
            yield Path(name)
        finally:
            subprocess.run(["umount", "-l", name], check=False)


def starts(base: Path, labrun: str) -> bool:
    """Single starts, one against the other; whether both bars are held."""
    bundle = workload.make_bundle(base / "true", ["/bin/true"])
    in_process = pairs.InProcess(PYTHON, base / "labrun", bundle)
    samples = pairs.measure(
        {
            "runc": pairs.Command("runc", base / "runc", bundle),
            "labrun run": pairs.Command(labrun, base / "labrun", bundle),
            "labrun in-process": in_process,
        },
        ROUNDS,
    )
    in_process.close()
    print(f"{workload.PROGRAM} in {workload.BUNDLE}; {ROUNDS} rounds of one start each, and the ratios in each round:")
    held = True
    other = statistics.median(samples["runc"]) / 1e6
    for name, limit in (("labrun run", COMMAND_BAR), ("labrun in-process", IN_PROCESS_BAR)):
        value, low, high = pairs.ratio(samples[name], samples["runc"])
        own = statistics.median(samples[name]) / 1e6
        held = held and value <= limit
        times = f"{own:.1f} ms to runc's {other:.1f} ms"
        print(f"  {name}: {times}: {value:.2f} ({low:.2f}-{high:.2f}), {verdict(value, limit)}")
    return held


def hundred(base: Path) -> bool:
    """One call of the module between two halves of Docker's starts; whether the limit is held."""
    if not shutil.which("dockerd"):
        print("  100 containers: left out, for dockerd is not installed")
        return True
    bundle = workload.make_bundle(base / "sleep", ["/bin/sleep", "600"])
    own_base = Path(tempfile.mkdtemp(prefix="ocilab-bench-"))  # on a disk, as Docker's is
    try:
        with own_dockerd.running(own_base) as address:
            docker = many.Docker(address, bundle / "rootfs")
            try:
                docker.start(1)  # warms up
                other = docker.start(many.COUNT // 2)
                own, monitors = many.Module(base, bundle).start()
                other += docker.start(many.COUNT - many.COUNT // 2)
            finally:
                docker.remove()
    finally:
        shutil.rmtree(own_base, ignore_errors=True)
    value = own / other
    times = f"{own / 1e9:.2f} s to {other / 1e9:.1f} s of as many `docker run -d`"
    print(
        f"  {many.COUNT} containers by one call of labrun_container: {times}: {value:.3f}, {verdict(value, MANY_BAR)}"
    )
    show_memory(
        f"an idle monitor, the median of {many.COUNT}",
        *(sorted(one[key] for one in monitors)[len(monitors) // 2] for key in ("private", "pss")),
    )
    return value <= MANY_BAR


def connected(base: Path) -> bool:
    """Tasks by the connection labrun against those by the connection local; whether the limit is held."""
    samples = tasks.run(base / "tasks", TASK_ROUNDS)
    held = True
    for other in ("local", "local (pipelined)"):
        value, low, high = pairs.ratio(samples["labrun"], samples[other])
        held = held and value <= TASK_BAR
        own, theirs = (statistics.median(samples[name]) / 1e6 for name in ("labrun", other))
        times = f"{own:.0f} ms to {theirs:.0f} ms: {value:.2f} ({low:.2f}-{high:.2f})"
        print(f"  a task by the connection labrun, and by {other}: {times}, {verdict(value, TASK_BAR)}")
    return held


def show_memory(what: str, private: int, pss: int) -> None:
    aim = "within" if pss <= memory.AIM_KIB else "above"
    print(f"  {what}: {private} KiB private, PSS {pss} KiB, {aim} the aim of {memory.AIM_KIB} KiB (a shim's)")


def main() -> int:
    print(f"make bench: kernel {os.uname().release}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f},")
    versions = [first_line("runc", "--version"), first_line(PYTHON, "--version")]
    if shutil.which("dockerd"):
        versions.append(first_line("dockerd", "--version"))
    print("  " + ", ".join(versions))
    with on_tmpfs() as base:
        labrun = str(base / "command")
        command.write_executable(labrun, PYTHON)
        held = starts(base, labrun)
        waiting = memory.waiting_init(labrun, base / "labrun", base / "true")
        show_memory("the waiting init of `labrun create`", waiting["private"], waiting["pss"])
        held = hundred(base) and held
        held = connected(base) and held
    held = agreement.agrees() and held
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
