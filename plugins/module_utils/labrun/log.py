# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""The labrun command's log: runc's formats, since engines read them (text, and JSON lines with level, msg and time)."""

from __future__ import annotations

import os
import time

from ..spec import document

FORMATS = ("text", "json")


class Log:
    """Writes to the file of --log, or to standard error; debug lines only when asked for."""

    def __init__(self, path: str = "", form: str = "text", debug: bool = False) -> None:
        self.form = form
        self.wants_debug = debug
        self.fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644) if path else 2

    def debug(self, text: str) -> None:
        if self.wants_debug:
            self._write("debug", text)

    def warn(self, text: str) -> None:
        self._write("warning", text)

    def error(self, text: str) -> None:
        self._write("error", text)

    def _write(self, level: str, text: str) -> None:
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        if self.form == "json":
            line = document.dump({"level": level, "msg": text, "time": now})
        else:
            line = b'time="%s" level=%s msg=%s' % (now.encode(), level.encode(), document.dump(text))
        os.write(self.fd, line + b"\n")
