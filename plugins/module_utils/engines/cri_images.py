# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""Images for runtimes that the CRI has no way to hand an archive to: containerd by ctr, CRI-O by skopeo.

One of them is the image of pods' own process, pause, which is made here so that no registry is asked for it.
"""

from __future__ import annotations

import os
import shutil
import tempfile

from ..images import archive, rootfs
from ..images.store import Store
from ..labrun import pause
from ..linux.errors import InvalidInput
from ..provisioning import commands

PAUSE = "localhost/ocilab/pause:1"
# As the role crio configures it: beside Podman's, which CRI-O would empty after a crash.
CRIO_STORAGE = "overlay@/var/lib/containers/crio+/run/containers/crio"


def _ctr(*words: str) -> list[str]:
    return ["ctr", "--namespace", "k8s.io", "images", *words]


def _skopeo(*words: str) -> list[str]:
    # An archive of our own carries no signature; what CRI-O pulls is still held to the host's policy.
    return ["skopeo", "--insecure-policy", *words]


def _in_storage(image: str, storage: str) -> str:
    return "containers-storage:[%s]%s" % (storage, image)


def _check(engine: str) -> None:
    if engine not in ("containerd", "crio"):
        raise InvalidInput("engine %s: is neither containerd nor crio" % engine)


def _is_of(name: str, image: str) -> bool:
    """Whether a name of containerd's is one of the image: as it was given, by its id, or by its digest once pulled."""
    folder, slash, last = image.rpartition("/")
    repository = folder + slash + last.partition("@")[0].partition(":")[0]
    return name == image or name.startswith(("sha256:", repository + "@"))


def has(engine: str, image: str, storage: str = CRIO_STORAGE) -> bool:
    """Whether the engine has the image. Raises Unsupported where its command is missing."""
    _check(engine)
    if engine == "containerd":
        return image in commands.run(*_ctr("list", "--quiet")).split()
    root = storage.partition("@")[2].partition("+")[0]
    if not os.path.isdir(root):
        return False  # and a look at it would make it
    return commands.attempt(*_skopeo("inspect", "--raw", _in_storage(image, storage)))[0] == 0


def load(engine: str, path: str, image: str, storage: str = CRIO_STORAGE) -> None:
    """Load a docker-archive, which names the image, into the engine. Raises OcilabError."""
    _check(engine)
    if engine == "containerd":
        commands.run(*_ctr("import", path))
        return
    commands.run(*_skopeo("copy", "--quiet", "docker-archive:" + path, _in_storage(image, storage)))


def remove(engine: str, image: str, storage: str = CRIO_STORAGE) -> None:
    """Remove the image; silent where there is none. Raises OcilabError."""
    _check(engine)
    if engine == "containerd":
        listed = [line.split() for line in commands.run(*_ctr("list")).splitlines()[1:]]
        digests = [words[2] for words in listed if words[0] == image]
        # The CRI names an image also by its id.
        names = [name for name, _type, digest, *_rest in listed if digest in digests and _is_of(name, image)]
        if names:
            commands.run(*_ctr("remove", "--sync", *names))
    elif has(engine, image, storage):
        commands.run(*_skopeo("delete", _in_storage(image, storage)))


def load_pause(engine: str, image: str = PAUSE, storage: str = CRIO_STORAGE) -> None:
    """Make the image of pods' own process, of pause.py's program, and load it. Raises OcilabError, OSError."""
    folder = tempfile.mkdtemp(prefix="ocilab-pause-")
    try:
        store = Store(os.path.join(folder, "store"))
        root = pause.folder(folder)
        for place in (os.path.join(root, pause.NAME), root):
            os.utime(place, (0, 0))  # the same image on every host
        made = rootfs.import_rootfs(store, root, image, {"Entrypoint": ["/" + pause.NAME]})
        path = os.path.join(folder, "archive.tar")
        archive.write_docker_archive(store, made, path, image)
        load(engine, path, image, storage)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
