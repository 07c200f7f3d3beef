"""Ignored regions: what a head would take for background there is not learnt, and nothing else changes."""

from dataclasses import replace
from random import Random

import pytest
import torch

from fdet.heads.anchors import canvas_anchors
from fdet.heads.assign import BACKGROUND, IGNORED, assigned, within_ignored
from fdet.heads.build import HEADS, build_detector
from fdet.heads.dense import DENSE_HEADS
from fdet.heads.necks.settings import FPNSettings
from fdet.heads.roi import ROI_HEADS
from fdet.heads.types import Targets

from .reference import ALL_SAMPLED, SPEC, batch

# Over part of what the objects cover, and over what they do not.
REGIONS = torch.tensor([[60.0, 70.0, 128.0, 128.0], [0.0, 0.0, 40.0, 30.0]])
NOTHING = Targets(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))


def detector_of(head, **settings):
    torch.manual_seed(0)
    chosen = HEADS[head].settings(**ALL_SAMPLED.get(head, {}) | settings)
    return build_detector(SPEC, 3, FPNSettings(channels=16), chosen)


def with_ignored(targets, boxes):
    return [replace(of_image, ignored=boxes) for of_image in targets]


def half_within(boxes, regions):
    """Boxes (A, 4) that lie by half of their area in one region, one after the other."""
    found = []
    for box in boxes.tolist():
        shares = []
        for region in regions.tolist():
            width = min(box[2], region[2]) - max(box[0], region[0])
            height = min(box[3], region[3]) - max(box[1], region[1])
            shares.append(max(0, width) * max(0, height))
        area = (box[2] - box[0]) * (box[3] - box[1])
        found.append(area > 0 and max(shares) >= area / 2)
    return torch.tensor(found)


@pytest.mark.parametrize("head", HEADS)
def test_without_an_ignored_region_losses_are_the_same_bits(head):
    detector = detector_of(head)
    given, placements, targets, seeds = batch(3)
    expected = detector.losses(given, placements, targets, seeds)
    beyond = torch.tensor([[500.0, 500.0, 600.0, 600.0]])
    for boxes in (torch.zeros(0, 4), beyond):
        found = detector.losses(given, placements, with_ignored(targets, boxes), seeds)
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], loss) for name, loss in expected.items())


def test_a_box_lies_within_by_half_of_its_own_area_and_a_point_as_such():
    wanted = replace(NOTHING, ignored=torch.tensor([[10.0, 10, 20, 20], [20.0, 10, 30, 20]]))
    boxes = [
        [5.0, 10.0, 15.0, 20.0],  # half of it
        [4.9, 10.0, 15.0, 20.0],  # a little less
        [12.0, 12.0, 13.0, 13.0],
        [0.0, 0.0, 40.0, 40.0],  # much larger than the region
        [15.0, 5.0, 25.0, 25.0],  # half in both together, a quarter in each
        [12.0, 12.0, 12.0, 15.0],  # of no area
        [50.0, 50.0, 60.0, 60.0],
    ]
    expected = [True, False, True, False, False, False, False]
    assert within_ignored(torch.tensor(boxes), wanted).tolist() == expected
    points = torch.tensor([[15.0, 15.0], [9.0, 15.0], [20.0, 20.0], [31.0, 15.0], [15.0, 21.0]])
    assert within_ignored(points, wanted).tolist() == [True, False, True, False, False]
    assert within_ignored(points, NOTHING) is None
    assert within_ignored(points, replace(NOTHING, ignored=torch.zeros(0, 4))) is None


def test_only_background_becomes_ignored_and_only_in_its_own_image():
    boxes = torch.tensor([[0.0, 0.0, 9.0, 9.0]])
    targets = [Targets(boxes, torch.tensor([2])), Targets(boxes, torch.tensor([1]))]
    targets[0] = replace(targets[0], ignored=boxes)
    points = torch.tensor([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0], [50.0, 50.0]])
    matches = [torch.tensor([0, BACKGROUND, IGNORED, BACKGROUND])] * 2
    learnt = assigned(targets, matches, points)
    assert learnt.rows.tolist() == [[0, IGNORED, IGNORED, BACKGROUND], [1, -1, -2, -1]]
    assert learnt.location_labels.tolist() == [[2, -1, -1, -1], [1, -1, -1, -1]]


def places_of(head, given):
    """Which places lie in REGIONS."""
    if hasattr(head, "anchors"):
        return half_within(canvas_anchors(head.anchors, given), REGIONS)
    points = head.locations(given).points[:, None]
    return ((points >= REGIONS[:, :2]) & (points <= REGIONS[:, 2:])).all(dim=2).any(dim=1)


def frozen_outputs(head, given, monkeypatch):
    """What a dense head finds, as the leaves of its losses."""
    outputs = [x.detach().clone().requires_grad_() for x in head.outputs(given)]
    monkeypatch.setattr(head, "outputs", lambda pyramid: tuple(outputs))
    return outputs


@pytest.mark.parametrize("head", DENSE_HEADS)
def test_no_gradient_reaches_ignored_places_of_a_dense_head(head, monkeypatch):
    detector = detector_of(head)
    given, placements, targets, seeds = batch(3)
    given = detector.neck(given)
    logits, *others = frozen_outputs(detector.head, given, monkeypatch)
    inside = places_of(detector.head, given)

    def gradients(targets):
        losses = detector.head.losses(given, placements, targets, seeds)
        return torch.autograd.grad(sum(losses.values()).sum(), [logits, *others])

    plain, ignoring = gradients(targets), gradients(with_ignored(targets, REGIONS))
    learns = [x.abs().sum(dim=2) > 0 for x in (plain[0], ignoring[0])]
    boxes = sum(x.reshape(3, len(inside), -1).abs().sum(dim=2) for x in plain[1:]) > 0
    assert not learns[1][2, inside].any(), "the third image has no object"
    assert learns[0][2, inside].all()
    assert torch.equal(learns[1], learns[0] & ~(inside & ~boxes))
    assert (inside & boxes).any(), "an object there is learnt all the same"
    # What is learnt is learnt as before.
    assert torch.equal(ignoring[0][learns[1]], plain[0][learns[1]])
    assert all(map(torch.equal, ignoring[1:], plain[1:]))


@pytest.mark.parametrize("head", DENSE_HEADS)
def test_scores_of_ignored_places_do_not_matter_to_a_dense_head(head, monkeypatch):
    detector = detector_of(head)
    given, placements, targets, seeds = batch(3)
    given = detector.neck(given)
    logits, *_ = frozen_outputs(detector.head, given, monkeypatch)
    inside = places_of(detector.head, given)

    def losses_of_the_third(targets, more):
        with torch.no_grad():
            logits[2, inside] += more
            losses = detector.head.losses(given, placements, targets, seeds)
            logits[2, inside] -= more
        return torch.stack([loss[2] for loss in losses.values()])

    ignoring = with_ignored(targets, REGIONS)
    assert torch.equal(losses_of_the_third(ignoring, 0.0), losses_of_the_third(ignoring, 5.0))
    assert not torch.equal(losses_of_the_third(targets, 0.0), losses_of_the_third(targets, 5.0))


@pytest.mark.parametrize("head", ROI_HEADS)
def test_the_rpn_learns_no_background_in_ignored_regions(head):
    """All anchors are drawn that may be."""
    detector = detector_of(head)
    given, placements, targets, seeds = batch(3)
    rpn, given = detector.head.rpn, detector.neck(given)
    proposed = rpn.propose(given, placements, training=True, recompute=False)
    leaf = proposed.logits.detach().requires_grad_()
    inside = half_within(proposed.anchors[0], REGIONS)

    def losses_of(targets, logits):
        found = rpn.losses(replace(proposed, logits=logits), targets, [Random(s) for s in seeds])
        return found["objectness"]

    labels, _ = rpn.assign_targets_to_anchors(
        proposed.anchors, [{"boxes": t.boxes} for t in targets]
    )
    for wanted, may in ((targets, True), (with_ignored(targets, REGIONS), False)):
        (gradient,) = torch.autograd.grad(losses_of(wanted, leaf).sum(), leaf)
        of_labels = torch.stack(labels)
        background = (of_labels == 0) if may else (of_labels == 0) & ~inside
        assert torch.equal(gradient != 0, background | (of_labels == 1))
        more = torch.where(inside & (of_labels == 0), 5.0, 0.0)
        with torch.no_grad():
            same = torch.equal(losses_of(wanted, leaf), losses_of(wanted, leaf + more))
        assert same != may


@pytest.mark.parametrize("head", ROI_HEADS)
def test_no_background_roi_is_drawn_in_ignored_regions(head):
    detector = detector_of(head)
    given, placements, targets, seeds = batch(3)
    given = detector.levels(given)
    _, plain = detector.head.sampled(given, placements, targets, seeds)
    _, drawn = detector.head.sampled(given, placements, with_ignored(targets, REGIONS), seeds)
    left = 0
    for before, after in zip(plain, drawn, strict=True):
        dropped = half_within(before.boxes, REGIONS) & (before.labels == 0)
        left += int(dropped.sum())
        rows = sorted(after.boxes.tolist())
        assert rows == sorted(before.boxes[~dropped].tolist())
        assert sorted(after.labels.tolist()) == sorted(before.labels[~dropped].tolist())
    assert left > 20


@pytest.mark.parametrize("of", [{}, {"class_balance": 0.9}])
@pytest.mark.parametrize("classifier", ["softmax", "sigmoid"])
def test_a_box_head_learns_nothing_of_a_roi_that_has_come_into_an_ignored_region(classifier, of):
    """As those of a cascade's later stages may, which are not drawn again."""
    head = detector_of("cascade-rcnn", classifier=classifier, **of).head
    boxes = torch.tensor([[0.0, 0.0, 20.0, 20.0], [50.0, 50, 70, 70], [52.0, 52, 70, 70]])
    images = torch.tensor([3.0, 5.0, 9.0])
    targets = Targets(boxes[:1], torch.tensor([1]), class_images=images, ignored=boxes[1:2])
    rois = torch.cat([boxes, torch.tensor([[90.0, 90.0, 99.0, 99.0]])])
    found = head.stages[1].labelled(rois, targets)
    assert found.labels.tolist() == [2, -1, -1, 0]
    width = 3 + (classifier == "softmax")
    logits = torch.randn(4, width, requires_grad=True)
    deltas = torch.randn(4, 1, 4)
    losses = head.stages[1].losses(logits, deltas, found, targets)
    (gradient,) = torch.autograd.grad(losses.sum(), logits)
    assert gradient[[0, 3]].abs().min() > 0 and not gradient[1:3].any()
    moved = logits + torch.tensor([0.0, 9.0, -9.0, 0.0])[:, None] * torch.randn(width)
    assert torch.equal(head.stages[1].losses(moved, deltas, found, targets), losses)
    learnt = head.stages[1].losses(
        logits[[0, 3]], deltas[[0, 3]], found[torch.tensor([0, 3])], targets
    )
    torch.testing.assert_close(losses * 4, learnt * 2)


@pytest.mark.parametrize("head", ROI_HEADS)
def test_a_two_stage_head_learns_beside_ignored_regions(head):
    detector = detector_of(head)
    given, placements, targets, seeds = batch(3)
    everywhere = torch.tensor([[-999.0, -999.0, 999.0, 999.0]])
    for boxes in (REGIONS, everywhere):
        detector.zero_grad()
        losses = detector.losses(given, placements, with_ignored(targets, boxes), seeds)
        assert all(loss.isfinite().all() for loss in losses.values())
        sum(losses.values()).mean().backward()
        assert all(p.grad.isfinite().all() for p in detector.parameters() if p.grad is not None)
    assert losses["classification"][2] == losses["objectness"][2] == 0
