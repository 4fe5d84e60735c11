#!/usr/bin/python

# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: engine_info
short_description: Tell what the container engines of a host are, have and take, all in one shape
version_added: 0.1.0
description:
  - Returns for every engine, labrun included, its version, its system, what it takes on the disk, its service, its
    sockets, its parts and its objects. Whatever an engine calls these, the shape is the same for all.
  - An engine that is absent, that is down or that fails has RV(engines.available=false) with the reason, and costs no
    other one its answers.
  - It starts no daemon, not even by a look at a socket that systemd would start one for, and changes nothing. What
    Podman makes when it is used for the first time is taken away again, but for empty folders of root's storage.
  - Docker is asked by its REST API, Podman and LXC by their commands, containerd and CRI-O by the Container Runtime
    Interface, bare runtimes by their command C(features), and labrun by its library.
author:
  - ocilab.hosts authors (@ocilab)
requirements:
  - gRPC for Python, the package C(python3-grpcio), for containerd and CRI-O only
extends_documentation_fragment:
  - ocilab.hosts.attributes.info
options:
  engines:
    description: The engines to tell of. Without it all.
    type: list
    elements: str
    choices:
      [labrun, runc, crun, runsc, youki, kata-runtime, docker, podman, podman-rootless, containerd, crio, lxc]
  docker_host:
    description:
      - Docker's address, as V(unix:///run/user/1000/docker.sock) or V(tcp://lab-1:2376).
      - Without it the address that Docker's command would use, by E(DOCKER_HOST), by its context, or as usual.
    type: str
  docker_ca:
    description: The file of the authority that the server's certificate is held against. With it TLS is spoken.
    type: path
  docker_cert:
    description: The file of the client's certificate.
    type: path
  docker_key:
    description: The file of the client's key.
    type: path
  rootless_user:
    description:
      - Whose Podman V(podman-rootless) is.
      - Without it the user's who runs the module, or, for root, that of the first user who has what it needs.
    type: str
  timeout:
    description: For how many seconds an answer is waited for.
    type: float
    default: 60
  root:
    description: Where labrun keeps the state of containers.
    type: path
    default: /run/labrun
  data_root:
    description: Where labrun keeps images, bundles and volumes.
    type: path
    default: /var/lib/labrun
  network_config_dir:
    description: Where labrun keeps its networks.
    type: path
    default: /etc/labrun/networks
notes:
  - Without root it tells what an ordinary user sees.
"""

EXAMPLES = r"""
- name: Look at all engines of the host
  ocilab.hosts.engine_info:
  register: result

- name: Show what each takes on the disk
  ansible.builtin.debug:
    msg: "{{ item.key }}: {{ (item.value.disk_usage.images | default({}, true)).size_bytes | default('no account') }}"
  loop: "{{ result.engines | dict2items }}"
  loop_control:
    label: "{{ item.key }}"
  when: item.value.available

- name: Ask the Docker of another host over TLS, with the files that the role docker has fetched for a client
  ocilab.hosts.engine_info:
    engines: [docker]
    docker_host: tcp://lab-1:2376
    docker_ca: /home/student/docker/lab-1/ca.pem
    docker_cert: /home/student/docker/lab-1/cert.pem
    docker_key: /home/student/docker/lab-1/key.pem
"""

RETURN = r"""
engines:
  description: What is known of each engine, by its name.
  returned: always
  type: dict
  contains:
    available:
      description: Whether the engine has answered.
      type: bool
      returned: always
    unavailable_reason:
      description: Why not; null where it has.
      type: str
      returned: always
    kind:
      description: V(client-server), V(daemonless) or V(runtime).
      type: str
      returned: always
    notes:
      description: Sentences of what else is to be known, as why the parts of Docker Desktop are not seen on this host.
      type: list
      elements: str
      returned: always
    version:
      description:
        - The versions of C(client), C(server) and C(api), null for what it has not, and C(details), a dictionary of
          texts on parts and specifications.
      type: dict
      returned: always
    system:
      description:
        - C(storage_driver), C(cgroup_driver), C(cgroup_version), C(default_runtime), C(runtimes), C(root_dir),
          C(rootless), C(security_options), C(kernel), C(os), and C(desktop), which is whether it is Docker Desktop.
      type: dict
      returned: always
    disk_usage:
      description:
        - C(images), C(containers), C(volumes) and C(build_cache), each with C(count), C(active), C(size_bytes) and
          C(reclaimable_bytes), or null for what the engine does not have.
        - The bytes are null where the engine keeps no account of them.
        - What a container counts with is what it has written, not its image; of LXC, its whole folder.
      type: dict
      returned: always
    service:
      description:
        - Its C(unit) with C(load), C(active), C(enabled), C(main_pid), C(memory_bytes) and C(since).
        - Null for an engine without a service, and on a host without systemd.
      type: dict
      returned: always
    sockets:
      description: Its sockets, each with C(path), C(mode), C(owner), C(group) and C(listening).
      type: list
      elements: dict
      returned: always
    components:
      description:
        - What lies between the engine's command and a container, from first to last, each with C(role) (V(client),
          V(daemon), V(high-level runtime), V(monitor) or V(low-level runtime)), C(name), C(version), C(path), C(pid),
          C(socket) and C(unit); null for what a part has not.
      type: list
      elements: dict
      returned: always
    objects:
      description:
        - C(containers), each with C(id), C(name), C(image), C(status) and C(created); C(images) with C(id), C(names)
          and C(size_bytes); C(networks) with C(name), C(driver) and C(subnets); C(volumes) with C(name), C(driver) and
          C(path).
      type: dict
      returned: always
  sample:
    docker:
      available: true
      unavailable_reason: null
      kind: client-server
      notes: []
      version:
        client: 20.10.24+dfsg1
        server: 20.10.24+dfsg1
        api: "1.41"
        details: {containerd: 1.6.20~ds1, runc: 1.1.5+ds1, docker-init: 0.19.0, context: default}
      system:
        storage_driver: overlay2
        cgroup_driver: systemd
        cgroup_version: v2
        default_runtime: runc
        runtimes: [crun, runc]
        root_dir: /var/lib/docker
        rootless: false
        security_options: ["name=apparmor", "name=seccomp,profile=default", "name=cgroupns"]
        kernel: 6.1.0-40-amd64
        os: Debian GNU/Linux 12 (bookworm)
        desktop: false
      disk_usage:
        images: {count: 1, active: 1, size_bytes: 2161234, reclaimable_bytes: 0}
        containers: {count: 2, active: 1, size_bytes: 1024, reclaimable_bytes: 1024}
        volumes: {count: 0, active: 0, size_bytes: 0, reclaimable_bytes: 0}
        build_cache: {count: 0, active: 0, size_bytes: 0, reclaimable_bytes: 0}
      service:
        unit: docker.service
        load: loaded
        active: active
        enabled: enabled
        main_pid: 812
        memory_bytes: 96370688
        since: "2026-11-25T08:00:12Z"
      sockets:
        - {path: /var/run/docker.sock, mode: "0660", owner: root, group: docker, listening: true}
"""

from ansible_collections.ocilab.hosts.plugins.module_utils.glue import run_module
from ansible_collections.ocilab.hosts.plugins.module_utils.inspection.http import Certificates
from ansible_collections.ocilab.hosts.plugins.module_utils.inspection.inspector import Settings
from ansible_collections.ocilab.hosts.plugins.module_utils.inspection.survey import NAMES, survey
from ansible_collections.ocilab.hosts.plugins.module_utils.linux.errors import InvalidInput

_LABRUN = ("root", "data_root", "network_config_dir")


def run(module):
    params = module.params
    if params["timeout"] <= 0:
        raise InvalidInput("timeout: %g is not above 0" % params["timeout"])
    certificates = Certificates(*(params["docker_" + name] or "" for name in ("ca", "cert", "key")))
    labrun = {name: params[name] for name in _LABRUN}
    user = params["rootless_user"] or ""
    settings = Settings(params["docker_host"] or "", certificates, params["timeout"], labrun, user)
    return {"changed": False, "engines": survey(params["engines"], settings)}


def main():
    argument_spec = {
        "engines": {"type": "list", "elements": "str", "choices": list(NAMES)},
        "docker_host": {"type": "str"},
        "docker_ca": {"type": "path"},
        "docker_cert": {"type": "path"},
        "docker_key": {"type": "path", "no_log": False},
        "rootless_user": {"type": "str"},
        "timeout": {"type": "float", "default": 60},
        "root": {"type": "path", "default": "/run/labrun"},
        "data_root": {"type": "path", "default": "/var/lib/labrun"},
        "network_config_dir": {"type": "path", "default": "/etc/labrun/networks"},
    }
    run_module(
        argument_spec,
        run,
        needs_root=False,
        required_by={"docker_ca": ["docker_host"], "docker_cert": ["docker_key"], "docker_key": ["docker_cert"]},
    )


if __name__ == "__main__":
    main()
