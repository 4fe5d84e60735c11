# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""Downloads: certificates validated, content compared by sha256, and nothing stays of one that is not right."""

from __future__ import annotations

import hashlib
import os
import re

from ..linux.errors import InvalidInput, OcilabError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO

_TIMEOUT_S = 60


class Proxies:
    """http, https: URLs of proxies, or empty; no_proxy: hosts that are reached without one, separated by commas.

    Raises InvalidInput.
    """

    def __init__(self, http: str = "", https: str = "", no_proxy: str = "") -> None:
        for name, url in (("http", http), ("https", https)):
            if not re.match(r'^(https?://[^\s"\\]+)?\Z', url):  # which may hold a password, and is not told
                raise InvalidInput("proxy.%s: is no URL that begins with http:// or https://" % name)
        self.http = http
        self.https = https
        self.no_proxy = no_proxy

    def apt_conf(self) -> str:
        """Settings of apt; not its environment, which the scripts of packages and what they start would have, too."""
        given = {"http": self.http, "https": self.https}
        return "".join('Acquire::%s::Proxy "%s";\n' % item for item in given.items() if item[1])


def fetch(url: str, sha256: str, path: str, proxies: Proxies) -> None:
    """Download url to the new file at path (0600) whose folder is the caller's own.

    sha256: 64 hexadecimal digits; empty only for what is compared otherwise, as keys by their fingerprint.
    Raises InvalidInput for no sha256 or URL, OcilabError when the download fails or differs: no file stays then.
    """
    import urllib.request  # late: only those that download pay for it

    if sha256 and not re.match(r"^[0-9a-f]{64}\Z", sha256):
        raise InvalidInput("sha256 %r: is not 64 hexadecimal digits" % sha256)
    if not re.match(r"^(https?|file)://\S+\Z", url):
        raise InvalidInput("url %r: does not begin with https://, http:// or file://" % url)
    through = {"http": proxies.http, "https": proxies.https} if _through(url, proxies) else {}
    handler = urllib.request.ProxyHandler({scheme: proxy for scheme, proxy in through.items() if proxy})
    try:
        with urllib.request.build_opener(handler).open(url, timeout=_TIMEOUT_S) as source:
            found = _copy(source, path)
    except (OSError, ValueError) as error:
        _remove(path)
        raise OcilabError("download %s: %s" % (url, getattr(error, "reason", None) or error))
    if sha256 and found != sha256:
        _remove(path)
        raise OcilabError("download %s: its sha256 is %s, and %s was asked for" % (url, found, sha256))


def _through(url: str, proxies: Proxies) -> bool:
    """Whether a proxy is between: no_proxy names hosts, and domains with all that is below them."""
    import urllib.parse

    host = urllib.parse.urlsplit(url).hostname or ""
    names = [name.strip().lstrip(".") for name in proxies.no_proxy.split(",") if name.strip()]
    direct = any(name in ("*", host) or host.endswith("." + name) for name in names)
    return bool(proxies.http or proxies.https) and not direct


def _copy(source: BinaryIO, path: str) -> str:
    digest = hashlib.sha256()
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
        for chunk in iter(lambda: source.read(1 << 20), b""):
            digest.update(chunk)
            file.write(chunk)
    return digest.hexdigest()


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
