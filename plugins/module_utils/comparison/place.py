# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""An engine's place in a comparison: each step gives plain data, so that it may be done in a process of its own."""

from __future__ import annotations

from ..linux.errors import OcilabError, Unsupported
from .cases import table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..engines import engine
    from .cases.seat import Seat


class Place:
    """The steps of one engine, in order: detect, prepare, sample and components as often as wanted, clean_up."""

    def __init__(self, item: engine.Engine, seat: Seat) -> None:
        self.name = item.name
        self._engine = item
        self._seat = seat
        self._is_touched = False

    def detect(self) -> dict[str, Any]:
        """The engine's part of the document of results, as far as it is known before anything is measured."""
        return detected(self._engine)

    def prepare(self) -> dict[str, Any]:
        """What preparing adds to that part."""
        self._is_touched = True
        try:
            self._engine.prepare(self._seat.workload)
        except OcilabError as error:
            return {"available": False, "unavailable_reason": str(error)}
        return {"notes": self._engine.notes}

    def sample(self, case: str) -> dict[str, Any]:
        """One sample: its measures as far as it came, and why no further; it leaves no container that it started."""
        found: dict[str, Any] = {"measures": [], "left_out": None, "failure": None}
        whole = False
        try:
            try:
                for measured in table.FUNCTIONS[case](self._seat):
                    found["measures"].append(list(measured))
                whole = True
            finally:
                self._seat.clear(failed=not whole)
        except Unsupported as error:
            found["left_out"] = str(error)
        except (OcilabError, OSError) as error:
            found["failure"] = str(error)
        return found

    def components(self, keeps: bool) -> list[dict[str, Any]]:
        """What lies between command and container while one runs, which may run on where it is to be kept.

        Where none runs, its lasting parts: the cases will tell why.
        """
        self._seat.keeps = keeps
        try:
            found = self._engine.components(self._seat.standing())
            self._seat.clear(failed=False)
            return found
        except (OcilabError, OSError):
            self._seat.clear(failed=True)
        try:
            return self._engine.components("")
        except (OcilabError, OSError):
            return []

    def dismiss(self) -> None:
        """Remove the container that stands by."""
        self._seat.dismiss()

    def clean_up(self) -> str:
        """Undo what was prepared; why that failed, or nothing."""
        if not self._is_touched:
            return ""
        self._is_touched = False
        try:
            try:
                self._seat.clear(failed=True)
            finally:
                self._engine.clean_up()
        except (OcilabError, OSError) as error:
            return "%s: %s" % (self.name, error)
        return ""


def detected(item: engine.Engine) -> dict[str, Any]:
    """The engine's part of the document of results, of an engine that was only looked for."""
    result: dict[str, Any] = {
        "available": True,
        "version": None,
        "unavailable_reason": None,
        "kind": item.kind,
        "engine": item.engine,
        "runtime": item.runtime,
        "rootless": item.rootless,
        "notes": "",
        "components": [],
        "benchmarks": {},
        "isolation": None,
    }
    try:
        result["version"] = item.detect()
    except OcilabError as error:
        result.update(available=False, unavailable_reason=str(error))
    return result
