# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The isolation probe without a container: its program on this very host, and what it makes of answers."""

from __future__ import annotations

import ctypes
import json
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest
import yaml
from ansible_collections.ocilab.hosts.plugins.module_utils.isolation import (
    answer,
    calls,
    mounted,
    probe,
    program,
    script,
)
from ansible_collections.ocilab.hosts.plugins.module_utils.linux import mounts
from ansible_collections.ocilab.hosts.plugins.module_utils.linux.errors import Unsupported

REPOSITORY = Path(__file__).resolve().parent.parent.parent
MACHINE = os.uname().machine
ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}  # as libseccomp has them
NAMES = {"unshare_user": "unshare", "unshare_mount": "unshare", "socket_raw": "socket"}
ASSEMBLERS = {"x86_64": "x86_64-linux-gnu-as", "aarch64": "aarch64-linux-gnu-as"}


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_numbers_are_those_of_libseccomp(machine):
    resolve = ctypes.CDLL("libseccomp.so.2").seccomp_syscall_resolve_name_arch
    resolve.argtypes = [ctypes.c_uint32, ctypes.c_char_p]
    for call in calls.of(machine):
        name = NAMES.get(call.name, call.name)
        assert resolve(ARCHITECTURES[machine], name.encode()) == call.numbers[machine], call.name


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_code_is_what_its_source_assembles_to(machine, tmp_path):
    if not shutil.which(ASSEMBLERS[machine]):
        pytest.skip(f"there is no {ASSEMBLERS[machine]}")
    text = (REPOSITORY / "plugins" / "module_utils" / "isolation" / "program.py").read_text()
    lines = re.search(r'((?:    # .*\n)+)    "%s": \(' % machine, text)[1]
    source = "\n".join(line.strip()[2:] for line in lines.splitlines()).replace(";", "\n") + "\n"
    (tmp_path / "code.s").write_text(source)
    subprocess.run([ASSEMBLERS[machine], "-o", tmp_path / "code.o", tmp_path / "code.s"], check=True)
    objcopy = ASSEMBLERS[machine].replace("-as", "-objcopy")
    subprocess.run([objcopy, "-O", "binary", "-j", ".text", tmp_path / "code.o", tmp_path / "code"], check=True)
    code = (tmp_path / "code").read_bytes()
    assert code in program.build([], machine)
    assert program.build([], machine).endswith(code + b"\xff" * 8)


def tried(tmp_path, *before):
    """The answers of the program on this host, with words before the command."""
    path = tmp_path / "program"
    path.write_bytes(program.build(calls.of(MACHINE), MACHINE))
    path.chmod(0o755)
    shell = ["/bin/sh", "-c", f'exec "$@" {calls.NAMESPACE_FD}</proc/self/ns/uts', "sh"]
    result = subprocess.run([*shell, *before, str(path)], capture_output=True, timeout=20, check=True)
    words = result.stdout.decode().split()
    assert len(words) == len(calls.of(MACHINE))
    return {call.name: call.answer(int(word, 16)) for call, word in zip(calls.of(MACHINE), words, strict=True)}


@pytest.mark.root
def test_the_program_does_no_harm_where_all_is_allowed(tmp_path):
    before = os.uname(), Path("/proc/self/mountinfo").read_bytes()
    clock = time.time() - time.monotonic()
    found = tried(tmp_path)
    assert (os.uname(), Path("/proc/self/mountinfo").read_bytes()) == before
    assert abs(time.time() - time.monotonic() - clock) < 0.5
    assert found["chroot"] == found["mount"] == found["reboot"] == found["settimeofday"] == calls.ALLOWED
    assert set(found.values()) <= {calls.ALLOWED, "ENOSYS", "EPERM"}  # of a kernel without modules, or locked down


@pytest.mark.root
def test_a_user_is_refused_by_the_kernel_alone(tmp_path):
    for folder in [tmp_path, *tmp_path.parents][:3]:
        folder.chmod(0o755)
    found = tried(tmp_path, "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all")
    refused = ("mount", "umount2", "chroot", "pivot_root", "reboot", "settimeofday", "sethostname", "setns")
    assert {name: found[name] for name in refused} == dict.fromkeys(refused, "EPERM")
    assert found["open_by_handle_at"] == found["swapon"] == found["socket_raw"] == "EPERM"
    assert found["setpriority"] == "EACCES"
    assert found["personality"] == found["ptrace"] == found["add_key"] == found["clone3"] == calls.ALLOWED


def test_another_machine_is_refused_in_one_line():
    with pytest.raises(Unsupported, match="x86_64 and aarch64, and this host is riscv64"):
        script.words("riscv64")


@pytest.mark.parametrize(
    ("status", "expected"),
    [(0, "allowed"), (22 << 8, "allowed"), (1 << 8, "EPERM"), (38 << 8, "ENOSYS"), (0x9F, "killed"), (0x1F, "killed")],
)
def test_an_answer_by_its_wait_status(status, expected):
    mount = next(call for call in calls.CALLS if call.name == "mount")
    assert mount.answer(status) == expected
    assert mount.answer(9) == "killed by signal 9"
    assert mount.answer(0xFFFF) == ""


def test_a_shell_writes_the_program_whole(tmp_path):
    data = bytes(range(256)) + b"%s\\n'0"
    text = f"printf '{script.octal(data)}' > {tmp_path}/file"
    for shell in ("/bin/sh", "/bin/bash", "/bin/busybox"):
        if os.path.exists(shell):
            words = [shell, "sh", "-c", text] if shell.endswith("busybox") else [shell, "-c", text]
            subprocess.run(words, check=True)
            assert (tmp_path / "file").read_bytes() == data


MOUNTINFO = """\
1 0 0:1 / / rw,relatime - overlay overlay rw,lowerdir=/a,upperdir=/b,workdir=/c
2 1 0:2 / /proc rw,nosuid,nodev,noexec - proc proc rw,hidepid=invisible
3 1 0:3 / /dev rw,nosuid - tmpfs tmpfs rw,size=65536k,mode=755,inode64
4 1 0:4 / /sys ro,nosuid - sysfs sysfs ro
5 4 0:5 / /sys/fs/cgroup ro,nosuid - cgroup2 cgroup rw
6 2 0:2 /sys /proc/sys ro,nosuid - proc proc rw
7 2 0:6 /null /proc/kcore rw,nosuid - devtmpfs udev rw
8 2 0:7 / /proc/acpi ro - tmpfs tmpfs ro
9 3 0:6 /null /dev/null rw,nosuid - devtmpfs udev rw
10 1 8:1 /hosts /etc/hosts rw,relatime shared:1 master:2 - ext4 /dev/sda1 rw
11 4 0:8 / /sys/firmware rw - tmpfs tmpfs ro
"""


def test_mounts():
    table = mounts.parse(MOUNTINFO)
    present = ["/", "/sys", "/proc/sys/kernel/core_pattern", "/proc/timer_list", "/proc/kcore", "/sys/kernel/debug"]
    assert mounted.paths(present, table) == {
        "/": "writable",
        "/sys": "read-only",
        "/proc/sys": "read-only",
        "/proc/sys/kernel/core_pattern": "read-only",
        "/proc/timer_list": "writable",
        "/proc/kcore": "masked",
        "/proc/acpi": "masked",
        "/sys/firmware": "masked",
        "/sys/kernel/debug": "read-only",
    }
    assert mounted.cgroups(table) == {"mounted": "cgroup2", "writable": "no"}
    assert mounted.others(table, {"/dev/null": "c 1:3 666"}) == {
        "/": "overlay rw,relatime",
        "/proc": "proc rw,nosuid,nodev,noexec,hidepid=invisible",
        "/dev": "tmpfs rw,nosuid,size=65536k,mode=755",
        "/sys": "sysfs ro,nosuid",
        "/etc/hosts": "ext4 rw,relatime,master,shared",
    }


TOLD = """\
@@ status
Name:\tsh
Uid:\t0\t0\t0\t0
Gid:\t0\t0\t0\t0
Groups:\t
NoNewPrivs:\t1
Seccomp:\t2
CapEff:\t0000000000000001
CapBnd:\t0000000000000003
@@ uid_map
         0     100000      65536
     65536          0          1

@@ cgroup
0::/docker/0123456789abcdef

@@ limit:memory.max
max

@@ limit:cpu.max
50000 100000

@@ hostname
0123456789ab

@@ namespaces
pid pid:[2]
user user:[1]
@@ environment
HOSTNAME=0123456789ab
http_proxy=http://me:secret@proxy:3128
@@ status
Uid=none
"""


def test_what_an_answer_tells():
    with pytest.raises(answer.IncompleteAnswer, match="the system calls could not be tried") as caught:
        answer.findings(TOLD, "lab", {"pid": "pid:[1]", "user": "user:[1]"}, "x86_64")
    found = caught.value.findings
    assert found["capability"]["CAP_CHOWN"] == "effective"
    assert found["capability"]["CAP_DAC_OVERRIDE"] == "bounding"
    assert found["capability"]["CAP_SYS_ADMIN"] == "absent"
    assert found["seccomp"] == {"mode": "filter"}
    assert found["process"] == {"gid": "0", "groups": "none", "no_new_privs": "yes", "uid": "0"}
    assert found["namespace"] == {"pid": "own", "user": "shared"}
    assert found["id_map"] == {"uid": "0 100000 65536; 65536 0 1"}
    assert found["lsm"] == {"label": "none"}
    limits = {"memory.max": "max", "cpu.max": "50000 100000"}
    assert found["cgroup"] == {"mounted": "none", "view": "/docker/ID", "writable": "no", **limits}
    proxy = {"HOSTNAME": "the container's name", "http_proxy": "http://***@proxy:3128"}
    assert found["environment"] == {**proxy, "Uid": "none"}


def test_an_image_without_a_shell_tells_nothing():
    with pytest.raises(answer.IncompleteAnswer, match="told nothing of its process"):
        answer.findings("", "lab", {}, "x86_64")


def test_differences():
    one = {"seccomp": {"mode": "filter"}, "host": {"seccomp": "filter", "uid": "0"}, "path": {"/a": "masked"}}
    other = {"seccomp": {"mode": "disabled"}, "host": {"seccomp": "disabled", "uid": "1"}, "path": {}}
    assert probe.differences(one, one) == []
    assert probe.differences(one, other) == [
        ("host", "uid", "0", "1"),
        ("path", "/a", "masked", "absent"),
        ("seccomp", "mode", "filter", "disabled"),
    ]
    sandboxed = {**one, "seccomp": {"mode": "disabled"}}  # the host's filter is of the sandbox then
    assert probe.differences(one, sandboxed) == [("seccomp", "mode", "filter", "disabled")]
    assert ("host", "seccomp", "filter", "disabled") in probe.differences(sandboxed, other)


def test_every_finding_has_its_sentence():
    texts = yaml.safe_load((REPOSITORY / "plugins" / "plugin_utils" / "report" / "isolation.yml").read_text())
    schema = json.loads((REPOSITORY / "docs" / "results.schema.json").read_text())
    topics = schema["$defs"]["isolation"]["properties"]["findings"]["propertyNames"]["enum"]
    assert set(topics) <= set(texts)
    assert {key.partition(".")[0] for key in texts} == set(topics)
    assert all(set(text) == {"en", "ko"} and all(text.values()) for text in texts.values())
    wanted = ["syscall." + call.name for call in calls.CALLS]
    wanted += ["namespace." + kind for kind in script.NAMESPACES]
    wanted += ["sysctl." + name for name in script.SYSCTLS] + ["cgroup." + name for name in script.LIMITS]
    assert [key for key in wanted if key not in texts] == []
