# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Cases of `mounts`, and of what `linux` says of paths."""

from __future__ import annotations

from case import Case, cases
from known import Known

LOOK = "ls /at; stat -c '%a %u:%g %F' /at; touch /at/new && echo written; cat /at/file"


def mount(kind, source, *options, at="/at"):
    def change(config, case):
        place = str(case.bundle / source) if kind in ("bind", "none") else source
        config["mounts"].append({"destination": at, "type": kind, "source": place, "options": list(options)})

    return change


def mounts(*changes):
    def change(config, case):
        for one in changes:
            one(config, case)

    return change


def linux(**properties):
    return lambda config, _case: config["linux"].update(properties)


def without(destination):
    return lambda config, _case: config.update(mounts=[m for m in config["mounts"] if m["destination"] != destination])


def replaced(destination, **properties):
    def change(config, _case):
        next(m for m in config["mounts"] if m["destination"] == destination).update(properties)

    return change


PLAIN = [
    "ro", "rw", "nosuid", "suid", "nodev", "dev", "noexec", "exec", "sync", "async", "dirsync", "noatime", "atime",
    "nodiratime", "diratime", "relatime", "norelatime", "strictatime", "nostrictatime",
    "iversion", "silent", "loud", "nomand",
]  # fmt: skip
EXTRA = {"type": "c", "major": 1, "minor": 5}
PROPAGATIONS = ["private", "shared", "slave", "unbindable", "rprivate", "rshared", "rslave", "runbindable"]

SHARED = Known(
    r"mountinfo\..*", "(.*) private|absent", "(.*) shared", "runtime-spec asks for a shared root; runc's stays private"
)
MODE = Known(
    r"mountinfo\./tmp",
    r"tmpfs .* r[wo] on=/ private",
    r"tmpfs .* rw,mode=755 .*",
    "the mode below is an option; runc calls chmod",
)

CASES = [
    *(Case(f"tmpfs {option}", mount("tmpfs", "tmpfs", option), LOOK) for option in PLAIN),
    *(Case(f"bind {option}", mount("bind", "volume", "bind", option), LOOK) for option in PLAIN),
    *(
        Case(f"rbind {option}", mount("bind", "volume", "rbind", option), LOOK)
        for option in ("ro", "nosuid", "noatime")
    ),
    *(Case(f"tmpfs {option}", mount("tmpfs", "tmpfs", option)) for option in PROPAGATIONS),
    *(Case(f"bind {option}", mount("bind", "volume", "bind", option)) for option in PROPAGATIONS),
    *(
        Case(f"bind {option}", mount("bind", "volume", "rbind", option))
        for option in ("rro", "rnosuid", "rnoexec", "rnodev")
    ),
    *(
        Case(f"root file system {kind}", linux(rootfsPropagation=kind))
        for kind in ("private", "slave", "rprivate", "rslave")
    ),
    Case("root file system shared", linux(rootfsPropagation="shared"), "", [SHARED]),
    Case("root file system rshared", linux(rootfsPropagation="rshared"), "", [SHARED]),
    *cases(
        {
            "tmpfs with data": (
                mount("tmpfs", "tmpfs", "size=64k", "mode=1700", "uid=5", "gid=6", "nr_inodes=50"),
                LOOK,
            ),
            "tmpfs without options": (mount("tmpfs", "tmpfs"), LOOK),
            "tmpfs over a directory": (mount("tmpfs", "tmpfs", at="/tmp"), "stat -c '%a %u:%g' /tmp; ls /tmp", [MODE]),
            "tmpfs with a copy": (
                mount("tmpfs", "tmpfs", "tmpcopyup", at="/tmp"),
                "stat -c '%n %a %u:%g' /tmp /tmp/*; cat /tmp/kept",
                [MODE],
            ),
            "tmpfs read-only with a copy": (
                mount("tmpfs", "tmpfs", "tmpcopyup", "ro", at="/tmp"),
                "stat -c '%n %a %u:%g' /tmp /tmp/*",
                [MODE],
            ),
            "bind of type none": (mount("none", "volume", "bind"), LOOK),
            "bind by rbind": (mount("bind", "volume", "rbind"), LOOK),
            "bind many options": (mount("bind", "volume", "rbind", "ro", "nosuid", "nodev", "noexec", "noatime"), LOOK),
            "bind a file": (
                mount("bind", "volume/file", "bind", at="/a/new/file"),
                "cat /a/new/file; stat -c %F /a /a/new",
            ),
            "bind a file over one": (mount("bind", "volume/file", "bind", "ro", at="/tmp/kept"), "cat /tmp/kept"),
            "bind below a mount": mounts(mount("tmpfs", "tmpfs"), mount("bind", "volume", "bind", at="/at/deep/er")),
            "bind within a bind": (
                mounts(mount("bind", "volume", "rbind"), mount("bind", "volume/inner", "bind", at="/at/inner")),
                LOOK,
            ),
            "bind through a link": (
                mount("bind", "volume", "bind", at="/link/below"),
                "ls /tmp/target/below",
            ),
            "bind a relative source": lambda config, _case: config["mounts"].append(
                {"destination": "/at", "type": "bind", "source": "volume", "options": ["bind"]}
            ),
            "a relative destination": mount("tmpfs", "tmpfs", at="at"),
            "a destination with dots": mount("tmpfs", "tmpfs", at="/at/../other/./x"),
            "two at one place": mounts(mount("tmpfs", "one"), mount("tmpfs", "two", "ro")),
            "proc with options": replaced("/proc", options=["nosuid", "hidepid=2"]),
            "sysfs that can be written": replaced("/sys", options=["nosuid", "noexec", "nodev", "rw"]),
            "no cgroup mount": without("/sys/fs/cgroup"),
            "cgroup mount that can be written": replaced("/sys/fs/cgroup", options=["nosuid", "noexec", "nodev", "rw"]),
            "cgroup mount without a namespace of its own": lambda config, _case: config["linux"]["namespaces"].remove(
                {"type": "cgroup"}
            ),
            "no /dev of its own": mounts(*(without(path) for path in ("/dev/mqueue", "/dev/shm", "/dev/pts", "/dev"))),
            "no /dev/pts": without("/dev/pts"),
            "no /sys": mounts(without("/sys/fs/cgroup"), without("/sys")),
            "devpts with other options": replaced("/dev/pts", options=["newinstance", "ptmxmode=0600", "mode=0600"]),
            "no masked paths": linux(maskedPaths=[]),
            "masked paths": (
                linux(maskedPaths=["/tmp/kept", "/home", "/absent", "/proc/self/environ"]),
                "cat /tmp/kept; ls -A /home; stat -c '%F %a' /tmp/kept /home",
            ),
            "read-only paths": (
                linux(readonlyPaths=["/tmp", "/home/student", "/absent", "/etc/passwd"]),
                "touch /tmp/x /home/student/x /home/y; echo x >>/etc/passwd",
            ),
            "read-only path on a mount": mounts(mount("tmpfs", "tmpfs", "noexec"), linux(readonlyPaths=["/at"])),
            "a device": (
                linux(
                    devices=[
                        {
                            "type": "c",
                            "path": "/dev/extra",
                            "major": 1,
                            "minor": 5,
                            "fileMode": 0o640,
                            "uid": 3,
                            "gid": 4,
                        }
                    ]
                ),
                "stat -c '%n %F %t:%T %a %u:%g' /dev/extra",
            ),
            "a device elsewhere": (
                linux(devices=[dict(EXTRA, path="/opt/x/extra")]),
                "stat -c '%n %F %t:%T %a %u:%g' /opt/x /opt/x/extra",
            ),
            "a default device asked for": (
                linux(devices=[{"type": "c", "path": "/dev/null", "major": 1, "minor": 3, "fileMode": 0o666}]),
                "",
                [
                    Known(
                        "create", "1", "0", "it is the default device; runc 1.1.5 cannot open one that it did not make"
                    )
                ],
            ),
        }
    ),
]
