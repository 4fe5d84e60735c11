# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The end of a log: lines in parts, lines that are being written, and files longer than one block."""

from __future__ import annotations

import pytest
from ansible_collections.ocilab.hosts.plugins.module_utils.labrun import logs


def texts(path, count):
    return [(line["stream"], line["text"]) for line in logs.tail(str(path), count)]


def test_parts_are_joined_by_stream(tmp_path):
    path = tmp_path / "log"
    path.write_bytes(b"1 stdout P ab\n2 stderr F x y\n3 stdout P c d\n4 stdout F \n5 stderr P rest\n6 stdout F cut")
    assert logs.tail(str(path), 9)[1] == {"time": "4", "stream": "stdout", "text": "abc d"}
    assert texts(path, 9) == [("stderr", "x y"), ("stdout", "abc d"), ("stderr", "rest")]
    assert texts(path, 1) == [("stderr", "rest")]
    assert texts(tmp_path / "none", 1) == []


@pytest.mark.parametrize("count", [1, 10, 5000, 30000])
def test_a_long_log_is_read_from_its_end(tmp_path, count):
    path = tmp_path / "log"
    path.write_bytes(b"".join(b"time stdout F line %d \xff\n" % number for number in range(20000)))
    expected = [("stdout", f"line {number} \ufffd") for number in range(20000)][-count:]
    assert texts(path, count) == expected


def test_a_line_longer_than_a_block(tmp_path):
    path = tmp_path / "log"
    part = b"a" * 16384
    parts = b"".join(b"t stdout P %s\n" % part for _ in range(20))
    path.write_bytes(b"t stdout F before\n" + parts + b"t stdout F end\n")
    assert texts(path, 1) == [("stdout", "a" * 16384 * 20 + "end")]
