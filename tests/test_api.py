"""Errors of the public interface speak of parameters; the command line speaks of its options."""

import pickle
import re
from pathlib import Path

import pytest

import fdet
from fdet.api import without_flags
from fdet.pipeline.extraction.extract import extract

FLAG = re.compile(r"--[a-z]")


def said(call):
    with pytest.raises(fdet.FdetError) as raised:
        call()
    return str(raised.value)


def extraction(**changes):
    return fdet.ExtractConfig(annotations=Path("a.json"), out=Path("out"), **changes)


CALLS = [
    (
        lambda cache, run: fdet.extract(extraction(size=0)),
        "size: expected 1 to 65536, got 0",
    ),
    (
        lambda cache, run: fdet.extract(extraction(long=3)),
        "long is the limit of short; give both, or short alone",
    ),
    (
        lambda cache, run: fdet.extract(extraction(size=3, calibration_images=0)),
        "calibration_images: expected at least 1, got 0",
    ),
    (
        lambda cache, run: fdet.train(
            fdet.load_config(), fdet.TrainOptions(cache=cache, out=run, source="online")
        ),
        "source online needs images DIR",
    ),
    (
        lambda cache, run: fdet.train(
            fdet.load_config(), fdet.TrainOptions(cache=cache, out=run, val=cache, second=cache)
        ),
        "second needs val_second CACHE",
    ),
    (lambda cache, run: fdet.load_config(assignments=["epochs"]), "assignments 'epochs': expected"),
    (lambda cache, run: fdet.load_config(masks=True), "masks: head tal finds none"),
]


@pytest.mark.parametrize(("call", "text"), CALLS, ids=[text for _, text in CALLS])
def test_an_error_names_parameters(call, text, exact_cache, tmp_path):
    message = said(lambda: call(exact_cache, tmp_path / "run"))
    assert message.startswith(text)
    assert not FLAG.search(re.sub("`.*?`", "", message))


def test_the_command_line_goes_another_way():
    with pytest.raises(fdet.FdetError, match=r"^--size: expected"):
        extract(extraction(size=0))


def test_commands_in_backticks_stay():
    text = "--images DIR: give --val-with too, or `fdet extract --size 3`, a--b, 3 -- 4, --track"
    assert without_flags(text, fdet.TrainOptions) == (
        "images DIR: give val_second too, or `fdet extract --size 3`, a--b, 3 -- 4, track"
    )


def test_a_public_function_is_one_object_that_can_be_pickled():
    for name in fdet.__all__:
        assert getattr(fdet, name) is getattr(fdet, name)
        assert pickle.loads(pickle.dumps(getattr(fdet, name))) is getattr(fdet, name)
    assert fdet.extract.__doc__ == extract.__doc__
