# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""Bundles (bundle.md): an image's layers under an overlayfs root, and config.json from its configuration and options.

A bundle is <path>/config.json, <path>/rootfs (mounted), <path>/upper and <path>/work. The mount is the host's, so that
any OCI runtime can use the bundle; it is gone after a reboot, and create() mounts it again.
"""

from __future__ import annotations

import errno
import os
import shutil

from ..images import layers
from ..images.store import Image, Store
from ..linux import host, mounts, syscalls
from ..linux.errors import InvalidInput, KernelRefused, NotFound, WrongState
from ..spec import document, runtime, validate
from ..spec.seccomp import default_profile
from . import users

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

DEFAULT_ROOT = "/var/lib/labrun/bundles"
IMAGE_ANNOTATION = "ocilab.hosts.image"
VOLUMES_ANNOTATION = "ocilab.hosts.volumes"  # names of volumes, joined by commas
LABEL_ANNOTATION = "ocilab.hosts.label."
MEMBER_ANNOTATION = "ocilab.hosts.pod"  # of a container: its pod's id
POD_ANNOTATION = "ocilab.hosts.pod.namespaces"  # of a pod's own container: the kinds that its containers share
NETWORKS_ANNOTATION = "ocilab.hosts.networks"  # what networks/attachment.py's plan() is to be given, as JSON
FILES = ("hosts", "resolv.conf")


def describe(image: Image, store: Store, options: dict[str, Any]) -> dict[str, Any]:
    """The config.json for the image of the store and the options.

    options: command, env, user, working_dir, hostname, read_only, memory, cpus, pids_limit, mounts, labels, networks
    (see NETWORKS_ANNOTATION), volumes (of filled_volumes.py's described()), config (properties of runtime-spec, merged
    over the rest); an absent or None one is taken from the image or the default. Raises InvalidInput.
    """
    settings = image.config.get("config") or {}
    args = options.get("command") or (settings.get("Entrypoint") or []) + (settings.get("Cmd") or [])
    if not args:
        raise InvalidInput("image %s: it names no command; give one" % image.name)
    result = runtime.config(args)
    result["linux"]["seccomp"] = default_profile(os.uname().machine)
    result["annotations"] = {IMAGE_ANNOTATION: "%s@%s" % (image.name, image.digest)}
    for key, value in (options.get("labels") or {}).items():
        result["annotations"][LABEL_ANNOTATION + key] = value
    process = result["process"]
    process["env"] = _environment(settings.get("Env") or [], options.get("env") or {})
    process["cwd"] = options.get("working_dir") or settings.get("WorkingDir") or "/"
    process["user"] = _user(image, store, options.get("user") or settings.get("User") or "0")
    result["hostname"] = options.get("hostname") or result["hostname"]
    result["root"]["readonly"] = bool(options.get("read_only"))
    result["mounts"] += options.get("mounts") or []
    if options.get("volumes"):
        _add_volumes(result, options["volumes"])
    if options.get("networks"):
        connect(result, options["networks"])
    _limit(result["linux"]["resources"], options)
    result = dict(_merge(result, options.get("config") or {}))
    validate.config(result, "config", _ignore)
    return result


def _ignore(_text: str) -> None:
    """Unknown properties are the caller's own; the runtime says so in its debug log."""


def _environment(image_env: list[str], extra: dict[str, str]) -> list[str]:
    merged = dict(entry.partition("=")[::2] for entry in ["PATH=" + runtime.PATH, *image_env])
    merged.update(extra)
    return ["%s=%s" % pair for pair in merged.items()]


def _add_volumes(result: dict[str, Any], volumes: list[dict[str, Any]]) -> None:
    names = sorted({item["name"] for item in volumes if item["name"]})
    if names:
        result["annotations"][VOLUMES_ANNOTATION] = ",".join(names)
    for item in volumes:
        if any(present["destination"] == item["destination"] for present in result["mounts"]):
            raise InvalidInput("volume on %s: something else is mounted there" % item["destination"])
        options = ["rbind", "rprivate"]
        if item["read_only"]:  # with all that is mounted below, where the kernel can do so
            options += ["ro", "rro"] if host.kernel_version() >= host.RECURSIVE_SINCE else ["ro"]
        bind = {"destination": item["destination"], "type": "bind", "source": item["source"], "options": options}
        result["mounts"].append(bind)


def connect(result: dict[str, Any], networks: dict[str, Any]) -> None:
    """Note the networks for who starts the container, and bind the bundle's files over those that depend on them.

    networks: "config_dir", "networks" (of networks/names.py), "ports", "hosts": the path of the bundle's hosts file.
    """
    networks = dict(networks, hostname=result["hostname"])
    result["annotations"][NETWORKS_ANNOTATION] = document.dump(networks).decode()
    taken = {item["destination"] for item in result["mounts"]}
    for name in FILES:
        if "/etc/" + name not in taken:
            result["mounts"].append(own_file(os.path.dirname(networks["hosts"]), name))


def own_file(bundle: str, name: str) -> dict[str, Any]:
    """The mount of one of a bundle's FILES, whose path is given, in place of the file of that name in /etc."""
    source = os.path.join(bundle, name)
    # private: what the container mounts on it is not to show on the host, where its mounts are shared
    return {"destination": "/etc/" + name, "type": "bind", "source": source, "options": ["bind", "private"]}


def _limit(resources: dict[str, Any], options: dict[str, Any]) -> None:
    if options.get("memory"):
        resources["memory"] = {"limit": options["memory"]}
    if options.get("cpus"):
        resources["cpu"] = {"period": 100000, "quota": int(options["cpus"] * 100000)}
    if options.get("pids_limit"):
        resources["pids"] = {"limit": options["pids_limit"]}


def _merge(base: Any, over: Any) -> Any:
    """over laid on base: objects merge by key, everything else is replaced."""
    if not isinstance(base, dict) or not isinstance(over, dict):
        return over
    result = dict(base)
    for key, value in over.items():
        result[key] = _merge(base[key], value) if key in base else value
    return result


def _user(image: Image, store: Store, text: str) -> dict[str, Any]:
    """The user object for USER[:GROUP], names looked up in the image's own files. Raises InvalidInput."""

    def read(name: str) -> bytes:
        return layers.read_file(store, image, name, users.PASSWD_BYTES)

    return users.resolve(text, read, "image " + image.name)


class Bundle:
    """A bundle by its path; it need not exist."""

    def __init__(self, path: str) -> None:
        if not path.startswith("/") or "," in path or ":" in path:
            raise InvalidInput("bundle %r: an absolute path without ',' and ':' is expected" % path)
        self.path = os.path.normpath(path)
        self.rootfs = os.path.join(self.path, "rootfs")
        self.config_path = os.path.join(self.path, "config.json")

    def config(self) -> dict[str, Any] | None:
        """The present config.json, or None where there is no bundle. Raises InvalidInput for a broken one."""
        try:
            return document.read(self.config_path)
        except NotFound:
            return None

    def is_ready(self) -> bool:
        """True when there is a config.json and a root filesystem that is mounted or was copied."""
        copied = os.path.isdir(self.rootfs) and not os.path.isdir(os.path.join(self.path, "upper"))
        return os.path.exists(self.config_path) and (copied or mounts.is_mounted(self.rootfs))

    def create(self, image: Image, store: Store, layers_root: str, config: dict[str, Any]) -> None:
        """Make the bundle, or bring a present one to this image and config; what it wrote stays for the same image.

        Raises InvalidInput, KernelRefused; nothing half-made is left where there was no bundle before.
        """
        present = self.config()
        if present is not None and not _same_image(present, config):
            self.remove()
        self.put(config, lambda: layers.unpack(store, image, layers_root))

    def put(self, config: dict[str, Any], lower: Callable[[], list[str]]) -> None:
        """Make the bundle over the folders of lower(), the lowest first, or give a present one this config.

        Raises InvalidInput, KernelRefused; nothing half-made is left where there was no bundle before.
        """
        present = self.config()
        try:
            os.makedirs(self.path, mode=0o700, exist_ok=True)
            if not self.is_ready():
                self._mount(lower())
            if NETWORKS_ANNOTATION in config.get("annotations", {}):
                self.write_files()
            temporary = self.config_path + ".new"
            with open(temporary, "wb") as file:
                file.write(document.dump(config) + b"\n")
            os.rename(temporary, self.config_path)
        except BaseException:
            if present is None:
                self.remove()
            raise

    def write_files(self) -> None:
        """The container's own hosts and resolv.conf, before it has an address."""
        from ..networks import hosts

        for name, data in hosts.initial().items():
            with open(os.path.join(self.path, name), "wb") as file:
                file.write(data)
            os.chmod(file.name, 0o644)

    def _mount(self, lower: list[str]) -> None:
        for name in ("rootfs", "upper", "work"):
            os.makedirs(os.path.join(self.path, name), mode=0o755, exist_ok=True)
        lowers = ":".join(reversed(lower))
        data = "lowerdir=%s,upperdir=%s/upper,workdir=%s/work" % (lowers, self.path, self.path)
        try:
            syscalls.mount(b"overlay", os.fsencode(self.rootfs), b"overlay", 0, os.fsencode(data))
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENODEV):
                raise KernelRefused("mount", "overlay on " + self.rootfs, error.errno) from None
            self._copy(lower)  # no overlayfs, or a file system that it cannot write to, such as another overlay

    def _copy(self, lower: list[str]) -> None:
        if len(lower) > 1:
            raise InvalidInput(
                "bundle %s: overlayfs cannot be mounted there, and the image has several layers" % self.path
            )
        for name in ("rootfs", "upper", "work"):
            shutil.rmtree(os.path.join(self.path, name))
        shutil.copytree(lower[0], self.rootfs, symlinks=True)

    def remove(self) -> bool:
        """Unmount and remove the bundle; False where there was none. Raises WrongState for a folder that is none."""
        if not os.path.isdir(self.path):
            return False
        strange = set(os.listdir(self.path)) - {"config.json", "config.json.new", "rootfs", "upper", "work", *FILES}
        if strange:
            raise WrongState("bundle %s: not ours to remove, it holds %s" % (self.path, sorted(strange)[0]))
        if mounts.is_mounted(self.rootfs):
            try:
                syscalls.umount(os.fsencode(self.rootfs), 0)
            except OSError as error:
                hint = "a container still uses the bundle; delete it first" if error.errno == errno.EBUSY else ""
                raise KernelRefused("umount2", self.rootfs, error.errno, hint) from None
        shutil.rmtree(self.path)
        return True


def _same_image(present: dict[str, Any], wanted: dict[str, Any]) -> bool:
    notes: Any = present.get("annotations") or {}
    return bool(notes.get(IMAGE_ANNOTATION) == wanted["annotations"][IMAGE_ANNOTATION])


def prepare(path: str, image_name: str, store: Store, options: dict[str, Any]) -> tuple[Bundle, Image, dict[str, Any]]:
    """(bundle, image, config.json as it is to be) for Bundle.create(); nothing is written.

    Raises NotFound, InvalidInput.
    """
    image = store.get(image_name)
    return Bundle(path), image, describe(image, store, options)
