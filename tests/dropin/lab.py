# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A room for engines: namespaces, a /run and a cgroup parent of its own.

Whatever an engine starts or mounts in it ends with it, and nothing in it meets another engine on this machine.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import pty
import select
import shutil
import signal
import struct
import subprocess
import termios
import time
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
NUMBERS = itertools.count()
# The first process ends when the pipe closes, thus with the tests, however these end; it reaps what is left to it by
# ignoring SIGCHLD. The user files and engines' settings are copies, so that nothing is changed on the host.
SETUP = """
set -e
mount --make-rshared /
mount -t tmpfs -o mode=755 lab /run
mkdir -p /run/lock /run/user /run/lab/bin /run/lab/home
[ ! -d /etc/containers ] || mount -t tmpfs -o mode=755 lab /etc/containers
[ ! -d /var/lib/cni ] || mount -t tmpfs -o mode=755 lab /var/lib/cni
for file in passwd group subuid subgid; do
    cp /etc/$file /run/lab/$file 2>/dev/null || continue
    mount --bind /run/lab/$file /etc/$file
done
ip link set lo up
trap '' CHLD
echo ready
exec cat >/dev/null
"""
# Where runtimes and shims keep a container's files, below the room's root.
STATE = (
    "run/labrun/*",
    "run/runc/*",
    "run/user/*/labrun/*",
    "run/user/*/runc/*",
    "run/containerd/runc/*/*",
    "run/containerd/s/*",
    "run/lab/docker/exec/runtime-*/*/*",
    "run/lab/docker/exec/containerd/daemon/io.containerd.runtime.v2.task/*/*",
    "run/lab/containerd/state/io.containerd.runtime.v2.task/*/*",
)
# A script's end that tells a terminal's size as soon as it has one; engines set it only once the container runs.
SIZE = "until stty size 2>/dev/null | grep .; do sleep 0.05; done; "
NAMESPACES = ("mount", "net", "pid", "ipc", "uts")


class Lab:
    """The room; words given to its methods are run in it."""

    def __init__(self):
        remove_cgroups_of_the_dead()
        self.cgroup = f"labrun-dropin-{os.getpid()}-{next(NUMBERS)}"
        options = [f"--{name}" for name in NAMESPACES]
        self.process = subprocess.Popen(
            ["unshare", *options, "--fork", "--kill-child", "--mount-proc", "sh", "-c", SETUP],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        if self.process.stdout.readline() != b"ready\n":
            raise RuntimeError("the room for the engines cannot be made: " + self.process.stderr.read().decode())
        folder = f"/proc/{self.process.pid}"
        # unshare itself stays in the old pid namespace.
        files = [f"--{name}={folder}/ns/{'mnt' if name == 'mount' else name}" for name in NAMESPACES if name != "pid"]
        self.enter = ["nsenter", f"--pid={folder}/ns/pid_for_children", *files, "--wdns=/", "--"]
        self.files = Path(folder) / "root"
        self.daemons = []

    def path(self, inside):
        """Where the tests find a path of the room."""
        return self.files / str(inside).lstrip("/")

    def command(self, words, user=None, env=None):
        home = f"/run/lab/{user}" if user else "/run/lab/home"
        values = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": home, "LANG": "C.UTF-8", **(env or {})}
        switch = []
        if user:
            switch = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "--"]
            values["XDG_RUNTIME_DIR"] = f"/run/user/{user}"
        pairs = [f"{name}={value}" for name, value in values.items()]
        return [*self.enter, *switch, "env", "-i", *pairs, *(str(word) for word in words)]

    def run(self, *words, user=None, env=None, data=None, timeout=60):
        """The finished process, with stdout and stderr as text."""
        return subprocess.run(
            self.command(words, user, env),
            input=data,
            stdin=subprocess.DEVNULL if data is None else None,
            capture_output=True,
            text=not isinstance(data, bytes),
            timeout=timeout,
            check=False,
        )

    def daemon(self, *words, log):
        """Start a daemon; log is a path of the tests' own."""
        with open(log, "wb") as file:
            started = subprocess.Popen(self.command(words), stdin=subprocess.DEVNULL, stdout=file, stderr=file)
        self.daemons.append(started)
        return started

    def terminal(self, *words, typed="", user=None, size=(33, 111), timeout=60):
        """(output, exit code) of words run with a terminal of that size (rows, columns) on which typed is typed."""
        master, slave = pty.openpty()
        fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
        started = subprocess.Popen(
            # setsid -c would take the terminal of a caller that leads a session; here it is the new session's.
            ["setsid", "--ctty", "--wait", *self.command(words, user, {"TERM": "xterm"})],
            stdin=slave,
            stdout=slave,
            stderr=slave,
        )
        os.close(slave)
        output, deadline, waiting = b"", time.monotonic() + timeout, typed.encode()
        try:
            while time.monotonic() < deadline:
                if not select.select([master], [], [], 0.2)[0]:
                    if started.poll() is not None:
                        break
                    continue
                try:
                    chunk = os.read(master, 4096)
                except OSError:  # EIO: the last user of the other end has gone
                    break
                output += chunk
                if waiting and b"ready" in output:  # what reads it is there
                    os.write(master, waiting)
                    waiting = b""
            return output.decode().replace("\r\n", "\n"), started.wait(timeout=5)
        finally:
            if started.poll() is None:
                started.kill()
                started.wait()
            os.close(master)

    def cgroups(self):
        """The folders of our cgroup parent, in every hierarchy."""
        return [path for pattern in (self.cgroup, f"*/{self.cgroup}") for path in CGROUPS.glob(pattern)]

    def footprint(self):
        """What containers could leave: processes, mounts, cgroups, the runtime's and the shims' files."""
        found = set()
        listed = self.run("ps", "-e", "-o", "pid=,stat=,args=").stdout.splitlines()
        for line in listed:
            pid, state, arguments = line.split(None, 2)
            if "Z" not in state and not arguments.startswith(("ps ", "env -i", "nsenter ")):
                found.add(f"process {pid} {arguments[:100]}")
        for line in self.path("/proc/1/mountinfo").read_text().splitlines():
            target = line.split()[4]
            if not target.endswith("/netns/default"):  # Docker's name for its own, made at first use and kept
                found.add("mount " + target)
        for parent in self.cgroups():
            paths = [f"{folder}/{name}" for folder, names, _files in os.walk(parent) for name in names]
            found.update("cgroup " + path for path in paths if not path.endswith("/conmon"))  # which is Podman's own
        for pattern in STATE:
            # labrun keeps compiled filters for later containers under a name that no container can have
            found.update(f"file {path}" for path in self.files.glob(pattern) if not path.name.startswith("@"))
        return found

    def stop(self, started):
        """Stop a daemon. The signal is for what runs in the room: nsenter, which is our child, would keep it."""
        children = Path(f"/proc/{started.pid}/task/{started.pid}/children").read_text().split()
        for pid in children:
            os.kill(int(pid), signal.SIGTERM)
        started.wait(timeout=30)

    def close(self):
        for started in reversed(self.daemons):
            if started.poll() is None:
                self.stop(started)
        self.process.kill()  # and the kernel kills what lives in its pid namespace
        self.process.wait()
        for started in self.daemons:
            started.wait(timeout=15)
        deadline = time.monotonic() + 10
        while self.cgroups() and time.monotonic() < deadline:
            for parent in self.cgroups():
                remove_cgroup(parent)
            time.sleep(0.05)


def remove_cgroup(parent):
    """Remove a cgroup and those below it; one whose processes are still ending stays."""
    for folder, _names, _files in os.walk(parent, topdown=False):
        try:
            os.rmdir(folder)
        except OSError:
            pass


def remove_cgroups_of_the_dead():
    """A run of the tests that was killed leaves its empty cgroups: all else of it ended with its namespaces."""
    for pattern in ("labrun-dropin-*", "*/labrun-dropin-*"):
        for path in CGROUPS.glob(pattern):
            if not Path("/proc", path.name.split("-")[2]).exists():
                remove_cgroup(path)


def copy_image(target, busybox):
    """A root filesystem for images: Debian's static busybox with all its applets, and two users."""
    for name in ("bin", "etc", "proc", "root", "sys", "tmp"):
        (target / name).mkdir(parents=True)
    shutil.copy(busybox, target / "bin" / "busybox")
    for applet in subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True).stdout.split():
        if applet != "busybox":
            (target / "bin" / applet).symlink_to("busybox")
    (target / "etc" / "passwd").write_text("root:x:0:0:root:/root:/bin/sh\nstudent:x:1000:1001::/:/bin/sh\n")
    (target / "etc" / "group").write_text("root:x:0:\nstudent:x:1001:\nlab:x:2000:student\n")


class Client:
    """An engine's command line in the room."""

    def __init__(self, lab, *prefix, user=None):
        self.lab, self.prefix, self.user = lab, prefix, user

    def result(self, *words, **keywords):
        return self.lab.run(*self.prefix, *words, user=self.user, **keywords)

    def __call__(self, *words, code=0, **keywords):
        """The standard output of a command that must end with that exit code."""
        done = self.result(*words, **keywords)
        assert done.returncode == code, f"{' '.join(map(str, words))}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def fails(self, *words, code, text=""):
        """A command must end with that exit code and say that text on standard error."""
        done = self.result(*words)
        assert done.returncode == code, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
        assert text in done.stderr
        return done.stderr

    def terminal(self, *words, **keywords):
        return self.lab.terminal(*self.prefix, *words, user=self.user, **keywords)

    def until(self, wanted, *words, seconds=10):
        """Wait until a command's output is that text."""
        deadline = time.monotonic() + seconds
        while True:
            output = self(*words).strip()
            if output == wanted:
                return
            assert time.monotonic() < deadline, f"{' '.join(words)}: {output!r}, not {wanted!r}"
            time.sleep(0.05)
