# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The clients have the page that the web host's container serves."""

testinfra_hosts = ["ansible://clients?force_ansible=True"]


def test_the_page_came_from_the_web_host(host):
    assert host.file("/srv/page").content_string.strip() == "molecule-web"
