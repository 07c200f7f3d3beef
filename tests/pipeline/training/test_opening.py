"""The first lines of a run, word for word, on objects and anchors whose fit can be told by hand."""

from dataclasses import replace

import pytest
import torch

from fdet.cache.placement import Placement
from fdet.cache.pyramid import LevelSpec, PyramidSpec
from fdet.heads.build import HEADS, build_detector
from fdet.heads.types import Targets
from fdet.pipeline.runs.config import RunConfig, load_config
from fdet.pipeline.training.auto import SeenTargets
from fdet.pipeline.training.opening import described_fit, described_length, described_time

CACHED = PyramidSpec((LevelSpec("c3", 8, 4), LevelSpec("c4", 16, 4)))
CANVAS = (128, 128)
PLACE = Placement(CANVAS, CANVAS, CANVAS, scale=(1.0, 1.0), shift=(0.0, 0.0))
NAMES = ("leaf", "twig")


def settings(head="retinanet", *more) -> RunConfig:
    small = ("neck.channels=8", "neck.max_level=4")
    return load_config(head=head, assignments=[*small, *more])


def head_of(name="retinanet", *more):
    config = settings(name, *more)
    return build_detector(CACHED, len(NAMES), config.neck, config.head).head


def seen(*images: list[tuple[float, int]]) -> SeenTargets:
    """Images of squares in the middle of an anchor, each with its side in px and its label."""
    targets = [
        Targets(
            torch.tensor(
                [[64 - s / 2, 64 - s / 2, 64 + s / 2, 64 + s / 2] for s, _ in of_image]
            ).reshape(-1, 4),
            torch.tensor([label for _, label in of_image], dtype=torch.int64),
        )
        for of_image in images
    ]
    return SeenTargets(tuple(targets), (PLACE,) * len(targets))


def test_the_length_is_told_with_what_it_is_made_with():
    asked = ("train.epochs=30", "train.eval_every=3", "train.batch_size=8", "train.precision=bf16")
    config = settings("tal", *asked, "optim.lr=0.00123456", "optim.name=sgd")
    line = "1538 steps in 30 epochs, 8 images each; sgd, peak rate 0.00123, bf16"
    assert described_length(config, 1538, evaluated=True) == f"{line}; evaluated every 3 epochs"
    assert described_length(config, 1538, evaluated=False) == line


def test_anchors_are_told_beside_the_smallest_objects():
    """A tenth of the eleven has a side of at most 12 px, which stands second."""
    sides = [8, 12, *[40] * 9]
    (line,) = described_fit(
        head_of("retinanet", "head.anchor_scales=[1.0, 2.0, 4.0]"),
        seen([(float(s), 0) for s in sides[:4]], [(float(s), 0) for s in sides[4:]]),
        NAMES,
    )
    assert line == (
        "anchors of 1, 2, 4 strides: the smallest has a side of 8 px, a tenth of the objects one "
        "below 12 px"
    )


@pytest.mark.parametrize("head", ["retinanet", "faster-rcnn", "cascade-rcnn"])
@pytest.mark.parametrize(("small", "told"), [(1, False), (2, True)])
def test_classes_are_named_whose_objects_have_no_anchor(head, small, told):
    """Where more than one in twenty has none; the other class's objects all have one."""
    objects = [(32.0, 0)] * 3 + [(32.0, 1)] * (20 - small) + [(2.0, 1)] * small
    lines = list(
        described_fit(
            head_of(head, "head.anchor_scales=[4.0]"), seen(objects, [], [(64.0, 0)]), NAMES
        )
    )
    assert lines[0].startswith("anchors of 4 strides: the smallest has a side of 32 px")
    expected = ["objects without an anchor for their size, by class: twig 10%"] if told else []
    assert lines[1:] == expected


def test_every_class_without_anchors_is_in_the_line():
    objects = [(32.0, 0), (2.0, 0), (2.0, 1)]
    _, line = described_fit(head_of("retinanet", "head.anchor_scales=[4.0]"), seen(objects), NAMES)
    assert line == "objects without an anchor for their size, by class: leaf 50%, twig 100%"


def test_points_have_places_and_no_anchors():
    """No point of stride 8 lies as near to the centre of a sliver as FCOS wants it, within the box."""
    sliver = Targets(torch.tensor([[65.0, 65.0, 67.0, 67.0]]), torch.tensor([1]))
    squares = seen([(32.0, 0)], [(32.0, 1)])
    both = SeenTargets((*squares.targets, sliver), (PLACE,) * 3)
    (line,) = described_fit(head_of("fcos"), both, NAMES)
    assert line == "objects without a location for their size, by class: twig 50%"
    assert list(described_fit(head_of("fcos"), squares, NAMES)) == []
    assert list(described_fit(head_of("tal"), both, NAMES)) == []


@pytest.mark.parametrize("head", HEADS)
def test_of_no_objects_nothing_is_told(head):
    assert list(described_fit(head_of(head), seen([], []), NAMES)) == []


def test_a_run_above_an_hour_is_shown_the_smaller_preset():
    config = settings("retinanet", "neck.channels=256")
    assert described_time(config, 3600.0) == (
        "the remaining steps will take about 60 min, without evaluations"
    )
    long = described_time(config, 3601.0)
    assert long == (
        "the remaining steps will take about 60 min, without evaluations; --config retinanet-fpn-s is a "
        "smaller detector"
    )
    other = replace(
        config, neck=load_config(neck="nas-fpn", assignments=["neck.channels=256"]).neck
    )
    assert "--config retinanet-nas-fpn-s is" in described_time(other, 1e5)


@pytest.mark.parametrize(("head", "channels"), [("retinanet", 8), ("fcos", 8)])
def test_where_no_preset_is_smaller_none_is_shown(head, channels):
    config = settings(head, f"neck.channels={channels}")
    assert described_time(config, 1e5) == (
        "the remaining steps will take about 27.8 h, without evaluations"
    )
