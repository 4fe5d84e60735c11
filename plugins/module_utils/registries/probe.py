# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""What a class's registries are to do and to refuse, tried from a client's side; each finding with its reason."""

from __future__ import annotations

import hashlib
import json
import os
import urllib.parse

from ..linux.errors import OcilabError
from .client import Registry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

    Finding = dict[str, Any]

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
TAKEN = (
    MANIFEST,
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
)
REPOSITORY = "ocilab/verify"


def private(registry: Registry, user: tuple[str, str], pushes: bool, deletes: bool) -> list[Finding]:
    """What a registry with users does. With pushes an image of a few bytes comes, and with deletes goes again."""
    name = user[0]
    found = [
        _finding("refuses who has no password", "the class's images are its own", lambda: _base(registry, None) == 401),
        _finding(
            "refuses a wrong password",
            "a guessed name opens nothing",
            lambda: _base(registry, (name, os.urandom(16).hex())) == 401,
        ),
        _finding("lets a user in", "the class can work", lambda: _base(registry, user) == 200),
    ]
    if pushes and all(finding["met"] for finding in found):
        found.append(_finding("takes an image and gives it", "pushes and pulls work", lambda: _pushed(registry, user)))
    if pushes and deletes and found[-1]["met"]:
        found.append(_finding("deletes an image", "space comes back", lambda: _deleted(registry, user)))
    return found


def cache(registry: Registry, image: str) -> list[Finding]:
    """What a pull-through cache does. image: one of the upstream, as library/busybox:latest, or none to pull."""
    start = "/v2/%s/blobs/uploads/" % REPOSITORY
    manifest = "/v2/%s/manifests/%s" % (REPOSITORY, _digest(b""))
    found = [
        _finding("answers without a password", "Docker sends none to a mirror", lambda: _base(registry, None) == 200),
        _finding(
            "refuses a push",
            "what the class pulls is the upstream's",
            lambda: registry.ask("POST", start).status == 405,
        ),
        _finding(
            "refuses to delete",
            "nobody empties the cache for the others",
            lambda: registry.ask("DELETE", manifest).status == 405,
        ),
    ]
    if image and found[0]["met"]:
        reason = "it is there for that"
        found.append(_finding("pulls %s through" % image, reason, lambda: _pulled(registry, image)))
    return found


def _finding(item: str, reason: str, holds: Callable[[], bool]) -> Finding:
    try:
        return {"item": item, "met": holds(), "reason": reason, "error": ""}
    except OcilabError as error:
        return {"item": item, "met": False, "reason": reason, "error": str(error)}


def _base(registry: Registry, user: tuple[str, str] | None) -> int:
    return registry.ask("GET", "/v2/", user=user).status


def _digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def _image() -> tuple[bytes, bytes]:
    """An image without layers: its configuration and its manifest, the same each time."""
    config = json.dumps({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}}).encode()
    described = {
        "mediaType": "application/vnd.docker.container.image.v1+json",
        "size": len(config),
        "digest": _digest(config),
    }
    manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": described, "layers": []}
    return config, json.dumps(manifest).encode()


def _pushed(registry: Registry, user: tuple[str, str]) -> bool:
    config, manifest = _image()
    begun = registry.ask("POST", "/v2/%s/blobs/uploads/" % REPOSITORY, user=user)
    # Only its path and query are used, so that no other host is told the password.
    place = urllib.parse.urlsplit(begun.headers.get("location", ""))
    if begun.status != 202 or not place.path:
        return False
    query = place.query + ("&" if place.query else "") + "digest=" + urllib.parse.quote(_digest(config))
    headers = {"Content-Type": "application/octet-stream"}
    if registry.ask("PUT", place.path + "?" + query, config, headers, user).status != 201:
        return False
    path = "/v2/%s/manifests/1" % REPOSITORY
    if registry.ask("PUT", path, manifest, {"Content-Type": MANIFEST}, user).status != 201:
        return False
    given = registry.ask("GET", path, headers={"Accept": MANIFEST}, user=user)
    return given.status == 200 and given.body == manifest


def _deleted(registry: Registry, user: tuple[str, str]) -> bool:
    config, manifest = _image()
    gone = [
        registry.ask("DELETE", "/v2/%s/%s/%s" % (REPOSITORY, kind, _digest(data)), user=user).status
        for kind, data in (("manifests", manifest), ("blobs", config))
    ]
    given = registry.ask("GET", "/v2/%s/manifests/1" % REPOSITORY, headers={"Accept": MANIFEST}, user=user)
    return gone == [202, 202] and given.status == 404


def _pulled(registry: Registry, image: str) -> bool:
    """The manifest, and for an image its configuration, of the digest that they are to have."""
    name, _colon, tag = image.partition(":")
    given = registry.ask("GET", "/v2/%s/manifests/%s" % (name, tag or "latest"), headers={"Accept": ", ".join(TAKEN)})
    if given.status != 200:
        return False
    try:
        described = json.loads(given.body).get("config", {})
        digest = described.get("digest", "")
    except (ValueError, AttributeError):
        return False
    if not digest:
        return True  # an index of images
    blob = registry.ask("GET", "/v2/%s/blobs/%s" % (name, urllib.parse.quote(digest)))
    return blob.status == 200 and _digest(blob.body) == digest
