# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be seen of one container: by its process, by the host, and by the runtime's commands, as {field: value}.

Values are free of what differs from run to run (pids, mount ids, times), so that two observations can be compared.
"""

from __future__ import annotations

import array
import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path

PROBE = (Path(__file__).parent / "probe.sh").read_text()
APPLETS = "cat chmod echo env false find id ionice ip ls mkdir readlink sh sleep stat stty touch tr true tty uname"
NAMESPACES = ("pid", "net", "mnt", "uts", "ipc", "user", "cgroup", "time")
TIMEOUT_S = 60

# The files by which a cgroup limits; what else lies there counts or acts.
LIMITS = re.compile(
    r"memory\.(limit_in_bytes|soft_limit_in_bytes|memsw\.limit_in_bytes|swappiness|oom_control|kmem\.tcp\.limit_in_bytes"
    r"|max|high|low|min|swap\.max|oom\.group)"
    r"|cpu\.(shares|cfs_quota_us|cfs_period_us|cfs_burst_us|rt_runtime_us|rt_period_us|idle|max|max\.burst|weight)"
    r"|cpuset\.(cpus|mems)|pids\.max|devices\.list|net_cls\.classid|net_prio\.ifpriomap"
    r"|blkio\.(weight|leaf_weight|bfq\.weight|throttle\.\w+_device)|io\.(max|weight|bfq\.weight)"
    r"|hugetlb\.\w+(\.rsvd)?\.(limit_in_bytes|max)|rdma\.max|cgroup\.type"
)
# Of /proc/self/status: what differs from run to run, or counts.
STATUS_LEFT_OUT = re.compile(
    r"State|Tgid|Ngid|TracerPid|FDSize|Vm\w+|Rss\w+|HugetlbPages|\w*voluntary_ctxt_switches|Cpus_allowed|Mems_allowed|untag_mask"
)
STATUS_OF_PIDS = ("Pid", "PPid", "NStgid", "NSpid", "NSpgid", "NSsid")


class Bundle:
    """A bundle at one path, made anew for each run; its root file system is Debian's static busybox."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rootfs = path / "rootfs"
        self.volume = path / "volume"

    def reset(self, config: dict) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        for name in ("bin", "dev", "etc", "home/student", "proc", "sys", "tmp"):
            (self.rootfs / name).mkdir(parents=True)
        shutil.copy("/bin/busybox", self.rootfs / "bin" / "busybox")
        for applet in APPLETS.split():
            (self.rootfs / "bin" / applet).symlink_to("busybox")
        (self.rootfs / "etc" / "passwd").write_text(
            "root:x:0:0:root:/root:/bin/sh\nstudent:x:1000:1001::/home/student:/bin/sh\n"
        )
        (self.rootfs / "etc" / "group").write_text("root:x:0:\nlab:x:2000:student\n")
        (self.rootfs / "link").symlink_to("tmp/target")
        (self.rootfs / "tmp" / "kept").write_text("of the root file system\n")
        (self.rootfs / "not-executable").write_text("#!/bin/sh\n")
        (self.volume / "inner").mkdir(parents=True)
        (self.volume / "file").write_text("of the volume\n")
        (self.path / "config.json").write_text(json.dumps(config, indent=1))
        if config["linux"].get("uidMappings"):
            self._give_to(config["linux"]["uidMappings"][0]["hostID"])

    def _give_to(self, owner: int) -> None:
        """A user namespace's root has to be able to make mount points, as engines see to."""
        for folder, folders, files in os.walk(self.rootfs):
            for name in (".", *folders, *files):
                os.lchown(os.path.join(folder, name), owner, owner)

    def tree(self) -> dict[str, str]:
        """What the run has left in the bundle: the mount points it made, and their owners."""
        found = {}
        for folder, folders, files in os.walk(self.path):
            for name in (*folders, *files):
                status = os.lstat(os.path.join(folder, name))
                path = os.path.relpath(os.path.join(folder, name), self.path)
                found[path] = f"{status.st_mode:o} {status.st_uid}:{status.st_gid}"
        return found


class Runtime:
    def __init__(self, name: str, command: str, folder: Path) -> None:
        self.name = name
        self.command = command
        self.state = folder / f"state-{name}"
        self.folder = folder

    def call(self, *words: str, **keywords) -> subprocess.CompletedProcess:
        """Its output goes to files, for a created container keeps it open."""
        arguments = [self.command, "--root", str(self.state), *words]
        with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
            keywords = {"stdin": subprocess.DEVNULL, "stdout": output, "stderr": errors, **keywords}
            result = subprocess.run(arguments, timeout=TIMEOUT_S, check=False, cwd=self.folder, **keywords)
            for file in (output, errors):
                file.seek(0)
            result.stdout, result.stderr = output.read(), errors.read()
        return result


def script(extra: str = "") -> list[str]:
    return ["/bin/sh", "-c", PROBE + extra]


def run(runtime: Runtime, bundle: Bundle, config: dict, name: str) -> dict[str, str]:
    """Only what `run` answers: the exit code, and what the process wrote."""
    bundle.reset(config)
    result = runtime.call("run", "--bundle", str(bundle.path), name)
    left = runtime.call("state", name).returncode == 0
    if left:
        runtime.call("delete", "--force", name)
    return {"exit code": str(result.returncode), "output": result.stdout, "left": str(left), "why": result.stderr}


def observe(
    runtime: Runtime, bundle: Bundle, config: dict, name: str, execute: list[str] | None = None
) -> dict[str, str]:
    """Create, look, start, look, delete. With execute, the words of an `exec`: what that process sees instead.

    A container that is refused has the fields "create" (the exit code) and "why" (what the runtime said).
    """
    bundle.reset(config)
    output = runtime.folder / "output"
    terminal = Terminal(runtime.folder) if config["process"].get("terminal") else None
    words = ["create", "--bundle", str(bundle.path), "--pid-file", str(runtime.folder / "pid")]
    with open(output, "wb") as file:
        created = runtime.call(*words, *(terminal.words() if terminal else []), name, stdout=file)
    if created.returncode != 0:
        left = runtime.call("state", name).returncode == 0
        if left:
            runtime.call("delete", "--force", name)
        return {"create": str(created.returncode), "left": str(left), "why": created.stderr}
    try:
        seen = {"create": "0"}
        pid = int((runtime.folder / "pid").read_text())
        seen.update(_by_the_host(pid))
        seen.update(_by_the_runtime(runtime, bundle, name, pid))
        started = runtime.call("start", name)
        seen["start"] = str(started.returncode)
        if started.returncode != 0:
            seen["why"] = started.stderr
        if execute is not None:
            result = runtime.call("exec", *execute[:-1], name, *script(execute[-1]))
            seen["exec"] = str(result.returncode)
            seen.update(_sections(result.stdout))
            # runc copies what an exec writes, labrun hands its own descriptors on: only their numbers are compared.
            seen.update({field: "open" for field in seen if field.startswith("fds.")})
            runtime.call("kill", name, "KILL")
        text = terminal.read() if terminal else ""
        ended = wait(pid)
        seen["ended"] = str(ended)
        if execute is None:
            seen.update(_sections(text or output.read_text(errors="replace")))
        seen["state.stopped"] = _state(runtime, name).get("status", "?")
        seen["delete"] = str(runtime.call("delete", name).returncode)
        seen.update({f"bundle.{path}": value for path, value in bundle.tree().items()})
        return seen
    finally:
        runtime.call("delete", "--force", name)
        _remove_cgroups(config["linux"].get("cgroupsPath") or "")
        if terminal:
            terminal.close()


def _remove_cgroups(path: str) -> None:
    """What a runtime leaves of the path's upper levels would be in the other's way."""
    top = path.lstrip("/").partition("/")[0]
    for found in Path("/sys/fs/cgroup").glob(f"*/{top}") if top else []:
        for folder, _folders, _files in os.walk(found, topdown=False):
            os.rmdir(folder)


def wait(pid: int) -> bool:
    """Whether the process has ended in time; it is killed where it has not."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        ended = bool(select.select([fd], [], [], TIMEOUT_S)[0])
        if not ended:
            signal.pidfd_send_signal(fd, signal.SIGKILL)
        return ended
    finally:
        os.close(fd)


class Terminal:
    """The caller's side of a console socket."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "console"
        self.path.unlink(missing_ok=True)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.bind(str(self.path))
        self.socket.listen()
        self.socket.settimeout(TIMEOUT_S)

    def words(self) -> list[str]:
        return ["--console-socket", str(self.path)]

    def read(self) -> str:
        """All that the container writes to its terminal, until nobody has it open."""
        connection = self.socket.accept()[0]
        descriptors = array.array("i", [0])
        _name, ancillary, _flags, _address = connection.recvmsg(4096, socket.CMSG_SPACE(4))
        descriptors.frombytes(ancillary[0][2][:4])
        master = descriptors[1]
        parts = []
        while select.select([master], [], [], TIMEOUT_S)[0]:
            try:
                part = os.read(master, 65536)
            except OSError:  # EIO: the last holder of the other side is gone
                break
            parts.append(part)
        os.close(master)
        connection.close()
        return b"".join(parts).decode(errors="replace").replace("\r\n", "\n")

    def close(self) -> None:
        self.socket.close()


def _by_the_runtime(runtime: Runtime, bundle: Bundle, name: str, pid: int) -> dict[str, str]:
    state = _state(runtime, name)
    seen = {f"state.{key}": _shown(value) for key, value in state.items() if key not in ("pid", "created", "rootfs")}
    seen["state.keys"] = " ".join(sorted(state))
    seen["state.pid is the pid file's"] = str(state.get("pid") == pid)
    seen["state.created"] = re.sub(r"\d+", "N", str(state.get("created")).rstrip("Z").split(".")[0])
    listed = runtime.call("list", "--format", "json")
    rows = json.loads(listed.stdout) if listed.returncode == 0 else [{}]
    seen["list.keys"] = " ".join(sorted(rows[0]))
    seen["list"] = str([(row.get("id"), row.get("status"), row.get("bundle"), row.get("owner")) for row in rows])
    return seen


def _shown(value: object) -> str:
    """Objects in one order: Go's own is the alphabet's."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False) if isinstance(value, dict) else str(value)


def _state(runtime: Runtime, name: str) -> dict:
    result = runtime.call("state", name)
    return json.loads(result.stdout) if result.returncode == 0 else {}


def _by_the_host(pid: int) -> dict[str, str]:
    """The created container's namespaces and cgroups."""
    seen = {}
    for kind in NAMESPACES:
        own = os.readlink(f"/proc/{pid}/ns/{kind}") != os.readlink(f"/proc/self/ns/{kind}")
        seen[f"namespace.{kind}"] = "own" if own else "the host's"
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _number, controllers, path = line.split(":", 2)
        kind = controllers or "unified"
        seen[f"cgroup.{kind}"] = path
        for folder in _cgroup_folders(controllers, path):
            for file in sorted(os.listdir(folder)):
                if LIMITS.fullmatch(file):
                    seen[f"limit.{kind}.{file}"] = _limit(os.path.join(folder, file))
    return seen


def _cgroup_folders(controllers: str, path: str) -> list[str]:
    if path == "/":
        return []
    names = [controllers.replace("name=", "")] if controllers else ["unified", ""]
    folders = [os.path.join("/sys/fs/cgroup", name, path.lstrip("/")) for name in names]
    return [folder for folder in folders if os.path.exists(os.path.join(folder, "cgroup.procs"))][:1]


def _limit(path: str) -> str:
    try:
        text = Path(path).read_text()
    except OSError as error:
        return f"errno {error.errno}"
    if path.endswith("memory.oom_control"):
        return text.splitlines()[0]
    return "\n".join(sorted(text.splitlines()))


def _sections(text: str) -> dict[str, str]:
    """{field: value} of the probe's output."""
    parts: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in text.splitlines():
        if re.fullmatch(r"@[\w.]+", line):
            lines = parts.setdefault(line[1:], [])
        else:
            lines.append(line)
    seen: dict[str, str] = {"probe": " ".join(parts)}
    for name, part in parts.items():
        reader = READERS.get(name)
        if reader is None:
            seen[name] = "\n".join(part)
        else:
            seen.update({f"{name}.{key}": value for key, value in reader(part).items()})
    return seen


def _status(lines: list[str]) -> dict[str, str]:
    fields = {key: value.strip() for key, _colon, value in (line.partition(":") for line in lines)}
    own = fields.get("Pid", "")
    seen = {}
    for key, value in fields.items():
        if STATUS_LEFT_OUT.fullmatch(key):
            continue
        if key in STATUS_OF_PIDS:
            value = " ".join("self" if word == own else "0" if word == "0" else "other" for word in value.split()[-1:])
        elif key == "SigQ":
            value = value.partition("/")[2]
        seen[key] = " ".join(value.split())
    return seen


def _stat(lines: list[str]) -> dict[str, str]:
    """proc_pid_stat(5); fields are counted from 1, and the third follows the name in parentheses."""
    words = lines[0].rpartition(")")[2].split() if lines else []
    wanted = {"tty_nr": 7, "nice": 19, "rt_priority": 40, "policy": 41}
    return {name: words[number - 3] for name, number in wanted.items() if words}


def _mounts(lines: list[str]) -> dict[str, str]:
    """proc_pid_mountinfo(5) by mount point; of several at one point each, in order."""
    points = {}
    parsed = []
    for line in lines:
        before, _dash, after = line.partition(" - ")
        words = before.split()
        points[words[0]] = words[4]
        parsed.append((words, after.split(" ")))
    seen: dict[str, str] = {}
    for words, (kind, source, options) in ((words, (after + ["", "", ""])[:3]) for words, after in parsed):
        propagation = sorted(tag.partition(":")[0] for tag in words[6:] if not tag.startswith("propagate_from"))
        parent = points.get(words[1], "outside")
        shown = f"{kind} {source} root={words[3]} {words[5]} {options} on={parent} {' '.join(propagation) or 'private'}"
        key = words[4]
        while key in seen:
            key += "+"
        seen[key] = shown
    return seen


def _limits(lines: list[str]) -> dict[str, str]:
    return {line[:26].strip(): " ".join(line[26:].split()) for line in lines[1:]}


def _fds(lines: list[str]) -> dict[str, str]:
    seen = {}
    for line in lines:
        before, arrow, target = line.partition(" -> ")
        if arrow:
            seen[before.split()[-1]] = re.sub(r"\d{3,}", "N", target)
    return seen


def _dev(lines: list[str]) -> dict[str, str]:
    return {line.split("|")[0]: line.partition("|")[2] for line in lines if "|" in line}


def _keys(lines: list[str]) -> dict[str, str]:
    """proc_keys(5): only a container's keyrings, their permissions and owners; serials, counts and times vary."""
    found = [words for words in map(str.split, lines) if len(words) > 8 and "differential" in words[8]]
    return {"": "\n".join(sorted({" ".join(words[4:9]) for words in found}))}


READERS = {
    "status": _status,
    "stat": _stat,
    "mountinfo": _mounts,
    "limits": _limits,
    "fds": _fds,
    "dev": _dev,
    "keys": _keys,
}


def differences(one: dict[str, str], other: dict[str, str]) -> dict[str, tuple[str | None, str | None]]:
    """{field: (the one's value, the other's)} where they differ; what the runtimes say is free."""
    fields = {"create"} if one.get("create") != other.get("create") else {*one, *other}
    return {
        key: (one.get(key), other.get(key)) for key in sorted(fields) if one.get(key) != other.get(key) and key != "why"
    }
