"""What a line of the log says of the steps since the last one."""

import pytest
import torch

from fdet.pipeline.machines.processes import Processes
from fdet.pipeline.machines.world import World
from fdet.pipeline.training import meter as meters
from fdet.pipeline.training.meter import Meter
from fdet.pipeline.training.step import Done

ALONE = Processes(World(), torch.device("cpu"))


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(meters.time, "monotonic", lambda: now[0])
    return now


def test_losses_are_means_over_the_steps_and_the_rest_is_by_the_second(clock):
    meter = Meter()
    for loss in (1.0, 2.0):
        meter.add(Done({"box": torch.tensor(loss), "class": torch.tensor(3.0)}, 4, moved=True))
    clock[0] += 2.0
    losses, rate, waiting = meter.read(ALONE)
    assert losses == {"box": 1.5, "class": 3.0}
    assert (rate, waiting) == (4.0, 0.0)


def test_steps_that_moved_nothing_do_not_count(clock):
    meter = Meter()
    meter.add(Done({}, 0, moved=False))
    clock[0] += 1.0
    assert meter.read(ALONE) == ({}, 0.0, 0.0)
    meter.add(Done({"box": torch.tensor(1.0)}, 1, moved=True))
    assert meter.read(ALONE)[0] == {"box": 1.0}


def test_waiting_is_the_time_within_the_loader(clock):
    def slow():
        for k in range(3):
            clock[0] += 1.0
            yield k

    meter = Meter()
    for _ in meter.timed(slow()):
        clock[0] += 3.0
    assert meter.waited == 3.0
    assert meter.read(ALONE)[2] == pytest.approx(0.25)
    meter.reset()
    assert meter.waited == 0.0 and meter.steps == 0
