# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Attacks on step 5 and on what enters a running container. Each test bears the id of its case.

Each has a positive control: the same without the attack runs. Where an old runtime is known to fail, it must fail here.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from ansible_collections.ocilab.hosts.plugins.module_utils.linux import procfs
from ansible_collections.ocilab.hosts.plugins.module_utils.linux.errors import OcilabError

pytestmark = pytest.mark.root

MACHINE = os.uname().machine
PYTHON = sys.executable


def field(text, name):
    return next(line.split(":", 1)[1].strip() for line in text.splitlines() if line.startswith(name + ":"))


@pytest.fixture
def container(probe):
    """start(args) makes a running container; its first process's output goes to the file `output`."""
    probe.output = probe.path / "output"

    def start(*args):
        probe.config["process"]["args"] = list(args)
        probe.write()
        with open(probe.output, "wb") as file:
            arguments = [str(probe.labrun_path), "--root", str(probe.state), "create", "--bundle", str(probe.path)]
            made = subprocess.run([*arguments, probe.name], stdout=file, stderr=file, timeout=60, check=False)
        assert made.returncode == 0, probe.output.read_text()
        assert probe.labrun("start", probe.name).returncode == 0
        return json.loads(probe.labrun("state", probe.name).stdout)["pid"]

    probe.start = start
    return probe


@pytest.fixture
def known_bad(probe, tmp_path):
    """run(name) starts the bundle with another runtime of this host, whose own root is below tmp_path."""

    def run(name):
        if not shutil.which(name):
            pytest.skip(f"{name} is not installed")
        probe.write()
        arguments = [name, "--root", str(tmp_path / name), "run", "--bundle", str(probe.path), probe.name]
        result = subprocess.run(
            arguments, capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL
        )
        subprocess.run([*arguments[:3], "delete", "--force", probe.name], capture_output=True, check=False)
        return result

    return run


# R01 and R04: the runtime's own file, and the runtime's processes in the container's pid namespace


@pytest.fixture
def interpreter(probe):
    """What may not change, whatever the container does: the host's Python and labrun itself."""

    def state():
        result = {}
        for path in (os.path.realpath("/usr/bin/python3"), str(probe.labrun_path)):
            found = os.stat(path)
            content = hashlib.sha256(Path(path).read_bytes()).hexdigest()
            result[path] = (found.st_ino, found.st_mode, found.st_nlink, found.st_size, found.st_mtime_ns, content)
        return result

    before = state()
    yield list(before)
    assert state() == before


def place(bundle, path, content):
    file = bundle.path / "rootfs" / path
    file.write_bytes(content)
    file.chmod(0o755)


@pytest.mark.parametrize("attack", ["script", "link", "interpreter"])
def test_r01_a_program_that_is_the_runtime_itself(probe, interpreter, attack):
    """#!/proc/self/exe, a link to it, and an ELF file that asks for it as its loader: never the host's Python."""
    name = "/bin/entry"
    place(probe, "bin/entry", b"#!/bin/sh\necho ran $0\n")
    assert probe.run(name).stdout == "ran /bin/entry\n"  # the positive control
    if attack == "script":
        place(probe, "bin/entry", b"#!/proc/self/exe\nimport os; print('python', os.readlink('/proc/self/exe'))\n")
    elif attack == "link":
        (probe.path / "rootfs/bin/entry").unlink()
        (probe.path / "rootfs/bin/entry").symlink_to("/proc/self/exe")
    else:
        loader = b"/lib64/ld-linux-x86-64.so.2"
        original = Path(shutil.which("setpriv") or "/bin/sh").read_bytes()
        if loader not in original:
            pytest.skip("no dynamic program of x86_64 to change")
        place(probe, "bin/entry", original.replace(loader, b"/proc/self/exe".ljust(len(loader), b"\0"), 1))
    # Were it Python, it would look for its library: -X and the environment make that seen.
    probe.config["process"]["env"].append("PYTHONVERBOSE=1")
    result = probe.run(name)
    assert result.returncode != 0
    assert "python" not in (result.stdout + result.stderr).lower()
    probe.assert_nothing_left()


def test_r01_a_hook_of_the_container_that_is_the_runtime_itself(probe, interpreter):
    """startContainer hooks are programs of the container's, which an image may have written."""
    hook = {"path": "/bin/entry", "env": ["PYTHONVERBOSE=1"]}
    probe.config["hooks"] = {"startContainer": [hook]}
    place(probe, "bin/entry", b"#!/bin/sh\ncat >/told; echo ran $0\n")
    result = probe.run("/bin/true")
    assert result.returncode == 0, result.stderr
    assert '"status":"created"' in (probe.path / "rootfs/told").read_text()  # the positive control
    place(probe, "bin/entry", b"#!/proc/self/exe\nimport os; print('python', os.readlink('/proc/self/exe'))\n")
    result = probe.run("/bin/true")
    assert result.returncode == 1
    assert "error running startContainer hook #0: /bin/entry: exit code 1" in result.stderr
    assert "python" not in result.stderr.lower()
    probe.assert_nothing_left()


def test_r01_what_the_kernel_shows_as_the_file_while_the_program_is_executed(probe, interpreter):
    """The file behind /proc/self/exe at the moment of execve(2), as strace sees the calls: not Python's process."""
    if not shutil.which("strace"):
        pytest.skip("strace is not installed")
    probe.config["process"]["args"] = ["/bin/true"]
    probe.write()
    trace = probe.path / "trace"
    arguments = ["strace", "-f", "-e", "trace=execve,execveat", "-o", str(trace), str(probe.labrun_path)]
    arguments += ["--root", str(probe.state), "run", "--bundle", str(probe.path), probe.name]
    subprocess.run(arguments, check=True, timeout=60)
    calls = [line.split(maxsplit=1)[1] for line in trace.read_text().splitlines() if "exec" in line]
    assert calls[-2].startswith("execveat(")
    assert "AT_EMPTY_PATH" in calls[-2]
    assert calls[-1].startswith('execve("/bin/true"')


def hunted(container, enter, times):
    """What /bin/probe hunt in the container could open of other processes while enter() ran again and again."""
    pid = container.start("/bin/probe", "hunt", "60")
    deadline = time.monotonic() + 10
    while "hunting" not in container.output.read_text() and time.monotonic() < deadline:
        time.sleep(0.01)
    for _turn in range(times):
        enter(pid)
    container.labrun("kill", container.name, "KILL")
    while Path(f"/proc/{pid}/exe").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    return set(container.output.read_text().splitlines()) - {"hunting"}


@pytest.mark.parametrize("user_namespace", [False, True])
def test_r01_r04_nothing_of_an_entering_process_is_in_reach(container, interpreter, user_namespace):
    """Root in the container polls /proc/PID/exe and /proc/PID/fd while labrun execs into it."""
    if user_namespace:
        linux = container.config["linux"]
        linux["namespaces"].append({"type": "user"})
        linux["uidMappings"] = linux["gidMappings"] = [{"containerID": 0, "hostID": 100000, "size": 65536}]
        for folder in (container.path, *container.path.parents):
            if str(folder).startswith("/tmp/"):
                os.chmod(folder, 0o755)

    def enter(_pid):
        result = container.labrun("exec", container.name, "/bin/sh", "-c", "sleep 0.05", stdin=subprocess.DEVNULL)
        assert result.returncode == 0, result.stderr

    seen = hunted(container, enter, 25)
    own = {line for line in seen if line.startswith("exe ") and line.split(maxsplit=2)[2] in ("/bin/busybox",)}
    assert own  # the positive control: the hunter does find the container's own processes
    rest = {line.split(maxsplit=2)[2] for line in seen - own if line.startswith("exe ")}
    assert rest <= {"/memfd:labrun (deleted)"}
    assert not [line for line in seen if line.startswith("dir ")]


def test_r04_the_hunter_finds_a_careless_runtime(container):
    """The known-bad control: Python that enters the pid namespace, with a host folder open, and can be dumped."""
    for tool in ("nsenter", "setpriv"):
        if not shutil.which(tool):
            pytest.skip(f"{tool} is not installed")
    held = container.path.parent

    def enter(pid):
        arguments = ["nsenter", "-t", str(pid), "--pid", "setpriv", "--bounding-set=-all", "/usr/bin/python3", "-ISc"]
        subprocess.run(
            [*arguments, "import time; time.sleep(0.2)"], check=True, stdin=subprocess.DEVNULL, pass_fds=[held_fd]
        )

    held_fd = os.open(held, os.O_RDONLY)
    try:
        seen = hunted(container, enter, 5)
    finally:
        os.close(held_fd)
    assert [line for line in seen if line.startswith("exe ") and "python" in line]
    assert [line for line in seen if line.startswith("dir ")]


# R02: a working directory outside the root


@pytest.mark.parametrize("command", ["run", "exec"])
def test_r02_a_working_directory_on_a_descriptor(container, tmp_path, command):
    host = tmp_path / "host"
    host.mkdir()
    (host / "marker").write_text("secret of the host")
    folders = [os.open(host, os.O_RDONLY) for _index in range(12)]
    try:
        if command == "exec":
            container.start("/bin/sleep", "100")
        script = "cat marker ../marker ../host/marker ../../../../../../etc/shadow; pwd; :"
        for number in ["/tmp", *range(3, 20)]:
            cwd = number if number == "/tmp" else f"/proc/self/fd/{number}"
            if command == "run":
                container.config["process"].update(cwd=cwd, args=["/bin/sh", "-c", script])
                container.write()
                words = ["run", "--bundle", str(container.path), container.name]
            else:
                words = ["exec", "--cwd", cwd, container.name, "/bin/sh", "-c", script]
            result = container.labrun(*words, pass_fds=folders)
            assert (result.returncode == 0) == (number == "/tmp"), result.stderr
            assert "secret" not in result.stdout + result.stderr
            assert "root:" not in result.stdout
    finally:
        for fd in folders:
            os.close(fd)


# R03: inherited descriptors


def test_r03_an_open_folder_of_the_host_reaches_neither_init_nor_program(container):
    leaked = os.dup2(os.open("/", os.O_RDONLY | os.O_CLOEXEC), 50)
    command = [str(container.labrun_path), "--root", str(container.state)]
    try:
        container.config["process"]["args"] = ["/bin/ls", "/proc/self/fd"]
        container.write()
        words = ["run", "--bundle", str(container.path), container.name]
        result = container.labrun(*words, pass_fds=[leaked])
        assert result.stdout.split() == ["0", "1", "2", "3"]  # 3 is the listing itself
        words = ["create", "--bundle", str(container.path), container.name]
        with open(container.output, "wb") as file:
            subprocess.run([*command, *words], pass_fds=[leaked], stdout=file, stderr=file, timeout=60, check=True)
        pid = json.loads(container.labrun("state", container.name).stdout)["pid"]
        targets = {int(fd.name): os.readlink(fd) for fd in Path(f"/proc/{pid}/fd").iterdir()}
        above = [target for number, target in targets.items() if number > 2]
        assert [target for target in above if target.endswith("exec.fifo")]  # the positive control
        assert not [target for target in above if target == "/" or os.path.isdir(target)]
        assert leaked not in targets
    finally:
        os.close(leaked)


# R09: what is written to /proc goes to procfs


def in_mount_namespace(script, *arguments):
    return subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, "sh", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_r09_mounts_of_the_container_do_not_lead_a_sysctl_astray(probe, known_bad, tmp_path):
    """A file of the host, bound over the parameter in the container's /proc."""
    decoy = tmp_path / "decoy"
    decoy.write_text("untouched\n")
    probe.config["linux"]["sysctl"] = {"net.ipv4.ip_default_ttl": "33"}
    probe.config["linux"]["readonlyPaths"] = []
    probe.config["process"]["args"] = ["/bin/cat", "/proc/sys/net/ipv4/ip_default_ttl"]
    assert probe.run().stdout == "33\n"  # the positive control
    parameter = "/proc/sys/net/ipv4/ip_default_ttl"
    bound = {"destination": parameter, "type": "bind", "source": str(decoy), "options": ["bind"]}
    probe.config["mounts"].append(bound)
    probe.run()
    assert decoy.read_text() == "untouched\n"
    probe.assert_nothing_left()
    probe.config["ociVersion"] = "1.0.2"
    known_bad("runc")
    if decoy.read_text() == "untouched\n":
        pytest.skip("this host's runc is not the old one that writes to the decoy")


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("net.ipv4.ip_default_ttl", "/proc/sys/net"),
        ("kernel.domainname", "/proc/sys/kernel/domainname"),
    ],
)
def test_r09_mounts_over_the_hosts_procfs_are_not_written_to(bundle, tmp_path, name, target):
    path = "/proc/sys/" + name.replace(".", "/")
    bundle.config["linux"]["sysctl"] = {name: "33"}
    bundle.config["process"]["args"] = ["/bin/cat", path]
    bundle.write()
    decoy = tmp_path / "decoy"
    file = decoy if path == target else decoy / os.path.relpath(path, target)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("64\n")
    command = [bundle.labrun_path, "--root", bundle.state, "run", "--bundle", bundle.path, bundle.name]
    control = in_mount_namespace('shift 2; exec "$@"', decoy, target, *command)
    assert control.stdout == "33\n", control.stderr
    result = in_mount_namespace('mount --bind "$1" "$2" && shift 2 && exec "$@"', decoy, target, *command)
    assert result.returncode == 1
    assert "something is mounted over it" in result.stderr
    assert file.read_text() == "64\n"
    bundle.assert_nothing_left()


def test_r09_what_is_no_procfs_is_not_written_to(tmp_path):
    os.close(procfs.open_root())  # the positive control
    for path in (str(tmp_path), "/proc/sys", "/sys"):
        with pytest.raises(OcilabError, match="not a procfs"):
            procfs.open_root(path)


def test_r09_labels_are_not_written_over_mounts(tmp_path):
    """The files of labels, opened as a start does it, over a tmpfs that lies on /proc/self/attr."""
    code = (
        "from ansible_collections.ocilab.hosts.plugins.module_utils.linux import procfs; import os\n"
        "fd = procfs.open_root()\n"
        "print(os.close(procfs.open_at(fd, 'self/attr/current', os.O_WRONLY)))"
    )
    # exec keeps the pid, so that the tmpfs lies over the attributes of the process that opens them.
    control = in_mount_namespace('exec "$@"', PYTHON, "-c", code)
    assert control.returncode == 0, control.stderr
    result = in_mount_namespace('mount -t tmpfs none /proc/$$/attr && exec "$@"', PYTHON, "-c", code)
    assert "Invalid cross-device link" in result.stderr


# R11: capabilities

SETS = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")


@pytest.mark.parametrize("uid", [0, 1000])
@pytest.mark.parametrize("command", ["run", "exec"])
def test_r11_exact_sets(container, uid, command):
    """CVE-2022-29162: inheritable and ambient ones are only those that were asked for; absent means none."""
    process = container.config["process"]
    process["user"] = {"uid": uid, "gid": uid}
    cases = [
        (None, [0, 0, 0, 0, 0]),
        ({}, [0, 0, 0, 0, 0]),
        ({"bounding": ["CAP_KILL"]}, [0, 0, 0, 32, 0]),  # under no_new_privs root gains nothing by execve either
        ({name: ["CAP_KILL"] for name in ("bounding", "permitted", "effective")}, None),
        (
            {name: ["CAP_KILL"] for name in ("bounding", "permitted", "effective", "inheritable", "ambient")},
            [32, 32, 32, 32, 32],
        ),
    ]
    if command == "exec":
        container.start("/bin/sleep", "100")
    for capabilities, expected in cases:
        process.pop("capabilities", None)
        if capabilities is not None:
            process["capabilities"] = capabilities
        process["args"] = ["/bin/cat", "/proc/self/status"]
        if command == "run":
            seen = container.run().stdout
        else:
            (container.path / "process.json").write_text(json.dumps(process))
            result = container.labrun("exec", "--process", str(container.path / "process.json"), container.name)
            seen = result.stdout
        wanted = expected or [0, 0 if uid else 32, 0 if uid else 32, 32, 0]
        assert [int(field(seen, name), 16) for name in SETS] == wanted, capabilities
        assert field(seen, "Uid").split() == [str(uid)] * 4


# R12: identities


BAD_IDS = [-1, 4294967295, 4294967296, 1 << 64, "0", "root", 1.5, True, [0]]


@pytest.mark.parametrize("where", ["uid", "gid", "additionalGids"])
@pytest.mark.parametrize("value", BAD_IDS)
def test_r12_identities_that_are_none(bundle, where, value):
    (bundle.path / "rootfs/tmp").chmod(0o777)
    user = {"uid": 1000, "gid": 1000}
    bundle.config["process"]["user"] = dict(user, **{where: [7] if where == "additionalGids" else 7})
    assert bundle.run("/bin/sh", "-c", ">/tmp/ran").returncode == 0  # the positive control
    (bundle.path / "rootfs/tmp/ran").unlink()
    bundle.config["process"]["user"] = dict(user, **{where: [value] if where == "additionalGids" else value})
    result = bundle.run("/bin/sh", "-c", ">/tmp/ran")
    assert (result.returncode, "process.user." + where in result.stderr) == (1, True)
    assert not (bundle.path / "rootfs/tmp/ran").exists()
    bundle.assert_nothing_left()


@pytest.mark.parametrize("text", ["-1", "4294967295", "4294967296", "root", "0x0", "", "0:-1", "1000:4294967295", "٣"])
def test_r12_identities_of_an_exec(container, text):
    container.start("/bin/sleep", "100")
    assert container.labrun("exec", "--user", "7:8", container.name, "/bin/id", "-u").stdout == "7\n"
    result = container.labrun("exec", "--user", text, container.name, "/bin/id", "-u")
    assert (result.returncode, result.stdout) == (255, "")


@pytest.mark.parametrize("uid", [4294967295, "0"])
def test_r12_crun_takes_them_for_root(probe, known_bad, uid):
    """The known-bad control; crun 1.8.1 starts on v1 alone, so the cgroup2 hierarchy is hidden from it."""
    if not shutil.which("crun"):
        pytest.skip("crun is not installed")
    probe.config["ociVersion"] = "1.0.2"
    probe.config["process"]["user"] = {"uid": 7, "gid": 7}
    probe.config["process"]["args"] = ["/bin/id", "-u"]
    script = "umount /sys/fs/cgroup/unified 2>/dev/null; crun --root $1 run --bundle $2 $3"
    words = (probe.path / "crun", probe.path, probe.name)
    probe.write()
    control = in_mount_namespace(script, *words)
    if control.stdout != "7\n":
        pytest.skip("this host's crun starts no container here: " + control.stderr[-200:])
    probe.config["process"]["user"]["uid"] = uid
    probe.write()
    result = in_mount_namespace(script, *words)
    if result.stdout != "0\n":
        pytest.skip("this host's crun is not the old one: " + (result.stdout + result.stderr)[-200:])
    refused = probe.run()
    assert (refused.returncode, refused.stdout) == (1, "")


# R13: the container's /etc/passwd


def pipe_with_nobody_behind_it(path):
    os.mkfifo(path, 0o666)


def endless_device(path):
    os.mknod(path, 0o666 | 0o020000, os.makedev(1, 5))


def huge_file(path):
    with open(path, "wb") as file:
        file.truncate(1 << 40)


def long_line(path):
    path.write_bytes(b"root:x:0:0:" + b"x" * (64 << 20) + b":/late:/bin/sh\n")


def folder(path):
    path.mkdir()


def link_to_itself(path):
    path.symlink_to("passwd")


def link_to_the_terminal(path):
    path.symlink_to("/proc/self/fd/0")


def link_out(path):
    path.symlink_to("../../../../../../../../etc/passwd")


@pytest.mark.parametrize(
    "make",
    [
        pipe_with_nobody_behind_it,
        endless_device,
        huge_file,
        long_line,
        folder,
        link_to_itself,
        link_to_the_terminal,
        link_out,
    ],
    ids=lambda function: function.__name__,
)
def test_r13_a_hostile_passwd(container, make):
    assert container.shell("echo $HOME") == "/\n"
    passwd = container.path / "rootfs/etc/passwd"
    passwd.write_text("root:x:0:0::/of/passwd:/bin/sh\n")
    assert container.shell("echo $HOME") == "/of/passwd\n"  # the positive control
    passwd.unlink()
    make(passwd)
    started = time.monotonic()
    read_fd, write_fd = os.pipe()  # standard input that never ends
    try:
        container.config["process"]["args"] = ["/bin/sh", "-c", "echo $HOME"]
        container.write()
        result = container.labrun("run", "--bundle", str(container.path), container.name, stdin=read_fd)
    finally:
        os.close(read_fd)
        os.close(write_fd)
    assert (result.returncode, result.stdout) == (0, "/\n"), result.stderr
    assert time.monotonic() - started < 5
    container.start("/bin/sleep", "100")
    assert container.labrun("exec", container.name, "/bin/sh", "-c", "echo $HOME").stdout == "/\n"


# R16: kernel parameters of the host

HOST_PARAMETERS = [
    "vm.swappiness",
    "vm/swappiness",
    "net/../vm/swappiness",
    "net.../vm/swappiness",
    "net/./../vm/swappiness",
    "net.//.vm.swappiness",
    "kernel.shmmax/../../vm/swappiness",
    "fs.mqueue./../../vm/swappiness",
    "fs/mqueue/../../vm/swappiness",
    "/vm/swappiness",
    "../sys/vm/swappiness",
    "kernel.core_pattern",
    "kernel.hostname",
    "kernel.shm_next_id",
    "kernel.pid_max",
    "user.max_user_namespaces",
    "fs.file-max",
    "net",
    "net/",
    "",
    ".",
    "/",
]


@pytest.mark.parametrize("name", HOST_PARAMETERS)
def test_r16_parameters_that_are_the_hosts(bundle, name):
    before = Path("/proc/sys/vm/swappiness").read_text()
    bundle.config["linux"]["sysctl"] = {"net.ipv4.ip_default_ttl": "33"}
    assert bundle.run("/bin/true").returncode == 0  # the positive control
    bundle.config["linux"]["sysctl"] = {name: str(int(before) ^ 1)}
    result = bundle.run("/bin/true")
    assert (result.returncode, "linux.sysctl" in result.stderr) == (1, True), result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert Path("/proc/sys/vm/swappiness").read_text() == before
    bundle.assert_nothing_left()


@pytest.mark.parametrize(
    ("parameter", "kind", "file"),
    [
        ("net.ipv4.ip_default_ttl", "network", "net"),
        ("kernel.shmmni", "ipc", "ipc"),
        ("kernel.domainname", "uts", "uts"),
    ],
)
@pytest.mark.parametrize("way", ["without", "joined"])
def test_r16_without_the_namespace_it_is_the_hosts(bundle, parameter, kind, file, way):
    path = Path("/proc/sys") / parameter.replace(".", "/")
    before = path.read_text()
    linux = bundle.config["linux"]
    linux["sysctl"] = {parameter: "34"}
    assert bundle.run("/bin/true").returncode == 0  # the positive control
    linux["namespaces"] = [item for item in linux["namespaces"] if item["type"] != kind]
    if way == "joined":
        linux["namespaces"].append({"type": kind, "path": f"/proc/{os.getpid()}/ns/{file}"})
    bundle.config.pop("hostname", None)
    bundle.config["mounts"] = [item for item in bundle.config["mounts"] if item["type"] not in ("sysfs", "mqueue")]
    result = bundle.run("/bin/true")
    assert (result.returncode, "linux.sysctl" in result.stderr) == (1, True), result.stderr
    assert path.read_text() == before


# R18: system calls

EPERM, ENOSYS = "1", "38"
CALLS = [
    ("fsconfig", "99 0 0 0 0", EPERM),
    ("keyctl", "0 0xfffffffd 1", EPERM),
    ("bpf", "0 0 0", EPERM),
    ("unshare", "0x10000000", EPERM),
    ("clone", "0x10000011 0 0 0 0", EPERM),
    ("clone3", "0 0", ENOSYS),
]


@pytest.mark.parametrize("no_new_privileges", [True, False])
def test_r18_the_default_profile(probe, no_new_privileges):
    """With every capability there is: what is refused is refused by the filter."""
    probe.config["process"]["noNewPrivileges"] = no_new_privileges
    every = ["CAP_SYS_ADMIN", "CAP_BPF", "CAP_SYS_PTRACE", "CAP_SETUID", "CAP_SETGID"]
    probe.config["process"]["capabilities"] = {name: every for name in ("bounding", "permitted", "effective")}
    script = "".join("probe call $(probe number %s) %s;" % (name, words) for name, words, _answer in CALLS)
    assert probe.shell(script).splitlines() == ["-1 " + answer for _name, _words, answer in CALLS]
    del probe.config["linux"]["seccomp"]  # the positive control: without it none is refused by policy
    for (name, _words, _answer), line in zip(CALLS, probe.shell(script).splitlines()):
        assert line.split()[1] not in (EPERM, ENOSYS), name


@pytest.mark.parametrize("entry", ["call32 20", "call 0x40000027"])
def test_r18_the_other_entries_of_the_kernel(probe, entry):
    """32 bit calls and x32, by which another number means another call: killed, for the profile is for one machine."""
    if MACHINE != "x86_64":
        pytest.skip("entries of x86_64")
    result = probe.run("/bin/sh", "-c", f"probe {entry}")
    assert (result.returncode, result.stdout) == (128 + 31, "")
    del probe.config["linux"]["seccomp"]  # the positive control: it is the filter that kills
    assert probe.run("/bin/sh", "-c", f"probe {entry}").returncode == 0


# R20: labels


def has_apparmor():
    try:
        return Path("/sys/module/apparmor/parameters/enabled").read_text().startswith("Y")
    except OSError:
        return False


@pytest.mark.parametrize("command", ["run", "exec"])
@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("apparmorProfile", "profile-of-nobody", False),
        ("selinuxLabel", "system_u:system_r:container_t:s0", False),
        ("apparmorProfile", "unconfined", True),
        ("apparmorProfile", "", True),
        ("selinuxLabel", "", True),
    ],
)
def test_r20_a_label_that_cannot_be_enforced_is_an_error(container, command, key, value, allowed):
    """Whether the security module is missing or only the profile: never silently without it."""
    if key == "selinuxLabel" and value and Path("/sys/fs/selinux/enforce").exists():
        pytest.skip("this host has SELinux")
    process = container.config["process"]
    if command == "run":
        process.update({key: value, "args": ["/bin/echo", "ran"]})
        result = container.run()
    else:
        container.start("/bin/sleep", "100")
        described = dict(process, args=["/bin/echo", "ran"], **{key: value})
        (container.path / "process.json").write_text(json.dumps(described))
        result = container.labrun("exec", "--process", str(container.path / "process.json"), container.name)
    assert (result.returncode == 0, result.stdout) == (allowed, "ran\n" if allowed else ""), result.stderr
    if not allowed:
        expected = "AppArmor profile" if has_apparmor() and key == "apparmorProfile" else "process." + key
        assert expected in result.stderr


def test_r01_many_starts_at_once_keep_their_filters_apart(probe, interpreter):
    """The kept filters are written by several starts at once: each start has its own profile all the same."""
    results = {}

    def start(number):
        folder = probe.path / f"bundle{number}"
        folder.mkdir()
        (folder / "rootfs").symlink_to(probe.path / "rootfs")
        rule = {"names": ["sync"], "action": "SCMP_ACT_ERRNO", "errnoRet": number}
        config = dict(probe.config, linux=dict(probe.config["linux"]))
        config["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}
        config["process"] = dict(config["process"], args=["/bin/sh", "-c", "probe call $(probe number sync)"])
        (folder / "config.json").write_text(json.dumps(config))
        seen = [
            probe.labrun("run", "--bundle", str(folder), f"{probe.name}-{number}-{turn}").stdout for turn in range(3)
        ]
        results[number] = seen

    threads = [threading.Thread(target=start, args=(number,)) for number in range(90, 96)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {number: [f"-1 {number}\n"] * 3 for number in range(90, 96)}
