# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""Importing a root filesystem as an image of one layer: from a directory, or from a tar archive as it is."""

from __future__ import annotations

import os
import stat

from ..linux.errors import InvalidInput, NotFound
from ..spec import document
from ..spec import image as spec
from . import layers
from .store import Blob, Image, Store, copy_hashed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, BinaryIO

# The same tree must give the same image whenever it is imported, so no time of day goes into it.
_CREATED = "1970-01-01T00:00:00Z"
_GZIP_MAGIC = b"\x1f\x8b"
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


class _Sink:
    """A file to write to that forgets everything, for predictions."""

    def write(self, data: bytes) -> int:
        return len(data)


def import_rootfs(store: Store, source: str, name: str, settings: dict[str, Any]) -> Image:
    """Put the root filesystem at source into the store under the name; settings is the image's config object.

    Raises NotFound and InvalidInput; nothing is left behind then.
    """
    path = store.temporary()
    try:
        with open(path, "wb") as output:
            layer = _read_layer(source, output, path)
        config = spec.config(os.uname().machine, layer.diff_id, _CREATED, settings)
        return store.publish(name, layer, config)
    finally:
        if os.path.exists(path):
            os.unlink(path)


def predict(source: str, name: str, settings: dict[str, Any]) -> Image:
    """The image that import_rootfs() would make, without writing anything. Raises NotFound and InvalidInput."""
    layer = _read_layer(source, _Sink(), "")  # type: ignore[arg-type]
    config = spec.config(os.uname().machine, layer.diff_id, _CREATED, settings)
    config_descriptor = _described(document.dump(config), spec.CONFIG)
    manifest = spec.manifest(config_descriptor, [spec.descriptor(layer.media_type, layer.digest, layer.size)])
    return Image(name, _described(document.dump(manifest), spec.MANIFEST)["digest"], manifest, config)


def _described(data: bytes, media_type: str) -> dict[str, Any]:
    from hashlib import sha256

    return spec.descriptor(media_type, "sha256:" + sha256(data).hexdigest(), len(data))


def _read_layer(source: str, output: BinaryIO, path: str) -> Blob:
    try:
        mode = os.stat(source).st_mode
    except OSError as error:
        raise NotFound("source %s: %s" % (source, str(error.strerror).lower())) from None
    if stat.S_ISDIR(mode):
        return _from_directory(source, output, path)
    if stat.S_ISREG(mode):
        return _from_tar(source, output, path)
    raise InvalidInput("source %s: neither a directory nor a tar archive" % source)


def _from_directory(source: str, output: BinaryIO, path: str) -> Blob:
    """Not compressed: the store is local and unpacked at once, and compression would be most of the time."""
    if not os.listdir(source):
        raise InvalidInput("source %s: the directory is empty" % source)
    digest = layers.HashingWriter(output)
    try:
        layers.pack(source, digest)  # type: ignore[arg-type]
    except OSError as error:
        raise InvalidInput("source %s: %s: %s" % (source, error.filename, error.strerror)) from None
    return Blob(digest.digest(), digest.size, path, spec.LAYER_TAR)


def _from_tar(source: str, output: BinaryIO, path: str) -> Blob:
    """The archive as it is, after a look at every entry."""
    with open(source, "rb") as file:
        magic = file.read(4)
        if magic == _ZSTD_MAGIC:
            raise InvalidInput("source %s: zstd is not supported; decompress it first" % source)
        gzipped = magic.startswith(_GZIP_MAGIC)
        file.seek(0)
        stream = layers.open_tar(file, gzipped)
        for _entry in layers.entries(stream, "source " + source):
            pass
        diff_id = stream.drain()
        file.seek(0)
        digest, size = copy_hashed(file, output.write)
    return Blob(digest, size, path, spec.LAYER_GZIP if gzipped else spec.LAYER_TAR, diff_id)
