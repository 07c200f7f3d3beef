"""LVIS' figures on cases made by hand, against a literal implementation and faster-coco-eval's own."""

import contextlib
import io
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from faster_coco_eval import COCO, COCOeval_faster

from fdet.heads.types import Detections
from fdet.pipeline.dataset.classes.long_tail import frequencies
from fdet.pipeline.dataset.coco.reading import parse_annotations
from fdet.pipeline.evaluation.coco import GROUPS, coco_metrics, to_coco_results
from fdet.pipeline.evaluation.engines import ENGINES
from fdet.pipeline.evaluation.errors import error_breakdown
from fdet.pipeline.evaluation.lvis import warn_of_few_detections
from fdet.pipeline.evaluation.matching import all_matches

from .literal_lvis import lvis_figures

AP = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large")
BOX, OTHER = [10, 10, 20, 20], [50, 50, 20, 20]


def made(objects, negative=(), partial=(), frequency="rcf", images=1):
    """Images 1, 2, ...; classes 0, 1, 2, ... with ids 10, 11, ...; objects: (image, class, xywh)."""
    return {
        "images": [
            {
                "id": k,
                "coco_url": f"http://images.cocodataset.org/val2017/{k}.jpg",
                "height": 400,
                "width": 400,
                "neg_category_ids": [10 + c for i, c in negative if i == k],
                "not_exhaustive_category_ids": [10 + c for i, c in partial if i == k],
            }
            for k in range(1, images + 1)
        ],
        "annotations": [
            {"id": n, "image_id": i, "category_id": 10 + c, "bbox": box, "area": box[2] * box[3]}
            for n, (i, c, box) in enumerate(objects, 1)
        ],
        "categories": [
            {"id": 10 + c, "name": f"class {c}", "frequency": f} for c, f in enumerate(frequency)
        ],
    }


def detections(rows):
    """By image, best first. rows: (image, class, xywh, score)."""
    found = {}
    for image in {row[0] for row in rows}:
        mine = sorted((row for row in rows if row[0] == image), key=lambda row: -row[3])
        boxes = torch.tensor([[x, y, x + w, y + h] for _, _, (x, y, w, h), _ in mine])
        found[image] = Detections(
            boxes.float(), torch.tensor([r[3] for r in mine]), torch.tensor([r[1] for r in mine])
        )
    return found


def scored(truth, rows, engine="faster-coco-eval"):
    annotations = parse_annotations(json.dumps(truth).encode(), "a.json")
    nothing = Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64))
    found = {image.id: nothing for image in annotations.images} | detections(rows)
    return coco_metrics(annotations, found, engine, groups=frequencies(annotations))


engines = pytest.mark.parametrize("engine", ENGINES)


@engines
def test_what_was_not_looked_for_costs_nothing_and_what_is_known_to_be_absent_does(engine):
    """Class 1 is absent from image 1; nobody looked for it in image 2, where it is found by mistake."""
    objects = [(1, 0, BOX), (2, 0, BOX), (3, 1, BOX)]
    right = [(1, 0, BOX, 0.9), (2, 0, BOX, 0.9), (3, 1, BOX, 0.5)]
    unknown = [*right, (2, 1, BOX, 0.8)]
    wrong = [*right, (1, 1, BOX, 0.8)]
    for rows, expected in ((right, 1.0), (unknown, 1.0), (wrong, 0.5)):
        metrics = scored(made(objects, negative=[(1, 1)], images=3), rows, engine)
        assert metrics.per_class["class 0"] == pytest.approx(1.0)
        assert metrics.per_class["class 1"] == pytest.approx(expected)
        assert metrics.ap == pytest.approx((1 + expected) / 2)
        assert metrics.ap_rare == pytest.approx(1.0)
        assert metrics.ap_common == pytest.approx(expected)
        assert metrics.ap_frequent is None


@engines
def test_of_a_class_that_is_not_exhaustively_labelled_a_miss_is_no_error(engine):
    """Class 0 is found twice in image 1, once where no object is labelled."""
    objects = [(1, 0, BOX), (2, 0, BOX)]
    rows = [(1, 0, OTHER, 0.95), (1, 0, BOX, 0.9), (2, 0, BOX, 0.8)]
    exhaustive = scored(made(objects, images=2), rows, engine)
    assert exhaustive.ap == pytest.approx(2 / 3, abs=1e-9)
    assert scored(made(objects, partial=[(1, 0)], images=2), rows, engine).ap == pytest.approx(1.0)
    # In the other image it would be an error still.
    assert scored(made(objects, partial=[(2, 0)], images=2), rows, engine).ap < 0.7


@engines
def test_an_object_of_such_a_class_can_be_missed_still(engine):
    objects = [(1, 0, BOX), (1, 0, OTHER)]
    metrics = scored(made(objects, partial=[(1, 0)]), [(1, 0, BOX, 0.9)], engine)
    assert metrics.ap == pytest.approx(51 / 101)


@engines
def test_the_best_300_of_an_image_count_whatever_their_class(engine):
    """299 of one class and the right one of another; with one more before it, it is the 301st."""
    objects = [(1, 0, BOX), (1, 1, OTHER)]
    for before, expected in ((299, 1.0), (300, 0.0)):
        rows = [(1, 0, [200 + k / 100, 200, 9, 9], 0.9 - k / 1000) for k in range(before)]
        metrics = scored(made(objects), [*rows, (1, 1, OTHER, 0.1)], engine)
        assert metrics.per_class["class 1"] == pytest.approx(expected)
    # COCO counts 100 of each class: the 101st of its own is lost there alone.
    rows = [(1, 0, [200 + k / 100, 200, 9, 9], 0.9 - k / 1000) for k in range(150)]
    assert scored(made(objects), [*rows, (1, 0, BOX, 0.1)], engine).ap > 0


@engines
def test_coco_style_data_have_groups_and_nothing_else_of_it(engine):
    truth = made([(1, 0, BOX), (2, 1, BOX), (2, 2, BOX)], images=2)
    for image in truth["images"]:
        del image["neg_category_ids"], image["not_exhaustive_category_ids"]
    rows = [(1, 0, BOX, 0.9), (2, 1, BOX, 0.5), (1, 1, BOX, 0.8)]
    metrics = scored(truth, rows, engine)
    assert [getattr(metrics, name) for name in GROUPS] == pytest.approx([1.0, 0.5, 0.0])
    assert metrics.ap == pytest.approx(0.5)


def random_case(seed):
    """Twelve images, nine classes, all kinds of sizes; detections near and far, some of wrong classes."""
    rng = np.random.default_rng(seed)
    images, classes, objects, rows = range(1, 13), range(9), [], []
    pairs = {kind: [] for kind in ("negative", "partial")}
    for i in images:
        shown = rng.permutation(9)[: rng.integers(0, 4)].tolist()
        for c in classes:
            if c in shown:
                pairs["partial"] += [(i, c)] if rng.random() < 0.4 else []
            elif rng.random() < 0.3:
                pairs["negative"].append((i, c))
        for c in shown:
            for _ in range(rng.integers(1, 5)):
                side = float(rng.choice([20, 60, 120]) * rng.uniform(0.7, 1.4))
                x, y = rng.uniform(0, 400 - side, 2).tolist()
                objects.append((i, c, [x, y, side, side * float(rng.uniform(0.6, 1.0))]))
    for i, c, box in objects:
        for _ in range(rng.integers(0, 3)):
            near = (np.array(box) * (1 + rng.normal(0, 0.05, 4))).tolist()
            label = c if rng.random() < 0.8 else int(rng.integers(9))
            rows.append((i, label, near, float(rng.random())))
    for _ in range(150):
        x, y, w, h = rng.uniform(5, 130, 4).tolist()
        rows.append(
            (int(rng.integers(1, 13)), int(rng.integers(9)), [x, y, w, h], float(rng.random()))
        )
    return made(objects, **pairs, frequency="rrrcccfff", images=12), rows


@engines
@pytest.mark.parametrize("seed", range(4))
def test_figures_equal_a_literal_implementations(seed, engine):
    truth, rows = random_case(seed)
    ours = scored(truth, rows, engine)
    expected = lvis_figures(truth, in_float32(truth, rows))
    for name in (*AP, *GROUPS):
        assert getattr(ours, name) == pytest.approx(expected[name], abs=1e-9), name
    assert 0.05 < ours.ap < 0.9


@pytest.mark.parametrize("seed", range(4))
def test_figures_equal_those_that_faster_coco_eval_has_for_lvis(seed):
    truth, rows = random_case(seed)
    ours = scored(truth, rows)
    with contextlib.redirect_stdout(io.StringIO()):
        indexed = COCO()
        indexed.dataset = truth
        indexed.createIndex()
        found = indexed.loadRes(in_float32(truth, rows))
        evaluation = COCOeval_faster(indexed, found, "bbox", lvis_style=True)
        evaluation.params.maxDets = [300]
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    theirs = evaluation.stats_as_dict
    names = ("AP_all", "AP_50", "AP_75", "AP_small", "AP_medium", "AP_large", "APr", "APc", "APf")
    for name, other in zip((*AP, *GROUPS), names, strict=True):
        assert getattr(ours, name) == pytest.approx(theirs[other], abs=1e-9), name


def in_float32(truth, rows):
    """The same numbers as a detector gives them."""
    annotations = parse_annotations(json.dumps(truth).encode(), "a.json")
    return to_coco_results(detections(rows), annotations.class_ids, {})


@engines
def test_masks_are_counted_by_the_same_rules(engine):
    """In image 1 class 0 is found where no object is labelled, in image 2 class 1 where nobody looked."""
    for partial, expected in ([], 2 / 3), ([(1, 0)], 1.0):
        truth = made([(1, 0, BOX), (2, 0, BOX), (3, 1, BOX)], partial=partial, images=3)
        for entry in truth["annotations"]:
            x, y, w, h = entry["bbox"]
            entry["segmentation"] = [[x, y, x + w, y, x + w, y + h, x, y + h]]
        annotations = parse_annotations(json.dumps(truth).encode(), "a.json", outlines=True)
        rows = [(1, 0, OTHER, 0.95), (1, 0, BOX, 0.9), (2, 0, BOX, 0.8)]
        found = detections([*rows, (2, 1, OTHER, 0.9), (3, 1, BOX, 0.7)])
        found = {i: replace(d, masks=torch.ones(len(d), 28, 28)) for i, d in found.items()}
        metrics = coco_metrics(annotations, found, engine, groups=frequencies(annotations))
        assert metrics.ap_rare == pytest.approx(expected)
        assert metrics.masks["ap_rare"] == pytest.approx(expected)
        assert metrics.masks["ap_common"] == pytest.approx(1.0)


def test_errors_are_told_by_the_same_rules():
    objects = [(1, 0, BOX), (2, 0, BOX)]
    rows = [(1, 0, OTHER, 0.95), (1, 0, BOX, 0.9), (2, 1, OTHER, 0.8)]
    for negative, partial, expected in (
        ([], [(1, 0)], 0),
        ([(2, 1)], [(1, 0)], 1),
        ([(2, 1)], [], 2),
    ):
        truth = made(objects, negative, partial, images=2)
        annotations = parse_annotations(json.dumps(truth).encode(), "a.json")
        found = error_breakdown(
            all_matches(annotations, detections(rows)), len(annotations.class_ids)
        )
        assert found.counts["background"] == expected
        assert found.counts["missed"] == 1
        assert found.ap50 == pytest.approx(scored(truth, rows).ap50)


def test_a_head_that_gives_too_few_is_told_in_a_line(caplog):
    annotations = parse_annotations(json.dumps(made([(1, 0, BOX)])).encode(), "a.json")
    warn_of_few_detections(annotations, 300)
    assert caplog.text == ""
    warn_of_few_detections(annotations, 100)
    assert "LVIS counts 300" in caplog.text and "head.max_detections=300" in caplog.text
