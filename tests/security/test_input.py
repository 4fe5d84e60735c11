# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""R14, R15 and R17: hostile ids, cgroup paths, JSON; each with its positive control, and runc or crun as known-bad."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
from pathlib import Path

import pytest
from ansible_collections.ocilab.hosts.plugins.module_utils.linux.errors import OcilabError
from ansible_collections.ocilab.hosts.plugins.module_utils.spec import document, validate

pytestmark = pytest.mark.root


def assert_refused(result, *words):
    """One clear line, and no traceback."""
    assert result.returncode == (255 if "exec" in result.args else 1), result.stderr
    assert "Traceback" not in result.stderr
    assert "a bug of labrun" not in result.stderr
    assert len(result.stderr.splitlines()) == 1, result.stderr
    for word in words:
        assert word in result.stderr.replace("\\\\", "\\").replace('\\"', '"')


def tree(path):
    """What a folder holds, as far as a runtime could have changed it: inode, mode, link count, content."""
    found = {}
    for folder, names, files in os.walk(path):
        for name in names + files:
            item = Path(folder, name)
            status = item.lstat()
            content = item.read_bytes() if item.is_file() and not item.is_symlink() else b""
            found[str(item)] = (status.st_ino, status.st_mode, status.st_nlink, content)
    return found


HOSTILE_IDS = {
    "empty": "",
    "dot": ".",
    "dot dot": "..",
    "parent": "../canary",
    "absolute": "{canary}",
    "slash": "a/b",
    "trailing slash": "a/",
    "newline": "a\nb",
    "trailing newline": "a\n",
    "space": "a b",
    "shell": "$(touch x);`id`",
    "format": "%s%n",
    "wildcard": "*",
    "letter outside ASCII": "\u00e4",
    "digit outside ASCII": "\u0663",
    "full-width": "\uff41",
    "not UTF-8": "a\udcff",
    "256 characters": "x" * 256,
}


@pytest.fixture
def canary(bundle):
    """A folder beside the state root that looks like a container's, whose journal names a bystander."""
    bystander = subprocess.Popen(["sleep", "1000"])
    folder = bundle.path / "canary"
    folder.mkdir()
    started = Path(f"/proc/{bystander.pid}/stat").read_text().rpartition(")")[2].split()[19]
    (folder / "journal").write_text(f'{{"object":"process","pid":{bystander.pid},"started":{started}}}\n')
    bundle.state.mkdir()
    yield folder
    alive = bystander.poll() is None
    bystander.kill()
    bystander.wait()
    assert alive


COMMANDS = {
    "create": ["create", "--bundle", "{bundle}", "{id}"],
    "run": ["run", "--bundle", "{bundle}", "{id}"],
    "start": ["start", "{id}"],
    "state": ["state", "{id}"],
    "kill": ["kill", "{id}", "KILL"],
    "delete": ["delete", "{id}"],
    "delete --force": ["delete", "--force", "{id}"],
    "exec": ["exec", "{id}", "/bin/true"],
}


@pytest.mark.parametrize("command", list(COMMANDS))
def test_r14_a_hostile_id_is_refused_by_every_command(bundle, canary, command):
    bundle.write()
    before = tree(canary), tree(bundle.state)
    for name in HOSTILE_IDS.values():
        name = name.format(canary=canary)
        words = [word.format(bundle=bundle.path, id=name) if "{" in word else word for word in COMMANDS[command]]
        assert_refused(bundle.labrun(*words), "container id")
        assert (tree(canary), tree(bundle.state)) == before


@pytest.mark.parametrize("name", ["a", "A_z+0.-9", "...", ".hidden", "9", "x" * 255, "_"])
def test_r14_every_allowed_id_works(bundle, name):
    """The positive control. They are unique on this host by their cgroup's path."""
    bundle.config["linux"]["cgroupsPath"] = "/" + bundle.name
    assert bundle.run("/bin/echo", "ran", name=name).stdout == "ran\n"
    bundle.config["process"]["args"] = ["/bin/sleep", "100"]
    bundle.write()
    assert bundle.labrun("create", "--bundle", str(bundle.path), name).returncode == 0
    assert bundle.labrun("start", name).returncode == 0
    assert json.loads(bundle.labrun("state", name).stdout)["id"] == name
    assert bundle.labrun("list", "--quiet").stdout == name + "\n"
    assert bundle.labrun("exec", name, "/bin/echo", "in").stdout == "in\n"
    assert bundle.labrun("delete", "--force", name).returncode == 0
    bundle.assert_nothing_left()


def test_r14_an_id_that_looks_like_an_option_is_none(bundle):
    """Options come before the id; after `--` a leading dash is a part of it, as with runc."""
    bundle.config["linux"]["cgroupsPath"] = "/" + bundle.name
    bundle.write()
    assert_refused(bundle.labrun("run", "--bundle", str(bundle.path), "-x"), "unknown option")
    assert bundle.labrun("run", "--bundle", str(bundle.path), "--", "-x").returncode == 0


def test_r14_crun_accepts_a_newline(bundle):
    """The known-bad control, in a view of the host without cgroup2, which this crun does not bear beside v1."""
    crun = shutil.which("crun")
    if not crun:
        pytest.skip("crun is not installed")
    version = subprocess.run([crun, "--version"], capture_output=True, text=True, check=True).stdout.split()[2]
    if version != "1.8.1":
        pytest.skip(f"crun {version} may have been mended; the control is 1.8.1")
    bundle.config["ociVersion"] = "1.0.2"
    bundle.config["process"]["args"] = ["/bin/true"]
    del bundle.config["linux"]["seccomp"]
    bundle.write()
    script = 'umount /sys/fs/cgroup/unified 2>/dev/null; exec "$@"'
    command = [crun, "--cgroup-manager=disabled", "--root", str(bundle.path / "crun"), "run", "-b", str(bundle.path)]
    result = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, "sh", *command, "a\nb"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stderr


HOSTILE_PATHS = [
    "..",
    "/..",
    "../x",
    "/../x",
    "a/../../x",
    "/a/b/..",
    "/a/../b",
    "./../x",
    "/a/.. /../x",
    "/",
    "//",
    ".",
]


@pytest.fixture
def cgroup_names(bundle):
    """Nothing of this test's name stays in any hierarchy, whatever the test found."""
    yield bundle.name
    for folder, _names, _files in os.walk("/sys/fs/cgroup", topdown=False):
        if bundle.name in folder:
            os.rmdir(folder)


@pytest.mark.parametrize("path", HOSTILE_PATHS)
def test_r15_a_cgroups_path_that_leads_upwards_is_refused(bundle, path):
    bundle.config["linux"]["cgroupsPath"] = path
    before = sorted(Path("/sys/fs/cgroup").iterdir())
    assert_refused(bundle.run("/bin/true"), "cgroupsPath")
    assert sorted(Path("/sys/fs/cgroup").iterdir()) == before
    bundle.assert_nothing_left()


@pytest.mark.parametrize("path", ["/{}", "{}", "/{}/b/c", "//{}//b", "/{}/..b", "/{}/b..", "/{}/..."])
def test_r15_a_cgroups_path_that_leads_downwards_works(bundle, cgroup_names, path):
    """The positive control; what it makes on the way down is gone afterwards."""
    bundle.config["linux"]["cgroupsPath"] = path.format(cgroup_names)
    result = bundle.run("/bin/cat", "/proc/self/cgroup")
    assert result.returncode == 0, result.stderr
    left = subprocess.run(
        ["find", "/sys/fs/cgroup", "-name", f"*{bundle.name}*"], capture_output=True, text=True, check=True
    )
    assert left.stdout == ""


@pytest.mark.parametrize("path", ["../x", "..", "/../../x", "a/../../x"])
def test_r15_exec_does_not_leave_the_containers_cgroup(bundle, path):
    bundle.config["process"]["args"] = ["/bin/sleep", "100"]
    bundle.write()
    assert bundle.labrun("run", "--detach", "--bundle", str(bundle.path), bundle.name, stdin=-3).returncode == 0
    (bundle.path / "rootfs" / "bin" / "touch").symlink_to("busybox")
    assert_refused(bundle.labrun("exec", "--cgroup", path, bundle.name, "/bin/touch", "/ran"), "cgroup")
    assert not (bundle.path / "rootfs" / "ran").exists()
    assert bundle.labrun("exec", "--cgroup", "/", bundle.name, "/bin/touch", "/ran").returncode == 0
    assert (bundle.path / "rootfs" / "ran").exists()  # the positive control


def run_runc(bundle):
    runc = shutil.which("runc")
    if not runc:
        pytest.skip("runc is not installed")
    command = [runc, "--root", str(bundle.path / "runc"), "run", "--bundle", str(bundle.path), bundle.name]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)


def test_r15_runc_rewrites_it_and_runs(bundle):
    """The known-bad control."""
    bundle.config["ociVersion"] = "1.0.2"
    bundle.config["linux"]["cgroupsPath"] = f"/../../{bundle.name}"
    bundle.config["process"]["args"] = ["/bin/true"]
    bundle.write()
    result = run_runc(bundle)
    assert result.returncode == 0, result.stderr


def deep(opening, closing, levels):
    return opening * levels + closing * levels


# name: (what stands in place of the placeholder "@" in config.json, a word of the message)
SMUGGLED = {
    "duplicate key": ('"A", "x": 1, "x": 2', "twice"),
    "the same key escaped": ('"A", "y": 1, "\\u0079": 2', "twice"),
    "NaN": ("NaN", "NaN"),
    "Infinity": ("Infinity", "Infinity"),
    "-Infinity": ("-Infinity", "Infinity"),
    "deep lists": (deep("[", "]", 100000), "deep"),
    "deep objects": (deep('{"a":', "1", 100000) + "}", "deep"),
    "65 levels": (deep("[", "]", 65), "deep"),
    "more than 4 MiB": ('"%s"' % ("x" * (4 << 20)), "at most"),
    "comment": ('"A" /* x */', "JSON"),
    "single quotes": ("'A'", "JSON"),
    "trailing comma": ('["A",]', "JSON"),
    "control character": ('"A\x01"', "JSON"),
    "leading zero": ("01", "JSON"),
    "hexadecimal": ("0x10", "JSON"),
    "plus": ("+1", "JSON"),
    "unfinished escape": ('"\\u12"', "JSON"),
}


@pytest.mark.parametrize("name", list(SMUGGLED))
def test_r17_smuggling_in_the_configuration_is_refused(bundle, name):
    text, word = SMUGGLED[name]
    bundle.config["annotations"] = {"a": "@"}
    whole = json.dumps(bundle.config)
    (bundle.path / "config.json").write_text(whole.replace('"@"', text))
    assert_refused(bundle.labrun("run", "--bundle", str(bundle.path), bundle.name), "config.json", word)
    bundle.assert_nothing_left()
    (bundle.path / "config.json").write_text(whole)  # the positive control
    bundle.config["process"]["args"] = ["/bin/true"]
    assert bundle.run().returncode == 0


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b" ",
        b"{",
        b"[]",
        b"null",
        b'"x"',
        b"1",
        b"{}{}",
        b"{} x",
        b"\xef\xbb\xbf{}",
        b"\xff\xfe{\x00}\x00",
        b'{"a": "\xff"}',
        b'{"a": "\xed\xa0\x80"}',
        b"{\x00}",
        b"\x00" * 4096,
        b"9" * 100000,
        b'{"a": %s}' % (b"9" * 100000),
        b'{"a": 1e999999}',
    ],
    ids=lambda data: repr(data[:12]) + str(len(data)),
)
def test_r17_what_is_no_configuration_is_one_clear_line(bundle, data):
    (bundle.path / "config.json").write_bytes(data)
    assert_refused(bundle.labrun("run", "--bundle", str(bundle.path), bundle.name), "config.json")
    bundle.write()
    described = bundle.path / "process.json"
    described.write_bytes(data)
    bundle.config["process"]["args"] = ["/bin/sleep", "100"]
    bundle.write()
    assert bundle.labrun("run", "--detach", "--bundle", str(bundle.path), bundle.name, stdin=-3).returncode == 0
    assert_refused(bundle.labrun("exec", "--process", str(described), bundle.name), "process")


@pytest.mark.parametrize("kind", ["fifo", "directory", "device", "missing", "link to itself"])
def test_r17_a_configuration_that_is_no_file_neither_hangs_nor_is_read(bundle, kind):
    path = bundle.path / "config.json"
    {
        "fifo": lambda: os.mkfifo(path),
        "directory": path.mkdir,
        "device": lambda: path.symlink_to("/dev/zero"),
        "missing": lambda: None,
        "link to itself": lambda: path.symlink_to(path),
    }[kind]()
    assert_refused(bundle.labrun("run", "--bundle", str(bundle.path), bundle.name), "config.json")


SPELLINGS = ["NONEWPRIVILEGES", "NoNewPrivileges", "nonewprivileges", "noNewPrivileges\\u0000", "noNewPrivilege\u017f"]


def smuggle_key(bundle, key):
    """A second spelling of noNewPrivileges that says the contrary."""
    bundle.config["process"]["args"] = ["/bin/cat", "/proc/self/status"]
    text = json.dumps(bundle.config).replace('"noNewPrivileges": true', '"noNewPrivileges": true, "%s": false' % key)
    assert key in text
    (bundle.path / "config.json").write_text(text)


@pytest.mark.parametrize("key", SPELLINGS)
def test_r17_another_spelling_of_a_key_is_another_key(bundle, key):
    smuggle_key(bundle, key)
    result = bundle.labrun("run", "--bundle", str(bundle.path), bundle.name)
    assert result.returncode == 1 or "NoNewPrivs:\t1" in result.stdout
    bundle.config["process"]["noNewPrivileges"] = False  # the positive control: it can be off
    bundle.write()
    assert "NoNewPrivs:\t0" in bundle.labrun("run", "--bundle", str(bundle.path), bundle.name).stdout


def test_r17_runc_takes_another_spelling_for_the_key(bundle):
    """The known-bad control; Go's JSON does not tell upper from lower case."""
    bundle.config["ociVersion"] = "1.0.2"
    smuggle_key(bundle, "NONEWPRIVILEGES")
    result = run_runc(bundle)
    assert "NoNewPrivs:\t0" in result.stdout, result.stderr


def places(value, path=()):
    """The path of every value in the configuration, objects and arrays too."""
    yield path
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield from places(child, (*path, key))


STRANGE = [
    None,
    True,
    -1,
    1.5,
    2**31,
    2**64,
    10**400,
    "",
    "x",
    "a\0b",
    "\ud800",
    "\udcff",
    "/",
    "\u00e4" * 300,
    [],
    {},
    [None],
    [[]],
]


def with_value(config, path, value):
    changed = json.loads(json.dumps(config))
    if not path:
        return value
    target = changed
    for key in path[:-1]:
        target = target[key]
    target[path[-1]] = value
    return changed


def full_config(bundle):
    """One of each kind of property."""
    config = bundle.config
    config["process"]["args"] = ["/bin/true"]
    config["process"].update(terminal=False, oomScoreAdj=100, consoleSize={"height": 20, "width": 80})
    config["process"]["user"].update(umask=18, additionalGids=[5])
    config["domainname"] = "lab"
    config["annotations"] = {"a": "b"}
    config["mounts"].append({"destination": "/mnt", "type": "bind", "source": "/tmp", "options": ["rbind", "ro"]})
    linux = config["linux"]
    linux["cgroupsPath"] = "/" + bundle.name
    linux["devices"] = [{"type": "c", "path": "/dev/x", "major": 1, "minor": 3, "fileMode": 438, "uid": 0, "gid": 0}]
    linux["resources"].update(pids={"limit": 50}, cpu={"shares": 512}, memory={"limit": 1 << 26})
    linux["sysctl"] = {"net.ipv4.ip_forward": "0"}
    linux["rootfsPropagation"] = "private"
    syscalls = linux["seccomp"]["syscalls"]
    linux["seccomp"]["syscalls"] = [*syscalls[:1], *[item for item in syscalls if item.get("args")][:1]]
    linux["seccomp"]["syscalls"][0]["names"] = linux["seccomp"]["syscalls"][0]["names"][:2]
    linux["seccomp"]["defaultAction"] = "SCMP_ACT_ALLOW"
    linux["seccomp"].pop("defaultErrnoRet", None)
    return config


def refused_at_once(text):
    """Whether the configuration is refused before anything is made; what is not a refusal is an error of the test."""
    try:
        validate.config(document.parse(text.encode("utf-8", "surrogatepass"), "config.json"), "config.json", str)
    except OcilabError as error:
        assert len(str(error).splitlines()) == 1
        return True
    return False


def what_is_wrong(bundle, text):
    """Run a configuration that passed the rules: an empty string, or what is wrong with how that ends."""
    (bundle.path / "config.json").write_text(text)
    try:
        result = bundle.labrun("run", "--bundle", str(bundle.path), bundle.name, stdin=-3)
    except subprocess.TimeoutExpired:
        return "hangs"
    lines = [line for line in result.stderr.splitlines() if "level=warning" not in line]
    bad = any(word in result.stderr for word in ("Traceback", "a bug of labrun", "Error(", "Error:"))
    said = ""
    if result.returncode not in (0, 1, 126, 127) or len(lines) != (result.returncode != 0) or bad:
        said = f"{result.returncode} {result.stderr[-300:]!r}"
    if (bundle.state / bundle.name).exists():
        deleted = bundle.labrun("delete", "--force", bundle.name)
        shutil.rmtree(bundle.state / bundle.name, ignore_errors=True)
        said += f" left its state; delete --force: {deleted.returncode} {deleted.stderr!r}"
    return said


def test_r17_a_value_of_a_strange_kind_anywhere_is_one_clear_line(bundle):
    """Some 200 of all; FAULTS=all takes every one, FAULTS_SEED repeats a run."""
    config = full_config(bundle)
    result = bundle.run("/bin/true")
    assert result.returncode == 0, result.stderr  # the positive control
    every = [(path, value) for path in places(config) for value in STRANGE]
    seed = int(os.environ.get("FAULTS_SEED", random.randrange(10**6)))
    cases = every if os.environ.get("FAULTS") == "all" else random.Random(seed).sample(every, 200)
    wrong = []
    ran = 0
    for path, value in cases:
        text = json.dumps(with_value(config, path, value))
        try:
            if refused_at_once(text):
                continue
            ran += 1
            said = what_is_wrong(bundle, text)
        except Exception as error:
            said = f"the rules raise {error!r}"
        if said:
            wrong.append(f"{'.'.join(map(str, path))} = {value!r:.40}: {said}")
    print(f"R17: {len(cases)} of {len(every)}, {ran} of them passed the rules and ran, FAULTS_SEED={seed}")
    assert not wrong, f"{len(wrong)} of {len(cases)}:\n" + "\n".join(wrong)
    bundle.assert_nothing_left()
