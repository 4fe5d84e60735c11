# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""labrun's speed against Debian's runc, in pairs with one bundle: `make bench`. Exits with 1 when a bar is missed."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from ansible_collections.ocilab.hosts.plugins.module_utils.comparison import plan, results, statistics
from ansible_collections.ocilab.hosts.plugins.module_utils.images import rootfs
from ansible_collections.ocilab.hosts.plugins.module_utils.images.store import Store

BARS = {"labrun": 1.2, "labrun-module": 0.4}
SAMPLES = 60


def measured() -> dict:
    with tempfile.TemporaryDirectory(prefix="ocilab-bench-") as base:
        root = Path(base) / "rootfs"
        for name in ("bin", "dev", "proc", "sys"):
            (root / name).mkdir(parents=True)
        (root / "bin" / "true").write_bytes(Path("/bin/busybox").read_bytes())
        (root / "bin" / "true").chmod(0o755)
        store = Store(base + "/images")
        rootfs.import_rootfs(store, str(root), "bench/busybox", {})
        settings = {"samples": SAMPLES, "blocks": SAMPLES, "cases": ["run_true"], "engines": ["runc", *BARS]}
        checked = plan.checked(settings, results.ENGINES)
        return results.measure("bench", "bench/busybox", store, base + "/layers", checked)


def main() -> int:
    document = measured()
    samples = {name: item["benchmarks"]["run_true"]["samples_ns"] for name, item in document["engines"].items()}
    print(f"run_true, {SAMPLES} interleaved rounds, kernel {document['environment']['kernel']}, make bench")
    missed = 0
    for name, limit in BARS.items():
        ratio, low, high = statistics.ratio_interval(samples[name], samples["runc"])
        missed += ratio > limit
        times = [statistics.median(samples[engine]) / 1e6 for engine in (name, "runc")]
        verdict = "MISSED" if ratio > limit else "held"
        print(
            f"{name}: {times[0]:.1f} ms to runc's {times[1]:.1f} ms:"
            f" {ratio:.2f} ({low:.2f}-{high:.2f}), bar {limit}: {verdict}"
        )
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
