# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation that modules share: attributes, and the options that several of them take."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options: {}
attributes:
  check_mode:
    description: Can run in check mode and return the changed status that a run would have, without changing the host.
    support: full
  diff_mode:
    description: Returns what changes, or in check mode would change, when in diff mode.
    support: full
  idempotent:
    description: A second run with the same arguments reports no change.
    support: full
"""

    INFO = r"""
options: {}
attributes:
  check_mode:
    description: Changes nothing, so that check mode makes no difference.
    support: full
  diff_mode:
    description: Changes nothing, so that there is nothing to show.
    support: N/A
  idempotent:
    description: Changes nothing.
    support: full
"""

    ROOT = r"""
options:
  root:
    description: Where the state of containers is kept.
    type: path
    default: /run/labrun
"""

    STORE = r"""
options:
  store:
    description: The image store, a plain OCI image layout.
    type: path
    default: /var/lib/labrun/images
  layers:
    description: Where the layers of images are unpacked, once each.
    type: path
    default: /var/lib/labrun/layers
"""

    BUNDLE = r"""
options:
  command:
    description:
      - The program and its arguments.
      - Without it the image's entry point and command are used.
    type: list
    elements: str
  env:
    description: Environment variables, added to those of the image.
    type: dict
    default: {}
  user:
    description: The user, as C(USER[:GROUP]) in names of the image or numbers. Without it the image's own.
    type: str
  working_dir:
    description: The working directory. Without it the image's own.
    type: path
  hostname:
    description: The container's host name.
    type: str
  read_only:
    description: Whether the root filesystem is read-only.
    type: bool
    default: false
  memory:
    description: The limit of memory, in bytes or with a unit, as V(64M).
    type: str
  cpus:
    description: The limit of processor time, in processors.
    type: float
  pids_limit:
    description: The limit of processes and threads.
    type: int
  mounts:
    description: Further mounts.
    type: list
    elements: dict
    suboptions:
      destination:
        description: The mount point in the container.
        type: path
        required: true
      source:
        description: The directory, file or device that is mounted.
        type: str
      type:
        description: The type of the file system.
        type: str
        default: bind
      options:
        description: Mount options of the runtime specification, as V(ro).
        type: list
        elements: str
        default: [rbind]
  config:
    description: Properties of the runtime specification, laid over the C(config.json) that the other options give.
    type: dict
    default: {}
"""
