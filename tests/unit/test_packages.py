# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The parts of module_utils/packages that need no host: keys, sources, the ledger, rules of the firewall."""

from __future__ import annotations

import base64
import hashlib
import os

import pytest
from ansible_collections.ocilab.hosts.plugins.module_utils.linux.errors import InvalidInput, OcilabError
from ansible_collections.ocilab.hosts.plugins.module_utils.packages import download, openpgp, traces
from ansible_collections.ocilab.hosts.plugins.module_utils.packages.ledger import Ledger
from ansible_collections.ocilab.hosts.plugins.module_utils.packages.owner import Wish
from ansible_collections.ocilab.hosts.plugins.module_utils.packages.repository import Repository


def key(number, tag=6, version=4):
    """A packet that is a key as far as its fingerprint goes, and that fingerprint."""
    body = bytes([version, 0, 0, 0, number, 22]) + b"\x00" * 40
    return bytes([0xC0 | tag, len(body)]) + body, hashlib.sha1(
        b"\x99\x00" + bytes([len(body)]) + body
    ).hexdigest().upper()


def armored(data):
    text = base64.b64encode(data).decode()
    begin, end = "-----BEGIN PGP PUBLIC KEY BLOCK-----", "-----END PGP PUBLIC KEY BLOCK-----"
    return f"{begin}\nComment: a test\n\n{text[:64]}\n{text[64:]}\n=abcd\n{end}\n".encode()


def repository(tmp_path, data, fingerprints):
    definition = {"uris": ["https://example.org/debian"], "suites": ["stable"], "components": ["main"]}
    definition.update(key=data.decode("latin-1"), key_url="", key_fingerprint=fingerprints)
    return Repository("docker", definition, str(tmp_path / "sources"), str(tmp_path / "keys"))


def test_fingerprints_of_keys():
    (one, first), (two, second) = key(1), key(2)
    subkey = key(3, tag=14)[0]
    assert openpgp.fingerprints(one + subkey) == [first]
    assert openpgp.fingerprints(armored(one)) == [first]
    assert openpgp.fingerprints(armored(one + two)) == [first, second]
    assert openpgp.fingerprints(armored(one) + b"\n" + armored(two)) == [first, second]


@pytest.mark.parametrize(
    "data",
    [b"", b"hello", key(1)[0][:-1], key(1, version=5)[0], key(1, tag=5)[0], armored(key(1)[0]).replace(b"A", b"!")],
)
def test_what_is_no_key_is_refused(data):
    with pytest.raises(InvalidInput):
        openpgp.fingerprints(data)


def test_a_debian_key():
    path = "/usr/share/keyrings/debian-archive-bookworm-stable.gpg"
    if not os.path.exists(path):
        pytest.skip(f"there is no {path}; install debian-archive-keyring")
    with open(path, "rb") as file:
        assert openpgp.fingerprints(file.read()) == ["4D64FEC119C2029067D6E791F8D2585B8783D481"]


def test_a_swapped_or_an_appended_key_fails(tmp_path):
    (one, first), (two, _second) = key(1), key(2)
    for data in (armored(two), armored(one) + armored(two), armored(one + two)):
        wrong = repository(tmp_path, data, [first])
        with pytest.raises(OcilabError, match="was asked for"):
            wrong.write(download.Proxies())
        assert not os.path.exists(wrong.path)
        assert not os.path.exists(wrong.key_path)
    right = repository(tmp_path, armored(one), [first.lower()])  # the control
    assert right.differs()
    right.write(download.Proxies())
    assert not right.differs()
    assert f"Signed-By: {right.key_path}\n" in right.text()
    right.remove()
    assert os.listdir(tmp_path / "sources") == os.listdir(tmp_path / "keys") == []


def test_a_flipped_byte_of_a_download_fails(tmp_path):
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(b"as it is")
    right = hashlib.sha256(b"as it is").hexdigest()
    download.fetch(f"file://{source}", right, str(target), download.Proxies())
    assert target.read_bytes() == b"as it is"
    assert target.stat().st_mode & 0o777 == 0o600
    target.unlink()
    source.write_bytes(b"as it iz")
    with pytest.raises(OcilabError, match="sha256"):
        download.fetch(f"file://{source}", right, str(target), download.Proxies())
    assert not target.exists()


@pytest.mark.parametrize("name", [";id", "-oX=y", "A", "a b", ""])
def test_names_that_are_none_are_refused(name):
    with pytest.raises(InvalidInput):
        Wish("docker", [name])
    Wish("docker", ["a+b-1.2"])  # the control


def test_the_ledger_goes_with_the_last_owner(tmp_path):
    path = tmp_path / "lib" / "packages.json"
    ledger = Ledger(str(path))
    ledger.lock()
    ledger.want("docker", ["runc", "docker.io"])
    ledger.want("podman", ["runc"])
    ledger.brought = {"runc"}
    ledger.save()
    again = Ledger(str(path))
    assert again.owners == {"docker": ["docker.io", "runc"], "podman": ["runc"]}
    assert again.of_others("docker") == {"runc"}
    again.want("docker", [])
    again.want("podman", [])
    again.brought = set()
    again.save()
    assert not path.parent.exists()


def test_a_damaged_ledger_is_an_error(tmp_path):
    path = tmp_path / "packages.json"
    path.write_text("{")
    with pytest.raises(OcilabError, match="is damaged"):
        Ledger(str(path))


RULES = """\
*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [1:2]
:DOCKER - [0:0]
-A FORWARD -j DOCKER
-A FORWARD -i other0 -m comment --comment "two words" -j ACCEPT
-A FORWARD ! -i docker0 -o docker0 -j ACCEPT
-A DOCKER -j RETURN
COMMIT
"""


def test_only_an_engines_own_rules_go(tmp_path):
    (tmp_path / "network.json").write_text('{"engines": ["docker"], "ip_forward": "1", "tools": {}}')
    found = traces.Traces("docker", ["DOCKER"], ["docker0"], folder=str(tmp_path))
    commands = found._table("filter", traces.parse(RULES)["filter"], {})
    assert commands == [
        ["-D", "FORWARD", "-j", "DOCKER"],
        ["-D", "FORWARD", "!", "-i", "docker0", "-o", "docker0", "-j", "ACCEPT"],
        ["-F", "DOCKER"],
        ["-X", "DOCKER"],
        ["-P", "FORWARD", "ACCEPT"],
    ]


def test_what_engines_share_goes_with_the_last(tmp_path, monkeypatch):
    note = tmp_path / "network.json"
    network = tmp_path / "net"
    network.mkdir()
    monkeypatch.setattr(traces, "_NET", str(network))
    monkeypatch.setattr(traces, "_IP_FORWARD", str(tmp_path / "ip_forward"))
    (tmp_path / "ip_forward").write_text("1")

    def shared():
        found = traces.Traces("containerd", shared_chains=["CNI-"], folder=str(tmp_path))
        return found.chains, found.forwarding()

    note.write_text('{"engines": ["containerd", "podman"], "ip_forward": "0", "tools": {}}')
    assert shared() == ([], "")
    note.write_text('{"engines": ["containerd"], "ip_forward": "0", "tools": {}}')
    assert shared() == (["CNI-"], "0")
    (network / "lr-of-labrun").mkdir()
    assert shared() == ([], "")
