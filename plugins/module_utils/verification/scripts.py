# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""What runs in the containers, of busybox alone, and the words that tell its outcome."""

from __future__ import annotations

import shlex

_BUSYBOX = "/bin/busybox"
SHELL = ("/bin/sh", "-c")
PORT = 7007  # where a container answers its neighbours
# More than the limit, and than as much swap again, which some engines grant beside it.
_TOO_MUCH = "160M"
_LITTLE = "4M"

# The host as a container sees it: Podman writes its address where a user's containers have no gateway of the host's.
_HOST = """\
host=$(busybox awk '$2 == "host.containers.internal" { print $1; exit }' /etc/hosts 2>/dev/null)
[ "$host" ] || host=$(busybox ip route | busybox awk '$1 == "default" { print $3; exit }')
"""
_GATEWAY = "$host"


# As the first process of a container a shell heeds SIGTERM only if it is told to, and while it waits.
_END = "trap exit TERM\n"
_PAUSE = "busybox sleep %d & wait $!"


def _script(text: str) -> list[str]:
    return [*SHELL, text.replace("busybox ", _BUSYBOX + " ")]


def _call(address: str, port: int) -> str:
    """Connect, and print what is answered. A host under load may take its time, but nc would wait for ever."""
    return "busybox timeout 12 busybox nc -w 10 %s %d </dev/null" % (address, port)


def _target(outside: tuple[str, int] | None, port: int) -> tuple[str, str]:
    """(what finds the target out, the call): the host's own listener, or what is outside."""
    if outside:
        return "", _call(shlex.quote(outside[0]), outside[1])
    return _HOST, _call(_GATEWAY, port)


IDLE = _script(_END + "while :; do %s; done" % (_PAUSE % 3600))


def standing(token: str, port: int, outside: tuple[str, int] | None) -> list[str]:
    """For a container that runs all the while: it answers its neighbours, and calls its target each second.

    /tmp/pulse holds two numbers, of calls and of those that failed.
    """
    find, call = _target(outside, port)
    answered = "%s >/dev/null 2>&1" % call if outside else '[ "$(%s)" = %s ]' % (call, token)
    return _script(
        _END
        + "busybox nc -ll -p %d -e busybox echo %s &\n" % (PORT, token)
        + find
        + "calls=0 failed=0\n"
        + "while :; do %s || failed=$((failed + 1)); calls=$((calls + 1)); " % answered
        + 'echo "$calls $failed" >/tmp/pulse.new; busybox mv /tmp/pulse.new /tmp/pulse; %s; done\n' % (_PAUSE % 1)
    )


PULSE = _script("busybox cat /tmp/pulse")


def call_target(port: int, outside: tuple[str, int] | None) -> list[str]:
    """Prints what the target answers, and then the word reached."""
    find, call = _target(outside, port)
    return _script("%s%s && echo reached || echo no answer from %s" % (find, call, outside[0] if outside else _GATEWAY))


def call_neighbour(address: str) -> list[str]:
    """Prints what the neighbour answers."""
    return _script(_call(shlex.quote(address), PORT) + " || echo no answer from " + shlex.quote(address))


def look_up(name: str) -> list[str]:
    """Prints the answer of the name server that the container is told of, or that is at its gateway."""
    words = "busybox timeout 20 busybox nslookup -type=a %s" % shlex.quote(name)
    return _script(_HOST + '[ -s /etc/resolv.conf ] || server="$host"\n' + words + " $server 2>&1; true")


def exchange(path: str, said: str) -> list[str]:
    """Prints what is in the file told in the volume, and writes said to the file heard there."""
    return _script("busybox cat %s/told; echo %s >%s/heard" % (path, said, path))


# Prints how two programs ended: one that takes little memory, and one that takes more than the limit.
TAKE_MEMORY = _script(
    "".join(
        "busybox dd if=/dev/zero of=/dev/null bs=%s count=1 2>/dev/null; echo %s $?; " % (size, name)
        for name, size in (("little", _LITTLE), ("much", _TOO_MUCH))
    )
)


def fork(count: int) -> list[str]:
    """Prints a line for each process that it has started, of as many as count, and the shell's refusal."""
    loop = (
        "while [ $number -lt %d ]; do busybox sleep 2 >/dev/null 2>&1 & number=$((number + 1)); echo $number; done"
        % count
    )
    return _script("(number=0; %s) 2>&1; true" % loop)
