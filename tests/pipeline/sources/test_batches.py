"""What a step learns of an image's objects, and what of them it only leaves alone."""

import json

import numpy as np
import pytest
import torch

from fdet.cache.placement import Placement
from fdet.pipeline.dataset.data_set import load_annotations
from fdet.pipeline.sources.batches import batches_from, targets_of

CPU = torch.device("cpu")
# The left 60 of 100 columns, at the original scale; the canvas is padded below.
CUT = Placement((100, 100), (128, 60), (100, 60), (1.0, 1.0), (0.0, 0.0))


@pytest.fixture
def annotated(tmp_path):
    """Annotations of an image from boxes (x, y, width, height), and whether each is a crowd."""

    def load(*objects, more_images=0):
        ids = range(1, 2 + more_images)
        images = [{"id": k, "file_name": f"{k}.png", "height": 100, "width": 100} for k in ids]
        rows = [
            {"id": k, "image_id": 1, "category_id": 1, "bbox": list(box), "iscrowd": int(crowd)}
            | {"area": box[2] * box[3], "segmentation": []}
            for k, (box, crowd) in enumerate(objects, 1)
        ]
        data = {"images": images, "annotations": rows, "categories": [{"id": 1, "name": "disc"}]}
        path = tmp_path / "annotations.json"
        path.write_text(json.dumps(data))
        return load_annotations(path)[0]

    return load


def ignored_of(annotations, placement=CUT, min_visible=0.3):
    found = targets_of(annotations, 1, placement, min_visible)
    return found.boxes.tolist(), found.ignored.tolist()


def test_the_places_of_crowds_are_ignored(annotated):
    found = annotated(((10, 10, 20, 30), False), ((30, 50, 60, 40), True))
    assert ignored_of(found) == ([[10, 10, 30, 40]], [[30, 50, 60, 90]])


def test_an_object_that_a_view_hardly_shows_is_ignored_as_far_as_it_is_shown(annotated):
    found = annotated(((50, 10, 50, 20), False))
    assert ignored_of(found) == ([], [[50, 10, 60, 30]])
    assert ignored_of(found, min_visible=0.1) == ([[50, 10, 60, 30]], [])


def test_what_is_learnt_is_at_least_a_pixel_wide_and_high_on_the_canvas(annotated):
    """An object that is shown in full may shrink to a sliver."""
    found = annotated(((8, 8, 3, 40), False), ((8, 60, 40, 4), False), ((40, 40, 8, 8), False))
    quarter = Placement((100, 100), (32, 32), (25, 25), (0.25, 0.25), (0.0, 0.0))
    learnt, ignored = ignored_of(found, quarter)
    assert learnt == [[2, 15, 12, 16], [10, 10, 12, 12]]
    assert ignored == [[2, 2, 2.75, 12]]


def test_what_a_view_does_not_show_at_all_leaves_nothing(annotated):
    found = annotated(((60, 10, 30, 20), False), ((70, 50, 20, 20), True))
    assert ignored_of(found) == ([], [])
    assert ignored_of(annotated()) == ([], [])


class Given:
    """A source whose samples all lie on CUT."""

    def load(self, batches):
        for samples in batches:
            yield samples, (CUT,) * len(samples), None


def test_ignored_places_come_with_each_image_of_a_batch(annotated):
    found = annotated(((30, 50, 60, 40), True), ((10, 10, 9, 9), False), more_images=2)
    order = [[(2, 0), (1, 0), (3, 0)]]
    (batch,) = batches_from(Given(), order, found, CPU, 0.3, np.ones(1, dtype=np.int64))
    assert [t.ignored.tolist() for t in batch.targets] == [[], [[30, 50, 60, 90]], []]
    assert [len(t.boxes) for t in batch.targets] == [0, 1, 0]
