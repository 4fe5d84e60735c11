# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""The image store: a plain OCI image layout (image-layout.md), so that skopeo, umoci, buildah and podman share it."""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile

from ..linux.errors import InvalidInput, NotFound, OcilabError
from ..spec import document
from ..spec import image as spec
from . import reference

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, BinaryIO, Callable

DEFAULT_PATH = "/var/lib/labrun/images"
_CHUNK = 1 << 20


class Image:
    """An image of the store. layers: dicts with digest, size, media_type, diff_id and chain_id, base first."""

    def __init__(self, name: str, digest: str, manifest: dict[str, Any], config: dict[str, Any]) -> None:
        self.name = name
        self.digest = digest
        self.manifest = manifest
        self.config = config
        self.layers = _layers(name, manifest, config)

    @property
    def id(self) -> str:
        """The digest of the configuration, which identifies an image wherever its manifest is written anew."""
        return str(self.manifest["config"]["digest"])

    @property
    def size(self) -> int:
        """Bytes of the layers as they lie in the store."""
        return sum(layer["size"] for layer in self.layers)


def _layers(name: str, manifest: dict[str, Any], config: dict[str, Any]) -> list[dict[str, Any]]:
    descriptors = manifest.get("layers")
    diff_ids = (config.get("rootfs") or {}).get("diff_ids")
    if not isinstance(descriptors, list) or not isinstance(diff_ids, list) or len(descriptors) != len(diff_ids):
        raise InvalidInput("image %s: its manifest and its configuration disagree on the layers" % name)
    result: list[dict[str, Any]] = []
    chain = ""
    for item, diff_id in zip(descriptors, diff_ids):
        spec.check_digest(item.get("digest"), "image %s: layer" % name)
        spec.check_digest(diff_id, "image %s: diff_id" % name)
        chain = chain_id(chain, diff_id)
        media_type, size = item.get("mediaType"), item.get("size")
        result.append(
            {"digest": item["digest"], "size": size, "media_type": media_type, "diff_id": diff_id, "chain_id": chain}
        )
    return result


def chain_id(parent: str, diff_id: str) -> str:
    """The identity of a stack of layers (config.md, layer ChainID)."""
    if not parent:
        return diff_id
    return "sha256:" + hashlib.sha256(("%s %s" % (parent, diff_id)).encode()).hexdigest()


class Blob:
    """Content on its way into the store: a file, its digest and size, and the digest of what it unpacks to."""

    def __init__(self, digest: str, size: int, path: str, media_type: str, diff_id: str = "") -> None:
        self.digest = digest
        self.size = size
        self.path = path
        self.media_type = media_type
        self.diff_id = diff_id or digest


class Store:
    """A store by its path, which need not exist until something is put into it."""

    def __init__(self, path: str = DEFAULT_PATH) -> None:
        self.path = path
        self.blobs = os.path.join(path, "blobs", "sha256")

    def images(self) -> list[Image]:
        """All named images, by name."""
        names = [item["annotations"][spec.REF_NAME] for item in self._entries() if spec.REF_NAME in _notes(item)]
        return [self.get(name) for name in sorted(names)]

    def get(self, name: str) -> Image:
        """The image of that name. Raises NotFound, InvalidInput for a name or content that is malformed."""
        name = reference.normal(name)
        for item in self._entries():
            if _notes(item).get(spec.REF_NAME) == name:
                manifest = self._document(item["digest"], name)
                config = self._document((manifest.get("config") or {}).get("digest"), name)
                return Image(name, item["digest"], manifest, config)
        raise NotFound("image %s: not in the store %s; import it with labrun_image" % (name, self.path))

    def blob_path(self, digest: str) -> str:
        """Where a blob lies. Raises InvalidInput for a malformed digest."""
        return os.path.join(self.blobs, spec.check_digest(digest, self.path))

    def publish(self, name: str, layer: Blob, config: dict[str, Any]) -> Image:
        """Put an image of one layer under the name; the layer's file is moved into the store. Raises OSError."""
        name = reference.normal(name)
        self._prepare()
        descriptors = [spec.descriptor(layer.media_type, layer.digest, layer.size)]
        with self._locked():
            self._move_blob(layer)
            config_descriptor = self._put(document.dump(config), spec.CONFIG)
            manifest = spec.manifest(config_descriptor, descriptors)
            entry = self._put(document.dump(manifest), spec.MANIFEST)
            self._name(name, dict(entry, annotations={spec.REF_NAME: name}))
        return Image(name, entry["digest"], manifest, config)

    def remove(self, name: str) -> bool:
        """Take the name away, and every blob that no image needs any more; False when there was no such name."""
        name = reference.normal(name)
        if not os.path.isdir(self.blobs):
            return False
        with self._locked():
            entries = self._entries()
            left = [item for item in entries if _notes(item).get(spec.REF_NAME) != name]
            if len(left) == len(entries):
                return False
            self._write_index(left)
            self._collect(left)
        return True

    def temporary(self) -> str:
        """A new empty file inside the store, to be published or unlinked by the caller."""
        self._prepare()
        fd, path = tempfile.mkstemp(prefix=".new-", dir=self.blobs)
        os.close(fd)
        return path

    def _prepare(self) -> None:
        os.makedirs(self.blobs, mode=0o755, exist_ok=True)
        layout = os.path.join(self.path, "oci-layout")
        if not os.path.exists(layout):
            _write_whole(layout, b'{"imageLayoutVersion":"1.0.0"}')
        if not os.path.exists(os.path.join(self.path, "index.json")):
            self._write_index([])

    def _locked(self) -> _Lock:
        return _Lock(os.path.join(self.path, ".lock"))

    def _entries(self) -> list[dict[str, Any]]:
        path = os.path.join(self.path, "index.json")
        if not os.path.exists(path):
            return []
        entries: Any = document.read(path).get("manifests")
        if not isinstance(entries, list) or not all(isinstance(item, dict) for item in entries):
            raise InvalidInput("%s: 'manifests' is not an array of objects" % path)
        return entries

    def _document(self, digest: Any, name: str) -> dict[str, Any]:
        """A blob that is a JSON document, held against its digest."""
        path = self.blob_path(digest)
        try:
            with open(path, "rb") as file:
                data = file.read(document.MAX_BYTES + 1)
        except FileNotFoundError:
            raise NotFound("image %s: blob %s is missing in the store %s" % (name, digest, self.path)) from None
        if "sha256:" + hashlib.sha256(data).hexdigest() != digest:
            raise InvalidInput("image %s: blob %s: its content has another digest" % (name, digest))
        return document.parse(data, "image %s: %s" % (name, digest))

    def _put(self, data: bytes, media_type: str) -> dict[str, Any]:
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        if not os.path.exists(self.blob_path(digest)):
            _write_whole(self.blob_path(digest), data)
        return spec.descriptor(media_type, digest, len(data))

    def _move_blob(self, blob: Blob) -> None:
        target = self.blob_path(blob.digest)
        if os.path.exists(target):
            os.unlink(blob.path)
            return
        with open(blob.path, "rb") as file:
            os.fchmod(file.fileno(), 0o644)
            os.fsync(file.fileno())
        os.rename(blob.path, target)
        _sync_directory(self.blobs)

    def _name(self, name: str, entry: dict[str, Any]) -> None:
        others = [item for item in self._entries() if _notes(item).get(spec.REF_NAME) != name]
        self._write_index([*others, entry])
        self._collect([*others, entry])

    def _write_index(self, entries: list[dict[str, Any]]) -> None:
        index = {"schemaVersion": 2, "mediaType": spec.INDEX, "manifests": entries}
        _write_whole(os.path.join(self.path, "index.json"), document.dump(index))

    def _collect(self, entries: list[dict[str, Any]]) -> None:
        """Unlink the blobs that no entry reaches; an index within the index keeps all, for we do not follow it."""
        needed: set[str] = set()
        for item in entries:
            if item.get("mediaType") != spec.MANIFEST:
                return
            manifest = self._document(item["digest"], str(item["digest"]))
            parts = [item, manifest["config"], *manifest["layers"]]
            needed.update(spec.check_digest(part["digest"], self.path) for part in parts)
        for blob in os.listdir(self.blobs):
            if blob not in needed and not blob.startswith(".new-"):
                os.unlink(os.path.join(self.blobs, blob))


class _Lock:
    """An exclusive lock between processes that change the store (flock(2)); the kernel frees it with its holder."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __enter__(self) -> None:
        self.fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self.fd, fcntl.LOCK_EX)

    def __exit__(self, *_exception: object) -> None:
        os.close(self.fd)


def copy_hashed(source: BinaryIO, write: Callable[[bytes], object]) -> tuple[str, int]:
    """Pass everything from source to write(); its sha256 digest and size."""
    digest = hashlib.sha256()
    size = 0
    while True:
        chunk = source.read(_CHUNK)
        if not chunk:
            return "sha256:" + digest.hexdigest(), size
        digest.update(chunk)
        size += len(chunk)
        write(chunk)


def _notes(entry: dict[str, Any]) -> dict[str, Any]:
    return entry.get("annotations") or {}


def _write_whole(path: str, data: bytes) -> None:
    """Replace the file in one step that survives a power cut (case F13)."""
    temporary = "%s.%d.new" % (path, os.getpid())
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.rename(temporary, path)
    except OSError as error:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise OcilabError("%s: cannot be written: %s" % (path, str(error.strerror).lower())) from None
    _sync_directory(os.path.dirname(path))


def _sync_directory(path: str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
