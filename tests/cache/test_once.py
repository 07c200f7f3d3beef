import subprocess
import sys

from fdet.cache.once import Once

# A thread computes a value, and ends only when a forked child has computed its own.
FORKED = """
import os, signal, threading
from fdet.cache.once import Once

class Sum:
    def __init__(self, wait):
        self.wait = wait
    @Once
    def value(self):
        self.wait()
        return 42

begun, done = threading.Event(), threading.Event()
slow = Sum(lambda: (begun.set(), done.wait()))
thread = threading.Thread(target=lambda: slow.value)
thread.start()
begun.wait()
child = os.fork()
if child == 0:
    signal.alarm(30)
    os._exit(Sum(lambda: None).value - 42)
_, status = os.waitpid(child, 0)
done.set()
thread.join()
assert status == 0 and slow.value == 42
"""


class Counted:
    def __init__(self) -> None:
        self.count = 0

    @Once
    def value(self) -> list[int]:
        """What it is."""
        self.count += 1
        return [self.count]


def test_a_value_is_computed_once_for_each_object():
    one, other = Counted(), Counted()
    assert one.value is one.value
    assert one.count == 1
    assert other.count == 0
    assert other.value == [1]
    assert Counted.value.__doc__ == "What it is."


def test_a_child_that_is_forked_meanwhile_does_not_wait():
    command = [sys.executable, "-W", "ignore", "-c", FORKED]
    subprocess.run(command, check=True, timeout=60)
