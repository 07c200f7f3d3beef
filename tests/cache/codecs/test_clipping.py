import logging

import pytest
import torch

from fdet.cache.codecs.calibration import LevelParameters
from fdet.cache.codecs.clipping import ClippingCounts
from fdet.cache.codecs.codec import make_codec
from fdet.cache.codecs.form import parse_form
from fdet.cache.pyramid import FeaturePyramid, LevelSpec, PyramidSpec

CANVAS = (32, 48)
SPEC = PyramidSpec((LevelSpec("p3", 8, 2), LevelSpec("p4", 16, 3)))


def ends_of(name):
    """Steps of 1 from -100 on."""
    levels = {
        level.name: LevelParameters(
            {
                "step": torch.ones(level.channels).numpy(),
                "shift": torch.full((level.channels,), -100.0).numpy(),
            }
        )
        for level in SPEC.levels
    }
    form = parse_form(name)
    return ClippingCounts(make_codec(form, SPEC, levels if form.calibrated else {}))


def add(ends, maps, kept):
    stored = ends.codec.encode(FeaturePyramid(SPEC, tuple(maps), CANVAS))
    ends.add(stored, CANVAS, kept)


def zeros(images):
    return [torch.zeros(images, *level.shape(CANVAS)) for level in SPEC.levels]


@pytest.mark.parametrize("name", ["int8", "int5"])
def test_a_share_is_of_the_numbers_of_samples_that_count(name):
    ends = ends_of(name)
    maps = zeros(3)
    maps[1][0, 0, 0, :2] = 1e4
    maps[1][1] = -1e4
    add(ends, maps, [True, False, True])
    add(ends, zeros(1), [True])
    assert ends.shares == {"p4": 2 / (3 * 3 * 2 * 3)}


def test_many_are_a_warning_with_what_to_do_and_few_a_line(caplog):
    caplog.set_level(logging.INFO)
    ends = ends_of("int8")
    maps = zeros(1)
    maps[0][0, 0, 0, 0] = 1e4
    add(ends, maps, [True])
    ends.tell()
    assert caplog.records[-1].levelno == logging.WARNING
    assert (
        "codec int8: values beyond its first or last code were cut, at most 0.021 of p3"
        in caplog.text
    )
    assert "--calibration-images" in caplog.text
    caplog.clear()
    for _ in range(220):
        add(ends, zeros(1), [True])
    ends.tell()
    assert caplog.records[-1].levelno == logging.INFO
    assert "--calibration-images" not in caplog.text


@pytest.mark.parametrize("name", ["int8", "fp16"])
def test_nothing_is_said_where_nothing_was_cut(name, caplog):
    caplog.set_level(logging.INFO)
    ends = ends_of(name)
    add(ends, zeros(2), [True, True])
    ends.tell()
    assert not caplog.records
