# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on a lab host: a pod and its container's whole life by the CRI adapter, and a workload by the engine over it.

Prints what was seen as one line of JSON. Arguments: the folder that ansible_collections is in, and the engine's name.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import time

sys.path.insert(0, sys.argv[1])
from ansible_collections.ocilab.hosts.plugins.module_utils.engines import (
    cri,
    cri_engine,
    cri_images,
    cri_messages,
    engine,
)
from ansible_collections.ocilab.hosts.plugins.module_utils.images import archive, rootfs
from ansible_collections.ocilab.hosts.plugins.module_utils.images.store import Store
from ansible_collections.ocilab.hosts.plugins.module_utils.linux.errors import NotFound

IMAGE = "localhost/test/busybox:1"
NAME = sys.argv[2]
LIMIT = 64 << 20


def pack(folder):
    root = os.path.join(folder, "root")
    for name in ("bin", "dev", "etc", "proc", "sys", "tmp"):
        os.makedirs(os.path.join(root, name))
    shutil.copy("/bin/busybox", os.path.join(root, "bin"))
    for applet in ("cat", "hostname", "ip", "sh", "sleep", "true"):
        os.symlink("busybox", os.path.join(root, "bin", applet))
    store = Store(os.path.join(folder, "store"))
    made = rootfs.import_rootfs(store, root, IMAGE, {"Cmd": ["/bin/sh"]})
    path = os.path.join(folder, "archive.tar")
    archive.write_docker_archive(store, made, path, IMAGE)
    return path


SCRIPT = """\
cat /volume/hello; echo $GREETING; hostname; ip -4 -o addr show eth0
cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null
echo x >/volume/new || echo read only
exit 3
"""


def a_life(runtime, folder):
    os.makedirs(os.path.join(folder, "volume"))
    with open(os.path.join(folder, "volume", "hello"), "w") as file:
        file.write("from the host\n")
    wanted = cri.pod_config("seen", labels={"of": "the-test"}, log_directory=os.path.join(folder, "logs"))
    pod = runtime.run_pod(wanted)
    seen = {"address": runtime.pod_address(pod), "ready": runtime.pod_status(pod)["state"] == cri_messages.READY}
    config = cri.container_config(
        "one",
        IMAGE,
        ["/bin/sh", "-c", "echo begun; sleep 300"],
        mounts=[(os.path.join(folder, "volume"), "/volume", True)],
        environment={"GREETING": "hello"},
        memory_bytes=LIMIT,
        cpus=0.5,
        log_path="one.log",
    )
    container = runtime.create(pod, config, wanted)
    runtime.start(container)
    seen["exec"] = runtime.execute(container, ["/bin/sh", "-c", SCRIPT])
    seen["memory"] = runtime.memory_bytes(container)
    seen["listed"] = [len(runtime.pods({"of": "the-test"})), len(runtime.pods({"of": "none"}))]
    seen["listed"].append(len(runtime.containers(pod)))
    runtime.stop(container, 1)
    seen["stopped"] = [runtime.wait(container, 10), runtime.status(container)["state"] == cri_messages.EXITED]
    with open(os.path.join(folder, "logs", "one.log")) as file:
        seen["log"] = file.read()
    runtime.remove(container)
    runtime.remove(container)
    again = runtime.create(pod, cri.container_config("two", IMAGE, ["/bin/sh", "-c", "exit 7"]), wanted)
    runtime.start(again)
    seen["exit"] = runtime.wait(again, 10)
    runtime.remove_pod(pod)
    runtime.remove_pod(pod)
    try:
        runtime.status(again)
    except NotFound as error:
        seen["gone"] = str(error)
    return seen


def as_an_engine(path, folder):
    made = cri_engine.Cri(NAME)
    version = made.detect()
    made.prepare(engine.Workload(folder, "", path, IMAGE, 30.0))
    begun = time.monotonic()
    made.run_true("true-1")
    seconds = time.monotonic() - begun
    name, create = made.phases("true-2")[0]
    create()
    made.remove("true-2")
    made.clean_up()
    return {"version": version, "seconds": seconds, "first": name}


def main():
    folder = tempfile.mkdtemp()
    try:
        runtime = cri.Runtime(cri.SOCKETS[NAME])
        path = pack(folder)
        cri_images.load(NAME, path, IMAGE)
        seen = {"version": runtime.version(), "conditions": runtime.conditions()}
        seen["image"] = (runtime.image(IMAGE) or {}).get("repo_tags")
        seen["life"] = a_life(runtime, folder)
        seen["engine"] = as_an_engine(path, folder)
        seen["left"] = [len(runtime.pods()), len(runtime.containers()), runtime.image(IMAGE)]
        print(json.dumps(seen))
    finally:
        shutil.rmtree(folder)


main()
