"""Masks as COCO scores them."""

import contextlib
import io
import json

import numpy as np
import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from pycocotools.mask import encode

from fdet.heads.masks import paste_masks
from fdet.heads.types import Detections
from fdet.pipeline.dataset.data_set import load_annotations
from fdet.pipeline.evaluation.coco import (
    FIGURES,
    GROUPS,
    coco_metrics,
    sizes_of,
    to_coco_results,
)
from fdet.pipeline.evaluation.engines import ENGINES

from ...generated import outlined


@pytest.fixture(scope="module")
def path(dataset):
    return outlined(dataset)


@pytest.fixture(scope="module")
def annotations(path):
    return load_annotations(path, outlines=True)[0]


def detections(annotations, noise=0.0, seed=0):
    """The objects themselves, their boxes moved by some pixels."""
    rng = np.random.default_rng(seed)
    found = {}
    for image in annotations.images:
        objects = annotations.of_image(image.id)
        some = np.flatnonzero(~objects.crowd)
        boxes = objects.boxes[some] + rng.normal(0, noise, (len(some), 4))
        grids = [objects.outlines.grid(k, objects.boxes[k], image.hw, 28) for k in some]
        masks = np.stack(grids) if grids else np.zeros((0, 28, 28), np.float32)
        scores = torch.from_numpy(rng.random(len(some))).float().sort(descending=True).values
        labels = torch.from_numpy(objects.labels[some].copy())
        found[image.id] = Detections(
            torch.from_numpy(boxes).float(), scores, labels, torch.from_numpy(masks)
        )
    return found


def test_the_objects_themselves_are_found(annotations):
    metrics = coco_metrics(annotations, detections(annotations))
    assert metrics.ap == pytest.approx(1.0)
    assert metrics.masks["ap50"] == pytest.approx(1.0)
    assert metrics.masks["ap"] > 0.85
    assert set(metrics.masks) == {*FIGURES, *GROUPS}


def test_masks_are_looked_at_and_not_their_boxes(annotations):
    found = detections(annotations)
    emptied = {
        i: Detections(d.boxes, d.scores, d.labels, torch.zeros_like(d.masks))
        for i, d in found.items()
    }
    metrics = coco_metrics(annotations, emptied)
    assert (metrics.ap, metrics.masks["ap"]) == (pytest.approx(1.0), 0.0)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("seed", range(2))
def test_figures_equal_pycocotools_on_the_plain_files(seed, engine, annotations, path, tmp_path):
    found = detections(annotations, noise=4.0, seed=seed)
    results = to_coco_results(found, annotations.class_ids, sizes_of(annotations, found))
    (tmp_path / "results.json").write_text(
        json.dumps([{k: v for k, v in r.items() if k != "bbox"} for r in results])
    )
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(path))
        evaluation = COCOeval(truth, truth.loadRes(str(tmp_path / "results.json")), "segm")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    metrics = coco_metrics(annotations, found, engine)
    ours, precision = metrics.masks, evaluation.eval["precision"][:, :, :, 0, -1]
    each = [float(precision[:, :, k].mean()) for k in range(3)]
    assert list(metrics.masks_per_class.values()) == pytest.approx(each, abs=1e-9)
    assert list(metrics.masks_per_class) == list(metrics.per_class) == ["disc", "square", "cross"]
    assert metrics.masks_per_class != metrics.per_class
    for name, expected in zip(FIGURES, evaluation.stats, strict=True):
        value = ours[name]
        assert (value is None) == (expected < 0)
        assert value is None or value == pytest.approx(expected, abs=1e-9)
    assert ours["ap50"] > 0.1


@pytest.mark.parametrize("seed", range(3))
def test_run_lengths_are_those_of_the_mask_in_the_whole_image(seed):
    """Boxes of any place, on the rim, of halves of pixels, of no size."""
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(40, 2, generator=generator) * 60 - 5
    boxes = torch.cat([corners, corners + torch.rand(40, 2, generator=generator) * 40], dim=1)
    boxes = (boxes * 2).round() / 2 if seed == 1 else boxes
    boxes = boxes.clamp(min=0).minimum(torch.tensor([60.0, 48.0] * 2))
    masks = torch.rand(40, 7, 7, generator=generator).clamp(min=0.3) * 1.4
    masks[:20] = 1
    found = Detections(
        boxes, torch.ones(40), torch.zeros(40, dtype=torch.int64), masks.clamp(max=1)
    )
    whole = paste_masks(found, (48, 60)).numpy()
    results = to_coco_results({5: found}, [1], {5: (48, 60)})
    for result, expected in zip(results, whole, strict=True):
        counts = encode(np.asfortranarray(expected, dtype=np.uint8))["counts"].decode()
        assert result["segmentation"] == {"size": [48, 60], "counts": counts}
    assert whole.any(axis=(1, 2)).sum() > 20


def test_without_masks_there_are_none(annotations, dataset):
    found = detections(annotations)
    plain = {i: Detections(d.boxes, d.scores, d.labels) for i, d in found.items()}
    metrics = coco_metrics(annotations, plain)
    assert metrics.masks is metrics.masks_per_class is None
    assert not any("masks" in name for name in metrics.to_json())
    assert coco_metrics(load_annotations(dataset)[0], found).masks is None
    results = to_coco_results(plain, annotations.class_ids, {})
    assert not any("segmentation" in result for result in results)
