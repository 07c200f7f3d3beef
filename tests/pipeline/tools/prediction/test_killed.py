"""`fdet predict` is killed, finds no space and is interrupted: the same command ends like any other."""

import os
import shutil
import signal
import time

import pytest

from ...command_server import Moment
from ...quick import tree

pytestmark = pytest.mark.slow


def words(run, photos, out, *more):
    options = ["--recursive", "--save-crops", "--threshold", "0.01", "--format", "yolo"]
    return ["predict", run, photos, "--out", out, *options, "--device", "cpu", *more]


@pytest.fixture(scope="module")
def whole(commands, small_run, dataset, tmp_path_factory):
    """The images, and what a prediction that nothing disturbs makes of them."""
    out = tmp_path_factory.mktemp("whole") / "out"
    images = tmp_path_factory.mktemp("photos")
    (images / "sub").mkdir()
    for name in ("10.png", "24.png", "38.png", "sub/17.png"):
        shutil.copy(dataset.parent / "images" / name, images / name)
    assert commands.run(words(small_run, images, out)) == 0
    return images, tree(out)


def lines(out):
    path = out / "detections.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


# Before which call the process is killed, and how many lines are there then.
MOMENTS = {
    "before the state": (Moment("os.rename", r"/\.prediction\.json\.scratch$"), 0),
    "before the first line": (Moment("open", r"/detections\.jsonl$"), 0),
    "before the picture of the first image": (Moment("os.rename", r"/\.output\.scratch$"), 1),
    "in the picture of a later image": (Moment("open", r"/\.output\.scratch$", 13), None),
    "before the label file of the third image": (
        Moment("os.rename", r"/\.output\.scratch$", 0),
        4,
    ),
    "before data.yaml": (Moment("os.rename", r"/\.data\.yaml\.scratch$"), 4),
    "before the end of the state": (Moment("os.rename", r"/\.prediction\.json\.scratch$", 3), 4),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_prediction_goes_on(moment, commands, small_run, whole, tmp_path):
    images, expected = whole
    kill, count = MOMENTS[moment]
    if kill.nth == 0:  # After the pictures and crops.
        outputs = [name for name in expected if name.startswith(("pictures/", "crops/"))]
        kill = kill._replace(nth=len(outputs) + 3)
    command = words(small_run, images, tmp_path / "out")
    assert commands.run(command, kill) == -signal.SIGKILL
    assert lines(tmp_path / "out") == count if count is not None else lines(tmp_path / "out") > 1
    assert commands.run(command) == 0
    assert tree(tmp_path / "out") == expected


def test_a_prediction_killed_twice_loses_one_image_each_time(commands, small_run, whole, tmp_path):
    images, expected = whole
    command = words(small_run, images, tmp_path / "out")
    kill = Moment("os.rename", r"/\.output\.scratch$", 11)
    before = 0
    for _ in range(2):
        assert commands.run(command, kill) == -signal.SIGKILL
        assert lines(tmp_path / "out") > before
        before = lines(tmp_path / "out")
    assert commands.run(command) == 0
    assert tree(tmp_path / "out") == expected


@pytest.mark.parametrize("limit", [500, 3000])
def test_no_space_is_one_line_and_can_be_mended(limit, commands, small_run, whole, tmp_path):
    images, expected = whole
    command = words(small_run, images, tmp_path / "out")
    errors = tmp_path / "errors"
    assert commands.run(command, limit=limit, errors=errors) == 2
    assert "what was finished is kept: fix this and run the same command" in errors.read_text()
    assert "Traceback" not in errors.read_text()
    assert commands.run(command) == 0
    assert tree(tmp_path / "out") == expected


def test_an_overwriting_prediction_that_is_killed_can_be_repeated(
    commands, small_run, whole, tmp_path
):
    images, expected = whole
    out = tmp_path / "out"
    assert commands.run(words(small_run, images, out, "--threshold", "0.005")) == 0
    again = words(small_run, images, out, "--overwrite")
    for nth in (1, 9):
        assert commands.run(again, Moment("os.remove", r"\.(jpg|txt)$", nth)) == -signal.SIGKILL
    assert commands.run(again) == 0
    assert tree(out) == expected


def test_ctrl_c_says_how_to_go_on(commands, small_run, whole, tmp_path):
    images, expected = whole
    out, errors = tmp_path / "out", tmp_path / "errors"
    process = commands.start(words(small_run, images, out), errors=errors)
    while not lines(out):
        time.sleep(0.005)
    os.kill(process, signal.SIGINT)
    status = commands.wait(process)
    if status == 0:
        pytest.skip("it was faster")
    assert status == 130
    last = errors.read_text().splitlines()[-1]
    assert last == "fdet: interrupted; what was found is kept: the same command goes on"
    assert commands.run(words(small_run, images, out)) == 0
    assert tree(out) == expected
