# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""exec, and hooks: labrun held against runc."""

from __future__ import annotations

import copy
import json

import pytest
from cases_linux import MQUEUE, errno, mapped, seccomp
from known import Known

pytestmark = pytest.mark.root

# The words between `exec` and the container's name.
OPTIONS = {
    "nothing": [],
    "a user": ["--user", "1000:1001"],
    "a user by one number": ["--user", "1000"],
    "a directory": ["--cwd", "/home/student"],
    "an environment": ["--env", "A=1", "--env", "B=two words"],
    "an environment that replaces": ["-e", "PATH=/bin", "-e", "HOME=/x"],
    "a capability": ["--cap", "CAP_NET_ADMIN"],
    "no new privileges": ["--no-new-privs"],
    "further groups": ["--additional-gids", "10", "--additional-gids", "20"],
}


@pytest.mark.parametrize("name", OPTIONS)
def test_exec_with(pair, name):
    config = sleeping(pair)
    if name == "no new privileges":
        config["process"]["noNewPrivileges"] = False
    pair.compare(config, [*OPTIONS[name], ""])


def test_exec_as_the_configured_user(pair):
    config = sleeping(pair)
    config["process"].update(user={"uid": 1000, "gid": 1001, "additionalGids": [5], "umask": 0o27}, cwd="/tmp")
    config["process"]["env"].append("OF=the configuration")
    config["process"]["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}]
    umask = Known("umask|status.Umask", "0022", "0027", "newer runc too keeps the configuration's umask")
    pair.compare(config, [""], (umask,))


def test_exec_in_a_user_namespace(pair):
    config = sleeping(pair)
    mapped()(config, None)
    pair.compare(config, [""], MQUEUE)


def test_exec_under_seccomp(pair):
    config = sleeping(pair)
    seccomp("SCMP_ACT_ALLOW", errno("mkdir mkdirat"))(config, None)
    pair.compare(config, ["mkdir /tried; echo $?"])


def test_exec_by_a_process_file(pair):
    described = {
        "args": ["/bin/sh", "-c", "echo $COLOUR; id; pwd; umask; exit 9"],
        "cwd": "/tmp",
        "env": ["PATH=/bin", "COLOUR=blue"],
        "user": {"uid": 1000, "gid": 1001},
    }
    assert executed(pair, described) == {
        side: ("9", "blue\nuid=1000(student) gid=1001\n/tmp\n0022\n") for side in SIDES
    }


SIDES = ("runc", "labrun")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["/bin/sh", "-c", "exit 7"], "7"),
        (["/absent"], "not there"),
        (["absent"], "not in PATH"),
        (["/not-executable"], "not executable"),
        (["/bin/sh", "-c", "kill -9 $$"], "killed"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_exit_code_of_exec(pair, args, words):
    described = {"args": args, "cwd": "/", "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0}}
    found = executed(pair, described)
    assert found["labrun"][0] == found["runc"][0]


def sleeping(pair):
    config = pair.config()
    config["process"]["args"] = ["/bin/sleep", "600"]
    return config


def executed(pair, described):
    """{side: (exit code, output)} of exec --process in a container that sleeps."""
    found = {}
    for side in (pair.runc, pair.labrun):
        pair.bundle.reset(sleeping(pair))
        file = pair.bundle.path / "process.json"
        file.write_text(json.dumps(described))
        assert side.call("run", "--detach", "--bundle", str(pair.bundle.path), pair.name).returncode == 0
        result = side.call("exec", "--process", str(file), pair.name)
        found[side.name] = (str(result.returncode), result.stdout)
        assert side.call("delete", "--force", pair.name).returncode == 0
    return found


HOOKS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")


def hooked(pair):
    config = pair.config()
    config["annotations"] = {"org.example.lab": "7"}
    log = pair.bundle.path / "log"
    config["hooks"] = {}
    for kind in HOOKS:
        # The first of these paths is the container's for the one kind that runs there.
        place = "/log" if kind == "startContainer" else str(log)
        shell = f'{{ echo "{kind} $0 $1 $COLOUR"; cat; echo; }} >>{place}'
        for number in ("1", "2"):
            words = ["sh", "-c", shell, "name", number]
            config["hooks"].setdefault(kind, []).append({"path": "/bin/sh", "args": words, "env": ["COLOUR=blue"]})
    return config


def test_hooks(pair):
    """Their order, arguments, environment, and what their standard input tells; the status is the specification's."""
    found = {}
    for side in (pair.runc, pair.labrun):
        seen = pair.observe(side, copy.deepcopy(hooked(pair)))
        assert seen["create"] == "0", seen
        found[side.name] = logged(pair)
    assert [line for line, _state in found["labrun"]] == [line for line, _state in found["runc"]]
    for (line, one), (_line, other) in zip(found["runc"], found["labrun"]):
        for state in (one, other):
            state.pop("ociVersion")
            state.pop("status")
            state["pid"] = state.get("pid", 0) > 0
        assert other == one, line


def test_what_hooks_have_that_the_specification_leaves_open(pair):
    """Their working directory, and the environment of those that name none: the caller's, or the process's own.

    Of createContainer it is nothing, as with newer runcs. Debian's has the process's by chance.
    """
    found = {}
    for side in (pair.runc, pair.labrun):
        config = pair.config()
        config["process"].update(args=["/bin/true"], cwd="/tmp")
        config["hooks"] = {}
        for kind in HOOKS:
            place = "/log" if kind == "startContainer" else str(pair.bundle.rootfs / "log")
            words = ["sh", "-c", f"echo {kind} $(pwd) $CALLER $COLOUR $HOME >>{place}"]
            config["hooks"][kind] = [{"path": "/bin/sh", "args": words}]
        config["process"]["env"].append("COLOUR=blue")
        pair.bundle.reset(config)
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "CALLER": "caller", "HOME": "/of/the/caller"}
        result = side.call("run", "--bundle", str(pair.bundle.path), pair.name, env=environment)
        assert result.returncode == 0, result.stderr
        lines = sorted((pair.bundle.rootfs / "log").read_text().splitlines())
        found[side.name] = [line.replace(" blue", "") if line.startswith("createC") else line for line in lines]
    assert found["labrun"] == found["runc"]
    assert len(found["labrun"]) == len(HOOKS)


def logged(pair):
    entries = []
    for path in (pair.bundle.path / "log", pair.bundle.rootfs / "log"):
        lines = path.read_text().splitlines()
        entries += list(zip(lines[::2], map(json.loads, lines[1::2])))
    return entries
