# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The cache of machine images: what goes and what stays, and what a killed build leaves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ansible_collections.ocilab.hosts.plugins.module_utils.linux.errors import InvalidInput
from ansible_collections.ocilab.hosts.plugins.module_utils.machines import image

BUILD = (
    "import sys; from ansible_collections.ocilab.hosts.plugins.module_utils.machines import image;"
    "image.get(image.Recipe(), lambda line: print(line, flush=True), sys.argv[1])"
)


def entry(cache, name, age_days):
    folder = cache / name
    folder.mkdir()
    (folder / "disk.raw").write_bytes(b"")
    (folder / "host_key.pub").write_text("ssh-ed25519 AAAA\n")
    then = time.time() - age_days * 86400
    os.utime(folder, (then, then))
    return folder


def test_the_name_depends_on_all_that_goes_in():
    names = [
        image.Recipe().name(),
        image.Recipe("trixie").name(),
        image.Recipe(packages=["podman"]).name(),
        image.Recipe(packages=["podman", "crun"]).name(),
        image.Recipe(disk_mib=4096).name(),
        image.Recipe(mirror="http://127.0.0.1/debian").name(),
    ]
    assert len(set(names)) == len(names)
    assert image.Recipe(packages=["crun", "podman", "crun"]).name() == image.Recipe(packages=["podman", "crun"]).name()


def test_bad_recipes_are_refused():
    for arguments in ({"release": "sid; true"}, {"packages": ["a b"]}, {"packages": ["--option"]}, {"packages": [""]}):
        with pytest.raises(InvalidInput):
            image.Recipe(**arguments)


def test_old_and_surplus_images_go_and_held_ones_stay(tmp_path):
    kept = [entry(tmp_path, f"bookworm-{number}", number) for number in range(3)]
    surplus, old, held = (entry(tmp_path, f"bookworm-{name}", days) for name, days in (("s", 5), ("o", 90), ("h", 80)))
    (tmp_path / ".new-bookworm-x" / "root").mkdir(parents=True)
    lock = image.Image(str(held)).hold()
    then = time.time() - 80 * 86400
    os.utime(held, (then, then))
    try:
        image._cache(str(tmp_path))._prune(3)
        assert sorted(tmp_path.iterdir()) == sorted([*kept, held])
        assert not surplus.exists() and not old.exists()
    finally:
        os.close(lock)
    image._cache(str(tmp_path))._prune(3)
    assert sorted(tmp_path.iterdir()) == kept


@pytest.mark.root
@pytest.mark.vm
def test_a_killed_build_leaves_no_process_and_no_mount_and_the_next_one_clears_up(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", BUILD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    lines = []
    for line in process.stdout:
        lines.append(line)
        if "extracting" in line:
            break
    if not any("extracting" in line for line in lines):
        pytest.fail("the build did not begin: " + "".join(lines))
    assert processes_below(tmp_path)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    deadline = time.monotonic() + 10
    while processes_below(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert processes_below(tmp_path) == []
    assert str(tmp_path) not in Path("/proc/self/mounts").read_text()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".new-")]
    image._cache(str(tmp_path))._prune(3)
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]


def processes_below(folder):
    """The command lines that name the folder, but for our own."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(folder) in text and int(path.parent.name) != os.getpid():
            found.append(text)
    return found
