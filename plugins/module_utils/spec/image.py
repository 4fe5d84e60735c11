# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""The image-spec 1.1 as data: media types, and the documents of an image with one layer."""

from __future__ import annotations

from ..linux.errors import InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER_TAR = "application/vnd.oci.image.layer.v1.tar"
LAYER_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
REF_NAME = "org.opencontainers.image.ref.name"

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}
_HEX = frozenset("0123456789abcdef")


def architecture(machine: str) -> str:
    """The machine of uname(2) as image-spec writes it (GOARCH)."""
    return _ARCHITECTURES.get(machine, machine)


def check_digest(digest: Any, where: str) -> str:
    """The hexadecimal part of a sha256 digest (descriptor.md, digests; case D03). Raises InvalidInput."""
    text = digest if isinstance(digest, str) else ""
    algorithm, _colon, encoded = text.partition(":")
    if algorithm != "sha256" or not is_sha256_hex(encoded):
        raise InvalidInput("%s: %r is not a sha256 digest" % (where, digest))
    return encoded


def is_sha256_hex(text: str) -> bool:
    """True for 64 hexadecimal digits in lower case."""
    return len(text) == 64 and not set(text) - _HEX


def config(machine: str, diff_id: str, created: str, settings: dict[str, Any]) -> dict[str, Any]:
    """The image configuration (config.md); settings is its config object: Cmd, Entrypoint, Env, User and so on."""
    return {
        "created": created,
        "architecture": architecture(machine),
        "os": "linux",
        "config": settings,
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
        "history": [{"created": created, "created_by": "ocilab.hosts.labrun_image"}],
    }


def manifest(config_descriptor: dict[str, Any], layers: list[dict[str, Any]]) -> dict[str, Any]:
    """The image manifest (manifest.md)."""
    return {"schemaVersion": 2, "mediaType": MANIFEST, "config": config_descriptor, "layers": layers}


def descriptor(media_type: str, digest: str, size: int) -> dict[str, Any]:
    """A content descriptor (descriptor.md)."""
    return {"mediaType": media_type, "digest": digest, "size": size}
