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


@pytest.mark.parametrize("reg_max", [0, 8, 16, 64])
def test_fresh_tal_finds_boxes_of_eight_strides_that_it_does_not_believe_in(reg_max):
    detector = detector_of("tal", reg_max=reg_max)
    levels = detector.neck(pyramid(2, (128, 128)))
    logits, distances, _ = detector.head.outputs(levels)
    locations = detector.head.locations(levels)
    torch.testing.assert_close(logits.sigmoid(), torch.full_like(logits, 0.01), rtol=0.6, atol=0)
    torch.testing.assert_close(distances, torch.full_like(distances, 4.0), rtol=0.25, atol=0)
    boxes = locations.boxes(distances)
    sizes = (boxes[..., 2:] - boxes[..., :2]) / locations.strides
    torch.testing.assert_close(sizes, torch.full_like(sizes, 8.0), rtol=0.25, atol=0)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_distances_of_tal_are_the_means_of_their_distributions(precision):
    """In float32 under autocast too, or boxes of 16 strides would be whole pixels off."""
    detector = detector_of("tal", reg_max=20)
    nn.init.normal_(detector.head.regression_head.output.weight, std=1.0)
    levels = detector.neck(pyramid(1, (64, 128)))
    with torch.autocast("cpu", precision, enabled=precision != torch.float32):
        _, distances, raw = detector.head.outputs(levels)
    assert raw.shape == (*distances.shape, 21) and distances.dtype == torch.float32
    shares = raw.double().exp() / raw.double().exp().sum(dim=3, keepdim=True)
    means = sum(k * shares[..., k] for k in range(21))
    assert means.min() < 2 and means.max() > 15
    torch.testing.assert_close(distances.double(), means, rtol=1e-5, atol=1e-5)


def test_objects_beyond_the_longest_distances_of_tal_are_out_of_reach():
    head = detector_of("tal", reg_max=4).head
    reach = 2 * 4.0 * 128
    sides = torch.tensor([[9.0, 8.0], [reach, 8.0], [8.0, reach + 1]])
    boxes = torch.cat([torch.zeros(3, 2), sides], dim=1)
    assert head.fit(boxes, (128, 128)).reached.tolist() == [True, True, False]
    assert detector_of("tal", reg_max=0).head.fit(boxes * 100, (128, 128)).reached.all()


@pytest.mark.parametrize(
    ("head", "wrong"),
    [
        *[("fcos", {"radius": -1.0}), ("fcos", {"offset": 2.0}), ("fcos", {"convs": 0})],
        *[("tal", {"top_k": 0}), ("tal", {"beta": -1.0}), ("tal", {"box_weight": -1.0})],
        *[("tal", {"reg_max": -1}), ("tal", {"dfl_weight": -1.0})],
    ],
    ids=str,
)
def test_settings_out_of_range_are_named(head, wrong):
    with pytest.raises(ConfigError, match=f"head.{next(iter(wrong))}"):
        DENSE_HEADS[head].settings(**wrong)
