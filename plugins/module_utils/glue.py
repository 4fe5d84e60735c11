# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""The one place where the floors of this package meet Ansible."""

from __future__ import annotations

import os
import sys

from ansible.module_utils.basic import AnsibleModule

from .linux.errors import OcilabError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable


def run_module(
    argument_spec: dict[str, Any],
    function: Callable[[AnsibleModule], dict[str, Any]],
    needs_root: bool = True,
    **keywords: Any,
) -> None:
    """Run function(module) and end with its result; an OcilabError or OSError ends as one clear line."""
    module = AnsibleModule(argument_spec=argument_spec, supports_check_mode=True, **keywords)
    if not sys.platform.startswith("linux"):
        module.fail_json(msg="this module needs Linux, and this host is %s" % sys.platform)
    if needs_root and os.geteuid() != 0:
        module.fail_json(msg="this module needs root, for namespaces, cgroups and mounts; use become: true")
    try:
        result = function(module)
    except OcilabError as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg="%s: %s" % (error.filename or "system call", str(error.strerror).lower()))
    module.exit_json(**result)
