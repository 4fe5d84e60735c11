# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""What a container costs the program in it: system calls, files, and the network between two of them.

All is done by busybox, the one program that all containers have, and timed by its applet ts, in microseconds, from
within: what the engine's own command takes to get there is left out.
"""

from __future__ import annotations

from ...engines.engine import VOLUME, Wanted
from ...linux.errors import Unsupported
from . import seat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_BUSYBOX = "/bin/busybox"
# The pause is for ts to be there before the first mark; a mark is stamped when it is read.
_TIMED = "(echo; %(busybox)s usleep 50000; echo begin; { %(work)s; } 2>&1 && echo end) | %(busybox)s ts %%.s"
_BLOCK = 1 << 20
_DATA_PORT, _ECHO_PORT = 8000, 8001
# nc hands its socket to the program (-e), so that no copying of its own comes between.
_SERVER = (
    "%(busybox)s nc -ll -p %(data)d -e %(busybox)s dd if=/dev/zero bs=65536 count=%(count)d &"
    " exec %(busybox)s nc -ll -p %(echo)d -e %(busybox)s sh -c 'while read -r y; do echo y; done'"
)
_IS_UP = (
    "i=0; until %(busybox)s nc -w 1 %(address)s %(echo)d -e %(busybox)s true 2>/dev/null;"
    ' do i=$((i+1)); [ "$i" -lt 100 ] || { echo "no answer from %(address)s"; exit 1; }; %(busybox)s usleep 20000; done'
)
_RECEIVE = "dd of=/dev/null ibs=65536 obs=32768"  # whose blocks out are whole ones, so that they can be counted
_EXCHANGES = "i=0; while [ $i -lt %d ]; do echo x; read -r y || exit 1; i=$((i+1)); done"


def syscall(at: seat.Seat) -> Iterator[seat.Measured]:
    """One system call: dd reads a byte of /dev/zero and writes it to /dev/null, time and again."""
    count = seat.required(at.sizes["syscalls"], "syscalls")
    pairs = max(1, count // 2)
    seconds, _said = _timed(at, at.standing(), "%s dd if=/dev/zero of=/dev/null bs=1 count=%d" % (_BUSYBOX, pairs))
    yield "call", "ns", seconds * 1e9 / (2 * pairs)


def file_io(at: seat.Seat) -> Iterator[seat.Measured]:
    """Bytes by the second into a new file, until the kernel says that they are on the disk (fsync)."""
    size = seat.required(at.sizes["io_bytes"], "io_bytes")
    container_id = at.standing()
    yield "root", "bytes_per_s", _written(at, container_id, "/ocilab-io", size)
    if at.no_volume:
        raise Unsupported("volume: " + at.no_volume)
    yield "volume", "bytes_per_s", _written(at, container_id, VOLUME + "/ocilab-io", size)


def _written(at: seat.Seat, container_id: str, path: str, size: int) -> float:
    block = min(size, _BLOCK)
    count = size // block
    words = (_BUSYBOX, path, block, count)
    seconds, _said = _timed(at, container_id, "%s dd if=/dev/zero of=%s bs=%d count=%d conv=fsync" % words)
    at.engine.execute(container_id, [_BUSYBOX, "rm", path])
    return block * count / seconds


def network(at: seat.Seat) -> Iterator[seat.Measured]:
    """Bytes by the second from one container to another in the engine's network, and the time of an exchange."""
    blocks = max(1, seat.required(at.sizes["network_bytes"], "network_bytes") // 65536)
    exchanges = seat.required(at.sizes["exchanges"], "exchanges")
    at.budget.check_containers(2)
    names = {"busybox": _BUSYBOX, "data": _DATA_PORT, "echo": _ECHO_PORT, "count": blocks}
    server = at.start(Wanted([*seat.SHELL, _SERVER % names], network=True))
    client = at.start(Wanted(seat.IDLE, network=True))
    address = at.engine.address(server)
    at.engine.execute(client, [*seat.SHELL, _IS_UP % dict(names, address=address)])
    connect = "%s nc %s %%d -e %s " % (_BUSYBOX, address, _BUSYBOX)
    seconds, said = _timed(at, client, connect % _DATA_PORT + _RECEIVE)
    if "%d+0 records out" % (2 * blocks) not in said:
        raise seat.failed("not all of %d bytes arrived: %s" % (blocks * 65536, "; ".join(said)))
    yield "throughput", "bytes_per_s", blocks * 65536 / seconds
    seconds, _said = _timed(at, client, connect % _ECHO_PORT + "sh -c '%s'" % _EXCHANGES % exchanges)
    yield "latency", "ns", seconds * 1e9 / exchanges


def _timed(at: seat.Seat, container_id: str, work: str) -> tuple[float, list[str]]:
    """The seconds of a command of the shell in the container, and the lines that it wrote."""
    script = _TIMED % {"busybox": _BUSYBOX, "work": work}
    lines = at.engine.execute(container_id, [*seat.SHELL, script]).splitlines()
    marks = {}
    for line in lines:
        stamp, _blank, text = line.partition(" ")
        marks[text.strip()] = stamp
    said = [text for text in marks if text not in ("", "begin", "end")]
    try:
        seconds = float(marks["end"]) - float(marks["begin"])
    except (KeyError, ValueError):
        raise seat.failed("%s: %s" % (work.split(" ")[1], said[-1] if said else "it ended early")) from None
    if seconds <= 0:
        raise seat.failed("the container's clock went back")
    return seconds, said
