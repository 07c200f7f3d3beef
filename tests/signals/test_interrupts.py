"""Ctrl-C once, twice, ten times, at any moment, with a slow disk: the command ends and can be repeated.

FDET_ROUNDS (default 3): how many attacks a command.
"""

import os
import random
import shutil
import signal
import time
from pathlib import Path

import pytest

from fdet.pipeline.machines.interrupt import INTERRUPTED

from .targets import TARGETS, assert_free

ROUNDS = int(os.environ.get("FDET_ROUNDS", "3"))
# Far longer than the grace: only what hangs takes so long, however busy the machine is.
HANGS_SECONDS = 120.0


def interrupted(commands, words, chance, duration: float, slow: float, errors: Path) -> int | None:
    """The exit status of a command under attack; None where it hangs, and is killed."""
    process = commands.start(words, slow=slow, errors=errors)
    count = chance.choice([1, 1, 2, 2, 10])
    time.sleep(chance.uniform(0, duration))
    deadline = time.monotonic() + HANGS_SECONDS
    for _ in range(count):
        status = commands.ended(process)
        if status is not None:
            return status
        os.kill(process, signal.SIGINT)
        time.sleep(chance.uniform(0, 0.08))
    while (status := commands.ended(process)) is None:
        if time.monotonic() > deadline:
            os.kill(process, signal.SIGKILL)
            commands.wait(process)
            return None
        time.sleep(0.01)
    return status


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_it_ends_lets_go_and_can_be_repeated(name, commands, ground, tmp_path):
    target, chance = TARGETS[name], random.Random(name)
    undisturbed = tmp_path / "undisturbed"
    target.before(ground, undisturbed)
    began = time.monotonic()
    assert commands.run(target.words(ground, undisturbed)) == 0
    duration = time.monotonic() - began
    expected = target.made(undisturbed)
    hit = 0
    for number in range(ROUNDS):
        out, errors = tmp_path / f"attacked-{number}", tmp_path / f"errors-{number}"
        target.before(ground, out)
        errors.touch()
        slow = chance.choice([0.0, 0.02])
        status = interrupted(
            commands, target.words(ground, out), chance, duration + 20 * slow, slow, errors
        )
        told = errors.read_text()
        assert status in (0, INTERRUPTED), (number, status, told)
        # Where no exception can leave, as in a destructor, the interpreter says so, and the command goes on.
        assert "Traceback" not in told or "Exception ignored in" in told
        hit += status == INTERRUPTED
        assert_free(out)
        if name != "rm" or (out.exists() and any(out.iterdir())):
            assert commands.run(target.finish(ground, out), errors=errors) == 0, errors.read_text()
        assert target.made(out) == expected, number
        shutil.rmtree(out, ignore_errors=True)
    print(f"{name}: {hit} of {ROUNDS} in time")
