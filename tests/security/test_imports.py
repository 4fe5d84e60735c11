# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""R22 and R23: labrun's processes look up no code that a container, an environment or a directory may have planted."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import threading
from pathlib import Path

import pytest
import tracer

pytestmark = pytest.mark.root

PYTHON = "/usr/bin/python3"
_CLONE_NEWNS = 0x20000
_AT_FDCWD = 0xFFFFFF9C
# Which argument of a call is a path, for those that look up what could be code.
_PATHS = {"open": 0, "openat": 1, "openat2": 1, "execve": 0, "execveat": 1, "stat": 0, "lstat": 0, "newfstatat": 1}
_PATHS.update(statx=1, access=0, faccessat=1, faccessat2=1, readlink=0, readlinkat=1, uselib=0, connect=1)
_INTO = ("pivot_root", "chroot")


class LookUps(tracer.Tracer):
    """The paths that the command's own processes look up in the container: after pivot_root(2), chroot(2) or setns(2)
    into a mount namespace, until they execute another program; and in how many processes that was."""

    def __init__(self):
        super().__init__(None, "", "")
        self.inside = set()
        self.entered = {}
        self.found = []
        self.ever_inside = 0

    def run(self, arguments, environment, output):
        super().run(arguments, environment, output)
        return self.code, self.found, self.ever_inside

    def executed(self, thread):
        self.inside.discard(thread)

    def cloned(self, parent, child):
        if parent in self.inside:
            self._enter(child)

    def _enter(self, thread):
        self.ever_inside += thread not in self.inside
        self.inside.add(thread)

    def called(self, thread):
        info = self.info(thread)
        if info.op == tracer.ENTRY:
            name = tracer.NAMES.get(info.number, "")
            moved = name == "setns" and info.arguments[1] & _CLONE_NEWNS
            self.entered[thread] = name in _INTO or moved
            if thread in self.inside and name in _PATHS:
                self.found.append((name, self._text(thread, info.arguments[_PATHS[name]], name == "connect")))
        elif self.entered.get(thread) and info.number == 0:  # at the exit the result stands there
            self._enter(thread)

    @staticmethod
    def _text(thread, address, is_socket):
        with open(f"/proc/{thread}/mem", "rb", buffering=0) as memory:
            try:
                data = os.pread(memory.fileno(), 4096 - address % 4096, address)
            except OSError:
                return ""
        if is_socket:
            return "socket " + data[2:110].split(b"\0")[0].decode("utf-8", "replace")
        return data.split(b"\0")[0].decode("utf-8", "replace")


def look_ups(arguments, environment=None, output=os.devnull):
    """(exit code, [(call, path)], number of processes that were inside)."""
    wanted = dict(environment or {"PATH": os.environ["PATH"]})
    return tuple(tracer.follow(LookUps(), [str(word) for word in arguments], wanted, str(output)))


_POISON = "open({canary!r}, 'a').write(__name__ + chr(10))\n"


def standard_library():
    """(the interpreter's own path, the names of its modules)."""
    script = "import json, os, sys; print(json.dumps([os.path.dirname(os.__file__), sys.path]))"
    folder, path = json.loads(
        subprocess.run([PYTHON, "-c", script], capture_output=True, text=True, check=True, cwd="/").stdout
    )
    names = {name[:-3] for name in os.listdir(folder) if name.endswith(".py")}
    names |= {name for name in os.listdir(folder) if os.path.exists(f"{folder}/{name}/__init__.py")}
    return folder, [item for item in path if item], sorted(names)


def plant(folder, canary, names=None):
    """Modules in the folder that write the canary when they are imported."""
    library, _path, every = standard_library()
    folder.mkdir(parents=True, exist_ok=True)
    text = _POISON.format(canary=str(canary))
    for name in names or every:
        package = folder / name
        if os.path.isdir(f"{library}/{name}"):
            package.mkdir(exist_ok=True)
            for inner in os.listdir(f"{library}/{name}"):
                if inner.endswith(".py"):
                    (package / inner).write_text(text)
        else:
            (folder / f"{name}.py").write_text(text)


@pytest.fixture
def poisoned(bundle):
    """A root filesystem with a standard library, name services and character sets of its own, at the host's places."""
    if not os.access(PYTHON, os.X_OK):
        pytest.skip(f"there is no {PYTHON}, for which the tests build labrun")
    rootfs = bundle.path / "rootfs"
    _library, path, _names = standard_library()
    plant(rootfs, "/canary", ["json", "encodings", "ocilab_labrun", "sitecustomize", "traceback"])
    for item in path:
        plant(rootfs / item.lstrip("/"), "/canary")
    for folder in ("lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu", "lib/aarch64-linux-gnu", "lib64", "usr/lib"):
        (rootfs / folder / "gconv").mkdir(parents=True, exist_ok=True)
        (rootfs / folder / "gconv" / "gconv-modules").write_text("module INTERNAL X// poison 1\n")
        for name in ("libnss_files.so.2", "libnss_poison.so.2", "libc.so.6", "libseccomp.so.2", "libgcc_s.so.1"):
            (rootfs / folder / name).write_text("not a library\n")
    (rootfs / "etc" / "nsswitch.conf").write_text("passwd: poison files\ngroup: poison files\n")
    (rootfs / "etc" / "ld.so.preload").write_text("/lib64/libnss_poison.so.2\n")
    bundle.canary = rootfs / "canary"
    return bundle


def is_code(path):
    """Whether a look-up is of Python's or the dynamic linker's kind."""
    words = (".py", ".so", "encodings", "gconv", "nsswitch", "locale", "/lib/", "/lib64/", "ocilab", "socket ")
    return any(word in path for word in words) or path.endswith("/lib")


def assert_clean(bundle, found, *programs):
    """Nothing of code was looked up; of what else there is, only the user's home, an empty path with a descriptor,
    and the programs, where they are named."""
    assert not [(call, path) for call, path in found if is_code(path)]
    if programs:
        assert {path for _call, path in found} <= {"", "/etc/passwd", *programs}
        assert programs[0] in {path for _call, path in found}  # the positive control: the tracer does see look-ups
    assert not bundle.canary.exists(), bundle.canary.read_text()


@pytest.mark.parametrize("script", ["'a'.encode('idna')", "import pwd; pwd.getpwnam('nobody2')", "import ast"])
def test_r22_the_trap_catches_who_looks_something_up_after_chroot(poisoned, script):
    """The positive control: isolated and without site, as labrun is started."""
    naive = f"import os; os.chroot({str(poisoned.path / 'rootfs')!r}); os.chdir('/'); {script}"
    code, found, inside = look_ups([PYTHON, "-I", "-S", "-c", naive])
    assert inside == 1
    assert [path for _call, path in found if is_code(path)], (code, found)
    assert poisoned.canary.exists() or "pwd" in script  # a name service's library would have to be built


class Agent(threading.Thread):
    """Takes the descriptors that are sent to a socket: a console's other side, or a seccomp agent's."""

    def __init__(self, path):
        super().__init__(daemon=True)
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(str(path))
        self.socket.listen(4)
        self.socket.settimeout(60)
        self.received = []
        self.start()

    def run(self):
        try:
            while True:
                connection, _address = self.socket.accept()
                _data, found, _flags, _sender = socket.recv_fds(connection, 65536, 4)
                self.received += found
        except OSError:
            return

    def close(self):
        self.socket.close()
        for fd in self.received:
            os.close(fd)


@pytest.fixture
def agent(tmp_path_factory):
    made = Agent(tmp_path_factory.mktemp("agent") / "socket")
    made.path = made.socket.getsockname()
    yield made
    made.close()


def with_hooks(config, _agent):
    hook = {"path": "/bin/sh", "args": ["sh", "-c", "cat >/dev/null"], "env": ["A=b"], "timeout": 20}
    kinds = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
    config["hooks"] = {kind: [hook] for kind in kinds}


def with_notify(config, agent):
    linux = config["linux"]
    linux["seccomp"]["listenerPath"] = agent.path
    rule = {"names": ["swapon"], "action": "SCMP_ACT_NOTIFY"}
    linux["seccomp"]["syscalls"].append(rule)


def with_user_namespace(config, _agent):
    linux = config["linux"]
    linux["namespaces"].append({"type": "user"})
    linux["uidMappings"] = linux["gidMappings"] = [{"containerID": 0, "hostID": 100000, "size": 65536}]


def with_user(config, _agent):
    config["process"]["user"] = {"uid": 1000, "gid": 1001, "additionalGids": [2000], "umask": 0o77}
    config["process"]["cwd"] = "/made/h\u00e9re"
    config["process"]["args"] = ["/bin/echo", "\u00fcml\u00e4ut", "\u65e5\u672c"]
    config["hostname"] = "lab"
    config["linux"]["sysctl"] = {"net.ipv4.ip_forward": "0"}


def with_properties(config, _agent):
    config["process"].update(oomScoreAdj=100, noNewPrivileges=False)
    config["process"]["ioPriority"] = {"class": "IOPRIO_CLASS_BE", "priority": 4}
    config["process"]["scheduler"] = {"policy": "SCHED_BATCH", "nice": 5}
    config["linux"]["personality"] = {"domain": "LINUX"}
    config["linux"]["resources"].update(pids={"limit": 30}, cpu={"shares": 100})


def with_terminal(config, _agent):
    config["process"]["terminal"] = True
    config["process"]["consoleSize"] = {"height": 20, "width": 60}


def without_pid_namespace(config, _agent):
    linux = config["linux"]
    linux["namespaces"] = [item for item in linux["namespaces"] if item["type"] not in ("pid", "cgroup")]


KINDS = {
    "default": lambda _config, _agent: None,
    "hooks": with_hooks,
    "terminal": with_terminal,
    "notify": with_notify,
    "user namespace": with_user_namespace,
    "user, groups, cwd, sysctl": with_user,
    "scheduling": with_properties,
    "no pid namespace": without_pid_namespace,
}


def open_parents(path):
    """Let a container's root of a user namespace reach the bundle."""
    for folder in [path, *path.parents]:
        if str(folder).startswith("/tmp/"):
            folder.chmod(0o755)


def prepare(poisoned, agent, kind):
    """Configure the bundle; the words of a run of it."""
    KINDS[kind](poisoned.config, agent)
    open_parents(poisoned.path)
    poisoned.write()
    words = [poisoned.labrun_path, "--root", poisoned.state, "run", "--bundle", poisoned.path]
    if kind == "terminal":
        words += ["--console-socket", agent.path]
        words.insert(4, "--detach")
    return [*words, poisoned.name]


@pytest.mark.parametrize("kind", list(KINDS))
def test_r22_nothing_is_looked_up_after_pivot_root(poisoned, agent, kind):
    words = prepare(poisoned, agent, kind)
    output = poisoned.path / "output"
    code, found, inside = look_ups(words, output=output)
    assert code == 0, output.read_text()
    assert inside >= 1
    assert kind not in ("terminal", "notify") or agent.received
    assert_clean(poisoned, found, poisoned.config["process"]["args"][0], *(["/bin/sh"] if kind == "hooks" else []))
    poisoned.labrun("delete", "--force", poisoned.name)


@pytest.mark.parametrize("kind", list(KINDS))
def test_r22_exec_looks_nothing_up_in_the_container(poisoned, agent, kind):
    poisoned.config["process"]["args"] = ["/bin/sleep", "1000"]
    words = prepare(poisoned, agent, kind)
    poisoned.config["process"]["args"] = ["/bin/sleep", "1000"]
    poisoned.config["process"]["terminal"] = False
    poisoned.write()
    words = [word for word in words if word not in ("--console-socket", "--detach") and word != agent.path]
    words.insert(4, "--detach")
    started = subprocess.run(
        [str(word) for word in words], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, timeout=60, check=False
    )
    assert started.returncode == 0
    command = [poisoned.labrun_path, "--root", poisoned.state, "exec"]
    if kind == "terminal":
        command += ["--tty", "--console-socket", agent.path, "--detach"]
    command += ["--user", "1000:1001", "--env", "A=\u00fc", "--cwd", "/tmp", poisoned.name, "/bin/echo", "\u65e5"]
    output = poisoned.path / "output"
    code, found, inside = look_ups(command, output=output)
    assert code == 0, output.read_text()
    assert inside >= 1
    # The terminal is the container's own: its devpts is opened from the container's root, by descriptors.
    assert_clean(poisoned, found, "/bin/echo", *(["/", "dev/pts", "ptmx"] if kind == "terminal" else []))
    assert poisoned.labrun("delete", "--force", poisoned.name).returncode == 0


def put(name, text="", mode=0o755):
    """A file of the root filesystem that is about to be started, or a change of its properties."""

    def change(bundle):
        path = bundle.path / "rootfs" / name
        path.write_text(text)
        path.chmod(mode)

    return change


def set_process(**values):
    return lambda bundle: bundle.config["process"].update(values)


# What goes wrong in the container: telling of it must not look anything up either. (changes, program)
FAILURES = {
    "missing": (None, "/bin/missing"),
    "missing in PATH": (None, "missing"),
    "not ASCII": (None, "/bin/\u00fc\u65e5"),
    "not UTF-8": (None, "/bin/\udcff\udcfe"),
    "not executable": (put("file", mode=0o644), "/file"),
    "directory": (None, "/bin"),
    "exec format": (put("file", "\x7fELF garbage"), "/file"),
    "no interpreter": (put("file", "#!/not/there\n"), "/file"),
    "too long": (set_process(env=["A=" + "x" * 200000]), "/bin/true"),
    "cwd is a file": (set_process(cwd="/etc/passwd"), "/bin/true"),
    "unmapped id": (set_process(user={"uid": 70000, "gid": 70000}), "/bin/true"),
    "mount type": (lambda bundle: bundle.config["mounts"].append({"destination": "/x", "type": "\u65e5"}), "x"),
}


BEFORE_PIVOT = ("cwd is a file", "unmapped id", "mount type")


@pytest.mark.parametrize(
    ("failure", "command"),
    # exec mounts nothing
    [(name, word) for name in FAILURES for word in ("run", "exec") if (name, word) != ("mount type", "exec")],
)
def test_r22_an_error_in_the_container_is_told_without_a_look_up(poisoned, failure, command):
    change, program = FAILURES[failure]
    words = [poisoned.labrun_path, "--root", poisoned.state]
    if command == "exec":
        poisoned.config["process"]["args"] = ["/bin/sleep", "1000"]
        with_user_namespace(poisoned.config, None)
        open_parents(poisoned.path)
        poisoned.write()
        assert (
            poisoned.labrun("run", "--detach", "--bundle", str(poisoned.path), poisoned.name, stdin=-3).returncode == 0
        )
    if failure == "unmapped id" and command == "run":
        with_user_namespace(poisoned.config, None)
        open_parents(poisoned.path)
    if change:
        change(poisoned)
    poisoned.config["process"]["args"] = [program]
    poisoned.write()
    if command == "run":
        words += ["run", "--bundle", poisoned.path, poisoned.name]
    else:
        described = poisoned.path / "process.json"
        described.write_text(json.dumps(poisoned.config["process"]))
        words += ["exec", "--process", described, poisoned.name]
    output = poisoned.path / "output"
    code, found, inside = look_ups(words, output=output)
    said = output.read_text(errors="replace")
    assert code in (1, 126, 127), said
    assert "Traceback" not in said and "a bug of labrun" not in said
    assert len(said.splitlines()) == 1, said
    assert inside or failure == "not UTF-8" or (command == "run" and failure in BEFORE_PIVOT)
    assert_clean(poisoned, found)


def hostile_environment(bundle):
    """Each variable that changes how Python or the dynamic linker starts; the paths lead to planted modules."""
    planted = str(bundle.path / "planted")
    return {
        "PYTHONPATH": planted,
        "PYTHONHOME": planted,
        "PYTHONSTARTUP": planted + "/json.py",
        "PYTHONINSPECT": "1",
        "PYTHONWARNINGS": "error",
        "PYTHONIOENCODING": "idna",
        "PYTHONVERBOSE": "2",
        "PYTHONDEVMODE": "1",
        "PYTHONPYCACHEPREFIX": planted,
        "PYTHONPLATLIBDIR": planted,
        "PYTHONUSERBASE": planted,
        "PYTHONBREAKPOINT": "json.x",
        "PYTHONCASEOK": "1",
        "PYTHONTRACEMALLOC": "1",
        "PYTHONPROFILEIMPORTTIME": "1",
        "PYTHONFAULTHANDLER": "1",
        "PYTHONDUMPREFS": "1",
        "PYTHONUTF8": "0",
        "PYTHONCOERCECLOCALE": "warn",
        "PYTHONMALLOC": "debug",
        "PYTHONEXECUTABLE": planted + "/python3",
        "PYTHONNODEBUGRANGES": "1",
        "PYTHONOPTIMIZE": "2",
        "PYTHONASYNCIODEBUG": "1",
        "HOME": planted,
        "LC_ALL": "xx_XX.UTF-7",
        "LANG": "tr_TR.ISO-8859-9",
        "BASH_ENV": planted + "/shell",
        "ENV": planted + "/shell",
        "CDPATH": planted,
        "IFS": "/",
    }


@pytest.fixture
def planted(bundle):
    """A bundle whose folder, and one that the environment names, hold planted modules."""
    canary = bundle.path / "canary"
    plant(bundle.path / "planted", canary)
    for name in ("sitecustomize", "usercustomize", "ocilab_labrun", "marshal", "ansible_collections"):
        for folder in (bundle.path, bundle.path / "planted"):
            (folder / f"{name}.py").write_text(_POISON.format(canary=str(canary)))
    plant(bundle.path, canary, ["json", "os", "ctypes", "stat", "errno", "encodings", "select", "time", "re", "enum"])
    (bundle.path / "planted" / "shell").write_text(f"echo shell >>{canary}\n")
    bundle.canary = canary
    return bundle


@pytest.mark.parametrize("way", ["environment", "cwd"])
def test_r23_the_planted_modules_reach_a_plain_python(planted, way):
    """The positive control."""
    plant(planted.path / "json only", planted.canary, ["json"])
    environment = {"PYTHONPATH": str(planted.path / "json only")} if way == "environment" else {}
    subprocess.run(
        [PYTHON, "-c", "import json"], cwd=planted.path if way == "cwd" else "/", env=environment, check=False
    )
    assert planted.canary.exists()


def test_r23_neither_environment_nor_directory_plants_a_module(planted):
    script = "echo hello; env; cat /proc/self/environ | tr '\\0' '\\n'"
    for applet in ("env", "tr"):
        (planted.path / "rootfs" / "bin" / applet).symlink_to("busybox")
    planted.config["process"]["args"] = ["/bin/sh", "-c", script]
    planted.write()
    hostile = hostile_environment(planted)
    words = ["run", "--bundle", ".", planted.name]
    clean = planted.labrun(*words, cwd=planted.path)
    assert (clean.returncode, clean.stderr) == (0, "")
    together = dict(hostile, PATH=os.environ["PATH"])
    for environment in [together, *[{"PATH": os.environ["PATH"], name: hostile[name]} for name in hostile]]:
        result = planted.labrun(*words, cwd=planted.path, env=environment)
        assert (result.returncode, result.stdout, result.stderr) == (0, clean.stdout, ""), environment
        assert not planted.canary.exists(), (environment, planted.canary.read_text())


def test_r23_exec_and_every_other_command_mind_it_as_little(planted):
    planted.config["process"]["args"] = ["/bin/sleep", "1000"]
    planted.write()
    environment = dict(hostile_environment(planted), PATH=os.environ["PATH"])
    name = planted.name
    outputs = {}
    for words in (
        ["create", "--bundle", ".", name],
        ["start", name],
        ["state", name],
        ["list"],
        ["exec", name, "/bin/echo", "inside"],
        ["kill", name, "KILL"],
        ["delete", "--force", name],
    ):
        result = planted.labrun(*words, cwd=planted.path, env=environment, stdin=-3)
        assert (result.returncode, result.stderr) == (0, ""), words
        assert not planted.canary.exists(), (words, planted.canary.read_text())
        outputs[words[0]] = result.stdout
    assert json.loads(outputs["state"])["id"] == name
    assert outputs["exec"] == "inside\n"


def test_r23_the_dynamic_linkers_variables_stop_at_the_containers_door(poisoned):
    """They name what only the root filesystem holds: neither it nor the environment is used in the container."""
    rootfs = poisoned.path / "rootfs"
    (rootfs / "only-here").mkdir()
    for name in ("libseccomp.so.2", "libc.so.6", "libnss_files.so.2"):
        (rootfs / "only-here" / name).write_text("not a library\n")
    environment = {
        "PATH": os.environ["PATH"],
        "LD_LIBRARY_PATH": "/only-here",
        "LD_AUDIT": "/only-here/libc.so.6",
        "GCONV_PATH": "/only-here",
        "LOCPATH": "/only-here",
        "NLSPATH": "/only-here",
        "LD_BIND_NOW": "1",
    }
    poisoned.config["process"]["args"] = ["/bin/cat", "/proc/self/environ"]
    output = poisoned.path / "output"
    words = prepare(poisoned, None, "default")
    code, found, inside = look_ups(words, environment, output)
    assert code == 0, output.read_text()
    assert inside >= 1
    assert_clean(poisoned, found)
    assert not [path for _call, path in found if "only-here" in path]
    shown = output.read_text()
    assert not [name for name in environment if name != "PATH" and name + "=" in shown]


def test_r23_labrun_is_isolated_wherever_it_is_called_from(planted):
    """Through a link, by a relative path, and by a name in PATH: what lies beside it is not looked at."""
    planted.config["process"]["args"] = ["/bin/echo", "ran"]
    planted.write()
    folder = planted.path
    shutil.copy(planted.labrun_path, folder / "labrun")
    (folder / "link").symlink_to("labrun")
    for word in ("./labrun", "./link", "labrun"):
        result = subprocess.run(
            [word, "--root", str(planted.state), "run", "--bundle", ".", planted.name],
            cwd=folder,
            env={"PATH": f"{folder}:{os.environ['PATH']}"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (result.returncode, result.stdout, result.stderr) == (0, "ran\n", "")
        assert not Path(planted.canary).exists()
