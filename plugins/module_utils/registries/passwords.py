# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""Passwords as bcrypt hashes, by the host's own libcrypt: Python has no crypt module from 3.13 on."""

from __future__ import annotations

import ctypes
import hmac

from ..linux.errors import InvalidInput, OcilabError, Unsupported

MAX_BYTES = 72  # of a password that bcrypt looks at
COSTS = range(4, 18)
_SALT_BYTES = 192  # CRYPT_GENSALT_OUTPUT_SIZE
_WORK_BYTES = 32768  # struct crypt_data


def hashed(password: str, cost: int) -> str:
    """The password's hash with a salt of its own. Raises InvalidInput, Unsupported."""
    if cost not in COSTS:
        raise InvalidInput("cost: %d is not between %d and %d" % (cost, COSTS[0], COSTS[-1]))
    salt = ctypes.create_string_buffer(_SALT_BYTES)
    if not _library().crypt_gensalt_rn(b"$2b$", cost, None, 0, salt, _SALT_BYTES):
        raise Unsupported("libcrypt: this host's has no bcrypt")
    return _crypt(password, salt.value)


def check(password: str) -> None:
    """Raises InvalidInput for one that bcrypt would not look at as a whole."""
    phrase = password.encode("utf-8")
    if not phrase or len(phrase) > MAX_BYTES or b"\0" in phrase:
        raise InvalidInput("password: it has to have 1 to %d bytes, none of them zero" % MAX_BYTES)


def fits(password: str, known: str) -> bool:
    """Whether known is a bcrypt hash of the password."""
    if not known.startswith("$2"):
        return False
    try:
        return hmac.compare_digest(_crypt(password, known.encode("ascii")), known)
    except (OcilabError, UnicodeEncodeError):
        return False


def _crypt(password: str, setting: bytes) -> str:
    check(password)
    work = ctypes.create_string_buffer(_WORK_BYTES)
    found = _library().crypt_rn(password.encode("utf-8"), setting, work, _WORK_BYTES)
    if not found:
        raise Unsupported("libcrypt: this host's has no bcrypt")
    return bytes(found).decode("ascii")


def _library() -> ctypes.CDLL:
    for name in ("libcrypt.so.1", "libcrypt.so.2"):
        try:
            library = ctypes.CDLL(name)
            library.crypt_gensalt_rn.argtypes = [
                ctypes.c_char_p,
                ctypes.c_ulong,
                ctypes.c_char_p,
                ctypes.c_int,
                ctypes.c_char_p,
                ctypes.c_int,
            ]
            library.crypt_gensalt_rn.restype = ctypes.c_char_p
            library.crypt_rn.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_int]
            library.crypt_rn.restype = ctypes.c_char_p
        except (OSError, AttributeError):
            continue
        return library
    raise Unsupported("libcrypt: this host has none that makes bcrypt hashes")
