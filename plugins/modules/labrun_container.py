#!/usr/bin/python

# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: labrun_container
short_description: Manage containers of labrun, without an engine and without a daemon
version_added: 0.1.0
description:
  - Creates, starts, stops and deletes containers through the kernel's namespaces and cgroups.
  - A small monitor process stays with each container, keeps its log and records its exit code.
author:
  - ocilab.hosts authors (@ocilab)
extends_documentation_fragment:
  - ocilab.hosts.attributes
  - ocilab.hosts.attributes.store
  - ocilab.hosts.attributes.bundle
  - ocilab.hosts.attributes.root
attributes:
  idempotent:
    support: partial
    details:
      - A container whose process has ended by itself is started again by O(state=started).
options:
  name:
    description:
      - The container's id.
      - With several ids as many containers of the same options are managed by one call, which is far quicker than a
        call for each. Where one fails, those before it stay as they are then, and so do the few that were under way.
    type: list
    elements: str
    required: true
  state:
    description:
      - The state that the container is to be in.
      - A container that differs from the options is deleted and created anew, but not by V(stopped) and V(absent).
    type: str
    choices: [created, started, stopped, absent]
    default: started
  image:
    description:
      - The image. The container gets a bundle of its own, which goes when the container goes.
      - Either this or O(bundle) is required for V(created) and V(started).
    type: str
  bundle:
    description: A bundle that exists, made by M(ocilab.hosts.labrun_bundle) or by any other tool; it is left as it is.
    type: path
  networks:
    description:
      - The networks that the container is attached to, made by M(ocilab.hosts.labrun_network); each a name, or a dict
        with the keys C(name), C(address) (without it a free one is taken) and C(aliases) (a list of further names).
      - The container's device is C(eth0) on the first one, and so on. Its way out is by the first that is not internal.
      - Its C(/etc/hosts) names all members of its networks by id and alias, its C(/etc/resolv.conf) is the host's
        without name servers on the host's loopback device.
      - Without O(hostname) the container has its id for a host name then.
      - Without networks a container has its loopback device only.
    type: list
    elements: raw
  published_ports:
    description:
      - Ports of the host that lead to the container, as V(8080:80) or V(127.0.0.1:5353:53/udp).
      - C(tcp), C(udp) and C(sctp) are known; IPv4 only.
    type: list
    elements: str
  volumes:
    description:
      - Volumes and directories of the host, as V(NAME:/PATH) or V(/PATH_OF_HOST:/PATH), read-only with V(:ro) behind.
      - A named volume that does not exist is made, see M(ocilab.hosts.labrun_volume), and stays when the container
        goes. An empty one begins with what the image holds at the path, but for extended attributes and hard links.
      - Read-only is everything that is mounted below the directory, too, from Linux 5.12 on.
      - For a temporary file system of the container's own use O(mounts).
    type: list
    elements: str
  labels:
    description: Labels. In the container's state they are annotations named C(ocilab.hosts.label.KEY).
    type: dict
    default: {}
  pod:
    description:
      - The pod that the container is in, made by M(ocilab.hosts.labrun_pod); it has the pod's host name, network and
        System V IPC then, and neither networks nor published ports nor a host name of its own.
      - When the pod was started anew, so is the container.
    type: str
  network_config_dir:
    description: Where networks are defined.
    type: path
    default: /etc/labrun/networks
  explain:
    description: Whether to return the steps of what was done, with their system calls.
    type: bool
    default: false
  stop_timeout:
    description: Seconds between C(SIGTERM) and C(SIGKILL).
    type: float
    default: 10
  data_root:
    description: Where bundles of containers and their logs are kept.
    type: path
    default: /var/lib/labrun
"""

EXAMPLES = r"""
- name: Run a container with limits
  ocilab.hosts.labrun_container:
    name: web
    image: lab/busybox:1
    command: [/bin/sleep, "3600"]
    memory: 64M
    pids_limit: 20
    explain: true
  register: result

- name: Run a hundred containers of one bundle
  ocilab.hosts.labrun_container:
    name: "{{ range(100) | map('regex_replace', '^', 'worker-') | list }}"
    bundle: /srv/bundles/worker

- name: Run a web server that is reached at the host's port 8080, and by its neighbours as www
  ocilab.hosts.labrun_container:
    name: server
    image: lab/busybox:1
    command: [/bin/httpd, -f, -p, "80"]
    networks:
      - name: lab
        aliases: [www]
    published_ports: ["8080:80"]
    volumes: ["pages:/www:ro"]
    labels:
      course: containers

- name: Delete the first one
  ocilab.hosts.labrun_container:
    name: web
    state: absent
"""

RETURN = r"""
container:
  description: The container after the run; in check mode before it. Empty when there is none.
  returned: when O(name) is one id
  type: dict
  sample:
    id: web
    status: running
    pid: 4242
    bundle: /var/lib/labrun/bundles/web
    log_path: /var/lib/labrun/logs/web.log
    exit_code: null
containers:
  description: For each id its name, actions and container, as below, and with O(explain=true) explain.
  returned: always
  type: list
  elements: dict
actions:
  description: What was done, or in check mode would be done, in order.
  returned: when O(name) is one id
  type: list
  elements: str
  sample: [create, start]
explain:
  description: The steps of what was done, of a start five. Empty when nothing was done, as in check mode.
  returned: when O(explain=true) and O(name) is one id
  type: list
  elements: dict
  contains:
    step:
      description: The step's name, as the function in labrun.
      type: str
      returned: always
    purpose:
      description: What the step is for.
      type: str
      returned: always
    duration_us:
      description: Microseconds in the step's system calls.
      type: int
      returned: always
    system_calls:
      description: Each with call, arguments, duration_us, result and effect.
      type: list
      elements: dict
      returned: always
"""

from ansible_collections.ocilab.hosts.plugins.module_utils import arguments
from ansible_collections.ocilab.hosts.plugins.module_utils.glue import run_module
from ansible_collections.ocilab.hosts.plugins.module_utils.images.store import Store
from ansible_collections.ocilab.hosts.plugins.module_utils.labrun import managed
from ansible_collections.ocilab.hosts.plugins.module_utils.linux.errors import InvalidInput


def prepared(params, name):
    wanted = managed.Wanted(name, params["root"], params["data_root"], params["bundle"], params["stop_timeout"])
    if params["image"]:
        options = dict(arguments.bundle_options(params), **arguments.connected_options(params))
        wanted.describe_image(params["image"], Store(params["store"]), params["layers"], options, params["pod"] or "")
    return wanted


def refuse_what_fits_one(params, names):
    """Raises InvalidInput for what cannot be taken: options that need an image, or that only one container can have."""
    single = [key for key in ("published_ports",) if params[key]]
    single += [
        "address in networks" for item in params["networks"] or [] if isinstance(item, dict) and item.get("address")
    ]
    if len(names) > 1 and single:
        raise InvalidInput("%s: only for one container by a call" % single[0])
    connected = [key for key in ("networks", "published_ports", "volumes", "labels", "pod") if params[key]]
    if connected and params["bundle"]:
        raise InvalidInput("%s: needs image; a bundle that exists is left as it is" % connected[0])
    of_pod = [key for key in ("networks", "published_ports", "hostname") if params[key] and params["pod"]]
    if of_pod:
        raise InvalidInput("%s: is the pod's; give it to labrun_pod" % of_pod[0])


def run(module):
    params = module.params
    names = list(dict.fromkeys(params["name"]))
    refuse_what_fits_one(params, names)
    # All are planned before anything is changed, so that bad input changes nothing.
    planned = [(wanted, managed.plan(wanted, params["state"])) for wanted in (prepared(params, name) for name in names)]
    before = {name: wanted.shown() for name, (wanted, _plan) in zip(names, planned)}
    after = {name: managed.predict(before[name], plan) for name, (_wanted, plan) in zip(names, planned)}
    work = ({} for _name in names) if module.check_mode else managed.carry_out(planned, params["explain"])
    entries = []
    for name, (wanted, plan), done in zip(names, planned, work):
        entry = {"name": name, "actions": plan, "container": wanted.shown()}
        for warning in done.get("warnings", []):
            module.warn(warning)
        if params["explain"]:
            entry["explain"] = done.get("steps", [])
        entries.append(entry)
    result = {"changed": any(entry["actions"] for entry in entries), "containers": entries}
    if len(names) == 1:
        result.update({key: value for key, value in entries[0].items() if key != "name"})
        before, after = before[names[0]], after[names[0]]
    if module._diff:
        result["diff"] = {"before": before, "after": after}
    return result


def main():
    argument_spec = dict(
        arguments.STORE,
        **arguments.BUNDLE,
        **arguments.CONNECTED,
        name={"type": "list", "elements": "str", "required": True},
        state={"type": "str", "choices": ["created", "started", "stopped", "absent"], "default": "started"},
        image={"type": "str"},
        pod={"type": "str"},
        bundle={"type": "path"},
        explain={"type": "bool", "default": False},
        stop_timeout={"type": "float", "default": 10},
        root={"type": "path", "default": "/run/labrun"},
        data_root={"type": "path", "default": "/var/lib/labrun"},
    )
    both = [("image", "bundle")]
    needs = [("state", "created", ["image", "bundle"], True), ("state", "started", ["image", "bundle"], True)]
    run_module(argument_spec, run, mutually_exclusive=both, required_if=needs)


if __name__ == "__main__":
    main()
