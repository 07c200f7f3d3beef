"""Processes on a cluster's nodes, with a crew that lives here; and that they end with who started them."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from fdet.cache.errors import InputError
from fdet.pipeline.machines.children import ChildRunner, RayChildren
from fdet.pipeline.machines.launching import Children
from fdet.pipeline.machines.queue import WorkQueue

from .fake import FakeCrew


def statuses(workers, own, count):
    ended = []
    while len(ended) < count:
        ended += own.ended()
    return {process.log.name: process.returncode for process in ended}


def made(workers, tmp_path, count=3, stop_requests=()):
    own = RayChildren(WorkQueue(workers), stop_requests)
    for k in range(count):
        own.start(["program", str(k)], tmp_path / f"{k}.log")
    return own


def test_each_gets_its_words_and_its_status_is_told(tmp_path):
    def work(worker, tasks):
        (task,) = tasks
        log, *words = json.loads(task)
        assert log == str(tmp_path / f"{words[1]}.log") and words[0] == "program"
        return [(task, 10 + int(words[1]))]

    workers = FakeCrew(room=2, work=work)
    assert statuses(workers, made(workers, tmp_path), 3) == {"0.log": 10, "1.log": 11, "2.log": 12}


def test_one_that_loses_every_node_ends_with_the_reason_in_its_log(tmp_path):
    def work(worker, tasks):
        return "out of memory" if '"1"]' in tasks[0] else [(tasks[0], 0)]

    workers = FakeCrew(room=1, work=work)
    assert statuses(workers, made(workers, tmp_path), 3) == {"0.log": 0, "1.log": 1, "2.log": 0}
    assert (tmp_path / "1.log").read_text() == "lost 4 times, the last time: out of memory\n"


def test_who_wishes_to_leave_waits_for_those_that_run_and_begins_no_other(tmp_path):
    stop_requests = []
    workers = FakeCrew(room=1, slow=True, work=lambda worker, tasks: [(tasks[0], 130)])
    own = made(workers, tmp_path, stop_requests=stop_requests)
    while not workers.given:
        assert own.ended() == []
    stop_requests.append(0.0)
    assert statuses(workers, own, 3) == {"0.log": 130, "1.log": 130, "2.log": 130}
    assert workers.stopped and len(workers.given) == 1


def test_a_folder_that_a_node_does_not_see_is_refused(tmp_path):
    task = json.dumps([str(tmp_path / "gone" / "0.log"), "program"])
    with pytest.raises(InputError, match="a file system that all nodes share"):
        ChildRunner().work([task])


def test_a_runner_tells_the_status_and_keeps_what_was_said(tmp_path):
    log = tmp_path / "0.log"
    task = json.dumps([str(log), "platform", "--nonsense"])
    ((_, status),) = ChildRunner().work([task])
    assert status == 0 and "Linux" in log.read_text()


def run_instead(program, monkeypatch):
    """Whatever is to be started."""
    popen = subprocess.Popen

    def started(words, **more):
        return popen([sys.executable, "-c", program], **more)

    monkeypatch.setattr("fdet.pipeline.machines.launching.subprocess.Popen", started)


def test_a_tied_process_ends_with_the_one_that_started_it_and_hears_of_no_launcher(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    program = (
        "import os, time\n"
        "from fdet.pipeline.machines.launching import end_with_launcher\n"
        "end_with_launcher()\n"
        "print('RANK' in os.environ, flush=True)\n"
        "time.sleep(60)\n"
    )
    run_instead(program, monkeypatch)
    own = Children([], tied=True)
    process = own.start(["program"], tmp_path / "log")
    while not (tmp_path / "log").read_text():
        time.sleep(0.05)
    assert (tmp_path / "log").read_text() == "False\n" and os.environ["RANK"] == "1"
    process.stdin.close()
    assert process.wait() == 1


def test_a_tied_process_hears_of_a_wish_although_the_signal_was_blocked_where_it_began(
    tmp_path, monkeypatch
):
    program = (
        "import signal, sys, time\n"
        "from fdet.pipeline.machines.launching import end_with_launcher\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "end_with_launcher()\n"
        "try:\n"
        "    print('ready', flush=True)\n"
        "    time.sleep(60)\n"
        "except KeyboardInterrupt:\n"
        "    sys.exit(130)\n"
    )
    run_instead(program, monkeypatch)
    stop_requests = []
    own = Children(stop_requests, tied=True)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        process = own.start(["program"], tmp_path / "log")
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    while not (tmp_path / "log").read_text():
        time.sleep(0.05)
    stop_requests.append(0.0)
    while not own.ended():
        pass
    assert process.returncode == 130
