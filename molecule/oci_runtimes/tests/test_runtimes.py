# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The runtimes as the lab hosts have them: Podman runs a container by each."""

import pytest

testinfra_hosts = ["ansible://all?force_ansible=True"]
PACK = """\
tar -C /usr/bin -cf /run/image.tar catatonit && podman import -q /run/image.tar localhost/probe:1
"""


@pytest.mark.parametrize("runtime", ["runc", "crun", "labrun", "runsc"])
def test_podman_runs_a_container(host, runtime):
    host.check_output(PACK)
    assert "catatonit" in host.check_output(f"podman --runtime {runtime} run --rm localhost/probe:1 /catatonit -V")


def test_gvisor_runs_a_program_in_its_own_kernel(host):
    assert "gVisor" in host.check_output("runsc --rootless --network=none do dmesg")


def test_labrun_is_for_the_hosts_python(host):
    assert b"#!/bin/sh" in host.file("/usr/local/bin/labrun").content[:20]
    assert "labrun" in host.check_output("labrun --version")
