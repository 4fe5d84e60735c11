#!/usr/bin/python3
# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stands in for a runtime, runs it, and writes how it was called: DROPIN_RECORD=FOLDER (see conftest.py) puts it there.

Beside it lies its settings file, NAME.json: {"runtime": path, "folder": path}.
"""

import json
import os
import subprocess
import sys
import time

VERBS = "create start run state kill delete list exec ps pause resume update events features spec"
VERBS = (*VERBS.split(" "), "--version")
OURS = ("create", "run", "exec", "start")  # their standard streams are the container's


def option(arguments, name):
    for place, word in enumerate(arguments):
        if word == name and place + 1 < len(arguments):
            return arguments[place + 1]
        if word.startswith(name + "="):
            return word.partition("=")[2]
    return None


def content(path):
    try:
        with open(path) as file:
            return file.read()
    except OSError as error:
        return str(error)


def main():
    with open(os.path.abspath(__file__) + ".json") as file:
        settings = json.load(file)
    arguments = sys.argv[1:]
    verb = next((word for word in arguments if word in VERBS), "other")
    record = {"argv": arguments, "cwd": os.getcwd(), "environment": dict(os.environ), "descriptors": {}}
    for number in os.listdir("/proc/self/fd"):
        try:
            record["descriptors"][number] = os.readlink("/proc/self/fd/" + number)
        except OSError:
            pass  # the one that lists them
    for name in ("--process", "--resources"):
        path = option(arguments, name)
        if path and path != "-":
            record[name] = content(path)
    if verb in ("create", "run"):
        record["config.json"] = content(os.path.join(option(arguments, "--bundle") or ".", "config.json"))
    keywords = {}
    if verb not in OURS:
        keywords = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    if option(arguments, "--resources") == "-":
        keywords["input"] = sys.stdin.buffer.read()
        record["stdin"] = keywords["input"].decode()
    began = time.monotonic()
    done = subprocess.run([settings["runtime"], *arguments], close_fds=False, check=False, **keywords)
    record.update(seconds=round(time.monotonic() - began, 4), code=done.returncode)
    if verb not in OURS:
        record.update(stdout=done.stdout.decode("utf-8", "replace"), stderr=done.stderr.decode("utf-8", "replace"))
        sys.stdout.buffer.write(done.stdout)
        sys.stderr.buffer.write(done.stderr)
    if option(arguments, "--log"):
        record["log"] = content(option(arguments, "--log"))[-2000:]
    name = "%d-%d-%s.json" % (time.time_ns() // 1000, os.getpid(), verb)
    with open(os.path.join(settings["folder"], name), "w") as file:
        json.dump(record, file, indent=1)
    return done.returncode if done.returncode >= 0 else 128 - done.returncode


if __name__ == "__main__":
    sys.exit(main())
