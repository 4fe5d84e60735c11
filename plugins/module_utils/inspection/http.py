# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""A client for the HTTP that engines speak: over a unix socket, or over TLS with certificates of both sides."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from urllib.parse import urlsplit

from ..engines.engine import EngineFailed, Unavailable
from ..linux.errors import InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_ENCRYPTED_PORT = 2376
_PLAIN_PORT = 2375


class Certificates:
    """Paths: of the authority that the server's certificate is held against, and of our own certificate and key."""

    def __init__(self, authority: str = "", certificate: str = "", key: str = "") -> None:
        self.authority = authority
        self.certificate = certificate
        self.key = key

    def context(self) -> ssl.SSLContext:
        """Raises InvalidInput where the files cannot be used."""
        try:
            context = ssl.create_default_context(cafile=self.authority or None)
            if self.certificate:
                context.load_cert_chain(self.certificate, self.key or None, password="")
        except (OSError, ssl.SSLError) as error:
            reason = error.strerror or str(error)
            message = "certificates %s: cannot be used: %s"
            raise InvalidInput(message % (", ".join(filter(None, vars(self).values())), reason)) from None
        return context

    def given(self) -> bool:
        return bool(self.authority or self.certificate)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Client:
    """Of the server at unix:///PATH, tcp://HOST:PORT, http:// or https://. Raises InvalidInput for another address."""

    def __init__(self, address: str, timeout_s: float, certificates: Certificates | None = None) -> None:
        self.address = address
        self._connection = _connection(address, timeout_s, certificates or Certificates())

    def close(self) -> None:
        self._connection.close()

    def get(self, path: str) -> Any:
        """The JSON document at the path. Raises Unavailable where nobody answers, EngineFailed where it is refused."""
        try:
            self._connection.request("GET", path, headers={"Accept": "application/json"})
            answer = self._connection.getresponse()
            text = answer.read().decode("utf-8", "replace")
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise Unavailable("%s: %s" % (self.address, _reason(error))) from None
        try:
            document = json.loads(text)
        except ValueError:
            document = None
        if answer.status != http.client.OK:
            said = document.get("message") if isinstance(document, dict) else text.strip()[:200]
            raise EngineFailed("%s: GET %s: %d %s" % (self.address, path, answer.status, said or answer.reason))
        if document is None:
            raise EngineFailed("%s: GET %s: its answer is no JSON" % (self.address, path))
        return document


def _connection(address: str, timeout_s: float, certificates: Certificates) -> http.client.HTTPConnection:
    parts = urlsplit(address)
    if parts.scheme == "unix":
        return _UnixConnection(parts.path, timeout_s)
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if parts.scheme not in ("tcp", "http", "https") or not host:
        raise InvalidInput("address %s: is none of unix:///PATH, tcp://HOST:PORT, https://HOST:PORT" % address)
    if parts.scheme == "https" or (parts.scheme == "tcp" and certificates.given()):
        context = certificates.context()
        return http.client.HTTPSConnection(host, port or _ENCRYPTED_PORT, timeout=timeout_s, context=context)
    return http.client.HTTPConnection(host, port or _PLAIN_PORT, timeout=timeout_s)


def _reason(error: Exception) -> str:
    """One line that tells what to do where something can be done."""
    if isinstance(error, FileNotFoundError):
        return "there is no such socket; start its service"
    if isinstance(error, ConnectionRefusedError):
        return "nobody listens there; start its service"
    if isinstance(error, PermissionError):
        return "permission denied; use become, or a user of the socket's group"
    if isinstance(error, ssl.SSLCertVerificationError):
        return "its certificate is refused: %s" % error.verify_message
    if isinstance(error, ssl.SSLError):
        return "TLS failed: %s; the server may want a certificate of its own authority" % (error.reason or error)
    if isinstance(error, socket.timeout):
        return "no answer in time"
    if isinstance(error, http.client.HTTPException):
        return "its answer is no HTTP (%s)" % type(error).__name__
    return str(getattr(error, "strerror", None) or error).lower()
