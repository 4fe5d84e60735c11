# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""An engine's place in a process of its own, so that no engine is measured in what another has made of a process."""

from __future__ import annotations

from ..engines import apart
from ..linux.errors import OcilabError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .place import Place


class Apart(apart.Apart):
    """The same steps as the place's. Its process ends by close(), or when this one ends, and cleans up in any case."""

    def __init__(self, place: Place) -> None:
        super().__init__(place, place.clean_up)
        self.name = place.name

    def detect(self) -> dict[str, Any]:
        return dict(self.ask("detect"))

    def prepare(self) -> dict[str, Any]:
        return dict(self.ask("prepare"))

    def sample(self, case: str) -> dict[str, Any]:
        return dict(self.ask("sample", case))

    def components(self, keeps: bool) -> list[dict[str, Any]]:
        return list(self.ask("components", keeps))

    def dismiss(self) -> None:
        self.ask("dismiss")

    def clean_up(self) -> str:
        return str(self.ask("clean_up"))

    def ask(self, method: str, *arguments: object) -> Any:
        """What the place's method returns. Raises OcilabError, which names the engine."""
        try:
            return super().ask(method, *arguments)
        except OcilabError as error:
            raise OcilabError("%s: %s" % (self.name, error)) from None
