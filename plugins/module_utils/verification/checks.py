# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""What each engine has to be able to do. A check returns, or raises: Failed, any OcilabError, or LeftOut."""

from __future__ import annotations

import os
import socket

from ..engines import engine
from ..linux import files
from ..linux.errors import OcilabError
from ..provisioning import commands
from . import scripts
from .subjects import MEMORY_BYTES, PIDS, Subject

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable


class Failed(OcilabError):
    """The engine does not do what it should; the text tells what it does."""


class LeftOut(OcilabError):
    """There is nothing to check here, with the reason."""


class Wishes:
    """What the caller asks for.

    name: a host's name that the name servers know; cache_image: an image of the registry's cache, '' for none; outside:
    (host, port) that containers are to reach, None for the host itself.
    """

    def __init__(self, name: str, cache_image: str, outside: tuple[str, int] | None) -> None:
        self.name = name
        self.cache_image = cache_image
        self.outside = outside


class Scene:
    """An engine with two containers: one that stands all the while, and one that is tried, in which words are executed.

    token: what is answered on the network, and what lies in the volume, a folder of the host's; port: of the host's
    listener.
    """

    def __init__(self, subject: Subject, prefix: str, token: str, port: int, volume: str, wishes: Wishes) -> None:
        self.subject = subject
        self.standing = prefix + "-standing"
        self.tried = prefix + "-tried"
        self.token = token
        self.port = port
        self.volume = volume
        self.wishes = wishes

    def stand(self) -> None:
        """Start the container that stands."""
        words = scripts.standing(self.token, self.port, self.wishes.outside)
        self.subject.adapter.start(self.standing, engine.Wanted(words, network=True))

    def said(self, words: list[str]) -> str:
        """What a command in the tried container says."""
        return self.subject.adapter.execute(self.tried, words).strip()


def service(scene: Scene) -> None:
    """What systemd is to have running runs, if it is enabled."""
    if not scene.subject.units:
        raise LeftOut("it needs no service")
    if not os.path.isdir("/run/systemd/system"):
        raise LeftOut("this host has no systemd")
    words = ("systemctl", "show", "--property", "Id,UnitFileState,ActiveState", *scene.subject.units)
    for block in commands.run(*words, timeout_s=20).split("\n\n"):
        state = dict(line.partition("=")[::2] for line in block.strip().splitlines())
        if state.get("UnitFileState") == "enabled" and state["ActiveState"] != "active":
            raise Failed("%s is %s; start it" % (state["Id"], state["ActiveState"]))


def run(scene: Scene) -> None:
    """A container runs, and a command in it."""
    wanted = engine.Wanted(scripts.IDLE, network=True, volume=scene.volume, options=scene.subject.limits)
    scene.subject.adapter.start(scene.tried, wanted)
    answer = scene.said([*scripts.SHELL, "echo %s" % scene.token])
    if answer != scene.token:
        raise Failed("a command in the container printed %r instead of %r" % (answer, scene.token))


def network(scene: Scene) -> None:
    """It reaches the host, through its gateway, or what is outside."""
    answer = scene.said(scripts.call_target(scene.port, scene.wishes.outside))
    expected = "reached" if scene.wishes.outside else "%s\nreached" % scene.token
    if not answer.endswith(expected):
        raise Failed("it does not reach its target: %s" % (answer or "no answer"))


def neighbour(scene: Scene) -> None:
    """It reaches another container of the engine."""
    scene.subject.connect([scene.standing, scene.tried])
    address = scene.subject.peer_address(scene.standing)
    answer = scene.said(scripts.call_neighbour(address))
    if answer != scene.token:
        raise Failed("it does not reach another container: %s" % answer)


def names(scene: Scene) -> None:
    """It resolves names."""
    name = scene.wishes.name
    try:
        known = {str(found[4][0]) for found in socket.getaddrinfo(name, None, socket.AF_INET)}
    except OSError as error:
        raise LeftOut("the host itself does not resolve %s: %s" % (name, str(error.strerror).lower())) from None
    answer = scene.said(scripts.look_up(name))
    _header, found, told = answer.partition("Name:")
    if not found or "Address" not in told:
        lines = [line for line in answer.splitlines() if line.strip()] or ["no answer"]
        raise Failed(
            "it does not resolve %s, which the host does (%s): %s" % (name, ", ".join(sorted(known)), lines[-1])
        )


def volume(scene: Scene) -> None:
    """A folder of the host is mounted: what the host has written is there, and what it writes the host sees."""
    _write(os.path.join(scene.volume, "told"), scene.token)
    heard = os.path.join(scene.volume, "heard")
    if os.path.exists(heard):
        os.unlink(heard)
    answer = scene.said(scripts.exchange(engine.VOLUME, scene.token))
    if answer != scene.token:
        raise Failed("it reads %r where the host has written %r" % (answer, scene.token))
    if not os.path.exists(heard) or files.read_text(heard).strip() != scene.token:
        raise Failed("the host does not see what the container has written")


def _write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text + "\n")
    os.chmod(path, 0o644)


def memory(scene: Scene) -> None:
    """Who takes more memory than the limit is killed, and who takes little is not."""
    lines = [line.split() for line in scene.said(scripts.TAKE_MEMORY).splitlines()]
    ended = dict(words for words in lines if len(words) == 2)
    if ended.get("little") != "0":
        raise Failed("a program that takes little memory ended with %s" % ended.get("little"))
    if ended.get("much") == "0":
        swap = len(files.read_text("/proc/swaps").splitlines()) > 1
        hint = "; the host has swap, which the engine does not limit" if swap else ""
        raise Failed("a program took five times the limit of %d MiB and went on%s" % (MEMORY_BYTES >> 20, hint))
    if ended.get("much") != "137":
        raise Failed("a program that takes too much ended with %s, and was not killed" % ended.get("much"))


def pids(scene: Scene) -> None:
    """No more processes than the limit can be started, and nearly as many can."""
    lines = scene.said(scripts.fork(2 * PIDS)).splitlines()
    started = [int(line) for line in lines if line.isdigit()]
    if len(started) >= 2 * PIDS:
        raise Failed("%d processes ran in spite of the limit of %d" % (len(started), PIDS))
    if len(started) < PIDS // 2:
        raise Failed("no more than %d processes could be started: %s" % (len(started), lines[-1] if lines else ""))


def cache(scene: Scene) -> None:
    """It pulls through the registry's cache."""
    image = scene.wishes.cache_image
    if not image:
        raise LeftOut("no image of a registry's cache is given (verify_cache_image)")
    scene.subject.adapter.pull(image)
    scene.subject.adapter.forget(image)


def standing(scene: Scene) -> None:
    """The container that stood all the while still runs, and has lost no call."""
    calls, failed = map(int, scene.subject.adapter.execute(scene.standing, scripts.PULSE).split())
    if failed or not calls:
        raise Failed("of its %d calls %d failed" % (calls, failed))


# In order; the last has to be the last, for its processes stay for a while.
OF_CONTAINERS: tuple[Callable[[Scene], None], ...] = (network, neighbour, names, volume, memory, cache, pids)
NAMES = ("service", "run", *(check.__name__ for check in OF_CONTAINERS), "standing")
