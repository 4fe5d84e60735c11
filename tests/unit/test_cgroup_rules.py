# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Cgroups without a kernel: conversions, device rules, systemd's properties, D-Bus messages, GVariant's text, rules."""

from __future__ import annotations

import pytest
from ansible_collections.ocilab.hosts.plugins.module_utils.linux import dbus
from ansible_collections.ocilab.hosts.plugins.module_utils.linux.cgroups import (
    bpf,
    devices,
    gvariant,
    limits,
    manager,
    stats,
    systemd,
    v1,
    v2,
)
from ansible_collections.ocilab.hosts.plugins.module_utils.linux.errors import InvalidInput
from ansible_collections.ocilab.hosts.plugins.module_utils.spec.resources import resources

UNLIMITED = 2**64 - 1


@pytest.mark.parametrize(
    ("shares", "weight"),
    [(1, 1), (2, 1), (3, 2), (10, 4), (256, 35), (512, 59), (1024, 100), (2048, 174), (262144, 10000), (10**6, 10000)],
)
def test_weight_of_shares(shares, weight):
    assert v2.weight(shares) == weight


def test_weight_never_falls_as_shares_grow():
    weights = [v2.weight(shares) for shares in range(2, 262145, 97)]
    assert weights == sorted(weights)


@pytest.mark.parametrize(("given", "io_weight"), [(10, 1), (100, 910), (500, 4950), (1000, 10000)])
def test_io_weight(given, io_weight):
    assert v2.io_weight(given) == io_weight


@pytest.mark.parametrize(
    ("swap", "limit", "expected"),
    [
        (None, 100, None),
        (None, -1, -1),
        (-1, 100, -1),
        (300, 100, 200),
        (100, 100, 0),
        (300, -1, 300),
        (None, None, None),
    ],
)
def test_swap_of_v2_is_swap_alone(swap, limit, expected):
    assert v2.swap_max(swap, limit) == expected


@pytest.mark.parametrize(("swap", "limit"), [(300, None), (99, 100)])
def test_swap_of_v2_that_cannot_be(swap, limit):
    with pytest.raises(InvalidInput):
        v2.swap_max(swap, limit)


@pytest.mark.parametrize(("limit", "written"), [(-1, "max"), (0, "1"), (1, "1"), (32771, "32771")])
def test_pids(limit, written):
    assert v1.pids_max(limit) == written


def named(document):
    return [part.named for part in limits.parts(document)]


def test_what_counts_as_asked_for():
    nothing = {
        "memory": {"limit": 0, "swap": 0, "disableOOMKiller": False, "useHierarchy": True, "checkBeforeUpdate": True},
        "cpu": {"shares": 0, "quota": 0, "period": 0, "cpus": "", "idle": None},
        "blockIO": {"weight": 0, "weightDevice": []},
        "network": {"classID": 0, "priorities": []},
        "pids": {},
        "hugepageLimits": [],
        "rdma": {},
    }
    assert named(nothing) == []
    zeros = {"memory": {"swappiness": 0}, "cpu": {"burst": 0}, "pids": {"limit": 0}}
    assert named(zeros) == ["memory.swappiness", "cpu.burst", "pids.limit"]
    assert named({"cpu": {"cpus": "0", "quota": -1}}) == ["cpu.cpus", "cpu.quota"]
    assert named({"network": {"classID": 1, "priorities": [{"name": "lo", "priority": 1}]}}) == [
        "network.classID",
        "network.priorities",
    ]


def rule(allow, kind=None, major=None, minor=None, access="rwm"):
    return {"allow": allow, "type": kind, "major": major, "minor": minor, "access": access}


def test_device_rules_come_to_one_line_a_device():
    policy = devices.policy([rule(False), rule(True, "c", 10, 229, "r"), rule(True, "c", 10, 229, "w")])
    assert not policy.allows
    assert policy.exceptions["c", 10, 229] == "rw"
    assert policy.exceptions["c", 1, 3] == "rwm"
    assert devices.shown(("c", 136, -1)) == "c 136:*"


def test_a_later_device_rule_takes_back_what_an_earlier_one_allowed():
    policy = devices.policy([rule(True, "b", 8, 0), rule(False, "b", 8, 0, "w")])
    assert policy.exceptions["b", 8, 0] == "rm"
    policy = devices.policy([rule(True, "b", 8, 0), rule(False)])
    assert ("b", 8, 0) not in policy.exceptions


def test_all_devices_but_some():
    policy = devices.policy([rule(True), rule(False, "b", 8, -1)])
    assert policy.allows
    assert policy.exceptions == {("b", 8, -1): "rwm"}
    assert devices.policy([rule(True)]).exceptions == {}


def test_a_hole_in_a_wildcard_is_refused():
    rules = [rule(True, "b", 8, -1), rule(False, "b", 8, 1, "w")]
    with pytest.raises(InvalidInput, match=r"b 8:1 cannot be taken out of the rule for b 8:\*"):
        devices.policy(rules)


def interpret(program, kind, access, major, minor):
    """What an eBPF program of ours returns: the few instructions that it has, run by hand."""
    registers = [0] * 11
    context = [{"b": 1, "c": 2}[kind] | sum({"m": 1, "r": 2, "w": 4}[letter] for letter in access) << 16, major, minor]
    position = 0
    while True:
        code = program[8 * position : 8 * position + 8]
        target, source = code[1] & 15, code[1] >> 4
        offset, immediate = int.from_bytes(code[2:4], "little"), int.from_bytes(code[4:8], "little")
        position += 1
        if code[0] == 0x95:
            return registers[0]
        if code[0] == 0x61:
            registers[target] = context[offset // 4]
        elif code[0] in (0xBC, 0xB7):
            registers[target] = registers[source] if code[0] == 0xBC else immediate
        elif code[0] == 0x54:
            registers[target] &= immediate
        elif code[0] == 0x74:
            registers[target] >>= immediate
        else:
            other = registers[source] if code[0] == 0x5E else immediate
            equal = registers[target] == other
            if equal == (code[0] == 0x16):
                position += offset


@pytest.mark.parametrize(
    ("rules", "request_", "allowed"),
    [
        ([], ("c", "rw", 1, 3), True),
        ([], ("c", "m", 200, 7), True),
        ([], ("b", "r", 8, 0), False),
        ([rule(True, "b", 8, 0, "r")], ("b", "r", 8, 0), True),
        ([rule(True, "b", 8, 0, "r")], ("b", "rw", 8, 0), False),
        ([rule(True, "b", 8, 0, "r"), rule(True, "b", 8, 0, "w")], ("b", "rw", 8, 0), True),
        ([rule(True, "c", 10, -1, "rwm")], ("c", "rw", 10, 229), True),
        ([rule(True, "c", 10, -1, "rwm")], ("b", "rw", 10, 229), False),
        ([rule(True), rule(False, "b", 8, -1, "w")], ("b", "r", 8, 3), True),
        ([rule(True), rule(False, "b", 8, -1, "w")], ("b", "rw", 8, 3), False),
        ([rule(True)], ("b", "rw", 8, 3), True),
    ],
)
def test_device_program(rules, request_, allowed):
    assert interpret(bpf.program(devices.policy(rules)), *request_) == int(allowed)


@pytest.mark.parametrize(
    ("name", "path"),
    [("system.slice", "/system.slice"), ("a-b-c.slice", "/a.slice/a-b.slice/a-b-c.slice"), ("-.slice", "/")],
)
def test_slices(name, path):
    assert systemd.expand_slice(name) == path


@pytest.mark.parametrize("name", ["", "a", ".slice", "a--b.slice", "-a.slice", "a/b.slice", "--.slice"])
def test_names_that_are_no_slice(name):
    with pytest.raises(InvalidInput):
        systemd.expand_slice(name)


@pytest.mark.parametrize(
    ("text", "expected"), [("0", b"\x01"), ("0-3,7", b"\x8f"), ("8", b"\x00\x01"), (" 1 , ,3-3", b"\x0a")]
)
def test_processors_as_bits(text, expected):
    assert systemd.bits(text, "cpu.cpus") == expected


@pytest.mark.parametrize("text", ["", "x", "3-1", "1-", "-1", "1-2-3"])
def test_what_is_no_list_of_processors(text):
    with pytest.raises(InvalidInput):
        systemd.bits(text, "cpu.cpus")


def test_quota_is_rounded_up_to_a_percent():
    cpu = {"quota": 12345, "period": 100000, "shares": 1024}
    assert systemd.cpu_properties(cpu, 252, True) == [
        ("CPUWeight", "t", 100),
        ("CPUQuotaPeriodUSec", "t", 100000),
        ("CPUQuotaPerSecUSec", "t", 130000),
    ]
    assert cpu["quota"] == 13000
    assert systemd.cpu_properties({"quota": -1}, 252, True) == [("CPUQuotaPerSecUSec", "t", UNLIMITED)]
    assert systemd.cpu_properties({"period": 5000}, 241, False) == [("CPUQuotaPerSecUSec", "t", UNLIMITED)]
    assert systemd.cpu_properties({"idle": 1, "shares": 2}, 252, True) == [("CPUWeight", "t", 0)]
    assert systemd.cpu_properties({"cpus": "0-1"}, 243, True) == []
    assert systemd.cpu_properties({"cpus": "0-1"}, 244, True) == [("AllowedCPUs", "ay", b"\x03")]


def test_memory_for_systemd():
    assert systemd.memory_v2({"limit": 100, "reservation": 50, "swap": 300}) == [
        ("MemoryMax", "t", 100),
        ("MemoryLow", "t", 50),
        ("MemorySwapMax", "t", 200),
    ]
    assert systemd.memory_v2({"limit": -1}) == [("MemoryMax", "t", UNLIMITED), ("MemorySwapMax", "t", UNLIMITED)]
    assert systemd.memory_v1({"limit": 100}) == [("MemoryLimit", "t", 100)]


def test_unified_for_systemd():
    asked = {
        "cpu.max": "max 50000",
        "memory.high": "max",
        "pids.max": "0",
        "cpuset.cpus": "1",
        "io.max": "8:0 rbps=1",
        "cpu.weight": "7",
    }
    assert systemd.unified_properties(asked, 252) == [
        ("CPUQuotaPeriodUSec", "t", 50000),
        ("CPUQuotaPerSecUSec", "t", UNLIMITED),
        ("MemoryHigh", "t", UNLIMITED),
        ("TasksMax", "t", 1),
        ("AllowedCPUs", "ay", b"\x02"),
        ("CPUWeight", "t", 7),
    ]
    with pytest.raises(InvalidInput, match=r"cpu\.max"):
        systemd.unified_properties({"cpu.max": "1 2 3"}, 252)


def test_devices_for_systemd():
    found = systemd.device_properties([rule(True, "b", 8, -1, "r")], 252)
    assert found[:2] == [("DeviceAllow", "a(ss)", []), ("DevicePolicy", "s", "strict")]
    allowed = found[2][2]
    assert ("block-8", "r") in allowed
    assert ("char-*", "m") in allowed
    assert ("/dev/char/1:3", "rwm") in allowed
    assert systemd.device_properties([rule(True)], 252) == [
        ("DeviceAllow", "a(ss)", []),
        ("DevicePolicy", "s", "auto"),
    ]


def test_annotations_for_systemd():
    found = systemd.annotated(
        {
            "org.systemd.property.TimeoutStopSec": "uint32 3",
            "org.systemd.property.CollectMode": "'inactive-or-failed'",
            "other": "1",
        }
    )
    assert sorted(found) == [("CollectMode", "s", "inactive-or-failed"), ("TimeoutStopUSec", "t", 3000000)]
    for key, text in (("ab", "1"), ("With1", "1"), ("TimeoutStopSec", "'x'"), ("KillMode", "'open")):
        with pytest.raises(InvalidInput, match="org.systemd.property." + key):
            systemd.annotated({"org.systemd.property." + key: text})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1", ("i", 1)),
        ("-7", ("i", -7)),
        ("0x10", ("i", 16)),
        ("010", ("i", 8)),
        ("1.5", ("d", 1.5)),
        ("true", ("b", True)),
        ("uint64 5", ("t", 5)),
        ("byte 0xff", ("y", 255)),
        ("'a\\n\\u20ac'", ("s", "a\n€")),
        ('"it\'s"', ("s", "it's")),
        ("objectpath '/a'", ("o", "/a")),
        ("['a', \"b\"]", ("as", ["a", "b"])),
        ("[1, uint16 2]", ("aq", [1, 2])),
        ("@as []", ("as", [])),
        ("[byte 1, 2]", ("ay", b"\x01\x02")),
        ("b'ab'", ("ay", b"ab\0")),
        ("<1>", ("v", ("i", 1))),
        ("{'a': <1>, 'b': <'x'>}", ("a{sv}", [("a", ("i", 1)), ("b", ("s", "x"))])),
        ("  [ [1], [2,3] ] ", ("aai", [[1], [2, 3]])),
    ],
)
def test_gvariant_text(text, expected):
    assert gvariant.parse(text) == expected


@pytest.mark.parametrize(
    "text", ["", "[]", "1 2", "'a", "uint32 -1", "byte 256", "[1, 'a']", "nothing", "<1", "{'a' 1}", "@zz 1", "@i 'a'"]
)
def test_text_that_is_no_gvariant(text):
    with pytest.raises(ValueError):
        gvariant.parse(text)


# The example of the D-Bus Specification's chapter on marshalling, with the strings foo, + and bar
def test_marshalling_is_that_of_the_specification():
    writer = dbus.Writer()
    for word in ("foo", "+", "bar"):
        writer.write("s", word)
    assert bytes(writer.data) == bytes.fromhex("03000000 666f6f00 01000000 2b000000 03000000 62617200")
    writer = dbus.Writer()
    writer.write("ax", [5])  # the specification: length 8, then padding to 8, which does not count
    assert bytes(writer.data) == bytes.fromhex("08000000 00000000 0500000000000000")
    writer = dbus.Writer()
    writer.write("v", ("t", 1))
    assert bytes(writer.data) == bytes.fromhex("017400 0000000000 0100000000000000")


VALUES = [
    ("y", 255),
    ("n", -2),
    ("q", 65535),
    ("i", -(1 << 31)),
    ("u", 1),
    ("x", -1),
    ("t", UNLIMITED),
    ("d", -1.5),
    ("b", True),
    ("s", "é"),
    ("o", "/a/b"),
    ("g", "a(sv)"),
    ("as", []),
    ("ay", b"\x00\x01"),
    ("a(sv)", [("Slice", ("s", "system.slice")), ("PIDs", ("au", [1, 2])), ("Delegate", ("b", False))]),
    ("a(ss)", [("/dev/null", "rwm")]),
    ("a{sv}", [("k", ("v", ("x", 1)))]),
    ("(ybt)", (1, True, 3)),
]


def test_a_message_comes_back_as_it_was():
    signature = "".join(kind for kind, _value in VALUES)
    fields = {"path": "/a", "interface": "a.b", "member": "C", "destination": "d.e"}
    message = dbus.Message(dbus.METHOD_CALL, fields, signature, [value for _kind, value in VALUES])
    data = message.encode(77)
    decoded, size = dbus.decode(data + b"rest")
    assert size == len(data)
    assert (decoded.kind, decoded.serial, decoded.fields) == (dbus.METHOD_CALL, 77, fields)
    assert decoded.body == [value for _kind, value in VALUES]
    for cut in range(len(data)):
        assert dbus.decode(data[:cut])[0] is None


def test_a_message_of_the_other_byte_order():
    # a signal of a big-endian peer, by hand: path /a, member M, signature u, body 7
    header = b"B\x04\x01\x01" + (4).to_bytes(4, "big") + (9).to_bytes(4, "big")
    path = b"\x01\x01o\0" + (2).to_bytes(4, "big") + b"/a\0" + bytes(5)
    member = b"\x03\x01s\0" + (1).to_bytes(4, "big") + b"M\0" + bytes(6)
    signature = b"\x08\x01g\0\x01u\0"
    fields = path + member + signature
    message, _size = dbus.decode(header + len(fields).to_bytes(4, "big") + fields + b"\0" + (7).to_bytes(4, "big"))
    assert (message.kind, message.serial, message.body) == (dbus.SIGNAL, 9, [7])
    assert message.fields == {"path": "/a", "member": "M"}


@pytest.mark.parametrize(("signature", "expected"), [("sa(sv)a{s(ix)}u", ["s", "a(sv)", "a{s(ix)}", "u"]), ("", [])])
def test_signatures(signature, expected):
    assert dbus.split_signature(signature) == expected


@pytest.mark.parametrize("signature", ["(", "a", "z", "a(s", ")"])
def test_broken_signatures(signature):
    with pytest.raises(ValueError):
        dbus.split_signature(signature)


def test_addresses():
    assert dbus.socket_path("unix:path=/run/user/1000/bus,guid=1f") == "/run/user/1000/bus"
    assert dbus.socket_path("tcp:host=x;unix:abstract=/tmp/a%2cb") == "@/tmp/a,b"


def test_subgroups_of_exec():
    assert manager.subgroups(["a/b"]) == "a/b"
    assert manager.subgroups(["cpu,memory:x", "pids:y"]) == {"cpu": "x", "memory": "x", "pids": "y"}
    for words in (["a", "b"], ["cpu:x", "cpu:y"], [":x"]):
        with pytest.raises(InvalidInput):
            manager.subgroups(words)


def test_page_sizes_are_those_of_the_files():
    assert all(size[-2:] in ("KB", "MB", "GB") for size in stats.page_sizes())


GOOD = {
    "memory": {"limit": -1, "swappiness": 100, "swap": -1},
    "cpu": {"idle": 1, "cpus": "0-3, 7", "quota": 100, "burst": 100},
    "blockIO": {
        "weight": 10,
        "weightDevice": [{"major": 8, "minor": 0, "weight": 500}],
        "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 0}],
    },
    "hugepageLimits": [{"pageSize": "2MB", "limit": 0}],
    "network": {"classID": 1048577, "priorities": [{"name": "eth0", "priority": 0}]},
    "rdma": {"mlx5_1": {"hcaHandles": 0}},
    "unified": {"io.max": "8:0 rbps=1\n8:16 rbps=1"},
    "devices": [{"allow": False, "access": "rwm"}, {"allow": True, "type": "c", "major": 1, "minor": 3}],
}


def test_resources_as_they_should_be():
    told = []
    resources(GOOD, "config.json", told.append)
    assert told == []
    resources({"memory": {"kernel": 1}}, "config.json", told.append)
    assert "linux.resources.memory.kernel" in told[0]


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ({"memory": {"limit": -2}}, "memory.limit"),
        ({"memory": {"limit": 100, "swap": 99}}, "memory.swap"),
        ({"memory": {"swappiness": 101}}, "memory.swappiness"),
        ({"cpu": {"idle": 2}}, "cpu.idle"),
        ({"cpu": {"quota": 10, "burst": 11}}, "cpu.burst"),
        ({"cpu": {"cpus": "0\n1"}}, "cpu.cpus"),
        ({"blockIO": {"weight": 9}}, "blockIO.weight"),
        ({"blockIO": {"weightDevice": [{"major": 8, "minor": 0}]}}, "needs weight or leafWeight"),
        ({"blockIO": {"throttleReadBpsDevice": [{"major": 8, "rate": 1}]}}, "minor: missing"),
        ({"hugepageLimits": [{"pageSize": "2MB/../x", "limit": 1}]}, "pageSize"),
        ({"hugepageLimits": [{"pageSize": "2MB"}]}, "limit: missing"),
        ({"network": {"classID": 1 << 32}}, "classID"),
        ({"network": {"priorities": [{"name": "a b", "priority": 1}]}}, "name"),
        ({"rdma": {"mlx": {}}}, "needs hcaHandles"),
        ({"rdma": {"a b": {"hcaHandles": 1}}}, "without blanks"),
        ({"unified": {"../cgroup.procs": "1"}}, "unified"),
        ({"unified": {"plain": "1"}}, "unified"),
        ({"devices": [{"allow": True, "type": "p"}]}, "type"),
        ({"devices": [{"allow": True, "access": "x"}]}, "access"),
        ({"devices": [{"type": "c"}]}, "allow: missing"),
    ],
)
def test_resources_that_cannot_be(bad, said):
    with pytest.raises(InvalidInput) as caught:
        resources(bad, "config.json", lambda _text: None)
    assert said in str(caught.value)
    assert str(caught.value).startswith("config.json: linux.resources.")
