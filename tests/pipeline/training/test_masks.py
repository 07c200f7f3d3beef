"""Masks through views and placements, and heads that learn them."""

import numpy as np
import pytest
import torch

from fdet.heads.roi import ROI_HEADS
from fdet.pipeline.dataset.data_set import load_annotations
from fdet.pipeline.dataset.outlines import Outlines
from fdet.pipeline.extraction.extract import extract
from fdet.pipeline.runs.config import load_config
from fdet.pipeline.sources.batches import MASK_CELLS
from fdet.pipeline.sources.data import open_cached
from fdet.pipeline.tools.prediction.options import PredictOptions
from fdet.pipeline.tools.prediction.predict import predict
from fdet.pipeline.training.auto import seen_targets
from fdet.pipeline.training.options import TrainOptions
from fdet.pipeline.training.train import train

from ...conftest import extraction
from ...generated import outlined

CPU = torch.device("cpu")
# A head with several stages needs fewer.
EPOCHS = {"cascade-rcnn": 35}


@pytest.fixture(scope="module")
def path(dataset):
    return outlined(dataset)


@pytest.fixture(scope="module")
def cache(path, tmp_path_factory):
    out = tmp_path_factory.mktemp("outlined") / "c.fdet"
    extract(extraction(path, out, views="plain,hflip", codec="fp32"))
    return out


def test_targets_have_masks_over_their_boxes_mirrored_with_the_view(cache):
    data = open_cached([cache], None, CPU, masks=True)
    views = [[(image_id, view) for image_id in data.image_ids[::3]] for view in (0, 1)]
    plain, flipped = data.batches(views, CPU, 0.3)
    seen = 0
    for one, other in zip(plain.targets, flipped.targets, strict=True):
        assert one.masks.shape == (len(one.labels), MASK_CELLS, MASK_CELLS)
        torch.testing.assert_close(one.masks, other.masks.flip(-1), atol=0.07, rtol=0)
        assert (one.masks.amax((1, 2)) == 1).all()
        seen += len(one.labels)
    assert seen > 4


def test_shapes_are_those_that_were_drawn(cache):
    """Discs cover pi / 4 of their boxes, squares all, crosses 5 of 9 cells."""
    data = open_cached([cache], None, CPU, masks=True)
    (batch,) = data.batches([[(data.image_ids[0], 0)]], CPU, 0.3)
    (of_image,) = batch.targets
    share = {0: np.pi / 4, 1: 1.0, 2: 5 / 9}
    for label, mask in zip(of_image.labels.tolist(), of_image.masks, strict=True):
        assert float(mask.mean()) == pytest.approx(share[label], abs=0.06)


def test_without_being_asked_for_there_are_none(cache):
    data = open_cached([cache], None, CPU)
    (batch,) = data.batches([[(data.image_ids[0], 0)]], CPU, 0.3)
    assert batch.targets[0].masks is None


def test_a_run_settles_its_settings_without_making_masks(cache, path, monkeypatch):
    data = open_cached([cache], None, CPU, masks=True)
    monkeypatch.delattr(Outlines, "grid")
    seen = seen_targets(data, load_config().train)
    objects = sum(len(load_annotations(path)[0].of_image(i)) for i in data.image_ids)
    assert 0 < len(seen.labels) <= objects
    assert all(of_image.masks is None for of_image in seen.targets)


def settings(head):
    small = ("head.convs=1", "head.conv_channels=32", "head.fc_channels=128", "head.sampled=32")
    masks = ("head.masks=true", "head.mask_convs=1", "head.mask_channels=32")
    anchors = (
        "head.anchor_scales=[4]",
        "head.rpn_top_train=[300,100]",
        "head.rpn_top_test=[300,50]",
    )
    neck = ("neck.channels=32", "neck.max_level=5", "train.batch_size=4", "optim.lr=0.003")
    return [*small, *masks, *anchors, *neck]


@pytest.mark.slow
@pytest.mark.parametrize("head", ROI_HEADS)
def test_a_head_learns_masks_by_heart_and_predicts_them(head, cache, path, tmp_path):
    """Twelve images, square and 2:1, mirrored or not, one of them empty; boxes and masks."""
    epochs = EPOCHS.get(head, 50)
    length = (f"train.epochs={epochs}", f"train.eval_every={epochs}")
    config = load_config(head=head, assignments=[*settings(head), *length])
    run = tmp_path / "run"
    options = TrainOptions(cache=cache, val=cache, out=run, threads=1)
    metrics = train(config, options).metrics
    assert metrics.ap50 >= 0.95
    assert metrics.masks["ap50"] >= 0.95
    found = predict(
        run,
        [path.parent / "images"],
        tmp_path / "found",
        PredictOptions(annotations=path, threads=1, recursive=True),
    )
    assert found.detections > 0
    annotations, _ = load_annotations(path, outlines=True)
    assert "segmentation" in (tmp_path / "found" / "detections.json").read_text()
    assert annotations.packed.outlines is not None
