"""Towers have what is asked for, and what a fresh head says of every place."""

import pytest
import torch
from torch import nn

from fdet.cache.errors import ConfigError
from fdet.heads.build import build_detector
from fdet.heads.dense import DENSE_HEADS
from fdet.heads.necks import NECKS

from .reference import SPEC, batch, pyramid


def detector_of(head, channels=16, **settings):
    torch.manual_seed(0)
    neck = NECKS["fpn"].settings(channels=channels)
    return build_detector(SPEC, 3, neck, DENSE_HEADS[head].settings(**settings))


@pytest.mark.parametrize("norm", ["gn", "gn32", "none"])
@pytest.mark.parametrize("convs", [1, 5])
@pytest.mark.parametrize("head", DENSE_HEADS)
def test_towers_have_the_convolutions_and_norms_asked_for(head, convs, norm):
    built = detector_of(head, convs=convs, norm=norm).head
    for part in built.parts:
        kinds = [type(m) for m in part.conv.modules()]
        assert kinds.count(nn.Conv2d) == convs
        assert kinds.count(nn.GroupNorm) == (0 if norm == "none" else convs)


@pytest.mark.parametrize("head", DENSE_HEADS)
def test_a_single_image_whose_coarsest_level_is_one_place_can_be_trained(head):
    detector = detector_of(head, norm="gn")
    assert detector.neck(pyramid(1, (128, 128))).maps[-1].shape[-2:] == (1, 1)
    sum(detector.losses(*batch(1)).values()).sum().backward()
    assert all(p.grad.isfinite().all() for p in detector.parameters())


def test_fresh_tal_finds_boxes_of_eight_strides_that_it_does_not_believe_in():
    detector = detector_of("tal")
    levels = detector.neck(pyramid(2, (128, 128)))
    logits, distances = detector.head.outputs(levels)
    locations = detector.head.locations(levels)
    torch.testing.assert_close(logits.sigmoid(), torch.full_like(logits, 0.01), rtol=0.6, atol=0)
    torch.testing.assert_close(distances, torch.full_like(distances, 4.0), rtol=0.25, atol=0)
    boxes = locations.boxes(distances)
    sizes = (boxes[..., 2:] - boxes[..., :2]) / locations.strides
    torch.testing.assert_close(sizes, torch.full_like(sizes, 8.0), rtol=0.25, atol=0)


@pytest.mark.parametrize(
    ("head", "wrong"),
    [
        *[("fcos", {"radius": -1.0}), ("fcos", {"offset": 2.0}), ("fcos", {"convs": 0})],
        *[("tal", {"top_k": 0}), ("tal", {"beta": -1.0}), ("tal", {"box_weight": -1.0})],
    ],
    ids=str,
)
def test_settings_out_of_range_are_named(head, wrong):
    with pytest.raises(ConfigError, match=f"head.{next(iter(wrong))}"):
        DENSE_HEADS[head].settings(**wrong)
