# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Push an image without layers to a registry: push.py HOST PORT REPOSITORY TAG."""

import hashlib
import http.client
import json
import sys
import time

host, port, repository, tag = sys.argv[1:]
KIND = "application/vnd.docker.distribution.manifest.v2+json"


def ask(method, path, body=None, kind="application/octet-stream"):
    connection = http.client.HTTPConnection(host, int(port), timeout=20)
    connection.request(method, path, body, {"Content-Type": kind})
    answer = connection.getresponse()
    answer.read()
    assert answer.status < 300, (method, path, answer.status)
    return answer


for _attempt in range(100):
    try:
        ask("GET", "/v2/")
        break
    except OSError:
        time.sleep(0.2)
config = json.dumps({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}}).encode()
digest = "sha256:" + hashlib.sha256(config).hexdigest()
place = ask("POST", f"/v2/{repository}/blobs/uploads/").headers["Location"]
ask("PUT", place[place.index("/v2/") :] + "&digest=" + digest, config)
described = {"mediaType": "application/vnd.docker.container.image.v1+json", "size": len(config), "digest": digest}
manifest = {"schemaVersion": 2, "mediaType": KIND, "config": described, "layers": []}
ask("PUT", f"/v2/{repository}/manifests/{tag}", json.dumps(manifest), KIND)
