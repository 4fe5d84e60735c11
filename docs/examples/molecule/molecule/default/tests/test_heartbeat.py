"""The role's promise: every host writes the time, again and again."""

import time

testinfra_hosts = ["ansible://all?force_ansible=True"]


def test_the_timer_runs(host):
    timer = host.service("heartbeat.timer")
    assert timer.is_running
    assert timer.is_enabled


def test_it_beats(host):
    first = host.file("/run/heartbeat").content_string
    time.sleep(5)
    assert int(host.file("/run/heartbeat").content_string) > int(first)
