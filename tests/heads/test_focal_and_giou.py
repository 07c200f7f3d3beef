"""Losses against torchvision's and literal ones, and their gradients."""

import math

import pytest
import torch
from torch.nn import functional
from torchvision.ops import generalized_box_iou_loss, sigmoid_focal_loss

from fdet.heads.losses import (
    distribution_focal_loss,
    focal_loss,
    giou_loss,
    per_image,
    quality_focal_loss,
)

BATCH, PLACES, CLASSES = 2, 40, 3


def given(scale: float = 3.0):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(BATCH, PLACES, CLASSES, generator=generator) * scale
    labels = torch.randint(-2, CLASSES, (BATCH, PLACES), generator=generator)
    return logits.requires_grad_(), labels


def one_hot(labels):
    known = functional.one_hot(labels.clamp(min=0), CLASSES).float()
    return known * (labels >= 0)[..., None]


def assert_same(ours, theirs, leaf):
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
    weights = torch.rand(ours.shape, generator=torch.Generator().manual_seed(1))
    (gradient,) = torch.autograd.grad((ours * weights).sum(), leaf)
    (expected,) = torch.autograd.grad((theirs * weights).sum(), leaf)
    torch.testing.assert_close(gradient, expected, rtol=1e-5, atol=1e-6)


# Scores of a head that is all but sure too.
@pytest.mark.parametrize("scale", [3.0, 30.0])
def test_focal_loss_equals_torchvisions(scale):
    logits, labels = given(scale)
    assert_same(
        focal_loss(logits, labels), sigmoid_focal_loss(logits, one_hot(labels)).sum(2), logits
    )


def test_quality_focal_loss_follows_its_formula():
    logits, labels = given()
    quality = torch.rand(labels.shape, generator=torch.Generator().manual_seed(2))
    wanted, scores = one_hot(labels) * quality[..., None], logits.double().sigmoid()
    entropy = -(wanted * scores.log() + (1 - wanted) * (1 - scores).log())
    expected = ((wanted - scores).abs() ** 2 * entropy).sum(2).float()
    assert_same(quality_focal_loss(logits, labels, quality), expected, logits)


def test_quality_of_one_is_the_focal_loss_without_alpha():
    logits, labels = given()
    expected = sigmoid_focal_loss(logits, one_hot(labels), alpha=-1).sum(2)
    assert_same(quality_focal_loss(logits, labels, torch.ones_like(labels) * 1.0), expected, logits)


@pytest.mark.parametrize("number", [0.0, 0.3, 1.0, 2.75, 4.0, -2.0, 9.0])
def test_distribution_focal_loss_follows_its_formula(number):
    """Numbers beyond the ends of the distribution count as the ends."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 5, generator=generator).requires_grad_()
    log = (logits.double() - logits.double().exp().sum(dim=1, keepdim=True).log()).float()
    within = min(max(number, 0.0), 4.0)
    low = min(math.floor(within), 3)
    expected = -((low + 1 - within) * log[:, low] + (within - low) * log[:, low + 1])
    assert_same(distribution_focal_loss(logits, torch.full((3,), number)), expected, logits)


def test_scores_of_infinite_size_have_finite_gradients():
    logits = torch.tensor([[[100.0, -100.0], [-100.0, 100.0], [1e4, -1e4]]], requires_grad=True)
    for labels in ([[0, 1, -1]], [[1, 0, 1]]):
        costs = focal_loss(logits, torch.tensor(labels))
        (gradient,) = torch.autograd.grad(costs.sum(), logits)
        assert costs.isfinite().all()
        assert gradient.isfinite().all()


def boxes(count, seed):
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator) * 20
    return torch.cat([corner, corner + torch.rand(count, 2, generator=generator) * 10], dim=1)


def test_giou_loss_equals_torchvisions_near_and_far():
    found, wanted = boxes(200, 1).requires_grad_(), boxes(200, 2)
    assert_same(giou_loss(found, wanted), generalized_box_iou_loss(found, wanted), found)
    # Apart as well as overlapping.
    losses = giou_loss(found, wanted)
    assert (losses > 1).sum() > 20
    assert (losses < 1).sum() > 5
    assert giou_loss(wanted, wanted).abs().max() < 1e-5


def test_giou_loss_of_boxes_without_an_area_has_a_finite_gradient():
    found = torch.tensor([[3.0, 3.0, 3.0, 3.0], [0.0, 0.0, 0.0, 0.0]], requires_grad=True)
    giou_loss(found, torch.zeros(2, 4)).sum().backward()
    assert found.grad.isfinite().all()


def test_an_image_is_divided_by_its_own_count_but_not_by_zero():
    costs = torch.tensor([[1.0, 2.0], [3.0, 4.0], [0.5, 0.0]])
    assert per_image(costs, torch.tensor([2, 0, 1]), "image").tolist() == [1.5, 7.0, 0.5]
    assert math.isclose(per_image(costs, torch.tensor([0.5, 4.0, 2.5]), "auto")[1], 1.75)


def test_by_a_number_an_object_weighs_the_same_in_every_image():
    """An image without objects is no more than its background, and a small object is not held back."""
    costs = torch.tensor([[1.0, 2.0], [3.0, 4.0], [0.5, 0.0]])
    found = per_image(costs, torch.tensor([0.25, 40.0, 0.0]), 0.5)
    assert found.tolist() == [6.0, 14.0, 1.0]
