import os
import signal
import subprocess
import sys

import pytest

METHODS = ("fork", "forkserver", "spawn")


def read_below_a_watchdog(root, method: str, what: str, python=sys.executable) -> None:
    """A hang becomes a failure, and no process outlives the test."""
    command = [str(python), "-m", "fdet.tests.cache.forks", str(root), method, what]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            told, _ = process.communicate(timeout=120)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            pytest.fail(f"{what} hang under {method}: {process.communicate()[0]}")
    assert (process.returncode, told.splitlines()[-1:]) == (0, ["read"]), told


@pytest.mark.parametrize("method", METHODS)
def test_children_of_a_process_that_is_reading_read_every_sample(whole, method):
    read_below_a_watchdog(whole.root, method, "processes")


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_workers_of_torchs_loader_read_every_sample(whole, method, warm):
    """The process has torch already; its workers import it as they always do."""
    read_below_a_watchdog(whole.root, method, "loader", warm.python)


def test_a_fork_while_another_thread_holds_the_lock_does_not_hang_the_child(whole):
    read_below_a_watchdog(whole.root, "fork", "locked")


def test_threads_of_a_child_that_meet_in_its_first_read_do_not_hang(whole):
    read_below_a_watchdog(whole.root, "fork", "threads")
