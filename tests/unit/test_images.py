# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images: import, the schemas of image-spec, unpacking of hostile layers with their positive controls, removal."""

from __future__ import annotations

import gzip
import io
import json
import os
import stat
import tarfile
from pathlib import Path

import pytest
from ansible_collections.ocilab.hosts.plugins.module_utils.images import layers, reference, rootfs
from ansible_collections.ocilab.hosts.plugins.module_utils.images.store import Store
from ansible_collections.ocilab.hosts.plugins.module_utils.linux.errors import InvalidInput, NotFound

pytestmark = pytest.mark.root
SCHEMAS = Path(__file__).resolve().parents[3] / "shared" / "oci-schemas" / "image"


def entry(name, kind=tarfile.REGTYPE, data=b"", link="", **more):
    header = tarfile.TarInfo(name)
    header.type, header.linkname, header.size = kind, link, len(data)
    for key, value in more.items():
        setattr(header, key, value)
    return header, data


def archive(*items):
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for header, data in items:
            tar.addfile(header, io.BytesIO(data))
    return output.getvalue()


@pytest.fixture
def unpacked(tmp_path):
    """Extract entries into a folder beside a canary of the host's."""
    (tmp_path / "canary").write_text("untouched")
    (tmp_path / "layer").mkdir()

    def extract(*items):
        layers.extract(io.BytesIO(archive(*items)), str(tmp_path / "layer"), "layer")
        return tmp_path / "layer"

    yield extract
    canary = os.stat(tmp_path / "canary")
    assert (canary.st_nlink, stat.S_IMODE(canary.st_mode)) == (1, 0o644)
    assert (tmp_path / "canary").read_text() == "untouched"


LINK = entry("way", tarfile.SYMTYPE, link="..")
HOSTILE = {
    "dot-dot": [entry("../canary", data=b"x")],
    "dot-dot inside": [entry("a", tarfile.DIRTYPE, mode=0o755), entry("a/../../canary", data=b"x")],
    "through a link": [LINK, entry("way/canary", data=b"x")],
    "root is a link": [entry(".", tarfile.SYMTYPE, link="..")],
    "hard link out": [entry("h", tarfile.LNKTYPE, link="../canary")],
    "hard link through a link": [LINK, entry("h", tarfile.LNKTYPE, link="way/canary")],
    "whiteout of nothing": [entry(".wh.")],
    "whiteout of dot": [entry(".wh..")],
    "whiteout of dot-dot": [entry(".wh...")],
    "whiteout through a link": [LINK, entry("way/.wh.canary")],
    "fake whiteout": [entry("w", tarfile.CHRTYPE, devmajor=0, devminor=0)],
}


@pytest.mark.parametrize("items", HOSTILE.values(), ids=HOSTILE)
def test_hostile_entries_are_refused(unpacked, items):
    with pytest.raises(InvalidInput):
        unpacked(*items)


def test_honest_entries_are_unpacked(unpacked):
    where = unpacked(
        entry(".", tarfile.DIRTYPE, mode=0o755),
        entry("a/file", data=b"text", mode=0o4750, uid=12, gid=34, mtime=1000),
        entry("a/hard", tarfile.LNKTYPE, link="a/file"),
        entry("a/soft", tarfile.SYMTYPE, link="/etc/passwd"),
        entry("a/null", tarfile.CHRTYPE, devmajor=1, devminor=3, mode=0o666),
        entry("a/.wh.gone"),
        entry("b", tarfile.DIRTYPE, mode=0o755),
        entry("b/.wh..wh..opq"),
        entry("again", data=b"first"),
        entry("again", data=b"second"),
    )
    status = os.stat(where / "a/file")
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode), status.st_mtime) == (12, 34, 0o4750, 1000)
    assert status.st_nlink == 2
    assert os.readlink(where / "a/soft") == "/etc/passwd"
    assert os.stat(where / "a/gone").st_rdev == 0
    assert stat.S_ISCHR(os.stat(where / "a/gone").st_mode)
    assert os.getxattr(where / "b", "trusted.overlay.opaque") == b"y"
    assert (where / "again").read_text() == "second"


def test_an_entry_of_its_own_layer_survives_a_whiteout_of_its_name(unpacked):
    assert (unpacked(entry("kept", data=b"text"), entry(".wh.kept")) / "kept").read_text() == "text"


def test_truncated_and_oversized_archives_are_refused(tmp_path):
    whole = archive(entry("file", data=b"x" * 5000))
    huge = archive(entry("file", pax_headers={"comment": "x" * (2 << 20)}))
    for name, data in (("cut", whole[:2000]), ("huge", huge), ("none", b""), ("gzip", gzip.compress(whole)[:60])):
        (tmp_path / "source").write_bytes(data)
        with pytest.raises(InvalidInput):
            rootfs.predict(str(tmp_path / "source"), "lab/" + name, {})
    (tmp_path / "source").write_bytes(gzip.compress(whole))
    assert rootfs.predict(str(tmp_path / "source"), "lab/whole", {}).size > 0


@pytest.fixture
def store(tmp_path):
    return Store(str(tmp_path / "images"))


@pytest.fixture
def tree(tmp_path):
    (tmp_path / "tree/etc").mkdir(parents=True)
    (tmp_path / "tree/etc/passwd").write_text("root:x:0:0::/:/bin/sh\n")
    os.link(tmp_path / "tree/etc/passwd", tmp_path / "tree/etc/same")
    return str(tmp_path / "tree")


def test_import_is_reproducible_and_fits_the_schemas(tmp_path, store, tree):
    predicted = rootfs.predict(tree, "lab/tree", {"Cmd": ["/bin/sh"]})
    image = rootfs.import_rootfs(store, tree, "lab/tree", {"Cmd": ["/bin/sh"]})
    assert image.digest == predicted.digest == store.get("lab/tree:latest").digest
    (where,) = layers.unpack(store, image, str(tmp_path / "layers"))
    assert os.stat(where + "/etc/passwd").st_ino == os.stat(where + "/etc/same").st_ino
    assert layers.read_file(store, image, "etc/passwd", 4) == b"root"
    if not SCHEMAS.exists():
        pytest.skip("the OCI schemas are not beside this checkout")
    from jsonschema import Draft4Validator
    from referencing import Registry
    from referencing.jsonschema import DRAFT4

    found = {path.name: json.loads(path.read_text()) for path in SCHEMAS.glob("*.json")}

    def by_file_name(uri):
        """The schemas name each other relative to ids that are no files' names."""
        return DRAFT4.create_resource(found[uri.rpartition("/")[2]])

    registry = Registry(retrieve=by_file_name)
    for name, document in (("image-manifest-schema.json", image.manifest), ("config-schema.json", image.config)):
        Draft4Validator(found[name], registry=registry).validate(document)
    index = json.loads((tmp_path / "images/index.json").read_text())
    Draft4Validator(found["image-index-schema.json"], registry=registry).validate(index)


def test_a_changed_blob_is_refused_before_anything_is_visible(tmp_path, store, tree):
    image = rootfs.import_rootfs(store, tree, "lab/tree", {})
    blob = Path(store.blob_path(image.layers[0]["digest"]))
    blob.write_bytes(blob.read_bytes().replace(b"root:x", b"evil:x"))
    with pytest.raises(InvalidInput, match="another digest"):
        layers.unpack(store, image, str(tmp_path / "layers"))
    assert list((tmp_path / "layers").iterdir()) == []


def test_removal_takes_what_nobody_needs_and_nothing_foreign(tmp_path, store, tree):
    image = rootfs.import_rootfs(store, tree, "lab/one", {})
    rootfs.import_rootfs(store, tree, "lab/two", {"User": "1"})
    layers.unpack(store, image, str(tmp_path / "layers"))
    (tmp_path / "layers/precious").mkdir()
    assert store.remove("lab/one") is True
    layers.prune(store, str(tmp_path / "layers"))
    assert len(os.listdir(tmp_path / "layers")) == 2  # the layer that lab/two shares
    assert store.remove("lab/two") is True
    assert store.remove("lab/two") is False
    layers.prune(store, str(tmp_path / "layers"))
    assert os.listdir(tmp_path / "layers") == ["precious"]
    assert os.listdir(store.blobs) == []
    with pytest.raises(NotFound):
        store.get("lab/one")


@pytest.mark.parametrize("name", ["../x", ";id", "a\nb", "Upper", "a//b", "", "a:", "a:b:c", "x" * 300])
def test_hostile_names_are_refused(name):
    with pytest.raises(InvalidInput):
        reference.normal(name)


@pytest.mark.parametrize(("name", "normal"), [("lab/x", "lab/x:latest"), ("host:5000/a/b:1", "host:5000/a/b:1")])
def test_names(name, normal):
    assert reference.normal(name) == normal
