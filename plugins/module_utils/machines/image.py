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
import subprocess
import time

from ..linux.errors import InvalidInput, OcilabError, Unsupported
from . import guest, initrd

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Sequence

    Progress = Callable[[str], None]

RELEASES = ("bookworm", "trixie")
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
_LEFT_OUT = ("/usr/share/doc/*", "/usr/share/info/*", "/usr/share/locale/*", "/usr/share/man/*")
_DEBIAN = {"x86_64": "amd64", "aarch64": "arm64"}
_NAME = frozenset("abcdefghijklmnopqrstuvwxyz0123456789+.-")
# When an image is built, those that nobody has used for so long go, and all but the last used ones.
_KEPT_DAYS = 30
_KEPT = 4
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
        if release not in RELEASES:
            raise InvalidInput("machine image: release %r; use one of %s" % (release, ", ".join(RELEASES)))
        bad = [name for name in packages if not name[:1].isalnum() or not set(name) <= _NAME]
        if bad:
            raise InvalidInput("machine image: %r is not the name of a Debian package" % bad[0])
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
        for module in (__name__, guest.__name__, initrd.__name__):
            digest.update(_source(module).encode("utf-8"))
        return "%s-%s" % (self.release, digest.hexdigest()[:16])


def _source(name: str) -> str:
    """The source of a module, from a checkout and from a module's archive alike."""
    from importlib.util import find_spec

    spec: Any = find_spec(name)
    return str(spec.loader.get_source(name))


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
    cache = cache or default_cache()
    name = recipe.name()
    folder = os.path.join(cache, name)
    if os.path.isdir(folder):
        return Image(folder)
    _require(
        ("chroot", "mke2fs", "mmdebstrap", "setpriv", "ssh-keygen", "unshare"), "e2fsprogs mmdebstrap openssh-client"
    )
    if os.geteuid() != 0:
        raise Unsupported("machine image: building one needs root, for mmdebstrap makes device nodes and owners")
    os.makedirs(cache, 0o700, exist_ok=True)
    lock = os.open(os.path.join(cache, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _wait_for(lock, progress)
        if not os.path.isdir(folder):
            _prune(cache)
            _build_into(folder, recipe, progress)
        return Image(folder)
    finally:
        os.close(lock)


def _wait_for(lock: int, progress: Progress) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        progress("waiting for another process that builds a machine image")
        fcntl.flock(lock, fcntl.LOCK_EX)


def _prune(cache: str) -> None:
    """Remove what killed builds left, and images out of use; the cache's lock is held."""
    used = []
    for entry in os.listdir(cache):
        folder = os.path.join(cache, entry)
        if entry.startswith(".new-"):
            shutil.rmtree(folder)
        elif os.path.isdir(folder):
            used.append((os.stat(folder).st_mtime, entry))
    old = time.time() - _KEPT_DAYS * 86400
    for number, (mtime, entry) in enumerate(sorted(used, reverse=True)):
        if mtime < old or number >= _KEPT - 1:  # one is about to be added
            _remove_unless_held(cache, entry)


def _remove_unless_held(cache: str, entry: str) -> None:
    fd = os.open(os.path.join(cache, entry, "disk.raw"), os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.rename(os.path.join(cache, entry), os.path.join(cache, ".new-" + entry))
        shutil.rmtree(os.path.join(cache, ".new-" + entry))
    except BlockingIOError:
        pass  # a machine runs from it
    finally:
        os.close(fd)


def _build_into(folder: str, recipe: Recipe, progress: Progress) -> None:
    """Build the recipe's image in a folder beside its place, and move it there when it is whole."""
    new = os.path.join(os.path.dirname(folder), ".new-" + os.path.basename(folder))
    os.mkdir(new, 0o700)
    try:
        root = os.path.join(new, "root")
        log = os.path.join(new, "log")
        begun = time.monotonic()
        _bootstrap(root, recipe, log, progress)
        progress("machine image: configuring the guest and writing its disk")
        key = os.path.join(new, "id_ed25519")
        _run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "ocilab.hosts machine", "-f", key], log)
        with open(key + ".pub", encoding="ascii") as file:
            host_key = guest.configure(root, file.read())
        with open(os.path.join(new, "host_key.pub"), "w", encoding="ascii") as file:
            file.write(host_key + "\n")
        version = os.listdir(os.path.join(root, "usr/lib/modules"))[0]
        shutil.move(os.path.join(root, "boot/vmlinuz-" + version), os.path.join(new, "vmlinuz"))
        with open(os.path.join(new, "initrd"), "wb") as binary:
            binary.write(initrd.build(root, version))
        disk = os.path.join(new, "disk.raw")
        _run(["mke2fs", "-q", "-F", "-t", "ext4", "-m", "0", "-d", root, disk, "%dM" % recipe.disk_mib], log)
        os.chmod(disk, 0o400)
        shutil.rmtree(root)
        os.rename(new, folder)
        progress("machine image: built %s in %.0f s" % (folder, time.monotonic() - begun))
    except BaseException:
        # Nothing is mounted below it here: mmdebstrap's mounts died with their namespace.
        shutil.rmtree(new, ignore_errors=True)
        raise


def _bootstrap(root: str, recipe: Recipe, log: str, progress: Progress) -> None:
    """Debian with the recipe's packages and an unpacked kernel in the folder root."""
    kernel = "linux-image-cloud-" + _DEBIAN[recipe.machine]
    # In namespaces of its own, which die with it and with this process: a killed build leaves no mount and no process.
    words = ["setpriv", "--pdeathsig", "KILL", "--"]
    words += ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    words += ["mmdebstrap", "--mode=root", "--variant=minbase", "--format=directory"]
    words += ["--include=" + ",".join(recipe.packages)]
    words += ['--aptopt=Acquire::Languages "none"', '--aptopt=APT::Install-Recommends "false"']
    words += ["--dpkgopt=path-exclude=" + path for path in _LEFT_OUT] + ["--dpkgopt=force-unsafe-io"]
    words += ["--customize-hook=chroot \"$1\" sh -euc '%s' kernel %s" % (_KERNEL.replace("'", "'\\''"), kernel)]
    words += [recipe.release, root] + ([recipe.mirror] if recipe.mirror else [])
    progress("machine image: Debian %s with %d packages by mmdebstrap" % (recipe.release, len(recipe.packages)))
    _run(words, log, lambda line: progress("mmdebstrap: " + line[3:]) if line.startswith("I: ") else None)


def _run(words: list[str], log: str, line_seen: Callable[[str], Any] | None = None) -> None:
    """Run a command to its end, its output to the log and line by line to line_seen. Raises OcilabError."""
    with open(log, "a", encoding="utf-8") as file:
        process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=dict(os.environ, LC_ALL="C", DEBIAN_FRONTEND="noninteractive"),
        )
        last = ""
        try:
            for line in process.stdout or ():
                file.write(line)
                if line_seen:
                    line_seen(line.strip())
                if line.startswith(("E: ", "mke2fs", "W: ")) or "rror" in line:
                    last = line.strip()
            process.wait()
        except BaseException:
            process.kill()
            process.wait()
            raise
    if process.returncode:
        name = "mmdebstrap" if "mmdebstrap" in words else words[0]
        raise OcilabError("machine image: %s failed: %s" % (name, last or "exit code %d" % process.returncode))


def _require(programs: Sequence[str], packages: str) -> None:
    missing = [name for name in programs if not shutil.which(name)]
    if missing:
        raise Unsupported("machine: no %s here; on Debian: apt-get install %s" % (", ".join(missing), packages))
