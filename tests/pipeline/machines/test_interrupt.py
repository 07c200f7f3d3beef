"""A wish to leave: noted, told once, and urgent when it is repeated. A command that is to end."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from fdet.pipeline.machines.interrupt import INTERRUPTED, interruptible

WISHES = [signal.SIGINT, signal.SIGTERM]


@pytest.fixture(autouse=True)
def handlers():
    """What a test leaves in place, with a clock of its own, ends with it."""
    before = [signal.getsignal(number) for number in WISHES]
    yield
    for number, handler in zip(WISHES, before, strict=True):
        signal.signal(number, handler)


@pytest.mark.parametrize("number", WISHES)
def test_the_first_wish_is_noted_and_the_second_raises(number):
    now = [0.0]
    with interruptible(lambda: now[0]) as stop_requests:
        assert not stop_requests
        os.kill(os.getpid(), number)
        assert stop_requests
        now[0] = 5.0
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)


def test_one_ctrl_c_that_comes_twice_is_one_wish():
    """From the terminal, and from the launcher that had it from there too."""
    with interruptible(lambda: 3.0) as stop_requests:
        for number in (signal.SIGINT, signal.SIGINT, signal.SIGTERM):
            os.kill(os.getpid(), number)
        assert stop_requests


def test_one_that_comes_again_as_the_block_has_ended_is_the_same_and_a_later_one_is_not():
    now = [0.0]
    with interruptible(lambda: now[0]):
        os.kill(os.getpid(), signal.SIGINT)
    now[0] = 0.5
    os.kill(os.getpid(), signal.SIGINT)
    now[0] = 5.0
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)


def test_afterwards_signals_mean_what_they_meant():
    before = [signal.getsignal(number) for number in WISHES]
    with interruptible():
        assert [signal.getsignal(number) for number in WISHES] != before
    assert [signal.getsignal(number) for number in WISHES] == before


def test_in_another_thread_nobody_is_heard():
    found = []

    def work():
        with interruptible() as stop_requests:
            found.append(list(stop_requests))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [[]]


COMMAND = """
import signal, sys, threading, time
from fdet.pipeline.machines.interrupt import ended_by_interrupt, interruptible
signal.signal(signal.SIGINT, signal.default_int_handler)
def wait():
    print("ready", flush=True)
    time.sleep(600)
with ended_by_interrupt(float(sys.argv[1])):
    {body}
"""
LONG = "600"
ENDLESS = {
    "a call that is left": (LONG, "wait()"),
    "a parser that makes it status 1": (
        LONG,
        "\n    try: wait()\n    except KeyboardInterrupt: sys.exit(1)",
    ),
    "a clean-up that raises": (
        LONG,
        "\n    try: wait()\n    finally: raise RuntimeError('not started')",
    ),
    "the end is long, and later ones do not tear it": (
        LONG,
        "\n    try: wait()"
        "\n    finally: print('ending', flush=True); time.sleep(1); print('whole', flush=True)",
    ),
    "a lock that nobody lets go": (
        "0.2",
        "\n    lock = threading.Lock(); lock.acquire()"
        "\n    try: wait()\n    finally: lock.acquire()",
    ),
    "an interrupt that is swallowed": (
        "0.2",
        "\n    while True:\n        try: wait()\n        except BaseException: pass",
    ),
    "a stop at the end of a step, and more wishes while the interpreter ends": (
        LONG,
        "\n    import atexit; atexit.register(time.sleep, 1)"
        "\n    with interruptible(clock=iter(range(0, 1000, 10)).__next__) as requests:"
        "\n        print('ready', flush=True)"
        "\n        while not requests: time.sleep(0.01)"
        "\n    sys.exit(130)",
    ),
    "a second wish": (
        LONG,
        "\n    with interruptible(clock=iter(range(0, 1000, 10)).__next__): wait()",
    ),
}


@pytest.mark.parametrize("name", ENDLESS)
def test_a_command_is_ended_by_the_first_ctrl_c_whatever_it_does(name):
    grace, body = ENDLESS[name]
    words = [sys.executable, "-c", COMMAND.format(body=body), grace]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        while process.poll() is None:
            process.send_signal(signal.SIGINT)
            time.sleep(0.1)
        out, errors = process.stdout.read(), process.stderr.read()
    assert process.returncode == INTERRUPTED
    assert "Traceback" not in errors
    if "later ones" in name:
        assert out.split() == ["ending", "whole"]


def test_an_end_without_an_interrupt_keeps_its_status():
    words = [sys.executable, "-c", COMMAND.format(body="sys.exit(3)"), LONG]
    assert subprocess.run(words, check=False).returncode == 3
