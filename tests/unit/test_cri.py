# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The CRI's messages: what our codec writes Google's library reads, and the other way round; damage is an error."""

from __future__ import annotations

import sys

import pytest
from ansible_collections.ocilab.hosts.plugins.module_utils.engines import cri, cri_messages, engine, protobuf
from ansible_collections.ocilab.hosts.plugins.module_utils.linux.errors import InvalidInput, OcilabError, Unsupported
from hypothesis import given, settings
from hypothesis import strategies as st

CODEC = protobuf.Codec(cri_messages.MESSAGES)
RANGES = {
    "int32": (-(2**31), 2**31 - 1),
    "int64": (-(2**63), 2**63 - 1),
    "uint32": (0, 2**32 - 1),
    "uint64": (0, 2**64 - 1),
}
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


def fields_of(message):
    return [part.split() for part in cri_messages.MESSAGES[message].split(",") if part.strip()]


def values(kind, depth):
    if kind in RANGES:
        return st.integers(*RANGES[kind])
    if kind[0].isupper():
        return st.none() if depth > 3 else dictionaries(kind, depth + 1)
    return {
        "string": TEXT,
        "bytes": st.binary(max_size=8),
        "bool": st.booleans(),
        "map": st.dictionaries(TEXT, TEXT, max_size=3),
    }[kind]


def dictionaries(message, depth=0):
    shape = {}
    for _number, name, kind in fields_of(message):
        if kind.endswith("*"):
            one = values(kind[:-1], depth)
            shape[name] = st.just([]) if kind[0].isupper() and depth > 3 else st.lists(one, max_size=3)
        else:
            shape[name] = st.one_of(st.none(), values(kind, depth)) if kind[0].isupper() else values(kind, depth)
    return st.fixed_dictionaries(shape)


def some_message():
    return st.sampled_from(sorted(cri_messages.MESSAGES)).flatmap(
        lambda name: st.tuples(st.just(name), dictionaries(name))
    )


@given(some_message())
@settings(max_examples=150, deadline=None)
def test_what_is_written_is_read(pair):
    name, given_values = pair
    assert CODEC.decode(name, CODEC.encode(name, given_values)) == given_values


@pytest.fixture(scope="module")
def google():
    """Google's classes of the same messages."""
    descriptor_pb2 = pytest.importorskip("google.protobuf.descriptor_pb2")
    from google.protobuf import descriptor_pool, message_factory

    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="ours.proto", package="runtime.v1", syntax="proto3")
    for name in cri_messages.MESSAGES:
        message = file.message_type.add(name=name)
        for number, label, kind in fields_of(name):
            added = message.field.add(name=label, number=int(number), label=field.LABEL_OPTIONAL)
            if kind.endswith("*") or kind == "map":
                kind, added.label = kind.rstrip("*"), field.LABEL_REPEATED
            if kind == "map":
                entry = message.nested_type.add(name="".join(word.title() for word in label.split("_")) + "Entry")
                entry.options.map_entry = True
                for at, part in enumerate(("key", "value"), 1):
                    entry.field.add(name=part, number=at, label=field.LABEL_OPTIONAL, type=field.TYPE_STRING)
                added.type, added.type_name = field.TYPE_MESSAGE, f".runtime.v1.{name}.{entry.name}"
            elif kind[0].isupper():
                added.type, added.type_name = field.TYPE_MESSAGE, f".runtime.v1.{kind}"
            else:
                added.type = getattr(field, "TYPE_" + kind.upper())
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return lambda name: message_factory.GetMessageClass(pool.FindMessageTypeByName("runtime.v1." + name))


@given(pair=some_message())
@settings(max_examples=150, deadline=None)
def test_another_library_agrees(google, pair):
    name, given_values = pair
    theirs = google(name).FromString(CODEC.encode(name, given_values))
    assert CODEC.decode(name, theirs.SerializeToString()) == given_values


def test_what_is_unknown_is_skipped():
    newer = protobuf.Codec({"VersionResponse": "2 runtime_name string, 9 other uint64, 10 text string*"})
    data = newer.encode("VersionResponse", {"runtime_name": "x", "other": 2**40, "text": ["a", "b"]})
    data += b"\x5d1234" + b"\x6112345678"  # fields 11 and 12, of four and eight bytes
    assert CODEC.decode("VersionResponse", data)["runtime_name"] == "x"


@given(st.binary(max_size=60))
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_read_or_refused_in_one_line(data):
    try:
        CODEC.decode("ContainerStatusResponse", data)
    except OcilabError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("message", "wrong"),
    [
        ("VersionRequest", {"vresion": "1"}),
        ("VersionRequest", {"version": 1}),
        ("Int64Value", {"value": 2**63}),
        ("UInt64Value", {"value": -1}),
        ("Int64Value", {"value": "1"}),
        ("NoSuchRequest", {}),
    ],
)
def test_what_does_not_fit_is_refused(message, wrong):
    with pytest.raises(InvalidInput):
        CODEC.encode(message, wrong)


def test_without_grpc_the_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "grpc", None)
    with pytest.raises(Unsupported, match="install the package python3-grpcio"):
        cri.Runtime("/run/no.sock")


def test_without_a_service_it_is_unavailable(tmp_path):
    pytest.importorskip("grpc")
    with pytest.raises(engine.Unavailable, match="no such socket"):
        cri.Runtime(str(tmp_path / "no.sock"))
