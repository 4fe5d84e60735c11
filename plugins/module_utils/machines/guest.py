# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""What a machine holds besides Debian's packages.

A virtual machine: network, access by ssh, an ordinary user. A system container: a name of its own. Both: no units that
only cost time.
"""

from __future__ import annotations

import os
import subprocess

from ..linux.errors import OcilabError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Sequence

USER = "lab"  # uid 1000, with subordinate ids; may use sudo where the image has it
READY = "ocilab: the machine is ready"  # what the console shows when ssh answers

_NETWORK = """\
[Match]
Name=en* eth*
[Network]
DHCP=ipv4
LinkLocalAddressing=no
[DHCPv4]
UseDNS=no
"""
# QEMU's user network, whose third address is the resolver. Not QEMU's usual one: it is that of rootless containers, too
# (slirp4netns(1)), which could not reach the machine that they are in.
NETWORK = "10.213.0.0/24"
_RESOLVER = "10.213.0.3"
_FILES = {
    "etc/hostname": "machine\n",
    "etc/hosts": "127.0.0.1 localhost\n127.0.1.1 machine\n",
    "etc/fstab": "",
    "etc/resolv.conf": "nameserver %s\n" % _RESOLVER,
    "etc/systemd/network/80-ocilab.network": _NETWORK,
    "etc/ssh/sshd_config.d/ocilab.conf": "PermitRootLogin prohibit-password\nPasswordAuthentication no\nUseDNS no\n"
    "HostKey /etc/ssh/ssh_host_ed25519_key\n",
    "etc/systemd/system/ocilab-ready.service": "[Unit]\nDescription=Tell the console that ssh answers\n"
    "After=ssh.service systemd-networkd.service systemd-logind.service\n"
    "[Service]\nType=oneshot\nExecStart=/bin/echo %s\nStandardOutput=tty\nTTYPath=/dev/console\n"
    "[Install]\nWantedBy=multi-user.target\n" % READY,
    "etc/sudoers.d/ocilab": "%s ALL=(ALL) NOPASSWD: ALL\n" % USER,
}
_ENABLED = ("systemd-networkd.service", "ocilab-ready.service")
# Each costs seconds, and a machine that lives for an hour needs none of them.
_MASKED = (
    "apt-daily-upgrade.timer",
    "apt-daily.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "getty@tty1.service",
    "serial-getty@.service",
    "systemd-networkd-wait-online.service",
    "systemd-pstore.service",
    "systemd-tmpfiles-clean.timer",
    "systemd-update-utmp.service",
    "systemd-update-utmp-runlevel.service",
)
# What a container has no part in: the host's devices, kernel file systems and consoles.
_MASKED_IN_CONTAINER = (
    "console-getty.service",
    "container-getty@.service",
    "dev-hugepages.mount",
    "proc-sys-fs-binfmt_misc.automount",
    "sys-fs-fuse-connections.mount",
    "sys-kernel-config.mount",
    "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount",
    "systemd-binfmt.service",
    "systemd-journald-audit.socket",
    "systemd-modules-load.service",
    "systemd-remount-fs.service",
    "systemd-udev-settle.service",
    "systemd-udev-trigger.service",
    "systemd-udevd-control.socket",
    "systemd-udevd-kernel.socket",
    "systemd-udevd.service",
)
_CONTAINER_FILES = {
    "etc/fstab": "",
    "etc/systemd/system.conf.d/ocilab.conf": "[Manager]\nDefaultTimeoutStopSec=10s\n",
}


def configure(root: str, public_key: str) -> str:
    """Make the root filesystem at root a machine that public_key opens (root and USER); returns its ssh host key.

    Raises OcilabError, OSError.
    """
    for path, text in _FILES.items():
        _write(os.path.join(root, path), text, 0o440 if "sudoers" in path else 0o644)
    # A valid id: with an empty one systemd takes each boot for the first and sets every unit's preset anew.
    _write(os.path.join(root, "etc/machine-id"), os.urandom(16).hex() + "\n")
    _mask(root, _MASKED)
    units = os.path.join(root, "etc/systemd/system")
    for name in _ENABLED:
        folder = "/etc/systemd/system" if os.path.exists(os.path.join(units, name)) else "/lib/systemd/system"
        _link("%s/%s" % (folder, name), os.path.join(units, "multi-user.target.wants", name))
    _in_chroot(root, "useradd", "--create-home", "--uid", "1000", "--shell", "/bin/bash", USER)
    for home, uid in (("root", 0), ("home/" + USER, 1000)):
        folder = os.path.join(root, home, ".ssh")
        os.makedirs(folder, 0o700, exist_ok=True)
        _write(os.path.join(folder, "authorized_keys"), public_key, 0o600)
        for path in (folder, os.path.join(folder, "authorized_keys")):
            os.chown(path, uid, uid)
    host_key = os.path.join(root, "etc/ssh/ssh_host_ed25519_key.pub")
    if not os.path.exists(host_key):
        _in_chroot(root, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "/etc/ssh/ssh_host_ed25519_key")
    with open(host_key, encoding="ascii") as file:
        return file.read().strip()


def configure_container(upper: str, name: str) -> None:
    """Write what a lab host of that name has of its own into the upper folder of its overlay. Raises OSError.

    Only before it first runs: afterwards it may have made a link of anything there.
    """
    before = os.umask(0o022)  # the caller's may be stricter, and others than root live in there
    for path, text in dict(_CONTAINER_FILES, **{"etc/hostname": name + "\n"}).items():
        _write(os.path.join(upper, path), text)
    _write(os.path.join(upper, "etc/machine-id"), os.urandom(16).hex() + "\n", 0o444)
    _mask(upper, (*_MASKED, *_MASKED_IN_CONTAINER))
    os.umask(before)


def _mask(root: str, names: Sequence[str]) -> None:
    for name in names:
        _link("/dev/null", os.path.join(root, "etc/systemd/system", name))


def _write(path: str, text: str, mode: int = 0o644) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if os.path.islink(path):
        os.unlink(path)
    with open(path, "w", encoding="ascii") as file:
        file.write(text)
    os.chmod(path, mode)


def _link(target: str, path: str) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if os.path.lexists(path):
        os.unlink(path)
    os.symlink(target, path)


def _in_chroot(root: str, *words: str) -> None:
    result = subprocess.run(
        ["chroot", root, *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if result.returncode:
        raise OcilabError("machine image: %s: %s" % (words[0], result.stderr.strip()[-300:] or "failed"))
