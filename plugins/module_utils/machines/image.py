# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""Images of virtual machines: Debian by mmdebstrap on an ext4 disk without partitions, kernel and RAM disk beside it.

They are kept outside any checkout, in $XDG_CACHE_HOME/ocilab.hosts/machines (~/.cache by default), one folder each,
named after a hash of all that went into it, this code included. A folder appears by one rename, whole; nobody writes to
it afterwards: machines boot from a copy-on-write layer over it (qemu.py).
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil

from ..linux.errors import Unsupported
from . import building, guest, initrd

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Sequence

    from .building import Progress

_KIND = "machine image"
# What every machine has; a recipe adds to it.
_PACKAGES = (
    "apparmor",
    "busybox-static",
    "dbus",
    "dbus-user-session",
    "iproute2",
    "kmod",
    "libpam-systemd",
    "libseccomp2",
    "openssh-server",
    "procps",
    "python3",
    "runc",
    "systemd-sysv",
    "udev",
    "uidmap",
)
_DEBIAN = {"x86_64": "amd64", "aarch64": "arm64"}
# Unpacked, not installed: installing it would bring initramfs-tools and 30 s of work for a RAM disk that is not used.
_KERNEL = """\
cd /var/cache/apt/archives
name=$(apt-cache depends "$1" | sed -n 's/.*Depends: \\(linux-image-[^ ]*\\).*/\\1/p' | head -n 1)
apt-get -qq -o APT::Sandbox::User=root download "$name"
dpkg-deb --fsys-tarfile linux-image-*.deb | tar -x --keep-directory-symlink -C /
rm linux-image-*.deb
depmod "$(ls /lib/modules)"
"""


class Recipe:
    """What an image is made of.

    release: a Debian code name of RELEASES; packages: Debian packages besides the base; disk_mib: the disk's size, of
    which only what is used takes space; mirror: of Debian's archive, or "" for the official one.
    """

    def __init__(
        self, release: str = "bookworm", packages: Sequence[str] = (), disk_mib: int = 8192, mirror: str = ""
    ) -> None:
        building.check(release, packages, _KIND)
        self.machine = os.uname().machine
        if self.machine not in _DEBIAN:
            raise Unsupported("machine image: no virtual machines on %s, only on x86_64 and aarch64" % self.machine)
        self.release = release
        self.packages = sorted({*_PACKAGES, *packages})
        self.disk_mib = disk_mib
        self.mirror = mirror

    def name(self) -> str:
        """The name of the image's folder: the release, and a hash of everything that the image depends on."""
        digest = hashlib.sha256()
        words = [self.release, self.machine, str(self.disk_mib), self.mirror, *self.packages]
        digest.update("\0".join(words).encode("utf-8"))
        for module in (__name__, building.__name__, guest.__name__, initrd.__name__):
            digest.update(building.source_of(module).encode("utf-8"))
        return "%s-%s" % (self.release, digest.hexdigest()[:16])


class Image:
    """A built image. disk, kernel, initrd: files; key: ssh's private key; host_key: the guest's, as "ssh-ed25519 ...".

    Whoever boots from it holds hold()'s descriptor as long as the machine may run, so that the image is not pruned.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.disk = os.path.join(folder, "disk.raw")
        self.kernel = os.path.join(folder, "vmlinuz")
        self.initrd = os.path.join(folder, "initrd")
        self.key = os.path.join(folder, "id_ed25519")
        with open(os.path.join(folder, "host_key.pub"), encoding="ascii") as file:
            self.host_key = file.read().strip()

    def hold(self) -> int:
        """A shared lock on the image, as a descriptor to keep open; it also marks the image as used today."""
        fd = os.open(self.disk, os.O_RDONLY | os.O_CLOEXEC)
        fcntl.flock(fd, fcntl.LOCK_SH)
        os.utime(self.folder)
        return fd


def default_cache() -> str:
    """The folder of all images: $XDG_CACHE_HOME/ocilab.hosts/machines, by default below ~/.cache."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(base, "ocilab.hosts", "machines")


def get(recipe: Recipe, progress: Progress, cache: str = "") -> Image:
    """The image of the recipe, from the cache or built now (a minute or two, as root, from Debian's archive).

    progress is called with a line of text before each step that takes time. Two callers that want the same image
    build it once. Raises OcilabError; what a failed or killed build left is removed by it or by the next one.
    """
    images = _cache(cache)
    folder = os.path.join(images.path, recipe.name())
    if not os.path.isdir(folder):
        programs = ("chroot", "mke2fs", "mmdebstrap", "setpriv", "ssh-keygen", "unshare")
        building.require(programs, "e2fsprogs mmdebstrap openssh-client")
        if os.geteuid() != 0:
            raise Unsupported("machine image: building one needs root, for mmdebstrap makes device nodes and owners")
    return Image(images.get(recipe.name(), lambda new: _build(new, recipe, progress), progress))


def _cache(path: str) -> building.Cache:
    return building.Cache(path or default_cache(), _KIND, _remove_unless_held)


def _remove_unless_held(folder: str, remove: Callable[[], None]) -> None:
    fd = os.open(os.path.join(folder, "disk.raw"), os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        remove()
    except BlockingIOError:
        pass  # a machine runs from it
    finally:
        os.close(fd)


def _build(new: str, recipe: Recipe, progress: Progress) -> None:
    root = os.path.join(new, "root")
    log = os.path.join(new, "log")
    kernel = "linux-image-cloud-" + _DEBIAN[recipe.machine]
    hook = "--customize-hook=chroot \"$1\" sh -euc '%s' kernel %s" % (_KERNEL.replace("'", "'\\''"), kernel)
    building.bootstrap(root, recipe.release, recipe.packages, recipe.mirror, log, progress, [hook])
    progress("machine image: configuring the guest and writing its disk")
    key = os.path.join(new, "id_ed25519")
    building.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "ocilab.hosts machine", "-f", key], log)
    with open(key + ".pub", encoding="ascii") as file:
        host_key = guest.configure(root, file.read())
    with open(os.path.join(new, "host_key.pub"), "w", encoding="ascii") as file:
        file.write(host_key + "\n")
    version = os.listdir(os.path.join(root, "usr/lib/modules"))[0]
    shutil.move(os.path.join(root, "boot/vmlinuz-" + version), os.path.join(new, "vmlinuz"))
    with open(os.path.join(new, "initrd"), "wb") as binary:
        binary.write(initrd.build(root, version))
    disk = os.path.join(new, "disk.raw")
    building.run(["mke2fs", "-q", "-F", "-t", "ext4", "-m", "0", "-d", root, disk, "%dM" % recipe.disk_mib], log)
    os.chmod(disk, 0o400)
    shutil.rmtree(root)
