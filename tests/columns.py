# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole interface of an engine's adapter, gone through once: what was seen of it, for tests to judge.

As a program it runs on a lab host: its arguments are the folder that ansible_collections is in and names of columns,
and it prints a line of JSON for each.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile

if __name__ == "__main__":
    sys.path.insert(0, sys.argv[1])
from ansible_collections.ocilab.hosts.plugins.module_utils.engines import engine, registry
from ansible_collections.ocilab.hosts.plugins.module_utils.images import archive, rootfs
from ansible_collections.ocilab.hosts.plugins.module_utils.images.store import Store
from ansible_collections.ocilab.hosts.plugins.module_utils.labrun import bundle as bundles
from ansible_collections.ocilab.hosts.plugins.module_utils.linux.errors import OcilabError, Unsupported

APPLETS = ("cat", "echo", "ls", "nc", "sh", "sleep", "true")
ENDLESS = ["/bin/sh", "-c", "trap 'exit 0' TERM; while :; do sleep 1 & wait $!; done"]
SERVE = ["/bin/sh", "-c", "(echo served | nc -l -p 99 >/dev/null 2>&1 &) </dev/null >/dev/null 2>&1"]
# What lies between a command and its process, for each engine.
ROLES = {
    "docker": ["client", "daemon", "high-level runtime", "monitor", "low-level runtime", "container"],
    "podman": ["client", "monitor", "low-level runtime", "container"],
    "containerd": ["client", "high-level runtime", "monitor", "low-level runtime", "container"],
    "lxc": ["client", "monitor", "container"],
    "labrun-module": ["client", "monitor", "low-level runtime", "container"],
}


class Workbench:
    """What adapters are given, in a folder that goes in the end."""

    def __enter__(self):
        self.folder = tempfile.mkdtemp(prefix="ocilab-test-")
        os.chmod(self.folder, 0o711)
        work_dir = os.path.join(self.folder, "work")
        os.mkdir(work_dir, 0o700)
        store = Store(os.path.join(self.folder, "store"))
        image = rootfs.import_rootfs(store, self._root(), "test/busybox:1", {})
        self.bundle = bundles.Bundle(os.path.join(work_dir, "bundle"))
        described = bundles.describe(image, store, {"command": [engine.PROGRAM]})
        self.bundle.create(image, store, os.path.join(self.folder, "layers"), described)
        name = "ocilab-test:t%d" % os.getpid()
        path = os.path.join(work_dir, "image.tar")
        archive.write_docker_archive(store, image, path, name)
        self.workload = engine.Workload(work_dir, self.bundle.path, path, name, 60.0)
        return self

    def _root(self):
        root = os.path.join(self.folder, "rootfs")
        for name in ("bin", "dev", "etc", "proc", "sys", "tmp"):
            os.makedirs(os.path.join(root, name))
        shutil.copy("/bin/busybox", os.path.join(root, "bin"))
        for applet in APPLETS:
            os.symlink("busybox", os.path.join(root, "bin", applet))
        return root

    def __exit__(self, *_exception):
        self.bundle.remove()
        shutil.rmtree(self.folder)


def seen(column, bench):
    """{"unavailable": reason}, or what each method of the column's adapter gave."""
    (adapter,) = registry.all_engines([column])
    try:
        result = {"version": adapter.detect(), "kind": adapter.kind}
        adapter.prepare(bench.workload)
    except engine.Unavailable as error:
        adapter.clean_up()
        return {"unavailable": str(error)}
    try:
        result["notes"] = adapter.notes
        result.update(_runs(adapter), **_goes_on(adapter))
        result["network"] = _tried(lambda: _connected(adapter))
        result["image"] = _tried(lambda: _images(adapter, bench.workload))
        result["pull"] = _tried(lambda: adapter.pull("registry.invalid/nothing:1"))
    finally:
        adapter.clean_up()
    result["left"] = _left(bench)
    return result


def _tried(function):
    try:
        return function()
    except Unsupported as error:
        return {"unsupported": str(error)}
    except OcilabError as error:
        return {"failed": str(error)}


def _runs(adapter):
    """Containers that end by themselves."""
    adapter.run_true("tt-true")
    names = []
    for name, phase in adapter.phases("tt-phases"):
        phase()
        names.append(name)
    volume = tempfile.mkdtemp(dir=adapter.workload.work_dir)
    wrote = engine.Wanted(["/bin/sh", "-c", "echo hello >/volume/file; cat /volume/file"], volume=volume)
    output = adapter.output("tt-volume", wrote)
    with open(os.path.join(volume, "file")) as file:
        held = file.read()
    failed = _tried(lambda: adapter.output("tt-fails", engine.Wanted(["/bin/ls", "/not-there"])))
    return {"phases": names, "output": output, "held": held, "fails": failed}


def _goes_on(adapter):
    """One that is started, looked at and stopped."""
    adapter.start("tt-on", engine.Wanted(ENDLESS))
    pid = adapter.process("tt-on")
    with open("/proc/%d/cmdline" % pid) as file:
        words = file.read().split("\0")
    parts = adapter.components("tt-on")
    found = {
        "words": words[:2],
        "execute": adapter.execute("tt-on", ["/bin/echo", "inside"]),
        "execute_fails": _tried(lambda: adapter.execute("tt-on", ["/bin/ls", "/not-there"])),
        "daemons": [os.path.exists("/proc/%d" % one) for one in adapter.daemons()],
        "components": parts,
        "is_last": parts[-1]["pid"] == pid,
        "lasting": [part["role"] for part in adapter.components("")],
    }
    adapter.stop("tt-on")
    found["stopped"] = not os.path.exists("/proc/%d" % pid) or _is_zombie(pid)
    adapter.remove("tt-on")
    adapter.remove("tt-on")
    found["gone"] = _tried(lambda: adapter.process("tt-on"))
    adapter.start("tt-killed", engine.Wanted(ENDLESS))
    pid = adapter.process("tt-killed")
    adapter.remove("tt-killed")
    found["killed"] = not os.path.exists("/proc/%d" % pid) or _is_zombie(pid)
    return found


def _is_zombie(pid):
    with open("/proc/%d/stat" % pid) as file:
        return file.read().rpartition(")")[2].split()[0] == "Z"


def _connected(adapter):
    try:
        for name in ("tt-one", "tt-two"):
            adapter.start(name, engine.Wanted(ENDLESS, network=True))
        address = adapter.address("tt-two")
        adapter.execute("tt-two", SERVE)
        return {"address": address, "answer": adapter.execute("tt-one", ["/bin/nc", "-w", "5", address, "99"])}
    finally:
        for name in ("tt-one", "tt-two"):
            adapter.remove(name)


def _images(adapter, workload):
    size = adapter.image_bytes(workload.image)
    adapter.forget(workload.image)
    adapter.forget(workload.image)
    gone = _tried(lambda: adapter.image_bytes(workload.image))
    adapter.load(workload.archive)
    return {"bytes": size, "gone": gone, "again": adapter.image_bytes(workload.image)}


def _left(bench):
    """What is left of containers: mounts below the folder but for the bundle's own, and cgroups by their names."""
    with open("/proc/self/mounts") as file:
        targets = [line.split()[1] for line in file]
    found = [path for path in targets if path.startswith(bench.folder) and not path.startswith(bench.bundle.path)]
    words = ["find", "/sys/fs/cgroup", "-type", "d", "-name", "*tt-*"]
    return found + subprocess.run(words, stdout=subprocess.PIPE, check=False).stdout.decode().split()


def judge(column, found, network=True):
    """Assert what holds for every column; network: whether those that have one are to reach each other."""
    assert "unavailable" not in found, found
    name = column.partition("+")[0].replace("-rootless", "")
    bare = found["kind"] in ("runtime", "library", "daemonless") and name != "podman"
    assert found["phases"] == ["create", "start", "wait", "delete"]
    assert (found["output"], found["held"], found["execute"]) == ("hello\n", "hello\n", "inside\n")
    for key in ("fails", "execute_fails"):
        assert "/not-there" in found[key]["failed"]
    assert "runsc" in column or found["words"] == ENDLESS[:2]
    assert (found["stopped"], found["killed"], found["left"]) == (True, True, [])
    assert "failed" in found["gone"]
    assert found["daemons"] == [True] * {"docker": 2, "containerd": 1, "crio": 1}.get(name, 0)
    roles = ROLES.get(name, ["low-level runtime", "container"])
    assert [part["role"] for part in found["components"]] == roles
    assert found["is_last"]
    assert set(found["lasting"]) <= set(roles)
    _judge_parts(column, found["components"])
    if bare:
        assert "unsupported" in found["image"]
        assert "unsupported" in found["pull"]
    else:
        assert found["image"]["bytes"] == found["image"]["again"] > 1 << 20
        assert "failed" in found["image"]["gone"]
        assert "registry.invalid" in found["pull"]["failed"]
    if found["kind"] == "runtime" or column == "podman-rootless":
        assert "unsupported" in found["network"]
    elif network:
        assert found["network"]["answer"] == "served\n", found["network"]


def _judge_parts(column, parts):
    runs = {"daemon", "high-level runtime", "monitor", "container"}
    for part in parts:
        assert set(part) == {"role", "name", "version", "path", "pid", "socket", "unit"}
        assert part["role"] not in runs or part["pid"], part
        if part["role"] in ("daemon", "high-level runtime", "low-level runtime"):
            assert part["version"], part
    runtime = column.partition("+")[2]
    if runtime:
        assert [part["name"] for part in parts if part["role"] == "low-level runtime"] == [runtime]


if __name__ == "__main__":
    with Workbench() as workbench:
        for one in sys.argv[2:]:
            print(json.dumps({"column": one, "seen": seen(one, workbench)}), flush=True)
