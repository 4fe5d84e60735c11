# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""rtnetlink(7), as far as it takes to list and remove devices, and to move one into a container with its addresses."""

from __future__ import annotations

import _socket
import errno
import os
import sys

from . import syscalls, trace
from .errors import InvalidInput, KernelRefused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

_RTM_NEWLINK = 16
_RTM_DELLINK = 17
_RTM_GETLINK = 18
_RTM_NEWADDR = 20
_RTM_GETADDR = 22
_NLM_F_REQUEST = 0x1
_NLM_F_ACK = 0x4
_NLM_F_DUMP = 0x300
_NLM_F_CREATE_EXCL = 0x600
_NLMSG_ERROR = 2
_NLMSG_DONE = 3
_IFLA_IFNAME = 3
_IFLA_MASTER = 10
_IFLA_LINKINFO = 18
_IFLA_INFO_KIND = 1
_IFLA_NET_NS_FD = 28
_IFA_F_PERMANENT = 0x80
_IFA_F_NODAD = 0x02
_IFF_UP = 1
_NETLINK_ROUTE = 0
_HEADER = 16
_LINK = 16  # struct ifinfomsg
_ADDRESS = 8  # struct ifaddrmsg
_BUFFER = 1 << 16


def _bytes(number: int, size: int) -> bytes:
    return number.to_bytes(size, sys.byteorder)


def _number(data: bytes) -> int:
    return int.from_bytes(data, sys.byteorder)


def _attribute(kind: int, data: bytes) -> bytes:
    """struct rtattr, its length rounded up to four bytes."""
    length = 4 + len(data)
    return _bytes(length, 2) + _bytes(kind, 2) + data + b"\0" * (-length % 4)


def _link(index: int, flags: int = 0, change: int = 0) -> bytes:
    return b"\0" * 4 + _bytes(index, 4) + _bytes(flags, 4) + _bytes(change, 4)


class Connection:
    """A socket that speaks to the network namespace which the process is in when it is opened."""

    def __init__(self) -> None:
        self.socket = _socket.socket(_socket.AF_NETLINK, _socket.SOCK_RAW | _socket.SOCK_CLOEXEC, _NETLINK_ROUTE)

    def close(self) -> None:
        self.socket.close()

    def ask(self, kind: int, flags: int, body: bytes) -> list[bytes]:
        """Send one request; the bodies of the answers. Raises OSError with the kernel's answer."""
        header = _bytes(_HEADER + len(body), 4) + _bytes(kind, 2) + _bytes(flags | _NLM_F_REQUEST, 2) + _bytes(1, 4)
        self.socket.send(header + b"\0" * 4 + body)
        answers: list[bytes] = []
        while True:
            data = self.socket.recv(_BUFFER)
            while data:
                length, answer = _number(data[:4]), _number(data[4:6])
                content = data[_HEADER:length]
                data = data[(length + 3) & ~3 :]
                if answer == _NLMSG_ERROR:
                    code = -int.from_bytes(content[:4], sys.byteorder, signed=True)
                    if code:
                        raise OSError(code, os.strerror(code))
                    return answers
                if answer == _NLMSG_DONE:
                    return answers
                answers.append(content)
            if not flags & (_NLM_F_DUMP | _NLM_F_ACK):
                return answers


def _find(connection: Connection, name: str) -> int:
    found = connection.ask(_RTM_GETLINK, 0, _link(0) + _attribute(_IFLA_IFNAME, name.encode() + b"\0"))
    return _number(found[0][4:8])


def _index_of(connection: Connection, name: str) -> int:
    try:
        return _find(connection, name)
    except OSError:
        raise InvalidInput("linux.netDevices: %s: this host has no network device of that name" % name) from None


def _addresses(connection: Connection, index: int) -> list[bytes]:
    """The permanent addresses of global scope, each as the body of a request that adds it anew."""
    result = []
    for body in connection.ask(_RTM_GETADDR, _NLM_F_DUMP, b"\0" * _ADDRESS):
        _family, _prefix, flags, scope = body[:4]
        if _number(body[4:8]) == index and scope == 0 and flags & _IFA_F_PERMANENT:
            # An IPv6 address was found free already (IFA_F_NODAD); the attributes are taken over as they are.
            result.append(body[:2] + bytes([_IFA_F_NODAD]) + body[3:])
    return result


def links() -> list[dict[str, Any]]:
    """The network devices of the caller's namespace: dicts with index, name, kind ('' for a physical one, 'bridge',
    'veth'...) and master (the index of the bridge that it is a port of, or 0). Raises OSError.
    """
    connection = Connection()
    try:
        bodies = connection.ask(_RTM_GETLINK, _NLM_F_DUMP, _link(0))
    finally:
        connection.close()
    result = []
    for body in bodies:
        found = _attributes(body[_LINK:])
        kind = _attributes(found.get(_IFLA_LINKINFO, b"")).get(_IFLA_INFO_KIND, b"")
        result.append(
            {
                "index": _number(body[4:8]),
                "name": found[_IFLA_IFNAME].rstrip(b"\0").decode("utf-8", "surrogateescape"),
                "kind": kind.rstrip(b"\0").decode("ascii", "replace"),
                "master": _number(found.get(_IFLA_MASTER, b"")),
            }
        )
    return result


def _attributes(data: bytes) -> dict[int, bytes]:
    """Each struct rtattr's content by its kind, without the flags of the two upper bits."""
    result = {}
    while len(data) >= 4:
        length = _number(data[:2])
        if length < 4:
            break
        result[_number(data[2:4]) & 0x3FFF] = data[4:length]
        data = data[(length + 3) & ~3 :]
    return result


def delete_device(name: str) -> bool:
    """Remove a virtual device of the caller's namespace; False where there is none of that name. Raises OSError."""
    connection = Connection()
    try:
        request = _link(0) + _attribute(_IFLA_IFNAME, name.encode() + b"\0")
        trace.call("sendto", ("RTM_DELLINK", name), connection.ask, _RTM_DELLINK, _NLM_F_ACK, request)
    except OSError as error:
        if error.errno != errno.ENODEV:
            raise
        return False
    finally:
        connection.close()
    return True


def move_device(name: str, new_name: str, pid: int) -> None:
    """Move the host's device into the network namespace of the process, with its name, addresses, and up.

    config-linux.md, network devices. The kernel gives a physical device back when the namespace ends.
    Raises InvalidInput, KernelRefused.
    """
    shown = "the network device %s as %s" % (name, new_name)
    namespace = os.open("/proc/%d/ns/net" % pid, os.O_RDONLY | os.O_CLOEXEC)
    connection = Connection()
    try:
        index = _index_of(connection, name)
        addresses = _addresses(connection, index)
        _in_namespace(namespace, lambda inside: _refuse_taken(inside, new_name))
        request = _link(index) + _attribute(_IFLA_NET_NS_FD, _bytes(namespace, 4))
        request += _attribute(_IFLA_IFNAME, new_name.encode() + b"\0")
        trace.call("sendto", ("RTM_NEWLINK", name, new_name), connection.ask, _RTM_NEWLINK, _NLM_F_ACK, request)
        _in_namespace(namespace, lambda inside: _configure(inside, new_name, addresses))
    except OSError as error:
        raise KernelRefused("RTM_NEWLINK", shown, error.errno, "is the name free in the container?") from None
    finally:
        connection.close()
        os.close(namespace)


def _in_namespace(namespace: int, function: Callable[[Connection], None]) -> None:
    """Run function with a connection to that network namespace, in a process that enters it. Raises OSError."""
    child = os.fork()
    if child == 0:
        code = 0
        try:
            syscalls.setns(namespace, syscalls.CLONE_NEWNET, "the container's network namespace")
            function(Connection())
        except OSError as error:
            code = error.errno or 1
        finally:
            os._exit(code)
    code = os.WEXITSTATUS(os.waitpid(child, 0)[1])
    if code:
        raise OSError(code, os.strerror(code))


def _refuse_taken(connection: Connection, name: str) -> None:
    """Before the move: one that fails for its name takes the device along all the same."""
    try:
        _find(connection, name)
    except OSError:
        return
    raise OSError(errno.EEXIST, os.strerror(errno.EEXIST))


def _configure(connection: Connection, name: str, addresses: list[bytes]) -> None:
    index = _find(connection, name)
    for body in addresses:
        request = body[:4] + _bytes(index, 4) + body[_ADDRESS:]
        connection.ask(_RTM_NEWADDR, _NLM_F_ACK | _NLM_F_CREATE_EXCL, request)
    connection.ask(_RTM_NEWLINK, _NLM_F_ACK, _link(index, _IFF_UP, _IFF_UP))
