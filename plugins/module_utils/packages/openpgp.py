# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""The fingerprints of OpenPGP keys (RFC 4880), for hosts that have no gpg: apt itself needs gpgv or sqv only."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re

from ..linux.errors import InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Iterator

_BEGIN, _END = rb"-----BEGIN PGP PUBLIC KEY BLOCK-----", rb"-----END PGP PUBLIC KEY BLOCK-----"
_BLOCK = re.compile(_BEGIN + rb"\s*?\r?\n(.*?)" + _END, re.DOTALL)
_PUBLIC_KEY = 6
# Beside keys: signatures, subkeys, trust, user ids, user attributes, padding. Anything else is a mistake.
_BESIDE = (2, 12, 13, 14, 17, 21)


def fingerprints(data: bytes) -> list[str]:
    """The fingerprints of all primary keys in a file of keys, armored or not, as upper case hexadecimal numbers.

    Every block of a file counts, for apt trusts every key of the file that Signed-By names.
    Raises InvalidInput for what is no file of public keys of version 4.
    """
    found = []
    for block in _blocks(data):
        for tag, body in _packets(block):
            if tag == _PUBLIC_KEY:
                if body[:1] != b"\x04":
                    raise InvalidInput("key: its version is not 4, the only one that can be compared")
                found.append(hashlib.sha1(b"\x99" + len(body).to_bytes(2, "big") + body).hexdigest().upper())
            elif tag not in _BESIDE:
                raise InvalidInput("key: holds an OpenPGP packet of type %d, which no file of public keys has" % tag)
    if not found:
        raise InvalidInput("key: holds no OpenPGP public key")
    return found


def normal(fingerprint: str) -> str:
    """A fingerprint as people write it, in the form of fingerprints(). Raises InvalidInput."""
    plain = re.sub(r"[\s:]", "", fingerprint).upper()
    if not re.match(r"^(0X)?[0-9A-F]{40}\Z", plain):
        raise InvalidInput("key_fingerprint %r: is not 40 hexadecimal digits; shorter ones can be forged" % fingerprint)
    return plain[-40:]


def _blocks(data: bytes) -> Iterator[bytes]:
    if b"-----BEGIN" not in data:
        yield data
        return
    for match in _BLOCK.finditer(data):
        text = match.group(1).replace(b"\r", b"")
        if re.match(rb"[A-Za-z]+: ", text):
            text = text.partition(b"\n\n")[2]
        lines = [line.strip() for line in text.split(b"\n")]
        try:  # the line that begins with "=" is a checksum
            yield base64.b64decode(b"".join(line for line in lines if not line.startswith(b"=")), validate=True)
        except binascii.Error:
            raise InvalidInput("key: its ASCII armor is damaged")


def _packets(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(type, body) of each packet (section 4.2). Raises InvalidInput."""
    at = 0
    try:
        while at < len(data):
            head = data[at]
            if not head & 0x80:
                raise InvalidInput("key: is no file of OpenPGP keys")
            tag, at, length = _new_format(data, at) if head & 0x40 else _old_format(data, at)
            if at + length > len(data):
                raise IndexError
            yield tag, data[at : at + length]
            at += length
    except IndexError:
        raise InvalidInput("key: ends in the middle of a packet")


def _old_format(data: bytes, at: int) -> tuple[int, int, int]:
    size = {0: 1, 1: 2, 2: 4}.get(data[at] & 3)
    if size is None:
        raise InvalidInput("key: has a packet without a length")
    return (data[at] >> 2) & 15, at + 1 + size, int.from_bytes(data[at + 1 : at + 1 + size], "big")


def _new_format(data: bytes, at: int) -> tuple[int, int, int]:
    tag, first = data[at] & 63, data[at + 1]
    if first < 192:
        return tag, at + 2, first
    if first < 224:
        return tag, at + 3, ((first - 192) << 8) + data[at + 2] + 192
    if first == 255:
        return tag, at + 6, int.from_bytes(data[at + 2 : at + 6], "big")
    raise InvalidInput("key: has a packet in parts, which keys never have")
