"""A wish to leave: noted, told once, and urgent when it is repeated."""

import os
import signal
import threading

import pytest

from fdet.pipeline.interrupt import interruptible

WISHES = [signal.SIGINT, signal.SIGTERM]


@pytest.mark.parametrize("number", WISHES)
def test_the_first_wish_is_noted_and_the_second_raises(number):
    now = [0.0]
    with interruptible(lambda: now[0]) as wishes:
        assert not wishes
        os.kill(os.getpid(), number)
        assert wishes
        now[0] = 5.0
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)


def test_one_ctrl_c_that_comes_twice_is_one_wish():
    """From the terminal, and from the launcher that had it from there too."""
    with interruptible(lambda: 3.0) as wishes:
        for number in (signal.SIGINT, signal.SIGINT, signal.SIGTERM):
            os.kill(os.getpid(), number)
        assert wishes


def test_afterwards_signals_mean_what_they_meant():
    before = [signal.getsignal(number) for number in WISHES]
    with interruptible():
        assert [signal.getsignal(number) for number in WISHES] != before
    assert [signal.getsignal(number) for number in WISHES] == before


def test_in_another_thread_nobody_is_heard():
    found = []

    def work():
        with interruptible() as wishes:
            found.append(list(wishes))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [[]]
