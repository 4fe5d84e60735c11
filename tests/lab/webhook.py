# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A listener for the notifications of a registry."""

from __future__ import annotations

import http.server
import json
import threading
import time


class Webhook:
    """port: where it listens; events: (action, repository) of each; tokens: what it was shown as Authorization."""

    def __init__(self):
        self.events = []
        self.tokens = set()
        self._server = http.server.ThreadingHTTPServer(("0.0.0.0", 0), type("Handler", (_Handler,), {"webhook": self}))
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def wait(self, action, repository, timeout=30):
        deadline = time.monotonic() + timeout
        while (action, repository) not in self.events:
            assert time.monotonic() < deadline, (
                f"no {action} of {repository} within {timeout} s; there were {self.events}"
            )
            time.sleep(0.1)

    def close(self):
        self._server.shutdown()
        self._server.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
    webhook: Webhook

    def do_POST(self):
        content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.webhook.tokens.add(self.headers.get("Authorization"))
        for event in content["events"]:
            self.webhook.events.append((event["action"], event["target"]["repository"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format, *args):
        pass
