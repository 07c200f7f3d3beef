"""What was written is read back by TensorBoard's own reader."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fdet.pipeline.watching.trackers.tensorboard_tracker import TensorBoard
from fdet.pipeline.watching.trackers.tracker import scalars

from .conftest import EVAL_LINE, PARAMETERS, TRAIN_LINE

pytest.importorskip("tensorboard")


def shown(run: Path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    reader = EventAccumulator(str(run / "tensorboard"))
    reader.Reload()
    return reader


def points(run: Path, name: str) -> list[tuple[int, float]]:
    return [(point.step, point.value) for point in shown(run).Scalars(name)]


def test_every_figure_is_read_back(tmp_path):
    tracker = TensorBoard(tmp_path, PARAMETERS, False)
    for line in (TRAIN_LINE, EVAL_LINE):
        tracker.scalars(line["step"], scalars(line))
    tracker.close(True)
    for line in (TRAIN_LINE, EVAL_LINE):
        for name, value in scalars(line).items():
            assert points(tmp_path, name) == [(line["step"], pytest.approx(value))]


def test_a_picture_is_read_back(tmp_path, png):
    tracker = TensorBoard(tmp_path, PARAMETERS, False)
    tracker.picture(20, "pictures/17", png)
    tracker.close(True)
    (picture,) = shown(tmp_path).Images("pictures/17")
    assert (picture.step, picture.width, picture.height) == (20, 30, 20)
    drawn, kept = (Image.open(io.BytesIO(of)) for of in (png, picture.encoded_image_string))
    assert np.array_equal(np.asarray(drawn), np.asarray(kept))


def test_the_settings_are_a_text(tmp_path):
    TensorBoard(tmp_path, PARAMETERS, False).close(True)
    (text,) = shown(tmp_path).Tensors("config/text_summary")
    lines = text.tensor_proto.string_val[0].decode().split("\n")
    assert [line.strip() for line in lines] == [
        'neck.name = "fpn"',
        "neck.channels = 256",
        "optim.lr = 0.0005",
    ]


def test_a_figure_is_on_the_disk_before_the_run_ends(tmp_path):
    tracker = TensorBoard(tmp_path, PARAMETERS, False)
    tracker.scalars(10, {"train/loss": 1.0})
    assert points(tmp_path, "train/loss") == [(10, 1.0)]
    tracker.close(False)


def test_a_resumed_run_goes_on_where_its_checkpoint_was(tmp_path):
    """It was killed after step 50, and its checkpoint was made at step 20."""
    killed = TensorBoard(tmp_path, PARAMETERS, False)
    for step in (10, 20, 30, 40, 50):
        killed.scalars(step, {"train/loss": step})
    killed.close(False)
    resumed = TensorBoard(tmp_path, PARAMETERS, True)
    for step in (30, 40):
        resumed.scalars(step, {"train/loss": step})
    assert [step for step, _ in points(tmp_path, "train/loss")] == [10, 20, 30, 30, 40]
    resumed.close(True)


def test_an_evaluation_that_is_done_again_hides_nothing_of_its_step(tmp_path):
    killed = TensorBoard(tmp_path, PARAMETERS, False)
    killed.scalars(20, {"train/loss": 1.0})
    killed.close(False)
    resumed = TensorBoard(tmp_path, PARAMETERS, True)
    resumed.scalars(20, {"eval/ap": 0.5})
    resumed.close(True)
    assert points(tmp_path, "train/loss") == [(20, 1.0)]
    assert points(tmp_path, "eval/ap") == [(20, 0.5)]
