# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Mounts and the root filesystem on a real kernel: what the container sees of each option, and what the host sees."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from ansible_collections.ocilab.hosts.plugins.module_utils.linux import mounts

pytestmark = pytest.mark.root

APPLETS = ("chmod", "mkdir", "mount", "readlink", "stat", "touch", "umount")


class Line:
    """A line of /proc/self/mountinfo (proc(5))."""

    def __init__(self, text):
        left, right = text.split(" - ")
        fields = left.split(" ")
        self.target = fields[4]
        self.options = set(fields[5].split(","))
        self.propagation = [word.split(":")[0] for word in fields[6:]]
        self.kind, self.source, words = right.split(" ", 2)
        self.superblock = set(words.split(","))


def table(text):
    """target -> Line; of several on one target the last, which covers the others."""
    return {line.target: line for line in map(Line, text.splitlines())}


@pytest.fixture
def box(bundle):
    """A bundle with a few more applets and the right to mount."""
    for name in APPLETS:
        (bundle.path / "rootfs" / "bin" / name).symlink_to("busybox")
    del bundle.config["linux"]["seccomp"]
    for kind in ("bounding", "permitted", "effective"):
        bundle.config["process"]["capabilities"][kind] = ["CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE", "CAP_FOWNER"]
    return bundle


@pytest.fixture
def host(tmp_path):
    """A directory of the host to bind, which is what test_mounts leaves as it was."""
    path = tmp_path / "host"
    path.mkdir()
    (path / "file").write_text("content\n")
    yield path
    for line in reversed(Path("/proc/self/mountinfo").read_text().splitlines()):
        target = line.split(" ")[4]
        if target.startswith(str(tmp_path)):
            subprocess.run(["umount", "-l", target], check=False)


def host_mount(*arguments):
    subprocess.run(["mount", *map(str, arguments)], check=True)


def add(box, destination, kind, source, *options, **more):
    box.config["mounts"].append(
        {"destination": destination, "type": kind, "source": str(source), "options": list(options), **more}
    )


def seen(box):
    """The container's mounts."""
    return table(box.shell("cat /proc/self/mountinfo"))


def runc_sees(box):
    """The same with Debian's runc, for what it supports."""
    if not shutil.which("runc"):
        pytest.skip("runc is not installed")
    box.config["process"]["args"] = ["/bin/cat", "/proc/self/mountinfo"]
    box.write()
    arguments = ["runc", "--root", str(box.path / "runc"), "run", "--bundle", str(box.path), box.name + "-runc"]
    with tempfile.TemporaryFile("w+") as output:
        subprocess.run(arguments, stdout=output, stdin=subprocess.DEVNULL, check=True, timeout=60)
        output.seek(0)
        return table(output.read())


def refused(box):
    """The one line of a start that must fail."""
    result = box.run("/bin/true")
    assert result.returncode == 1
    assert len(result.stderr.splitlines()) == 1, result.stderr
    box.assert_nothing_left()
    return result.stderr.replace('\\"', '"')


def user_namespace(box, first=100000):
    """Give the container a user namespace, and its root filesystem to that namespace's root."""
    box.config["linux"]["namespaces"].append({"type": "user"})
    for kind in ("uidMappings", "gidMappings"):
        box.config["linux"][kind] = [{"containerID": 0, "hostID": first, "size": 65536}]
    os.chmod(box.path, 0o755)
    directory = box.path.parent
    while directory != Path("/tmp") and directory != Path("/"):
        os.chmod(directory, 0o755)
        directory = directory.parent
    for path in [box.path / "rootfs", *(box.path / "rootfs").rglob("*")]:
        os.chown(path, first, first, follow_symlinks=False)


# word(s) -> (in the mount's options, not in them, in the superblock's options)
FILE_SYSTEM_OPTIONS = [
    (["defaults"], {"rw", "relatime"}, set(), {"rw"}),
    (["ro"], {"ro"}, {"rw"}, set()),
    (["ro", "rw"], {"rw"}, {"ro"}, {"rw"}),
    (["nosuid"], {"nosuid"}, set(), set()),
    (["nosuid", "suid"], set(), {"nosuid"}, set()),
    (["nodev"], {"nodev"}, set(), set()),
    (["nodev", "dev"], set(), {"nodev"}, set()),
    (["noexec"], {"noexec"}, set(), set()),
    (["noexec", "exec"], set(), {"noexec"}, set()),
    (["noatime"], {"noatime"}, {"relatime"}, set()),
    (["noatime", "atime"], {"relatime"}, {"noatime"}, set()),
    (["nodiratime"], {"nodiratime"}, set(), set()),
    (["nodiratime", "diratime"], set(), {"nodiratime"}, set()),
    (["relatime"], {"relatime"}, set(), set()),
    (["relatime", "norelatime"], set(), {"noatime"}, set()),
    (["strictatime"], set(), {"relatime", "noatime"}, set()),
    (["strictatime", "nostrictatime"], {"relatime"}, set(), set()),
    (["nosymfollow"], {"nosymfollow"}, set(), set()),
    (["nosymfollow", "symfollow"], set(), {"nosymfollow"}, set()),
    (["sync"], set(), set(), {"sync"}),
    (["sync", "async"], set(), set(), {"rw"}),
    (["dirsync"], set(), set(), {"dirsync"}),
    (["lazytime"], set(), set(), {"lazytime"}),
    (["lazytime", "nolazytime"], set(), set(), {"rw"}),
    (["mand"], {"rw"}, set(), set()),  # gone from Linux 5.15 on, still accepted
    (["mand", "nomand"], {"rw"}, set(), set()),
    (["iversion"], {"rw"}, set(), set()),  # shown by no file
    (["iversion", "noiversion"], {"rw"}, set(), set()),
    (["silent"], {"rw"}, set(), set()),
    (["silent", "loud"], {"rw"}, set(), set()),
    (["size=1m", "mode=0711", "nr_inodes=50"], {"rw"}, set(), {"size=1024k", "mode=711", "nr_inodes=50"}),
    (["ro", "nosuid", "noexec", "noatime", "rprivate"], {"ro", "nosuid", "noexec", "noatime"}, {"rw"}, set()),
]


@pytest.mark.parametrize(
    ("words", "present", "absent", "superblock"),
    FILE_SYSTEM_OPTIONS,
    ids=[",".join(row[0]) for row in FILE_SYSTEM_OPTIONS],
)
def test_options_of_a_file_system(box, words, present, absent, superblock):
    add(box, "/made/here", "tmpfs", "tmpfs", *words)
    line = seen(box)["/made/here"]
    assert present <= line.options
    assert not absent & line.options
    assert superblock <= line.superblock
    if {"nosymfollow", "defaults"} & set(words):  # newer than Debian's runc
        return
    theirs = runc_sees(box)["/made/here"]
    assert (line.options, line.superblock - {"ro", "rw"}) == (theirs.options, theirs.superblock - {"ro", "rw"})


BIND_OPTIONS = [row for row in FILE_SYSTEM_OPTIONS if not row[3] - {"rw"} and row[0] != ["defaults"]]


@pytest.mark.parametrize(
    ("words", "present", "absent", "_superblock"), BIND_OPTIONS, ids=[",".join(row[0]) for row in BIND_OPTIONS]
)
@pytest.mark.parametrize("what", ["directory", "file"])
def test_options_of_a_bind_mount(box, host, what, words, present, absent, _superblock):
    add(box, "/bound", "none", host if what == "directory" else host / "file", "bind", *words)
    box.config["process"]["args"] = ["/bin/true"]
    ours = seen(box)["/bound"]
    assert present <= ours.options
    assert not absent & ours.options
    if not any("symfollow" in word for word in words):
        assert ours.options == runc_sees(box)["/bound"].options


RECURSIVE_OPTIONS = [
    (["rro"], {"ro"}, {"rw"}),
    (["rro", "rrw"], {"rw"}, {"ro"}),
    (["rnosuid"], {"nosuid"}, set()),
    (["rnosuid", "rsuid"], set(), {"nosuid"}),
    (["rnodev"], {"nodev"}, set()),
    (["rnodev", "rdev"], set(), {"nodev"}),
    (["rnoexec"], {"noexec"}, set()),
    (["rnoexec", "rexec"], set(), {"noexec"}),
    (["rnodiratime"], {"nodiratime"}, set()),
    (["rnodiratime", "rdiratime"], set(), {"nodiratime"}),
    (["rnoatime"], {"noatime"}, {"relatime"}),
    (["rnoatime", "ratime"], {"relatime"}, {"noatime"}),
    (["rnoatime", "rrelatime"], {"relatime"}, {"noatime"}),
    (["rrelatime", "rnorelatime"], set(), {"noatime"}),
    (["rstrictatime"], set(), {"relatime", "noatime"}),
    (["rstrictatime", "rnostrictatime"], {"relatime"}, set()),
    (["rnosymfollow"], {"nosymfollow"}, set()),
    (["rnosymfollow", "rsymfollow"], set(), {"nosymfollow"}),
]


@pytest.mark.parametrize(
    ("words", "present", "absent"), RECURSIVE_OPTIONS, ids=[",".join(row[0]) for row in RECURSIVE_OPTIONS]
)
def test_recursive_options_reach_what_is_mounted_below(box, host, words, present, absent):
    (host / "below").mkdir()
    host_mount("-t", "tmpfs", "tmpfs", host / "below")
    add(box, "/bound", "none", host, "rbind", *words)
    add(box, "/alone", "none", host, "rbind", *[word[1:] for word in words])
    found = seen(box)
    alone = ["/alone"] if words != ["rnoatime", "rrelatime"] else []  # the kernel puts noatime above relatime
    for target in ["/bound", "/bound/below", *alone]:
        assert present <= found[target].options
        assert not absent & found[target].options
    assert {"rw", "relatime"} <= found["/alone/below"].options  # the control: without r only the top is changed


def test_every_option_of_the_specification_is_known():
    listed = {word for row in FILE_SYSTEM_OPTIONS + RECURSIVE_OPTIONS for word in row[0] if "=" not in word}
    listed |= {"bind", "rbind", "remount", "idmap", "ridmap", "tmpcopyup"}
    assert listed | set(mounts.PROPAGATION) == set(mounts.known_words())


OLD_KERNEL = """
import ctypes, os, sys
library = ctypes.CDLL("libseccomp.so.2")
library.seccomp_init.restype = ctypes.c_void_p
rules = ctypes.c_void_p(library.seccomp_init(0x7FFF0000))
assert library.seccomp_rule_add(rules, 0x50000 | 38, 442, 0) == 0  # mount_setattr: ENOSYS
assert library.seccomp_load(rules) == 0
os.execv(sys.argv[1], sys.argv[1:])
"""


def test_before_mount_setattr(box, host):
    """Linux 5.6 to 5.11 has openat2 but not mount_setattr; a filter makes this kernel answer as they do."""
    host_mount("-t", "tmpfs", "-o", "noexec", "tmpfs", host)
    add(box, "/bound", "none", host, "bind", "ro", "nosuid", "noatime", "rprivate")
    box.config["root"]["readonly"] = True
    box.config["process"]["args"] = ["/bin/cat", "/proc/self/mountinfo"]
    box.write()
    command = [str(box.labrun_path), "--root", str(box.state), "run", "--bundle", str(box.path), box.name]
    result = subprocess.run(
        [sys.executable, "-c", OLD_KERNEL, *command], capture_output=True, text=True, timeout=60, check=False
    )
    found = table(result.stdout)
    assert found["/bound"].options == {"ro", "nosuid", "noexec", "noatime"}
    assert {"ro"} < found["/"].options
    assert {"ro", "nosuid", "noexec"} < found["/proc/sys"].options
    box.config["mounts"][-1]["options"] = ["rbind", "rro"]
    box.write()
    result = subprocess.run(
        [sys.executable, "-c", OLD_KERNEL, *command], capture_output=True, text=True, timeout=60, check=False
    )
    assert "need Linux 5.12" in result.stderr


def test_a_bind_keeps_the_restrictions_of_its_source(box, host):
    host_mount("-t", "tmpfs", "-o", "nosuid,nodev,noexec", "tmpfs", host)
    (host / "file").write_text("x")
    add(box, "/kept", "none", host, "bind", "ro")
    add(box, "/cleared", "none", host, "bind", "suid", "exec")
    found = seen(box)
    assert {"ro", "nosuid", "nodev", "noexec"} <= found["/kept"].options
    assert found["/cleared"].options & {"nosuid", "nodev", "noexec"} == {"nodev"}


def test_in_a_user_namespace_locked_restrictions_stay(box, host):
    host_mount("-t", "tmpfs", "-o", "ro,nosuid,noexec", "tmpfs", host)
    user_namespace(box)
    add(box, "/kept", "none", host, "bind", "nodev")
    assert {"ro", "nosuid", "noexec", "nodev"} <= seen(box)["/kept"].options
    add(box, "/cleared", "none", host, "bind", "rw")
    assert "locked in this user namespace" in refused(box)


def test_the_type_of_a_bind_mount_is_a_dummy(box, host):
    add(box, "/a", "", host, "bind")
    add(box, "/b", "none", host, "rbind")
    add(box, "/c", "bind", host)
    add(box, "/d", "ext4", host, "bind")
    del box.config["mounts"][-4]["type"]
    assert box.shell("cat /a/file /b/file /c/file /d/file").split() == ["content"] * 4


def test_rbind_takes_what_is_mounted_below_and_bind_does_not(box, host):
    (host / "below").mkdir()
    host_mount("-t", "tmpfs", "tmpfs", host / "below")
    (host / "below" / "deep").write_text("deep\n")
    add(box, "/with", "none", host, "rbind")
    add(box, "/without", "none", host, "bind")
    assert box.shell("cat /with/below/deep; ls /without/below") == "deep\n"


def test_relative_paths_and_files(box, host):
    (box.path / "beside").write_text("beside\n")
    add(box, "relative/place", "none", "beside", "bind", "ro")
    add(box, "/etc/passwd", "none", host / "file", "bind")
    add(box, "/deep/er/file", "none", host / "file", "bind")
    assert box.shell("cat /relative/place /etc/passwd /deep/er/file").split() == ["beside", "content", "content"]
    assert (box.path / "rootfs" / "etc" / "passwd").read_text().startswith("root:")


def test_links_of_the_image_lead_inside_it(box, host):
    root = box.path / "rootfs"
    (root / "real").mkdir()
    (root / "absolute").symlink_to("/real")
    (root / "up").symlink_to("../../../../real")
    add(box, "/absolute/a", "none", host, "bind")
    add(box, "/up/b", "tmpfs", "tmpfs")
    found = seen(box)
    assert "/real/a" in found
    assert "/real/b" in found
    assert not (box.path.parent / "real").exists()


def test_remount_changes_what_is_mounted(box, host):
    add(box, "/t", "tmpfs", "tmpfs", "size=1m")
    add(box, "/t", "tmpfs", "tmpfs", "remount", "size=2m", "nosuid")
    add(box, "/b", "none", host, "bind")
    add(box, "/b", "none", host, "bind", "remount", "ro")
    found = seen(box)
    assert "size=2048k" in found["/t"].superblock
    assert "nosuid" in found["/t"].options
    assert "ro" in found["/b"].options


@pytest.mark.parametrize("data", ["hidepid=invisible", "subset=pid"])
def test_options_of_procfs_are_passed_on(box, data):
    box.config["mounts"][0]["options"].append(data)
    box.config["linux"].update(maskedPaths=[], readonlyPaths=[])
    assert data in seen(box)["/proc"].superblock


def test_a_mount_on_the_root_itself(box, host):
    other = host / "root"
    shutil.copytree(box.path / "rootfs", other, symlinks=True)
    (other / "marker").write_text("other\n")
    box.config["mounts"].insert(0, {"destination": "/", "type": "none", "source": str(other), "options": ["rbind"]})
    assert box.shell("cat /marker") == "other\n"


REFUSED = [
    ("inside procfs", ("/proc/sys", "tmpfs", "tmpfs"), "nothing may be mounted inside /proc"),
    ("no procfs", ("/proc", "tmpfs", "tmpfs"), "only procfs may be mounted on /proc"),
    ("directory as procfs", ("/proc", "none", "/etc", "bind"), "only procfs may be mounted on /proc"),
    ("no type", ("/x", "none", "x"), "it needs a type, or the option bind"),
    ("no source", ("/x", "none", "/nonexistent/path", "bind"), "no such file or directory"),
    ("unknown type", ("/x", "nosuchfs", "x"), "no such device"),
    ("unknown data", ("/x", "tmpfs", "tmpfs", "colour=blue"), "invalid argument"),
    ("idmap without maps", ("/x", "none", "/etc", "bind", "idmap"), "idmap needs uidMappings and gidMappings"),
    ("tmpcopyup on a bind", ("/x", "none", "/etc", "bind", "tmpcopyup"), "tmpcopyup is for a tmpfs"),
    ("file over a directory", ("/tmp", "none", "/etc/hostname", "bind"), "a file cannot be bound on a directory"),
    ("recursive on a tmpfs", ("/x", "tmpfs", "tmpfs", "rro"), "are for bind mounts"),
]


@pytest.mark.parametrize(("entry", "message"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_what_cannot_be_mounted_is_one_clear_line(box, entry, message):
    add(box, *entry)
    assert message in refused(box)


def test_procfs_of_the_host_may_be_bound(box):
    box.config["mounts"][0] = {"destination": "/proc", "type": "none", "source": "/proc", "options": ["rbind"]}
    assert seen(box)["/proc"].kind == "proc"


def test_files_that_lxcfs_covers_may_be_covered(box, host):
    add(box, "/proc/uptime", "none", host / "file", "bind")
    assert box.shell("cat /proc/uptime") == "content\n"


def test_tmpcopyup(box):
    data = box.path / "rootfs" / "data"
    (data / "sub").mkdir(parents=True)
    (data / "sub" / "file").write_text("copied\n")
    os.chown(data / "sub" / "file", 12, 34)
    os.chmod(data / "sub" / "file", 0o4751)
    (data / "link").symlink_to("/outside")
    os.mkfifo(data / "pipe")
    os.chmod(data, 0o1731)
    add(box, "/data", "tmpfs", "tmpfs", "tmpcopyup", "size=10m")
    output = box.shell(
        "cat /data/sub/file; stat -c '%a %u %g' /data /data/sub/file; readlink /data/link;"
        " stat -c %F /data/pipe; echo changed >/data/sub/file"
    )
    assert output.splitlines() == ["copied", "1731 0 0", "4751 12 34", "/outside", "fifo"]
    assert (data / "sub" / "file").read_text() == "copied\n"


def test_a_tmpfs_takes_the_mode_of_the_directory_it_covers(box):
    covered = box.path / "rootfs" / "covered"
    covered.mkdir()
    os.chmod(covered, 0o1730)
    add(box, "/covered", "tmpfs", "tmpfs")
    add(box, "/made", "tmpfs", "tmpfs")
    add(box, "/told", "tmpfs", "tmpfs", "mode=0700")
    assert box.shell("stat -c %a /covered /made /told").split() == ["1730", "1777", "700"]


def test_a_readonly_tmpfs_can_hold_mount_points(box, host):
    add(box, "/t", "tmpfs", "tmpfs", "ro")
    add(box, "/t/inner", "none", host, "bind")
    assert box.shell("cat /t/inner/file; touch /t/x 2>/dev/null || echo refused").split() == ["content", "refused"]


# --- id mappings ---


@pytest.fixture
def mapped(host):
    """A file of uid 1000, gid 1001, on a file system that can be mapped."""
    os.chown(host / "file", 1000, 1001)
    os.chmod(host, 0o777)
    return host


MAPS = {
    "uidMappings": [{"containerID": 1000, "hostID": 2000, "size": 1}, {"containerID": 0, "hostID": 0, "size": 1}],
    "gidMappings": [{"containerID": 1001, "hostID": 2001, "size": 1}, {"containerID": 0, "hostID": 0, "size": 1}],
}


@pytest.mark.parametrize("words", [["idmap"], ["ridmap"], []])
def test_ids_of_a_mapped_mount(box, mapped, words):
    add(box, "/plain", "none", mapped, "bind")
    add(box, "/mapped", "none", mapped, "bind", *words, **MAPS)
    box.config["process"]["user"] = {"uid": 2000, "gid": 2001}
    output = box.shell("stat -c '%u %g' /plain/file /mapped/file; echo new >/mapped/new; stat -c '%u %g' /mapped/new")
    assert output.splitlines() == ["1000 1001", "2000 2001", "2000 2001"]
    made = (mapped / "new").stat()
    assert (made.st_uid, made.st_gid) == (1000, 1001)


@pytest.mark.parametrize(("word", "below"), [("idmap", "1000"), ("ridmap", "2000")])
def test_a_recursive_id_mapping_reaches_what_is_mounted_below(box, mapped, word, below):
    (mapped / "below").mkdir()
    host_mount("-t", "tmpfs", "tmpfs", mapped / "below")
    (mapped / "below" / "file").write_text("x")
    os.chown(mapped / "below" / "file", 1000, 1001)
    add(box, "/mapped", "none", mapped, "rbind", word, **MAPS)
    assert box.shell("stat -c %u /mapped/file /mapped/below/file").split() == ["2000", below]


def test_id_mapping_of_the_containers_own_user_namespace(box, mapped):
    os.chown(mapped / "file", 0, 0)
    user_namespace(box)
    add(box, "/plain", "none", mapped, "bind")
    add(box, "/mapped", "none", mapped, "bind", "idmap")
    output = box.shell("stat -c %u /plain/file /mapped/file; echo new >/mapped/new")
    assert output.split() == ["65534", "0"]
    assert (mapped / "new").stat().st_uid == 0


def test_a_file_system_without_id_mappings_is_named(box):
    add(box, "/mapped", "none", "/proc", "bind", "idmap", **MAPS)
    assert "may lack idmapped mounts" in refused(box)


def test_a_source_that_a_user_namespace_cannot_reach(box, mapped):
    closed = mapped / "closed"
    closed.mkdir()
    (closed / "inner").mkdir()
    (closed / "inner" / "file").write_text("reached\n")
    os.chmod(closed, 0o700)
    user_namespace(box)
    add(box, "/reached", "none", closed / "inner", "bind", "ro")
    assert box.shell("cat /reached/file") == "reached\n"
    assert "ro" in seen(box)["/reached"].options


# --- propagation ---


def wait_until(check):
    deadline = time.monotonic() + 5
    while not check():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def started(box):
    box.config["process"]["args"] = ["/bin/sleep", "100"]
    box.write()
    assert box.labrun("create", "--bundle", str(box.path), box.name).returncode == 0
    assert box.labrun("start", box.name).returncode == 0
    return Path("/proc/%d/root" % json.loads(box.labrun("state", box.name).stdout)["pid"])


@pytest.fixture
def shared(host):
    host_mount("-t", "tmpfs", "tmpfs", host)
    host_mount("--make-shared", host)
    (host / "new").mkdir()
    return host


@pytest.mark.parametrize(
    ("word", "arrives"), [("rslave", True), ("slave", True), ("rprivate", False), ("private", False)]
)
def test_what_the_host_mounts_later(box, shared, word, arrives):
    add(box, "/bound", "none", shared, "rbind", word)
    root = started(box)
    host_mount("-t", "tmpfs", "tmpfs", shared / "new")
    (shared / "new" / "marker").write_text("x")
    assert (root / "bound" / "new" / "marker").exists() == arrives


@pytest.mark.parametrize("word", ["shared", "rshared"])
def test_what_the_container_mounts_reaches_the_host(box, shared, word):
    box.config["linux"]["rootfsPropagation"] = "shared"
    add(box, "/bound", "none", shared, "rbind", word)
    box.shell("mount -t tmpfs tmpfs /bound/new && echo x >/bound/new/marker")
    assert (shared / "new" / "marker").exists()


def test_without_a_shared_root_it_does_not(box, shared):
    add(box, "/bound", "none", shared, "rbind", "rshared")
    box.shell("mount -t tmpfs tmpfs /bound/new && echo x >/bound/new/marker")
    assert not (shared / "new" / "marker").exists()


@pytest.mark.parametrize("word", ["unbindable", "runbindable", "rshared", "rprivate", "rslave"])
def test_propagation_of_a_new_file_system(box, word):
    add(box, "/t", "tmpfs", "tmpfs", word)
    propagation = seen(box)["/t"].propagation
    expected = {"unbindable": ["unbindable"], "runbindable": ["unbindable"], "rshared": ["shared"]}
    assert propagation == expected.get(word, [])


ROOT_PROPAGATION = [("shared", ["shared"]), ("rshared", ["shared"]), ("private", []), ("rprivate", [])]
ROOT_PROPAGATION += [("unbindable", ["unbindable"]), ("runbindable", ["unbindable"]), ("slave", None), ("rslave", None)]


@pytest.mark.parametrize(("word", "expected"), ROOT_PROPAGATION)
def test_propagation_of_the_root(box, word, expected):
    box.config["linux"]["rootfsPropagation"] = word
    propagation = seen(box)["/"].propagation
    assert expected is None or propagation == expected
    if word in ("private", "rprivate", "slave", "rslave"):  # runc 1.1.5 leaves out shared, fails on unbindable
        assert propagation == runc_sees(box)["/"].propagation
    assert str(box.path) not in Path("/proc/self/mountinfo").read_text()


def test_an_unknown_propagation_is_refused(box):
    box.config["linux"]["rootfsPropagation"] = "public"
    assert "linux.rootfsPropagation: 'public' is not one of" in refused(box)


def on_a_shared_root(box, script):
    """The script's exit code in a mount namespace whose every mount is shared, as systemd leaves a host."""
    box.write()
    command = f"{box.labrun_path} --root {box.state} run --bundle {box.path} {box.name}"
    arguments = ["unshare", "--mount", "--propagation", "shared", "sh", "-c", script.replace("LABRUN", command)]
    return subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("word", ["", "shared", "private", "slave", "rshared", "runbindable"])
def test_a_host_with_shared_mounts_keeps_them_and_gets_none(box, word):
    if word:
        box.config["linux"]["rootfsPropagation"] = word
    result = on_a_shared_root(
        box, 'before=$(cat /proc/self/mountinfo); LABRUN || exit 9; [ "$before" = "$(cat /proc/self/mountinfo)" ]'
    )
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(("word", "expected"), [("slave", ["master"]), ("rslave", ["master"]), ("private", [])])
def test_a_slave_root_follows_a_host_with_shared_mounts(box, word, expected):
    """As newer runcs have it (mounts_propagation_unsafe.bats)."""
    box.config["linux"]["rootfsPropagation"] = word
    box.config["process"]["args"] = ["/bin/cat", "/proc/self/mountinfo"]
    result = on_a_shared_root(box, "LABRUN")
    assert table(result.stdout)["/"].propagation == expected, result.stderr


# --- /dev ---


def test_default_devices_and_links(box):
    script = "for name in null zero full random urandom tty; do stat -c '%n %F %t:%T %a %u:%g' /dev/$name; done"
    script += "; for name in fd stdin stdout stderr ptmx; do readlink /dev/$name; done; readlink /dev/core"
    del box.config["process"]["capabilities"]
    box.write()
    lines = box.run("/bin/sh", "-c", script).stdout.splitlines()
    numbers = ["1:3", "1:5", "1:7", "1:8", "1:9", "5:0"]
    names = ["null", "zero", "full", "random", "urandom", "tty"]
    expected = [f"/dev/{name} character special file {number} 666 0:0" for name, number in zip(names, numbers)]
    expected += ["/proc/self/fd", "/proc/self/fd/0", "/proc/self/fd/1", "/proc/self/fd/2", "pts/ptmx"]
    assert lines == expected + (["/proc/kcore"] if Path("/proc/kcore").exists() else [])


def test_devices_of_the_configuration(box):
    box.config["linux"]["devices"] = [
        {"type": "c", "path": "/dev/one", "major": 10, "minor": 229, "fileMode": 0o622, "uid": 12, "gid": 34},
        {"type": "u", "path": "/dev/two", "major": 10, "minor": 200},
        {"type": "b", "path": "/dev/deep/er/disk", "major": 7, "minor": 3, "fileMode": 0o660},
        {"type": "p", "path": "/pipes/pipe", "fileMode": 0o602},
        {"type": "c", "path": "/dev/full", "major": 1, "minor": 7, "fileMode": 0o400},
        {"type": "c", "path": "/dev/ptmx", "major": 5, "minor": 2},
    ]
    box.config["process"]["user"]["umask"] = 0o77
    output = box.shell(
        "stat -c '%F %t:%T %a %u:%g' /dev/one /dev/two /dev/deep/er/disk /pipes/pipe /dev/full; readlink /dev/ptmx"
    )
    assert output.splitlines() == [
        "character special file a:e5 622 12:34",
        "character special file a:c8 666 0:0",
        "block special file 7:3 660 0:0",
        "fifo 0:0 602 0:0",
        "character special file 1:7 400 0:0",
        "pts/ptmx",
    ]


def test_devices_in_a_user_namespace_are_the_hosts_own(box):
    user_namespace(box)
    extra = {"type": "c", "path": "/dev/fuse", "major": 10, "minor": 229}
    if Path("/dev/fuse").exists():
        box.config["linux"]["devices"] = [extra, {"type": "p", "path": "/dev/pipe"}]
    found = seen(box)
    assert found["/dev/null"].kind == found["/dev/tty"].kind
    assert box.shell("echo x >/dev/null; stat -c %t:%T /dev/null /dev/urandom").split() == ["1:3", "1:9"]
    if Path("/dev/fuse").exists():
        assert box.shell("stat -c %F /dev/fuse /dev/pipe").splitlines() == ["character special file", "fifo"]
        extra["minor"] = 230
        assert "/dev/fuse is not the device c 10:230 on this host" in refused(box)


def test_what_is_not_the_device_is_refused(box):
    box.config["mounts"] = [item for item in box.config["mounts"] if not item["destination"].startswith("/dev")]
    box.run("/bin/true")  # makes the devices in the root filesystem itself
    assert box.run("/bin/true").returncode == 0
    (box.path / "rootfs" / "dev" / "zero").unlink()
    (box.path / "rootfs" / "dev" / "zero").write_text("")
    assert "/dev/zero exists and is not the device c 1:5" in refused(box)


def test_a_bound_dev_is_left_as_it_is(box, host):
    box.config["mounts"] = [item for item in box.config["mounts"] if not item["destination"].startswith("/dev")]
    os.mknod(host / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    add(box, "/dev", "none", host, "bind")
    assert box.shell("ls /dev").split() == ["file", "null"]
    assert sorted(path.name for path in host.iterdir()) == ["file", "null"]


def test_a_readonly_dev_holds_the_devices(box):
    next(item for item in box.config["mounts"] if item["destination"] == "/dev")["options"].append("ro")
    assert box.shell("echo x >/dev/null; touch /dev/x 2>/dev/null || echo refused").split() == ["refused"]


def test_streams_on_the_hosts_null_device_get_the_containers(box):
    before = os.stat("/dev/null")
    box.config["process"]["args"] = [
        "/bin/sh",
        "-c",
        "stat -L -c %d:%i /proc/self/fd/0 /dev/null; chmod 600 /proc/self/fd/0",
    ]
    box.write()
    result = box.labrun("run", "--bundle", str(box.path), box.name, stdin=subprocess.DEVNULL)
    first, second = result.stdout.split()
    assert first == second
    assert os.stat("/dev/null").st_mode == before.st_mode


# --- masked and read-only paths, the root ---


def test_masked_paths(box):
    root = box.path / "rootfs"
    (root / "secret").mkdir()
    (root / "secret" / "file").write_text("secret")
    (root / "hidden").write_text("hidden")
    (root / "link").symlink_to("hidden")
    before = box.shell("cat /secret/file /hidden")
    assert before == "secrethidden"
    box.config["linux"]["maskedPaths"] = ["/secret", "/hidden", "/link", "/missing", "/hidden/below", "/secret"]
    output = box.shell("cat /hidden /link; ls /secret; touch /secret/x 2>/dev/null || echo refused; stat -c %F /hidden")
    assert output.splitlines() == ["refused", "character special file"]
    found = seen(box)
    assert found["/secret"].kind == "tmpfs"
    assert (root / "secret" / "file").read_text() == "secret"


def test_readonly_paths(box, host):
    (host / "below").mkdir()
    host_mount("-t", "tmpfs", "-o", "nosuid,noexec", "tmpfs", host / "below")
    add(box, "/bound", "none", host, "rbind", "nodev")
    box.config["linux"]["readonlyPaths"] = ["/bound", "/etc/passwd", "/missing"]
    found = seen(box)
    assert {"ro", "nodev"} <= found["/bound"].options
    assert "ro" in found["/etc/passwd"].options
    assert {"rw", "nosuid", "noexec"} <= found["/bound/below"].options
    theirs = runc_sees(box)
    assert {name: found[name].options for name in ("/bound", "/bound/below")} == {
        name: theirs[name].options for name in ("/bound", "/bound/below")
    }


def test_a_readonly_root_keeps_its_mounts_writable(box):
    box.config["root"]["readonly"] = True
    add(box, "/scratch", "tmpfs", "tmpfs")
    box.config["process"]["cwd"] = "/made/for/it"
    assert box.shell("touch /x 2>/dev/null || echo refused; touch /scratch/x && pwd").split() == [
        "refused",
        "/made/for/it",
    ]


def test_a_mount_label_without_selinux_is_refused(box):
    if Path("/sys/fs/selinux/enforce").exists():
        pytest.skip("SELinux is enabled here")
    box.config["linux"]["mountLabel"] = "system_u:object_r:svirt_sandbox_file_t:s0"
    assert "linux.mountLabel: SELinux is not enabled" in refused(box)


# --- cgroups ---


def cgroup_options(box, *words):
    next(item for item in box.config["mounts"] if item["type"] == "cgroup")["options"] = list(words)


WRITE = (
    "cd /sys/fs/cgroup; for directory in */ .; do [ -e $directory/cgroup.procs ] &&"
    " mkdir $directory/child 2>/dev/null && echo written && busybox rmdir $directory/child; done; cat /proc/self/cgroup"
)


@pytest.mark.parametrize("namespace", [True, False])
@pytest.mark.parametrize("user", [False, True])
@pytest.mark.parametrize("host", ["this host", "v2 alone"])
def test_cgroups_are_as_writable_as_asked(box, namespace, user, host):
    if not namespace:
        box.config["linux"]["namespaces"] = [
            item for item in box.config["linux"]["namespaces"] if item["type"] != "cgroup"
        ]
    if user:
        user_namespace(box)
    box.config["process"]["args"] = ["/bin/sh", "-c", WRITE]
    # On v2 it is given to the container's root, whoever that is (config-linux.md, cgroup ownership).
    given = namespace and host == "v2 alone"
    for words, writable in ((["nosuid", "ro"], False), (["nosuid"], not user or given)):
        cgroup_options(box, *words)
        result = run_on(box, host)
        assert result.returncode == 0, result.stderr
        assert ("written" in result.stdout) == writable, (words, result.stdout)
    box.assert_nothing_left()


def run_on(box, host):
    box.write()
    if host == "this host":
        return box.labrun("run", "--bundle", str(box.path), box.name)
    v1 = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines() if line.split()[2] == "cgroup"]
    if not v1 or not Path("/sys/fs/cgroup/unified/cgroup.procs").exists():
        pytest.skip("this host is not hybrid: nothing to hide")
    script = 'for path in %s; do umount "$path" || exit 99; done; exec "$@"' % " ".join(v1)
    command = [str(box.labrun_path), "--root", str(box.state), "run", "--bundle", str(box.path), box.name]
    arguments = ["unshare", "--mount", "sh", "-c", script, "sh", *command]
    return subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=False)


def test_the_containers_cgroup_is_the_root_of_what_it_sees(box):
    box.config["linux"]["resources"]["pids"] = {"limit": 17}
    read = "cat /sys/fs/cgroup/pids/pids.max || cat /sys/fs/cgroup/pids.max"
    assert box.shell(read).split() == ["17"]
    box.config["linux"]["namespaces"] = [item for item in box.config["linux"]["namespaces"] if item["type"] != "cgroup"]
    assert box.shell(read).split() == ["17"]


# --- other ways in ---


def test_without_a_mount_namespace_the_root_is_changed_by_chroot(box, host):
    box.config["linux"]["namespaces"] = [item for item in box.config["linux"]["namespaces"] if item["type"] != "mount"]
    own = os.readlink("/proc/self/ns/mnt")
    add(box, "/bound", "none", host, "bind")
    try:
        output = box.shell("readlink /proc/1/ns/mnt; cat /bound/file; ls -d /work 2>/dev/null; cat /proc/keys")
        assert output.split() == [own, "content"]
    finally:
        subprocess.run(["umount", "-R", "-l", box.path / "rootfs"], check=False)


def test_a_mount_namespace_joined_by_path(box, host):
    holder = subprocess.Popen(["unshare", "--mount", "--propagation", "private", "sleep", "60"])
    own = os.readlink("/proc/self/ns/mnt")
    path = f"/proc/{holder.pid}/ns/mnt"
    try:
        wait_until(lambda: os.readlink(path) != own)
        for item in box.config["linux"]["namespaces"]:
            if item["type"] == "mount":
                item["path"] = path
        add(box, "/bound", "none", host, "bind")
        output = box.shell("readlink /proc/1/ns/mnt; cat /bound/file")
        assert output.split() == [os.readlink(path), "content"]
        assert os.readlink(f"/proc/{holder.pid}/root") == "/"
        assert (Path(f"/proc/{holder.pid}/root") / "etc" / "passwd").read_text() == Path("/etc/passwd").read_text()
    finally:
        holder.kill()
        holder.wait()


def test_without_pivot_root(box, host):
    add(box, "/bound", "none", host, "bind")
    box.config["process"]["args"] = ["/bin/sh", "-c", "cat /bound/file /proc/self/mountinfo; ls -d /work"]
    box.write()
    result = box.labrun("run", "--no-pivot", "--bundle", str(box.path), box.name)
    if "unknown option" in result.stderr:
        pytest.skip("this command has no --no-pivot")
    assert result.stdout.splitlines()[0] == "content"
    assert "/bound" in table("\n".join(result.stdout.splitlines()[1:]))
    assert "No such file" in result.stderr


def test_a_root_filesystem_that_is_a_mount(box, host):
    root = box.path / "rootfs"
    kept = box.path / "kept"
    shutil.copytree(root, kept, symlinks=True)
    host_mount("-t", "tmpfs", "tmpfs", root)
    try:
        shutil.copytree(kept, root, symlinks=True, dirs_exist_ok=True)
        (root / "below").mkdir()
        host_mount("-t", "tmpfs", "tmpfs", root / "below")
        found = seen(box)
        assert found["/"].kind == "tmpfs"
        assert "/below" in found
    finally:
        subprocess.run(["umount", "-R", root], check=True)


def test_the_same_mounts_as_runc(box):
    """The whole default configuration, line by line."""
    ours, theirs = seen(box), runc_sees(box)
    hybrid = "/sys/fs/cgroup/unified"  # runc leaves it out, and leaves the tmpfs above it writable
    assert [target for target in ours if target != hybrid] == [target for target in theirs if target != hybrid]
    for target in theirs:
        assert (target, ours[target].kind) == (target, theirs[target].kind)
        if target != "/sys/fs/cgroup":
            assert (target, ours[target].options) == (target, theirs[target].options)


# What runc's own tests hold it to


@pytest.mark.parametrize("is_file", [True, False])
def test_a_destination_that_is_a_link_to_nothing(box, host, is_file):
    """What it leads to is made, inside the root filesystem (runc's mounts.bats)."""
    root = box.path / "rootfs"
    (root / "jump").symlink_to("/tmp/foo/bar")
    (root / "etc" / "absolute").symlink_to("/jump/baz/there")
    (root / "etc" / "relative").symlink_to("../tmp/other/there")
    for name in ("absolute", "relative"):
        add(box, f"/etc/{name}", "none", host / "file" if is_file else host, "bind")
    found = seen(box)
    assert {"/tmp/foo/bar/baz/there", "/tmp/other/there"} < set(found)
    assert (root / "tmp" / "foo" / "bar" / "baz" / "there").is_file() == is_file
    assert (root / "jump").is_symlink()


@pytest.mark.parametrize("words", [["rbind"], ["rbind", "idmap"]])
def test_a_source_that_an_earlier_mount_brings(box, host, words):
    """The order of mounts counts for their sources, too (runc's mounts.bats)."""
    if "idmap" in words:
        user_namespace(box)
    root = box.path / "rootfs"
    add(box, "/mnt", "none", host, "bind")
    add(box, "/second", "none", root / "mnt", *words)
    host.chmod(0o755)
    result = box.run("/bin/cat", "/second/file")
    if "may lack idmapped mounts" in result.stderr:
        pytest.skip("this file system has no idmapped mounts")
    assert result.stdout == "content\n", result.stderr


def test_a_destination_as_the_host_sees_it(box, host):
    """runc strips the path of the root filesystem from a destination."""
    add(box, str(box.path / "rootfs" / "tmp" / "there"), "none", host, "bind")
    assert "/tmp/there" in seen(box)
    assert not (box.path / "rootfs" / str(box.path)[1:]).exists()


def test_masked_directories_show_one_file_system(box):
    for name in ("one", "two"):
        (box.path / "rootfs" / name).mkdir()
        (box.path / "rootfs" / name / "hidden").touch()
    box.config["linux"]["maskedPaths"] = ["/one", "/two", "/absent", "/etc/passwd"]
    said = box.shell("stat -c %d /one /two / | sort -u | wc -l; ls /one /two; touch /two/x; true")
    assert said.split() == ["2", "/one:", "/two:"]
    found = seen(box)
    assert {"ro"} <= found["/one"].options & found["/two"].options
    assert "size=4k" in found["/two"].superblock


def test_what_root_of_the_user_namespace_may_not_reach_is_named(box, host):
    user_namespace(box)
    root = box.path / "rootfs"
    os.chown(root, 0, 0)
    add(box, "/made", "none", host, "bind")
    said = refused(box)
    assert (
        "mkdir the mount point /made: permission denied (EACCES): root of the container's user namespace must" in said
    )
    os.chown(root, 100000, 100000)
    assert box.run("/bin/true").returncode == 0
    os.chmod(box.path, 0o700)
    said = refused(box)
    assert f"open the root filesystem {root}: permission denied (EACCES): root of the container's user" in said
    assert "chmod o+x" in said


def test_a_source_with_mounts_below_it_in_a_user_namespace(box, host):
    """The kernel refuses it to every runtime (user_namespaces(7)); the error says what to do."""
    (host / "below").mkdir()
    host_mount("-t", "tmpfs", "tmpfs", host / "below")
    user_namespace(box)
    os.chmod(host, 0o755)
    add(box, "/bound", "none", host, "bind")
    assert "may not uncover what is mounted below the source, use rbind" in refused(box)
    box.config["mounts"][-1]["options"] = ["rbind"]
    assert box.shell("cat /bound/file") == "content\n"
