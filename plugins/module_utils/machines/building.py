# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""What takes long to build is kept: one folder each, named after a hash of all that went into it.

A folder appears by one rename, whole, and nobody writes to it afterwards. Two callers that want the same one build it
once; what a killed build left goes with the next one.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import time

from ..linux.errors import InvalidInput, OcilabError, Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Sequence

    Progress = Callable[[str], None]

RELEASES = ("bookworm", "trixie")
_LEFT_OUT = ("/usr/share/doc/*", "/usr/share/info/*", "/usr/share/locale/*", "/usr/share/man/*")
_NAME = frozenset("abcdefghijklmnopqrstuvwxyz0123456789+.-")
_NEW = ".new-"
# When something is built, what nobody has used for so long goes, and all but the last used ones.
_KEPT_DAYS = 30
_KEPT = 4


class Cache:
    """The folder of all that is kept of one kind.

    kind: what a person calls it; let_go: called with the path of one that is to be removed and a function that removes
    it, which it calls unless somebody uses it.
    """

    def __init__(self, path: str, kind: str, let_go: Callable[[str, Callable[[], None]], None]) -> None:
        self.path = path
        self.kind = kind
        self.let_go = let_go

    def get(self, name: str, build: Callable[[str], None], progress: Progress) -> str:
        """The folder of that name; where there is none, build(folder) fills a new one first.

        progress is called with a line of text before each step that takes time. Raises what build raises.
        """
        folder = os.path.join(self.path, name)
        if os.path.isdir(folder):
            os.utime(folder)
            return folder
        os.makedirs(self.path, 0o700, exist_ok=True)
        lock = self._lock(progress)
        try:
            if not os.path.isdir(folder):
                self._prune(_KEPT - 1)  # one is about to be added
                self._build(folder, build, progress)
            return folder
        finally:
            os.close(lock)

    def _lock(self, progress: Progress) -> int:
        lock = os.open(os.path.join(self.path, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress("waiting for another process that builds a %s" % self.kind)
            fcntl.flock(lock, fcntl.LOCK_EX)
        return lock

    def _prune(self, kept: int) -> None:
        """Remove what killed builds left, and what is out of use; the lock is held."""
        used = []
        for entry in os.listdir(self.path):
            folder = os.path.join(self.path, entry)
            if entry.startswith(_NEW):
                shutil.rmtree(folder)
            elif os.path.isdir(folder):
                used.append((os.stat(folder).st_mtime, entry))
        old = time.time() - _KEPT_DAYS * 86400
        for number, (mtime, entry) in enumerate(sorted(used, reverse=True)):
            if mtime < old or number >= kept:
                self._remove(entry)

    def _remove(self, entry: str) -> None:
        folder, doomed = os.path.join(self.path, entry), os.path.join(self.path, _NEW + entry)

        def remove() -> None:
            os.rename(folder, doomed)
            shutil.rmtree(doomed)

        self.let_go(folder, remove)

    def _build(self, folder: str, build: Callable[[str], None], progress: Progress) -> None:
        """In a folder beside its place, which is moved there when it is whole and on the disk."""
        new = os.path.join(self.path, _NEW + os.path.basename(folder))
        os.mkdir(new, 0o700)
        begun = time.monotonic()
        try:
            build(new)
            os.sync()  # a rename that outlives a power cut must not lead to files that did not
            os.rename(new, folder)
        except BaseException:
            # Nothing is mounted below it here: mmdebstrap's mounts died with their namespace.
            shutil.rmtree(new, ignore_errors=True)
            raise
        progress("%s: built %s in %.0f s" % (self.kind, folder, time.monotonic() - begun))

    def clean(self) -> None:
        """Remove what killed builds left, unless somebody is building now."""
        try:
            lock = os.open(os.path.join(self.path, "lock"), os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._prune(_KEPT)
        except BlockingIOError:
            pass
        finally:
            os.close(lock)


def check(release: str, packages: Sequence[str], kind: str) -> None:
    """Refuse what is no release of RELEASES and no name of a Debian package. Raises InvalidInput."""
    if release not in RELEASES:
        raise InvalidInput("%s: release %r; use one of %s" % (kind, release, ", ".join(RELEASES)))
    bad = [name for name in packages if not name[:1].isalnum() or not set(name) <= _NAME]
    if bad:
        raise InvalidInput("%s: %r is not the name of a Debian package" % (kind, bad[0]))


def source_of(name: str) -> str:
    """The source of a module, from a checkout and from a module's archive alike."""
    from importlib.util import find_spec

    spec: Any = find_spec(name)
    return str(spec.loader.get_source(name))


def bootstrap(
    root: str,
    release: str,
    packages: Sequence[str],
    mirror: str,
    log: str,
    progress: Progress,
    hooks: Sequence[str] = (),
) -> None:
    """Debian with the packages in the folder root, by mmdebstrap; hooks are more of its options. Raises OcilabError."""
    # In namespaces of its own, which die with it and with this process: a killed build leaves no mount and no process.
    words = ["setpriv", "--pdeathsig", "KILL", "--"]
    words += ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    words += ["mmdebstrap", "--mode=root", "--variant=minbase", "--format=directory"]
    words += ["--include=" + ",".join(packages)]
    words += ['--aptopt=Acquire::Languages "none"', '--aptopt=APT::Install-Recommends "false"']
    words += ["--dpkgopt=path-exclude=" + path for path in _LEFT_OUT] + ["--dpkgopt=force-unsafe-io"]
    words += [*hooks, release, root] + ([mirror] if mirror else [])
    progress("Debian %s with %d packages by mmdebstrap" % (release, len(packages)))
    run(words, log, lambda line: progress("mmdebstrap: " + line[3:]) if line.startswith("I: ") else None)


def run(words: list[str], log: str, line_seen: Callable[[str], Any] | None = None) -> None:
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
        raise OcilabError("%s failed: %s" % (name, last or "exit code %d" % process.returncode))


def require(programs: Sequence[str], packages: str) -> None:
    """Refuse to go on without the programs, which the Debian packages have. Raises Unsupported."""
    missing = [name for name in programs if not shutil.which(name)]
    if missing:
        raise Unsupported("machine: no %s here; on Debian: apt-get install %s" % (", ".join(missing), packages))
