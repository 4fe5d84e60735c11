# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The runtimes as the lab hosts have them: Docker, Podman and containerd run a container by each."""

import pytest

testinfra_hosts = ["ansible://all?force_ansible=True"]
RUNTIMES = ["runc", "crun", "labrun", "runsc", "youki"]
PACK = "mkdir -p /run/probe && cp /usr/bin/catatonit /run/probe/ && tar -C /run/probe -c catatonit"
PROGRAMS = {"labrun": "/usr/local/bin/labrun", "runsc": "/usr/local/bin/ocilab-runsc"}


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_docker_runs_a_container(host, runtime):
    host.check_output(PACK + " | docker import - probe:1")
    run = f"docker run --rm --memory 64m --pids-limit 64 --runtime {runtime} probe:1 /catatonit -V"
    assert "catatonit" in host.check_output(run)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_podman_runs_a_container(host, runtime):
    host.check_output(PACK + " | podman import -q - localhost/probe:1")
    assert "catatonit" in host.check_output(f"podman --runtime {runtime} run --rm localhost/probe:1 /catatonit -V")


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_containerd_runs_a_container(host, runtime):
    host.check_output(PACK + " >/dev/null")
    program = PROGRAMS.get(runtime, runtime)
    run = f"ctr run --rm --runc-binary {program} --rootfs /run/probe {runtime} /catatonit -V"
    assert "catatonit" in host.check_output(run)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_containerds_cri_service_knows_it(host, runtime):
    dump = host.check_output("containerd --config /etc/containerd/ocilab.toml config dump")
    assert f'"io.containerd.grpc.v1.cri".containerd.runtimes.{runtime}]' in dump
    assert 'conf_dir = "/etc/containerd/net.d"' in dump


def test_gvisor_runs_a_program_in_its_own_kernel(host):
    assert "gVisor" in host.check_output("runsc --rootless --network=none do dmesg")


def test_labrun_is_for_the_hosts_python(host):
    assert host.check_output("head -c 9 /usr/local/bin/labrun") == "#!/bin/sh"
    assert "labrun" in host.check_output("labrun --version")
