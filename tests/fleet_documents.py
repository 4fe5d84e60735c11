# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documents of results for tests of the report: one made up by rule, and a fleet made from one that was measured.

    python tests/fleet_documents.py HOST.json FOLDER 1000

writes 1,000 documents like HOST.json into FOLDER. Their plan's profile, and so the report, calls them synthetic.
"""

from __future__ import annotations

import copy
import json
import math
import random
import sys
from pathlib import Path

# name: (kind, milliseconds of run_true, MiB of an idle container, MiB of the daemons)
ENGINES = {
    "labrun": ("runtime", 31, 2.1, 0),
    "labrun-module": ("library", 11, 2.1, 0),
    "runc": ("runtime", 33, 1.0, 0),
    "crun": ("runtime", 14, 0.8, 0),
    "runsc": ("runtime", 410, 28, 0),
    "docker": ("client-server", 340, 11, 118),
    "docker+crun": ("client-server", 310, 11, 118),
    "docker+runsc": ("client-server", 720, 39, 118),
    "docker+labrun": ("client-server", 360, 12, 118),
    "podman": ("daemonless", 190, 2.9, 0),
    "podman+runc": ("daemonless", 215, 3.1, 0),
    "podman-rootless": ("daemonless", 240, 3.4, 0),
    "containerd": ("client-server", 130, 9.4, 47),
    "crio": ("client-server", 150, 3.3, 61),
    "lxc": ("daemonless", 95, 3.9, 0),
}
ABSENT = {"crio": "crio: the socket /run/crio/crio.sock does not answer: no such file; start CRI-O"}
NOTES = {"docker": "networking is off", "containerd": "by the CRI, in a pod without network"}
SIZES = {
    "parallel": [1, 2, 4, 8],
    "rate_s": 5.0,
    "density": [10, 20],
    "syscalls": 100000,
    "io_bytes": 64 << 20,
    "network_bytes": 64 << 20,
    "exchanges": 200,
    "pull_image": "registry:5000/ocilab/busybox:compare",
}
CASES = [
    "run_true",
    "lifecycle",
    "exec",
    "stop",
    "parallel",
    "rate",
    "density",
    "footprint",
    "pull",
    "unpack",
    "syscall",
    "file_io",
    "network",
]
LAYERS = {
    "client-server": [
        ("client", "{0}", None, None),
        ("daemon", "{0}d", "/run/{0}.sock", "{0}.service"),
        ("high-level runtime", "containerd", "/run/containerd/containerd.sock", "containerd.service"),
        ("monitor", "containerd-shim-runc-v2", None, None),
        ("low-level runtime", "{1}", None, None),
        ("container", "/bin/sleep", None, None),
    ],
    "daemonless": [
        ("client", "{0}", None, None),
        ("monitor", "conmon", None, None),
        ("low-level runtime", "{1}", None, None),
        ("container", "/bin/sleep", None, None),
    ],
    "runtime": [("low-level runtime", "{1}", None, None), ("container", "/bin/sleep", None, None)],
    "library": [
        ("low-level runtime", "labrun", None, None),
        ("monitor", "labrun monitor", None, None),
        ("container", "/bin/sleep", None, None),
    ],
}
CAPABILITIES = [
    "chown",
    "dac_override",
    "fowner",
    "fsetid",
    "kill",
    "setgid",
    "setuid",
    "setpcap",
    "net_bind_service",
    "net_raw",
    "sys_chroot",
    "mknod",
    "audit_write",
    "setfcap",
    "sys_admin",
    "sys_ptrace",
    "sys_module",
    "net_admin",
    "sys_time",
    "sys_boot",
    "dac_read_search",
]
SYSCALLS = [
    "bpf",
    "clone3",
    "keyctl",
    "mount",
    "perf_event_open",
    "ptrace",
    "reboot",
    "setns",
    "unshare",
    "userfaultfd",
    "open_by_handle_at",
]


def noisy(noise, centre, count, spread=0.12):
    """Samples around a centre, with the long tail that times have."""
    return [
        int(centre * math.exp(noise.gauss(0, spread)) * (1.6 if noise.random() < 0.04 else 1)) for _one in range(count)
    ]


def measure(unit, values):
    return {"unit": unit, "values": values}


def benchmarks(name, noise, samples):
    kind, milliseconds, idle, daemons = ENGINES[name]
    run, few, mib = milliseconds * 1e6, max(1, samples // 5), 1 << 20

    def time(factor, count=samples):
        return measure("ns", noisy(noise, run * factor, count))

    def memory(size, count=1):
        return measure("bytes", noisy(noise, size * mib, count, 0.05))

    phases = {
        phase: noisy(noise, run * part, samples)
        for phase, part in zip(["create", "start", "wait", "delete"], (0.5, 0.25, 0.1, 0.2))
    }
    phases["total"] = [sum(times) for times in zip(*phases.values())]
    sandboxed = "runsc" in name
    found = {
        "run_true": {"run": time(1)},
        "lifecycle": {phase: measure("ns", times) for phase, times in phases.items()},
        "exec": {"exec": time(0.6)},
        "stop": {"stop": time(0.4)},
        "parallel": {f"starts_{size}": time(0.6 + 0.45 * size, few) for size in SIZES["parallel"]},
        "rate": {"rate": measure("per_s", [value / 1e6 for value in noisy(noise, 1e6 * 950 / milliseconds, few)])},
        "density": {},
        "footprint": {"daemons": memory(daemons)},
        "syscall": {"call": measure("ns", noisy(noise, 1900 if sandboxed else 95, samples, 0.05))},
        "file_io": {
            "root": measure("bytes_per_s", noisy(noise, (210 if sandboxed else 480) * mib, few)),
            "volume": measure("bytes_per_s", noisy(noise, (240 if sandboxed else 510) * mib, few)),
        },
    }
    for size in SIZES["density"]:
        parts = {"monitors": idle * 0.7, "daemons": daemons / 400, "cgroup": idle * 0.25}
        for part, megabytes in parts.items():
            found["density"][f"{part}_{size}"] = memory(megabytes)
        found["density"][f"total_{size}"] = memory(sum(parts.values()))
    if kind in ("client-server", "daemonless") and name != "lxc":
        found["pull"] = {"pull": time(2.2, few)}
        found["unpack"] = {"load": time(1.4, few), "disk": measure("bytes", [5 * mib] * few)}
        found["network"] = {
            "throughput": measure("bytes_per_s", noisy(noise, (900 if sandboxed else 3100) * mib, few)),
            "latency": measure("ns", noisy(noise, 140e3 if sandboxed else 31e3, few)),
        }
    results = {case: {"measures": measures, "failures": [], "left_out": None} for case, measures in found.items()}
    for case in CASES:
        why = f"{name} has no registry client" if case in ("pull", "unpack") else f"{name} brings no network"
        results.setdefault(case, {"measures": {}, "failures": [], "left_out": why})
    return results


def isolation(name):
    """What a default container of the engine may do, much as the real ones differ."""
    bare, rootless, sandboxed = ENGINES[name][0] in ("runtime", "library"), "rootless" in name, "runsc" in name
    held = CAPABILITIES[: 14 if not bare or "labrun" in name else 3]
    if name.startswith(("podman", "crio")):
        held = [item for item in held if item not in ("net_raw", "mknod", "audit_write")]
    filtered = not bare or "labrun" in name
    return {
        "failure": None,
        "findings": {
            "capability": {"CAP_" + item.upper(): "effective" if item in held else "absent" for item in CAPABILITIES},
            "seccomp": {"mode": "filter" if filtered and not sandboxed else "disabled"},
            "syscall": {item: "EPERM" if filtered and item != "clone3" else "allowed" for item in SYSCALLS},
            "process": {"no_new_privs": "yes" if bare else "no", "uid": "0", "gid": "0"},
            "namespace": {
                kind: "own" if kind not in ("user", "cgroup", "time") or (kind == "user" and rootless) else "shared"
                for kind in ["pid", "net", "mnt", "uts", "ipc", "user", "cgroup", "time"]
            },
            "id_map": {kind: "0 1000 1; 1 100000 65536" if rootless else "0 0 4294967295" for kind in ("uid", "gid")},
            "path": {
                path: "absent" if sandboxed else "masked" if filtered else "writable"
                for path in ("/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware")
            }
            | {path: "read-only" for path in ("/proc/sys", "/proc/bus", "/proc/irq")},
            "device": {
                f"/dev/{device}": f"c 1:{number} 666" for device, number in (("null", 3), ("zero", 5), ("full", 7))
            },
            "mount": {"/proc": "proc nosuid,nodev,noexec", "/dev/shm": "tmpfs nosuid,nodev,noexec,size=64000k"},
            "sysctl": {"net.ipv4.ip_unprivileged_port_start": "0" if name.startswith("docker") else "1024"},
            "lsm": {"label": "docker-default (enforce)" if name.startswith("docker") else "none"},
            "cgroup": {
                "view": "/",
                "memory.max": "max",
                "pids.max": "2048" if name.startswith("podman") else "max",
                "writable": "no",
            },
            "rlimit": {"nofile": "1048576:1048576" if name.startswith("docker") else "1024:1024"},
            "environment": {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
            "host": {"uid": "100000" if rootless else "0", "oom_score_adj": "0"},
        },
    }


def components(name):
    engine, _plus, runtime = name.partition("+")
    engine = engine.partition("-")[0]
    kind = ENGINES[name][0]
    runtime = runtime or (
        engine if kind in ("runtime", "library") else {"podman": "crun", "lxc": "liblxc"}.get(engine, "runc")
    )
    result = []
    for number, (role, program, socket, unit) in enumerate(LAYERS[kind]):
        if engine == "containerd" and role == "daemon":
            continue
        program = program.format("ctr" if engine == "containerd" and role == "client" else engine, runtime)
        lives = role not in ("client", "low-level runtime")
        result.append(
            {
                "role": role,
                "name": program,
                "version": None if role == "container" else "1.%d.0" % number,
                "path": program if program.startswith("/") else "/usr/bin/" + program,
                "pid": 1200 + 7 * number if lives else None,
                "socket": socket.format(engine) if socket else None,
                "unit": unit.format(engine) if unit else None,
            }
        )
    return result


def engine(name, available=True, samples=25, seed=""):
    noise = random.Random(name + seed)
    base, _plus, runtime = name.partition("+")
    return {
        "available": available,
        "version": "1.0.2" if available else None,
        "unavailable_reason": None if available else ABSENT.get(name, f"{name} is not installed"),
        "kind": ENGINES[name][0],
        "engine": base.partition("-rootless")[0],
        "runtime": runtime or None,
        "rootless": name.endswith("-rootless"),
        "notes": NOTES.get(name, "") if available else "",
        "components": components(name) if available else [],
        "benchmarks": benchmarks(name, noise, samples) if available else {},
        "isolation": isolation(name) if available else None,
    }


def info(name, available):
    """As engine_info returns it."""
    usage = {"count": 3, "active": 1, "size_bytes": 42 << 20, "reclaimable_bytes": 11 << 20}
    return {
        "available": available,
        "unavailable_reason": None if available else f"{name} is not installed",
        "kind": ENGINES[name][0],
        "version": {"client": "1.0.2", "server": "1.0.2", "api": "1.41", "details": {"runc": "1.1.5"}},
        "system": {
            "storage_driver": "overlay2",
            "cgroup_driver": "systemd",
            "cgroup_version": "2",
            "default_runtime": "runc",
            "runtimes": ["runc"],
            "root_dir": "/var/lib/" + name,
            "rootless": False,
            "security_options": ["seccomp"],
            "kernel": "6.1.0",
            "os": "Debian GNU/Linux 12",
            "desktop": False,
        },
        "disk_usage": {"images": usage, "containers": usage, "volumes": usage, "build_cache": None},
        "service": {
            "unit": name + ".service",
            "load": "loaded",
            "active": "active",
            "enabled": "enabled",
            "main_pid": 900,
            "memory_bytes": 80 << 20,
            "since": None,
        },
        "sockets": [{"path": f"/run/{name}.sock", "mode": "0660", "owner": "root", "group": name, "listening": True}],
        "components": [],
        "objects": {"containers": [], "images": [], "networks": [], "volumes": []},
    }


def document(host="lab1", absent=("crio",), samples=25, seed=""):
    """A document by rule; the same words give the same document."""
    engines = {name: engine(name, name not in absent, samples, seed) for name in ENGINES}
    return {
        "schema_version": 2,
        "host": host,
        "environment": {
            "kernel": "6.1.0-26-amd64",
            "architecture": "x86_64",
            "distribution": "Debian GNU/Linux 12 (bookworm)",
            "cgroup_mode": "v2",
            "cpu_model": "Intel(R) Xeon(R) Platinum 8259CL CPU @ 2.50GHz",
            "cpu_count": 2,
            "cpu_governor": None,
            "memory_bytes": 8 << 30,
            "storage": "ext4",
            "load_average": [0.14, 0.22, 0.31],
            "python_version": "3.11.2",
            "virtualization": "hypervisor",
            "time": "2026-11-24T10:00:00Z",
            "boot_id": "b2f5ff47-4366-4db5-9f49-0c1b4c6c1a52",
        },
        "plan": {
            "profile": "short",
            "samples": samples,
            "warmup": 2,
            "blocks": min(5, samples),
            "seed": 1,
            "timeout_s": 60,
            "cases": CASES,
            "engines": list(ENGINES),
            "sizes": SIZES,
            "budget_s": 900,
            "budget_containers": 20,
        },
        "engines": engines,
        "order": [{"engine": "labrun", "case": "run_true", "block": 0, "index": 0}],
        "info": {name: info(name, name not in absent) for name in ENGINES if "+" not in name},
        "machine": {"shared_with": [], "measured_alone": True},
    }


def unreachable(host="lab9"):
    return {
        "schema_version": 2,
        "host": host,
        "unreachable": "Failed to connect to the host via ssh: connect to host 10.0.0.9 port 22: No route to host",
        "time": "2026-11-24T10:00:04Z",
    }


ODD = (  # what makes some hosts slower: (part of the fleet, factor, what differs)
    (0.01, 2.6, {"cgroup_mode": "v1"}),
    (0.02, 3.1, {"storage": "overlay"}),
    (0.01, 2.4, {"load_average": [7.8, 6.9, 5.5]}),
    (0.01, 2.2, {"cpu_model": "Intel(R) Atom(TM) CPU C2750 @ 2.40GHz", "cpu_count": 8}),
)


def variant(original, number, total):
    """A host like that of the document: a bit quicker or slower as a whole, some of them odd ones, samples noisy."""
    noise = random.Random(number)
    result = copy.deepcopy(original)
    result["host"] = f"host{number:0{len(str(total))}d}"
    result["environment"]["boot_id"] = (
        f"00000000-0000-4000-8000-{number // 2 if number % 10 < 2 else number + total:012d}"
    )
    result["plan"]["profile"] = "synthetic, from " + original["host"]
    if number % 10 < 2 and total > 10:
        result["machine"] = {"shared_with": [f"host{number ^ 1:0{len(str(total))}d}"], "measured_alone": True}
    factor, place = math.exp(noise.gauss(0, 0.08)), noise.random()
    for part, slower, differs in ODD:
        if 0 <= place < part:
            factor *= slower
            result["environment"].update(differs)
        place -= part
    for engine in result["engines"].values():
        own = factor * math.exp(noise.gauss(0, 0.03))
        for found in engine["benchmarks"].values():
            for measured in found["measures"].values():
                times = {"ns": own, "bytes": 1, "bytes_per_s": 1 / own, "per_s": 1 / own}[measured["unit"]]
                digits = 3 if measured["unit"] == "per_s" else None
                measured["values"] = [
                    round(value * times * noise.uniform(0.9, 1.12), digits) for value in measured["values"]
                ]
    return result


def write(folder, documents):
    """The documents as HOST.json in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for found in documents:
        (folder / f"{found['host']}.json").write_text(json.dumps(found))
    return folder


if __name__ == "__main__":
    source, target, hosts = sys.argv[1:]
    like = json.loads(Path(source).read_text())
    write(Path(target), (variant(like, number, int(hosts)) for number in range(int(hosts))))
