# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What containers tell of their isolation: planted differences are reported as exactly that, and nothing else is.

What follows from a difference belongs to it: without a filter more system calls are allowed.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.ocilab.hosts.plugins.module_utils.engines import engine, registry
from ansible_collections.ocilab.hosts.plugins.module_utils.images import archive
from ansible_collections.ocilab.hosts.plugins.module_utils.images import rootfs as images
from ansible_collections.ocilab.hosts.plugins.module_utils.images.store import Store
from ansible_collections.ocilab.hosts.plugins.module_utils.isolation import calls, probe
from ansible_collections.ocilab.hosts.plugins.module_utils.labrun import bundle as bundles
from jsonschema import Draft202012Validator

pytestmark = pytest.mark.root
SCHEMA = Path(__file__).resolve().parent.parent.parent / "docs" / "results.schema.json"
IMAGE = "lab/isolation:1"
MACHINE = os.uname().machine


@pytest.fixture(scope="module")
def store(tmp_path_factory, rootfs):
    made = Store(str(tmp_path_factory.mktemp("store") / "images"))
    images.import_rootfs(made, str(rootfs), IMAGE, {"Cmd": ["/bin/true"]})
    return made


@pytest.fixture(scope="module")
def workload(tmp_path_factory, store):
    folder = tmp_path_factory.mktemp("isolation")
    image = store.get(IMAGE)
    bundle = bundles.Bundle(str(folder / "bundle"))
    bundle.create(image, store, str(folder / "layers"), bundles.describe(image, store, {"command": ["/bin/true"]}))
    tag = f"ocilab-isolation:{os.getpid()}"
    archive.write_docker_archive(store, image, str(folder / "image.tar"), tag)
    yield engine.Workload(str(folder), bundle.path, str(folder / "image.tar"), tag, 60)
    bundle.remove()


@contextlib.contextmanager
def prepared(name, workload):
    (adapter,) = registry.all_engines([name])
    adapter.detect()
    try:
        adapter.prepare(workload)
        yield adapter
    finally:
        adapter.clean_up()


@pytest.fixture(scope="module", params=["labrun", "labrun-module", "runc"])
def runtime(request, workload):
    with prepared(request.param, workload) as adapter:
        yield adapter, probe.probe(adapter, "isolation")


@pytest.fixture(scope="module", params=["docker", "podman"])
def daemon(request, workload):
    """Each by its command line; Docker's daemon is one of our own."""
    address = request.getfixturevalue("dockerd") if request.param == "docker" else ""
    before = os.environ.get("DOCKER_HOST")
    os.environ["DOCKER_HOST"] = address
    try:
        with prepared(request.param, workload) as adapter:
            yield adapter, probe.probe(adapter, "isolation")
    finally:
        os.environ.pop("DOCKER_HOST")
        if before is not None:
            os.environ["DOCKER_HOST"] = before


@contextlib.contextmanager
def altered(workload, change):
    """The bundle with another configuration meanwhile."""
    path = Path(workload.bundle) / "config.json"
    kept = path.read_text()
    config = json.loads(kept)
    change(config)
    path.write_text(json.dumps(config))
    try:
        yield
    finally:
        path.write_text(kept)


def with_capability(config):
    for held in config["process"]["capabilities"].values():
        held.append("CAP_LINUX_IMMUTABLE")


def without_seccomp(config):
    del config["linux"]["seccomp"]


def unmasked(config):
    config["linux"]["maskedPaths"].remove("/proc/timer_list")


def writable(config):
    config["linux"]["readonlyPaths"].remove("/proc/irq")


def with_the_hosts(kind):
    def change(config):
        kept = [item for item in config["linux"]["namespaces"] if item["type"] != kind]
        config["linux"]["namespaces"] = kept
        if kind == "uts":
            del config["hostname"]

    return change


def privileges(config):
    config["process"]["noNewPrivileges"] = False


def rlimit(config):
    config["process"]["rlimits"][0].update(soft=512, hard=512)


def read_only(config):
    config["root"]["readonly"] = True


def oom(config):
    config["process"]["oomScoreAdj"] = 321


PLANTED = {
    "a capability more": (with_capability, ("capability", "CAP_LINUX_IMMUTABLE", "absent", "effective")),
    "a path unmasked": (unmasked, ("path", "/proc/timer_list", "masked", "writable")),
    "a path writable": (writable, ("path", "/proc/irq", "read-only", "writable")),
    "the host's pids": (with_the_hosts("pid"), ("namespace", "pid", "own", "shared")),
    "the host's names": (with_the_hosts("uts"), ("namespace", "uts", "own", "shared")),
    "new privileges": (privileges, ("process", "no_new_privs", "yes", "no")),
    "a limit": (rlimit, ("rlimit", "nofile", "1024:1024", "512:512")),
    "a score": (oom, ("host", "oom_score_adj", "0", "321")),
}


def test_the_same_container_differs_in_nothing(runtime):
    adapter, found = runtime
    assert probe.differences(found, probe.probe(adapter, "isolation-again")) == []


@pytest.mark.parametrize("planted", list(PLANTED))
def test_a_planted_difference_is_reported_as_exactly_that(runtime, workload, planted):
    adapter, found = runtime
    change, expected = PLANTED[planted]
    with altered(workload, change):
        assert probe.differences(found, probe.probe(adapter, "isolation-planted")) == [expected]


def assert_filter_off(told, opens):
    """The mode, and calls that are not refused any more, or by what else refuses them."""
    assert ("seccomp", "mode", "filter", "disabled") in told
    assert {topic for topic, _item, _one, _other in told} == {"seccomp", "syscall"}
    opened = {item for topic, item, _one, other in told if topic == "syscall" and other == "allowed"}
    assert opens <= opened
    assert not opened & {"mount", "reboot", "settimeofday"}  # capabilities refuse them still


def test_seccomp_off_is_reported_as_that_and_what_follows_from_it(runtime, workload):
    adapter, found = runtime
    with altered(workload, without_seccomp):
        told = probe.differences(found, probe.probe(adapter, "isolation-planted"))
    assert_filter_off(told, {"keyctl", "add_key", "unshare_user", "personality"})


def test_a_killing_filter_costs_only_the_call_that_it_kills(runtime, workload):
    adapter, found = runtime

    def change(config):
        config["linux"]["seccomp"]["syscalls"].insert(0, {"names": ["chroot"], "action": "SCMP_ACT_KILL_PROCESS"})
        for rule in config["linux"]["seccomp"]["syscalls"][1:]:
            rule["names"] = [name for name in rule["names"] if name != "chroot"]

    with altered(workload, change):
        told = probe.differences(found, probe.probe(adapter, "isolation-planted"))
    assert told == [("syscall", "chroot", "allowed", "killed")]


def test_a_read_only_root_still_lets_the_program_run(runtime, workload):
    """There is /dev then, where the runtime puts a file system of its own."""
    adapter, found = runtime
    with altered(workload, read_only):
        told = probe.differences(found, probe.probe(adapter, "isolation-planted"))
    assert [item[:2] for item in told] == [("mount", "/"), ("path", "/")]


OPTIONS = {
    "a capability more": (
        ("--cap-add=LINUX_IMMUTABLE",),
        {("capability", "CAP_LINUX_IMMUTABLE", "absent", "effective")},
    ),
    "new privileges": (("--security-opt=no-new-privileges",), {("process", "no_new_privs", "no", "yes")}),
    "the host's pids": (("--pid=host",), {("namespace", "pid", "own", "shared")}),
    "the host's names": (("--uts=host",), {("namespace", "uts", "own", "shared")}),
    "a limit": (("--ulimit=nofile=64:64",), {("rlimit", "nofile", None, "64:64")}),
    "a variable": (("--env=LAB=1",), {("environment", "LAB", "absent", "1")}),
}


@pytest.mark.engines
@pytest.mark.parametrize("planted", list(OPTIONS))
def test_an_engines_option_is_reported_as_exactly_that(daemon, planted):
    adapter, found = daemon
    options, expected = OPTIONS[planted]
    told = probe.differences(found, probe.probe(adapter, "isolation-planted", options))
    plain = {(topic, item, None if planted == "a limit" else one, other) for topic, item, one, other in told}
    assert plain == expected


@pytest.mark.engines
def test_an_engine_without_its_filter_or_masks(daemon):
    adapter, found = daemon
    assert probe.differences(found, probe.probe(adapter, "isolation-again")) == []
    options = ("--security-opt=seccomp=unconfined",)
    told = probe.differences(found, probe.probe(adapter, "isolation-planted", options))
    assert_filter_off(told, {"add_key", "request_key", "personality"})  # Podman's profile lets keyctl and unshare pass
    unmask = "unmask=/proc/timer_list" if adapter.name == "podman" else "systempaths=unconfined"
    told = probe.differences(found, probe.probe(adapter, "isolation-planted", (f"--security-opt={unmask}",)))
    assert ("path", "/proc/timer_list", "masked", "writable") in told
    assert {topic for topic, _item, _one, _other in told} == {"path"}
    assert len(told) == 1 or adapter.name == "docker"  # which knows all or none


def module(workload, store, check=False, **arguments):
    """Run the module as Ansible does; its result."""
    arguments.update(image=IMAGE, store=store.path, layers=workload.work_dir + "/layers")
    command = [sys.executable, "-m", "ansible", "adhoc", "localhost", "-m", "ocilab.hosts.engine_isolation"]
    command += ["-a", json.dumps(arguments), *(["--check"] if check else [])]
    variables = dict(os.environ, ANSIBLE_STDOUT_CALLBACK="ansible.builtin.minimal", ANSIBLE_NOCOLOR="1")
    variables.update(DOCKER_HOST=f"unix://{workload.work_dir}/none.sock")
    result = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=300, check=False)
    return json.loads(result.stdout.partition(" => ")[2])


def host_state():
    """What the module could leave behind: all that it makes bears one name."""
    mounts = [line for line in Path("/proc/self/mounts").read_text().splitlines() if "ocilab-isolation-" in line]
    temporary = sorted(str(path) for path in Path("/tmp").glob("ocilab-isolation-*"))
    cgroups = sorted(str(path) for path in Path("/sys/fs/cgroup").rglob("*ocilab-isolation-*"))
    return mounts, temporary, cgroups


def test_the_module_in_four_steps(workload, store):
    """Check, run, run again, check again; an engine that is down costs only its own row."""
    schema = json.loads(SCHEMA.read_text())
    shape = Draft202012Validator({**schema["$defs"]["isolation"], "$defs": schema["$defs"]})
    wanted = {"engines": ["labrun", "runc", "docker"], "host": "lab-1"}
    before = host_state()
    results = [module(workload, store, check, **wanted) for check in (True, False, False, True)]
    assert host_state() == before
    for result in results:
        assert not result["changed"] and result["host"] == "lab-1"
        assert set(result["isolation"]) == {"labrun", "runc", "docker"}
        assert "its daemon is down" in result["isolation"]["docker"]["failure"]
        for row in result["isolation"].values():
            shape.validate(row)
    assert results[0]["isolation"] == results[3]["isolation"]
    assert results[1]["isolation"] == results[2]["isolation"]
    assert results[0]["isolation"]["labrun"] == {"findings": {}, "failure": None}
    found = results[1]["isolation"]
    assert found["labrun"]["failure"] is None and found["runc"]["failure"] is None
    assert set(found["labrun"]["findings"]["syscall"]) == {call.name for call in calls.of(MACHINE)}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"engines": ["dockre"]}, "engine dockre: is none of labrun, "),
        ({"timeout_s": 0}, "timeout_s: 0 is not above 0"),
    ],
)
def test_bad_input_gets_one_line(workload, store, arguments, message):
    result = module(workload, store, **arguments)
    assert message in result["msg"] and "\n" not in result["msg"]
