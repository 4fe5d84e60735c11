# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""Image layers: packing a directory into one, and unpacking one into a lower directory for overlayfs (layer.md).

A layer is not trusted: tarfile only reads its headers, every path is resolved by descriptor below the directory that is
unpacked into and passes no symbolic link, and nothing is visible before the digests have been verified.
"""

from __future__ import annotations

import errno
import gzip
import hashlib
import os
import shutil
import stat
import tarfile
import tempfile
import zlib

from ..linux import mounts, paths
from ..linux.errors import InvalidInput, OcilabError
from ..spec import image as spec
from .store import Image, Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, BinaryIO, Iterator

DEFAULT_ROOT = "/var/lib/labrun/layers"
MAX_ENTRIES = 1000000
MAX_BYTES = 64 << 30
_MAX_HEADER_BYTES = 1 << 20  # a PAX header is read into memory as a whole (case L10)
_EXTENDED = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"
_XATTR = "SCHILY.xattr."
_KEPT_XATTRS = ("security.capability", "user.")
_REFUSED_XATTRS = ("user.overlay.",)


class _Header(tarfile.TarInfo):
    """tarfile's header with a bound on what extended headers may make it read."""

    def _proc_member(self, tarfile: Any) -> Any:
        if self.type in _EXTENDED and self.size > _MAX_HEADER_BYTES:
            raise ValueError("an extended header of %d bytes" % self.size)
        return super()._proc_member(tarfile)  # type: ignore[misc]


class _Hashed:
    """A stream that hashes what is read through it."""

    def __init__(self, source: Any) -> None:
        self.source = source
        self.digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data: bytes = self.source.read(size)
        self.digest.update(data)
        return data

    def drain(self) -> str:
        """Read the rest; the sha256 digest of all."""
        while self.read(1 << 20):
            pass
        return "sha256:" + self.digest.hexdigest()


class HashingWriter:
    """A file to write to that hashes and counts what passes."""

    def __init__(self, output: BinaryIO) -> None:
        self.output = output
        self.size = 0
        self._digest = hashlib.sha256()

    def write(self, data: bytes) -> int:
        self._digest.update(data)
        self.size += len(data)
        return self.output.write(data)

    def digest(self) -> str:
        """The sha256 digest of what was written so far."""
        return "sha256:" + self._digest.hexdigest()


def open_tar(file: BinaryIO, gzipped: bool) -> _Hashed:
    """The tar stream in the file, decompressed when it is gzipped."""
    return _Hashed(gzip.GzipFile(fileobj=file) if gzipped else file)


def entries(stream: Any, name: str) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
    """(archive, header) for each entry of the tar stream. Raises InvalidInput for what is not a whole tar archive."""
    count = total = 0
    try:
        with tarfile.open(fileobj=stream, mode="r|", tarinfo=_Header, errorlevel=2) as archive:
            for header in archive:
                count += 1
                total += header.size
                if count > MAX_ENTRIES or total > MAX_BYTES:
                    raise InvalidInput("%s: more than %d entries or %d bytes" % (name, MAX_ENTRIES, MAX_BYTES))
                yield archive, header
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, UnicodeError, ValueError) as error:
        raise InvalidInput("%s: not a whole tar archive: %s" % (name, error or type(error).__name__)) from None
    if not count:
        raise InvalidInput("%s: the archive has no entry" % name)


def pack(directory: str, output: BinaryIO) -> None:
    """Write the directory's tree as a tar archive, the same bytes for the same tree; sockets are left out.

    Raises OSError.
    """
    inodes: dict[tuple[int, int], str] = {}
    with tarfile.open(fileobj=output, mode="w|", format=tarfile.PAX_FORMAT) as archive:
        for name in _walk(directory):
            path = os.path.join(directory, name)
            header = archive.gettarinfo(path, arcname=name)
            if header is None:
                continue
            status = os.lstat(path)
            header.uname = header.gname = ""
            header.mtime = int(status.st_mtime)
            if stat.S_ISREG(status.st_mode):
                _link_or_file(header, inodes.setdefault((status.st_dev, status.st_ino), name), name, status.st_size)
            for xattr in os.listxattr(path, follow_symlinks=False):
                if xattr.startswith(_KEPT_XATTRS) and not xattr.startswith(_REFUSED_XATTRS):
                    value = os.getxattr(path, xattr, follow_symlinks=False)
                    text = value.decode("utf-8", "surrogateescape")
                    header.pax_headers = dict(header.pax_headers, **{_XATTR + xattr: text})
            if header.isreg():
                with open(path, "rb") as file:
                    archive.addfile(header, file)
            else:
                archive.addfile(header)


def _link_or_file(header: tarfile.TarInfo, first: str, name: str, size: int) -> None:
    """tarfile's own memory of inodes depends on the order of calls; ours on names alone."""
    header.type = tarfile.REGTYPE if first == name else tarfile.LNKTYPE
    header.linkname = "" if first == name else first
    header.size = size if first == name else 0


def _walk(directory: str) -> Iterator[str]:
    """The names below the directory, parents first, in the order of their bytes; symbolic links are not followed."""
    for top, names, files in os.walk(directory):
        names.sort()
        relative = os.path.relpath(top, directory)
        links = [name for name in names if os.path.islink(os.path.join(top, name))]
        if relative != ".":
            yield relative
        for name in sorted(files + links):
            yield name if relative == "." else relative + "/" + name


def unpack(store: Store, image: Image, root: str = DEFAULT_ROOT) -> list[str]:
    """The directories of the image's unpacked layers, base first; each is unpacked once, by its chain id.

    Raises InvalidInput when a layer is not what its digests say or holds what no layer may; nothing is visible then.
    """
    os.makedirs(root, mode=0o700, exist_ok=True)
    found = []
    for layer in image.layers:
        target = os.path.join(root, spec.check_digest(layer["chain_id"], image.name))
        if not os.path.isdir(target):
            _unpack_layer(store, image, layer, root, target)
        found.append(target)
    return found


def prune(store: Store, root: str) -> None:
    """Remove the unpacked layers that no image of the store needs and no overlay has mounted."""
    if not os.path.isdir(root):
        return
    needed = {layer["chain_id"].partition(":")[2] for image in store.images() for layer in image.layers}
    mounted = " ".join(entry["super_options"] for entry in mounts.table() if entry["kind"] == "overlay")
    for name in os.listdir(root):
        if spec.is_sha256_hex(name) and name not in needed and name not in mounted:
            shutil.rmtree(os.path.join(root, name))


def _unpack_layer(store: Store, image: Image, layer: dict[str, Any], root: str, target: str) -> None:
    name = "image %s: layer %s" % (image.name, layer["digest"][:19])
    if layer["media_type"] not in (spec.LAYER_TAR, spec.LAYER_GZIP):
        raise InvalidInput("%s: the media type %r is not supported" % (name, layer["media_type"]))
    temporary = tempfile.mkdtemp(prefix=".new-", dir=root)
    try:
        os.chmod(temporary, 0o755)
        with open(store.blob_path(layer["digest"]), "rb") as file:
            blob = _Hashed(file)
            stream = open_tar(blob, layer["media_type"] == spec.LAYER_GZIP)  # type: ignore[arg-type]
            extract(stream, temporary, name)
            diff_id = stream.drain()
            if blob.drain() != layer["digest"] or diff_id != layer["diff_id"]:
                raise InvalidInput("%s: its content has another digest than its name" % name)
        os.rename(temporary, target)
    except FileNotFoundError:
        raise InvalidInput("%s: missing in the store %s" % (name, store.path)) from None
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):  # another process has unpacked it meanwhile
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def read_file(store: Store, image: Image, name: str, max_bytes: int) -> bytes:
    """The regular file of that name in the topmost layer that has it, cut at max_bytes; empty where there is none.

    It is read out of the layer's archive, so that nothing needs to be unpacked. Raises InvalidInput.
    """
    for layer in reversed(image.layers):
        with open(store.blob_path(layer["digest"]), "rb") as file:
            stream = open_tar(file, layer["media_type"] == spec.LAYER_GZIP)
            for archive, header in entries(stream, "image " + image.name):
                if header.name in (name, "./" + name) and header.isreg():
                    source: Any = archive.extractfile(header)
                    found: bytes = source.read(max_bytes)
                    return found
    return b""


def extract(stream: Any, directory: str, name: str) -> None:
    """Unpack a layer's tar stream into the empty directory. Raises InvalidInput."""
    root_fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    times: list[tuple[str, float]] = []
    try:
        for archive, header in entries(stream, name):
            try:
                _extract_entry(archive, header, root_fd, times)
            except OSError as error:
                reason = "its path leaves the layer or passes a symbolic link"
                if error.errno not in (errno.ELOOP, errno.EXDEV):
                    reason = str(error.strerror).lower()
                raise InvalidInput("%s: entry %r: %s" % (name, header.name, reason)) from None
            except InvalidInput as error:
                raise InvalidInput("%s: entry %r: %s" % (name, header.name, error)) from None
        for path, mtime in reversed(times):
            os.utime(path, (mtime, mtime), dir_fd=root_fd, follow_symlinks=False)
    finally:
        os.close(root_fd)


def _extract_entry(archive: tarfile.TarFile, header: tarfile.TarInfo, root_fd: int, times: list[Any]) -> None:
    path = header.name[2:] if header.name.startswith("./") else header.name
    path = path.rstrip("/")
    if path in ("", "."):
        if not header.isdir():
            raise InvalidInput("the root of a layer must be a directory")  # case L02
        _set_metadata(root_fd, ".", header)
        return
    parent, _slash, base = path.rpartition("/")
    if base in ("..", "."):
        raise InvalidInput("not a name")
    parent_fd = _parent(root_fd, parent)
    try:
        if base.startswith(_WHITEOUT):
            _whiteout(parent_fd, base)
            return
        _make_way(parent_fd, base, header.isdir())
        _make(archive, header, root_fd, parent_fd, base)
        if not header.islnk():
            _set_metadata(parent_fd, base, header)
            times.append((path, header.mtime))
    finally:
        os.close(parent_fd)


def _parent(root_fd: int, path: str) -> int:
    """The directory that an entry lies in; layers may leave out the entries of parents."""
    try:
        return paths.open_beneath(root_fd, path or ".", os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        above, _slash, name = path.rpartition("/")
        above_fd = _parent(root_fd, above)
        try:
            os.mkdir(name, 0o755, dir_fd=above_fd)
        finally:
            os.close(above_fd)
        return paths.open_beneath(root_fd, path, os.O_RDONLY | os.O_DIRECTORY)


def _whiteout(parent_fd: int, base: str) -> None:
    """A whiteout as overlayfs writes it: a character device 0:0, or an attribute of the directory (case L04, L05)."""
    if base == _OPAQUE:
        os.setxattr(paths.fd_path(parent_fd), "trusted.overlay.opaque", b"y")
        return
    hidden = base[len(_WHITEOUT) :]
    if hidden in ("", ".", "..") or hidden.startswith(_WHITEOUT):
        raise InvalidInput("not a whiteout of any name")
    try:
        os.mknod(hidden, stat.S_IFCHR | 0o600, os.makedev(0, 0), dir_fd=parent_fd)
    except FileExistsError:
        pass  # a whiteout hides what lies in lower layers, never an entry of its own layer


def _make_way(parent_fd: int, base: str, is_directory: bool) -> None:
    """A later entry of the same name replaces the earlier one, except that directories merge."""
    try:
        present = os.stat(base, dir_fd=parent_fd, follow_symlinks=False)
    except FileNotFoundError:
        return
    if stat.S_ISDIR(present.st_mode):
        if not is_directory:
            raise InvalidInput("replaces a directory of the same layer")
        return
    os.unlink(base, dir_fd=parent_fd)


def _make(archive: tarfile.TarFile, header: tarfile.TarInfo, root_fd: int, parent_fd: int, base: str) -> None:
    if header.isreg():
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        fd = os.open(base, flags, 0o600, dir_fd=parent_fd)
        with open(fd, "wb") as output:
            source: Any = archive.extractfile(header)
            shutil.copyfileobj(source, output, 1 << 20)
    elif header.isdir():
        try:
            os.mkdir(base, 0o755, dir_fd=parent_fd)
        except FileExistsError:
            pass
    elif header.issym():
        os.symlink(header.linkname, base, dir_fd=parent_fd)
    elif header.islnk():
        target = header.linkname[2:] if header.linkname.startswith("./") else header.linkname
        target_fd = paths.open_beneath(root_fd, target, os.O_PATH | os.O_NOFOLLOW)
        try:
            os.link(paths.fd_path(target_fd), base, dst_dir_fd=parent_fd, follow_symlinks=True)
        finally:
            os.close(target_fd)
    elif header.ischr() or header.isblk() or header.isfifo():
        kind = stat.S_IFCHR if header.ischr() else stat.S_IFBLK if header.isblk() else stat.S_IFIFO
        if header.ischr() and (header.devmajor, header.devminor) == (0, 0):
            raise InvalidInput("a character device 0:0 is overlayfs's own whiteout")  # case L06
        os.mknod(base, kind | 0o600, os.makedev(header.devmajor, header.devminor), dir_fd=parent_fd)
    else:
        raise InvalidInput("its type %r is not one of a layer" % header.type)


def _set_metadata(parent_fd: int, base: str, header: tarfile.TarInfo) -> None:
    """Owner first, for a change of owner takes set-user-ID bits and file capabilities away."""
    os.chown(base, header.uid, header.gid, dir_fd=parent_fd, follow_symlinks=False)
    if header.issym():
        return
    # chmod cannot be told not to follow: a descriptor of the entry itself cannot be swapped for a link either.
    fd = os.open(base, os.O_PATH | os.O_NOFOLLOW, dir_fd=parent_fd)
    try:
        own = paths.fd_path(fd)
        os.chmod(own, header.mode & 0o7777)
        for key, value in header.pax_headers.items():
            name = key[len(_XATTR) :] if key.startswith(_XATTR) else ""
            if name.startswith(_KEPT_XATTRS) and not name.startswith(_REFUSED_XATTRS):
                os.setxattr(own, name, value.encode("utf-8", "surrogateescape"))
    except OSError as error:
        if error.errno != errno.ENOTSUP:
            raise OcilabError("%s: %s" % (header.name, error.strerror)) from None
    finally:
        os.close(fd)
