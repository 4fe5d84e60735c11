# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The server that tests/lab/pulse.c talks to: it knows how each container's network fares."""

from __future__ import annotations

import socket
import threading
import time


class Pulses:
    """port: where it answers; seen: by name the number of the last pulse, how many were lost, and when it came."""

    def __init__(self):
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("0.0.0.0", 0))
        self.port = self._socket.getsockname()[1]
        self.seen = {}
        self.longest = {}  # by name, in seconds: the longest silence since it was asked for last
        threading.Thread(target=self._answer, daemon=True).start()

    def _answer(self):
        while True:
            try:
                text, address = self._socket.recvfrom(64)
                self._socket.sendto(text, address)
            except OSError:
                return
            name, number, lost = text.decode().split()
            now = time.monotonic()
            if name in self.seen:
                self.longest[name] = max(self.longest.get(name, 0), now - self.seen[name][2])
            self.seen[name] = (int(number), int(lost), now)

    def close(self):
        self._socket.close()

    def wait(self, name, timeout=20):
        """Until it beats steadily; what happened before that does not count."""
        deadline = time.monotonic() + timeout
        self.forget(name)
        while self.seen.get(name, (0,))[0] < 10:
            assert time.monotonic() < deadline, f"{name}: no pulse within {timeout} s; seen {self.seen}"
            time.sleep(0.1)
        self.longest[name] = 0

    def forget(self, name):
        self.seen.pop(name, None)
        self.longest.pop(name, None)

    def losses(self):
        """What is wrong now: {name: (lost, longest silence in seconds)} of those that lost a pulse or fell silent."""
        now = time.monotonic()
        found = {}
        for name, (_number, lost, last) in list(self.seen.items()):
            silence = max(self.longest[name], now - last)
            if lost or silence > 5:
                found[name] = (lost, round(silence, 1))
        return found
