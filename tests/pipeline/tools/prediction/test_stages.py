"""Mean times of stages: the first image counts only where it is alone."""

import pytest

from fdet.pipeline.tools.prediction.stages import STAGES, Stages


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def image(stages, clock, seconds):
    for stage in STAGES:
        with stages.timed(stage):
            clock.now += seconds
    stages.next_image()


def test_one_image_is_its_own_mean():
    clock = Clock()
    stages = Stages(clock=clock)
    image(stages, clock, 2.0)
    assert stages.milliseconds == pytest.approx(dict.fromkeys(STAGES, 2000.0))
    assert stages.rate == pytest.approx(1 / 8)


def test_the_first_of_several_images_is_left_out_of_the_mean():
    clock = Clock()
    stages = Stages(clock=clock)
    for seconds in (9.0, 1.0, 3.0):
        image(stages, clock, seconds)
    assert stages.milliseconds == pytest.approx(dict.fromkeys(STAGES, 2000.0))
    clock.now += 100.0
    assert stages.rate == pytest.approx(3 / 52), "what comes after the last image does not count"


def test_a_stage_ends_when_the_device_is_done():
    clock = Clock()

    def finish():
        clock.now += 5.0

    stages = Stages(finish, clock)
    with stages.timed("head"):
        clock.now += 1.0
    stages.next_image()
    assert stages.milliseconds["head"] == pytest.approx(6000.0)


def test_without_images_there_are_no_times():
    assert Stages().milliseconds == {}
    assert Stages().rate == 0
