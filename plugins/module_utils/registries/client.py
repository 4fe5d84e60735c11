# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""A registry as its users see it: one TLS connection a request, certificates checked, answers of a bounded size."""

from __future__ import annotations

import base64
import http.client
import ssl

from ..linux.errors import OcilabError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Mapping

_ANSWER_BYTES = 4 << 20


class Answer:
    """status, headers (names in small letters) and body."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body


class Registry:
    """The registry at host and port. ca: the file of the authority that has signed its certificate."""

    def __init__(self, host: str, port: int, ca: str, timeout_s: float = 30) -> None:
        self.host = host
        self.port = port
        self.timeout_s = timeout_s
        self._tls = ssl.create_default_context(cafile=ca or None)
        self._tls.minimum_version = ssl.TLSVersion.TLSv1_2

    def ask(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        user: tuple[str, str] | None = None,
    ) -> Answer:
        """One request, as user (name, password). Raises OcilabError for no answer or a foreign certificate."""
        given = dict(headers or {})
        if user is not None:
            given["Authorization"] = "Basic " + base64.b64encode(":".join(user).encode()).decode()
        connection = http.client.HTTPSConnection(self.host, self.port, timeout=self.timeout_s, context=self._tls)
        try:
            connection.request(method, path, body or None, given)
            answer = connection.getresponse()
            found = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, found, answer.read(_ANSWER_BYTES))
        except (OSError, http.client.HTTPException) as error:
            raise OcilabError(
                "https://%s:%d%s: %s" % (self.host, self.port, path, error or type(error).__name__)
            ) from None
        finally:
            connection.close()
