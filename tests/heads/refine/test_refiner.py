"""Over the table of heads: a refiner changes boxes alone, learns alone, and corrects what is wrong."""

from contextlib import nullcontext

import pytest
import torch
from torchvision.ops import box_iou

from fdet.cache.pyramid import FeaturePyramid, LevelSpec, PyramidSpec
from fdet.heads.build import HEADS, build_detector
from fdet.heads.detector import Detector
from fdet.heads.refine.refiner import Refiner
from fdet.heads.types import Detections, Targets

from ..reference import CACHED, FEW_SAMPLED, PAIRS, SPEC, batch, neck_settings, placement
from ..test_detector import Finds, Through


def detector_of(neck: str, head: str, refine: int) -> Detector:
    torch.manual_seed(0)
    known = {**FEW_SAMPLED.get(head, {}), "score_threshold": 0.0, "max_detections": 20}
    settings = HEADS[head].settings(**known, refine=refine)
    return build_detector(CACHED.get(neck, SPEC), 3, neck_settings(neck), settings)


def decisive(detector: Detector) -> Detector:
    """With a refiner that moves boxes."""
    for stage in detector.refiner.stages:
        torch.nn.init.normal_(stage.output.weight, std=0.02)
    return detector


@pytest.mark.parametrize(("neck", "head"), PAIRS)
def test_a_fresh_one_changes_no_bit(neck, head):
    plain, refined = (detector_of(neck, head, refine).eval() for refine in (0, 2))
    pyramid, placements, *_ = batch(3, spec=CACHED.get(neck, SPEC))
    with torch.no_grad():
        pairs = zip(*(d.detections(pyramid, placements) for d in (plain, refined)), strict=True)
        for expected, found in pairs:
            assert len(expected)
            for name in ("boxes", "scores", "labels", "masks"):
                one, other = getattr(expected, name), getattr(found, name)
                assert one is other is None or torch.equal(one, other)


@pytest.mark.parametrize("head", HEADS)
def test_boxes_move_within_the_image_and_nothing_else_changes(head):
    detector = decisive(detector_of("fpn", head, 2)).eval()
    pyramid, placements, *_ = batch(2)
    with torch.no_grad():
        levels = detector.levels(pyramid)
        before = detector.head.without_masks(levels, placements)
        for old, new, placed in zip(
            before, detector.detections(pyramid, placements), placements, strict=True
        ):
            assert torch.equal(old.scores, new.scores) and torch.equal(old.labels, new.labels)
            assert not torch.equal(old.boxes, new.boxes)
            limits = torch.tensor(placed.image_hw[::-1] * 2)
            assert (new.boxes >= 0).all() and (new.boxes <= limits).all()
            assert (new.masks is not None) == getattr(detector.head.settings, "masks", False)


@pytest.mark.parametrize(("neck", "head"), PAIRS)
def test_gradients_reach_all_of_it_and_nothing_else(neck, head):
    detector = decisive(detector_of(neck, head, 2)).train()
    assert not any(m.training for part in (detector.neck, detector.head) for m in part.modules())
    assert detector.refiner.training
    sum(detector.losses(*batch(3, spec=CACHED.get(neck, SPEC))).values()).mean().backward()
    for name, parameter in detector.named_parameters():
        assert name.startswith("refiner.") == (parameter.grad is not None), name
        # No object of these canvases is large enough for the coarser levels.
        idle = "projections" in name and "projections.0" not in name
        assert parameter.grad is None or idle or parameter.grad.any(), name
    own = sum(p.numel() for p in detector.refiner.parameters())
    assert detector.trained_parameters == own < detector.all_parameters


@pytest.mark.parametrize("precision", [nullcontext, lambda: torch.autocast("cpu", torch.bfloat16)])
def test_an_image_has_the_same_losses_in_every_batch_and_recomputed(precision):
    detector = decisive(detector_of("fpn", "tal", 2)).train()
    pyramid, placements, targets, seeds = batch(5)
    with precision():
        together = detector.losses(pyramid, placements, targets, seeds)
        detector.checkpoint_activations(True)
        again = detector.losses(pyramid, placements, targets, seeds)
        parts = [
            detector.losses(
                FeaturePyramid(SPEC, tuple(x[k : k + 1] for x in pyramid.maps), pyramid.canvas_hw),
                placements[k : k + 1],
                targets[k : k + 1],
                seeds[k : k + 1],
            )
            for k in range(5)
        ]
    tolerance = 1e-5 if precision is nullcontext else 2e-2
    for name, losses in together.items():
        assert losses.shape == (5,) and losses.dtype == torch.float32
        assert torch.equal(losses, again[name])
        apart = torch.cat([part[name] for part in parts])
        torch.testing.assert_close(apart, losses, rtol=tolerance, atol=tolerance)
        assert losses[2] == 0 and (losses[:2] > 0).all()  # The third image has no objects.


def test_a_batch_without_objects_has_a_gradient_of_zeros():
    detector = detector_of("fpn", "tal", 1).train()
    pyramid, placements, targets, seeds = batch(1)
    nothing = Targets(targets[0].boxes[:0], targets[0].labels[:0])
    sum(detector.losses(pyramid, placements, [nothing], seeds).values()).sum().backward()
    gradients = [p.grad for p in detector.refiner.parameters()]
    assert all(g is not None and not g.any() for g in gradients)


def test_levels_of_one_stride_are_added_and_those_of_a_second_backbone_left_out():
    taps = PyramidSpec((LevelSpec("a", 16, 4), LevelSpec("b", 16, 6), LevelSpec("b.c", 32, 3)))
    refiner = Refiner(taps, 1)
    maps = tuple(torch.randn(1, *level.shape((64, 96))) for level in taps.levels)
    (found,) = refiner.levels(FeaturePyramid(taps, maps, (64, 96))).maps
    expected = sum(p(x) for p, x in zip(refiner.projections, maps[:2], strict=True))
    assert torch.equal(found, expected)


def drawn(objects: torch.Tensor, canvas_hw: tuple[int, int]) -> FeaturePyramid:
    """Maps that are 1 within the objects, as far as cells show it."""
    spec = PyramidSpec((LevelSpec("c2", 4, 2),))
    rows, columns = ((torch.arange(n // 4) + 0.5) * 4 for n in canvas_hw)
    maps = torch.zeros(1, 2, len(rows), len(columns))
    for left, top, right, bottom in objects.tolist():
        down, across = (
            ((x - low) / 4 + 0.5).clamp(0, 1) * ((high - x) / 4 + 0.5).clamp(0, 1)
            for x, low, high in ((rows, top, bottom), (columns, left, right))
        )
        maps[0, 0] += down[:, None] * across
    return FeaturePyramid(spec, (maps,), canvas_hw)


def test_boxes_that_are_off_are_corrected():
    """Every box is shifted by a seventh of its size, and none reaches an IoU of 0.75 before."""
    objects = torch.tensor([[8.0, 10, 50, 40], [70, 20, 120, 90], [10, 60, 60, 120]])
    size = (objects[:, 2:] - objects[:, :2]).repeat(1, 2)
    off = Detections(objects + size / 7, torch.ones(3), torch.zeros(3, dtype=torch.int64))
    hw = (128, 128)
    pyramid, placed = drawn(objects, hw), [placement(hw, hw)]
    torch.manual_seed(0)
    detector = Detector(Through(pyramid.spec), Finds(off), Refiner(pyramid.spec, 1))
    optimiser = torch.optim.AdamW(detector.refiner.parameters(), lr=5e-3)
    targets = Targets(objects, off.labels)
    (before,) = detector.detections(pyramid, placed)
    assert box_iou(before.boxes, objects).diagonal().max() < 0.75
    for step in range(25):
        optimiser.zero_grad()
        losses = detector.train().losses(pyramid, placed, [targets], [step])
        sum(losses.values()).sum().backward()
        optimiser.step()
    with torch.no_grad():
        (after,) = detector.eval().detections(pyramid, placed)
    assert box_iou(after.boxes, objects).diagonal().min() > 0.85
    assert torch.equal(after.scores, before.scores)
