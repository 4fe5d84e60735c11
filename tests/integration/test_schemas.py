# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What labrun writes and takes, held against runtime-spec's own JSON schemas and their examples."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ansible_collections.ocilab.hosts.plugins.module_utils.linux.errors import OcilabError
from ansible_collections.ocilab.hosts.plugins.module_utils.spec import document, example, fields, validate

SCHEMAS = Path(__file__).resolve().parents[3] / "shared" / "oci-schemas" / "runtime"
pytestmark = pytest.mark.skipif(not SCHEMAS.is_dir(), reason="the schemas of runtime-spec are not beside the checkout")


def complaints(name, checked):
    """What the schema of that name dislikes."""
    from jsonschema import Draft4Validator
    from referencing import Registry
    from referencing.jsonschema import DRAFT4

    found = {path.name: json.loads(path.read_text()) for path in SCHEMAS.glob("*.json")}

    def by_file_name(uri):
        """The schemas name each other relative to ids that are no files' names."""
        return DRAFT4.create_resource(found[uri.rpartition("/")[2]])

    validator = Draft4Validator(found[name], registry=Registry(retrieve=by_file_name))
    return [error.message for error in validator.iter_errors(checked)]


@pytest.mark.root
def test_the_features_are_valid(bundle):
    features = json.loads(bundle.labrun("features").stdout)
    assert complaints("features-schema.json", features) == []
    features["linux"]["cgroup"]["v1"] = "yes"
    assert complaints("features-schema.json", features)  # the positive control


@pytest.mark.root
def test_the_state_is_valid_at_each_step(bundle):
    bundle.config["process"]["args"] = ["/bin/sleep", "100"]
    bundle.config["annotations"] = {"org.example.colour": "blue"}
    bundle.write()

    def state():
        return json.loads(bundle.labrun("state", bundle.name).stdout)

    seen = []
    for words in (["create", "--bundle", str(bundle.path)], ["start"]):
        assert bundle.labrun(*words, bundle.name, stdin=-3).returncode == 0
        seen.append(state())
    assert [item["status"] for item in seen] == ["created", "running"]
    for item in seen:
        assert complaints("state-schema.json", item) == []
    assert complaints("state-schema.json", dict(seen[0], status=1))  # the positive control


def test_the_example_is_valid():
    for is_v2 in (True, False):
        made = example.config(is_v2)
        assert complaints("config-schema.json", made) == []
        example.make_rootless(made, 1000, 1000)
        assert complaints("config-schema.json", made) == []


EXAMPLES = SCHEMAS / "examples" / "config"


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("good/*.json")), ids=lambda path: path.name)
def test_the_specifications_good_examples_are_taken(path):
    """As to their shape: their versions are old, and they show each property apart from what it needs."""
    unknown = []
    config = document.read(str(path))
    config.get("linux", {}).pop("intelRdt", None)  # which labrun refuses
    validate.shape(config, fields.CONFIG, "", path.name, unknown.append)
    assert [text for text in unknown if "resources.oomScoreAdj" not in text] == []  # it is of the time before 1.0


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("bad/*.json")), ids=lambda path: path.name)
def test_the_specifications_bad_examples_are_refused(path):
    with pytest.raises(OcilabError, match=path.name):
        validate.config(document.read(str(path)), path.name, lambda text: None)
