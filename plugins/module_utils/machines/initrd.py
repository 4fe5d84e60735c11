# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""A small initial RAM disk: the virtio modules of a Debian kernel, and a script that mounts the disk.

Debian's own holds every driver and udev; under emulation it costs more time than the rest of the boot.
"""

from __future__ import annotations

import lzma
import os

from ..linux.errors import OcilabError

# Modules that the kernel has built in are left out; the network's are here so that the device exists before udev runs.
_MODULES = ("virtio_pci", "virtio_blk", "virtio_net", "virtio_rng", "ext4")
PROBE_WORD = "ocilab.probe"
PROBE_ANSWER = "ocilab: the guest runs"
# `ocilab.probe` on the kernel's command line: say so on the console and end, which tells whether an accelerator works.
_SCRIPT = """\
#!/bin/busybox sh
/bin/busybox mount -t devtmpfs devtmpfs /dev
/bin/busybox mount -t proc proc /proc
case " $(/bin/busybox cat /proc/cmdline) " in
*" %(word)s "*) echo "%(answer)s" >/dev/console; /bin/busybox poweroff -f;;
esac
for module in /modules/*; do /bin/busybox insmod "$module"; done
n=0
while ! [ -b /dev/vda ] && [ $n -lt 100 ]; do n=$((n + 1)); /bin/busybox sleep 0.1; done
/bin/busybox mount -t ext4 -o rw /dev/vda /root || exec /bin/busybox sh
/bin/busybox umount /proc
/bin/busybox mount --move /dev /root/dev
exec /bin/busybox switch_root /root /sbin/init
"""


def build(root: str, version: str) -> bytes:
    """The RAM disk (a cpio archive, initramfs-buffer-format) for the kernel version of the root filesystem at root.

    root holds /bin/busybox (busybox-static) and /lib/modules/VERSION with modules.dep. Raises OcilabError, OSError.
    """
    folder = os.path.join(root, "usr/lib/modules", version)
    depends = _dependencies(os.path.join(folder, "modules.dep"))
    with open(os.path.join(folder, "modules.builtin"), encoding="ascii") as file:
        builtin = {_name(line.strip()) for line in file}
    ordered: list[str] = []
    for module in _MODULES:
        if module not in builtin:
            _add(module, depends, ordered)
    script = _SCRIPT % {"word": PROBE_WORD, "answer": PROBE_ANSWER}
    entries = [(name, 0o040755, b"") for name in ("bin", "dev", "modules", "proc", "root")]
    with open(os.path.join(root, "usr/bin/busybox"), "rb") as file:
        entries.append(("bin/busybox", 0o100755, file.read()))
    entries.append(("init", 0o100755, script.encode("ascii")))
    for number, path in enumerate(ordered):
        with open(os.path.join(folder, path), "rb") as file:
            data = file.read()
        if path.endswith(".xz"):
            data = lzma.decompress(data)
        entries.append(("modules/%02d-%s.ko" % (number, _name(path)), 0o100644, data))
    return b"".join(_entry(number, *entry) for number, entry in enumerate([*entries, ("TRAILER!!!", 0, b"")], 1))


def _name(path: str) -> str:
    return os.path.basename(path).partition(".ko")[0].replace("-", "_")


def _dependencies(path: str) -> dict[str, tuple[str, list[str]]]:
    """By a module's name: its path, and the paths of what it needs (modules.dep(5))."""
    result = {}
    with open(path, encoding="ascii") as file:
        for line in file:
            own, _colon, needed = line.partition(":")
            result[_name(own)] = (own, needed.split())
    return result


def _add(module: str, depends: dict[str, tuple[str, list[str]]], ordered: list[str]) -> None:
    """Append the module's path to ordered, after everything that it needs."""
    if module not in depends:
        raise OcilabError("initial RAM disk: the guest's kernel has no module %s" % module)
    path, needed = depends[module]
    for other in needed:
        if other not in ordered:
            _add(_name(other), depends, ordered)
    if path not in ordered:
        ordered.append(path)


def _entry(inode: int, name: str, mode: int, data: bytes) -> bytes:
    """One file of a "newc" cpio archive: a header of hexadecimal fields, name and data padded to 4 bytes."""
    fields = (inode, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode("ascii") + b"\0"
    return head + b"\0" * (-len(head) % 4) + data + b"\0" * (-len(data) % 4)
