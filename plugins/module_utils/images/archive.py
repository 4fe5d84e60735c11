# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""Archives of images for other engines: docker-archive, which `docker load` and `podman load` both read."""

from __future__ import annotations

import io
import json
import os
import shutil
import tarfile
import tempfile

from ..spec import image as spec
from . import layers
from .store import Image, Store


def write_docker_archive(store: Store, image: Image, path: str, reference: str) -> None:
    """Write the image as a docker-archive under the name reference (NAME:TAG). Raises InvalidInput, OSError."""
    config_name = spec.check_digest(image.id, image.name) + ".json"
    names = []
    with tarfile.open(path, "w") as archive:
        with open(store.blob_path(image.id), "rb") as file:
            _add(archive, config_name, file.read())
        for layer in image.layers:
            name = spec.check_digest(layer["diff_id"], image.name) + "/layer.tar"
            names.append(name)
            # Docker 20.10 expects the layers of an archive uncompressed, named by their diff_id.
            with open(store.blob_path(layer["digest"]), "rb") as file, tempfile.TemporaryFile() as plain:
                stream = layers.open_tar(file, layer["media_type"] == spec.LAYER_GZIP)
                shutil.copyfileobj(stream, plain, 1 << 20)  # type: ignore[misc]
                header = tarfile.TarInfo(name)
                header.size = plain.tell()
                plain.seek(0)
                archive.addfile(header, plain)
        manifest = [{"Config": config_name, "RepoTags": [reference], "Layers": names}]
        _add(archive, "manifest.json", json.dumps(manifest).encode())
    os.chmod(path, 0o600)


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    header = tarfile.TarInfo(name)
    header.size = len(data)
    archive.addfile(header, io.BytesIO(data))
