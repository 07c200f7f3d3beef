"""Every kind of RoI head: an image's losses are its own, and images without objects or RoIs do no harm."""

from collections import Counter

import pytest
import torch
from torch import nn
from torchvision.models.detection.rpn import RPNHead

from fdet.cache.errors import ConfigError
from fdet.cache.pyramid import FeaturePyramid
from fdet.heads.build import build_detector
from fdet.heads.necks.settings import FPNSettings
from fdet.heads.roi import ROI_HEADS, two_stage
from fdet.heads.types import Targets

from ..reference import ALL_SAMPLED, FEW_SAMPLED, SPEC, batch, placement, pyramid

CONVS = {"convs": 2, "conv_channels": 8, "norm": "gn"}
KINDS = {
    "faster: convolutions": ("faster-rcnn", CONVS),
    "faster: class-agnostic": ("faster-rcnn", {"class_agnostic": True, "fc_layers": 1}),
    "faster: boxes alone": ("faster-rcnn", {"masks": False}),
    "cascade: convolutions": ("cascade-rcnn", CONVS),
    "cascade: a box a class": ("cascade-rcnn", {"class_agnostic": False}),
    "cascade: boxes alone": ("cascade-rcnn", {"masks": False}),
}


@pytest.fixture(params=KINDS.values(), ids=KINDS)
def kind(request):
    return request.param


def detector_of(kind, sampled):
    torch.manual_seed(0)
    head, settings = kind
    chosen = ROI_HEADS[head].settings(**sampled[head] | settings)
    return build_detector(SPEC, 3, FPNSettings(channels=16), chosen)


def test_parts_are_all_that_has_weights_and_have_the_shapes_asked_for(kind):
    head = detector_of(kind, FEW_SAMPLED).head
    of_parts = {p for part in head.parts for p in part.parameters()}
    assert of_parts == set(head.parameters())
    settings = head.settings
    for stage in head.stages:
        modules = list(stage.layers)
        assert sum(isinstance(m, torch.nn.Linear) for m in modules) == settings.fc_layers
        convs = [m for m in stage.layers.modules() if isinstance(m, torch.nn.Conv2d)]
        assert [m.out_channels for m in convs] == [settings.conv_channels] * settings.convs
        assert stage.predictor.bbox_pred.out_features == (4 if settings.class_agnostic else 12)


@pytest.mark.parametrize("norm", ["none", "gn", "gn32"])
@pytest.mark.parametrize("convs", [1, 2])
def test_the_rpn_has_the_convolutions_and_norms_asked_for(convs, norm):
    of_rpn = {"rpn_convs": convs, "rpn_norm": norm, "norm": "none"}
    head = detector_of(("faster-rcnn", of_rpn), FEW_SAMPLED).head
    seen = [[type(m) for m in block] for block in head.rpn.head.conv]
    assert seen == [[nn.Conv2d, *[nn.GroupNorm] * (norm != "none"), nn.ReLU]] * convs
    norms = [m for m in head.modules() if isinstance(m, nn.GroupNorm)]
    assert [m.num_groups for m in norms] == [{"gn": 2, "gn32": 8}[norm] for _ in norms]
    assert len(norms) == convs * (norm != "none")
    for block in head.rpn.head.conv:
        assert block[0].weight.std().item() == pytest.approx(0.01, rel=0.1)
        assert (block[0].bias is None) == (norm != "none")


def test_without_norms_and_with_them_weights_have_the_names_that_they_always_had():
    names = {
        norm: set(
            detector_of(
                ("faster-rcnn", {"convs": 1, "norm": norm, "rpn_norm": norm}), FEW_SAMPLED
            ).head.state_dict()
        )
        for norm in ("none", "gn")
    }
    of_rpn = {f"rpn.head.{n}" for n in RPNHead(16, 3).state_dict()}
    assert {n for n in names["none"] if n.startswith("rpn.")} == of_rpn
    lost = names["none"] - names["gn"]
    convs = ("rpn.head.conv.0.0", "stages.0.layers.0.0", "masks.layers.0.0")
    assert lost == {f"{conv}.bias" for conv in convs}
    added = {f"{c.removesuffix('.0')}.1.{n}" for c in convs for n in ("weight", "bias")}
    assert names["gn"] - names["none"] == added


def test_every_convolution_has_a_norm_unless_told_otherwise():
    settings = ROI_HEADS["cascade-rcnn"].settings()
    assert (settings.norm, settings.rpn_norm, settings.rpn_convs) == ("gn", "gn", 1)
    with pytest.raises(ConfigError, match=r"head\.rpn_convs.*1 to 64"):
        ROI_HEADS["cascade-rcnn"].settings(rpn_convs=0)


def test_gradients_reach_every_weight(kind):
    detector = detector_of(kind, ALL_SAMPLED)
    losses = detector.losses(*batch(2))
    sum(losses.values()).mean().backward()
    dead = [n for n, p in detector.named_parameters() if p.grad is None or not p.grad.any()]
    assert [n for n in dead if not n.endswith("bias")] == []


def test_an_image_has_the_same_losses_alone_and_its_loss_is_finite_without_objects(kind):
    detector = detector_of(kind, FEW_SAMPLED)
    pyramid, placements, targets, seeds = batch(3)
    assert [len(t.labels) for t in targets] == [4, 2, 0]
    together = detector.losses(pyramid, placements, targets, seeds)
    for k in range(3):
        maps = tuple(x[k : k + 1] for x in pyramid.maps)
        alone = FeaturePyramid(SPEC, maps, pyramid.canvas_hw)
        apart = detector.losses(alone, placements[k : k + 1], targets[k : k + 1], seeds[k : k + 1])
        for name, x in apart.items():
            torch.testing.assert_close(x[0], together[name][k], rtol=1e-5, atol=1e-7)
    assert together["box"][2] == 0 < together["classification"][2]
    assert together["box"][:2].min() > 0
    if "mask" in together:
        assert together["mask"][2] == 0 < together["mask"][:2].min()


@pytest.mark.parametrize("bfloat16", [False, True])
@pytest.mark.parametrize("recompute", [False, True])
def test_images_without_a_roi_have_losses_of_zero_and_no_detections(kind, recompute, bfloat16):
    detector = detector_of(kind, FEW_SAMPLED)
    detector.head.rpn.min_size = 1e9  # drops every proposal, so that only objects are left
    detector.checkpoint_activations(recompute)
    given, placements, targets, seeds = batch(2)
    nothing = Targets(targets[0].boxes[:0], targets[0].labels[:0], targets[0].masks[:0])
    for wanted in ([targets[0], nothing], [nothing, nothing]):
        detector.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            losses = detector.losses(given, placements, wanted, seeds)
        for name in {"classification", "box", "mask"} & set(losses):
            assert losses[name][1] == 0
            assert (losses[name][0] > 0) == (wanted[0] is not nothing)
        sum(losses.values()).mean().backward()
        assert all(p.grad.isfinite().all() for p in detector.parameters())
    with torch.no_grad():
        found = detector.detections(given, placements)
    assert [len(of_image) for of_image in found] == [0, 0]
    masks = detector.head.masks
    assert [None if d.masks is None else d.masks.shape for d in found] == (
        [None if masks is None else (0, 28, 28)] * 2
    )


def test_recomputed_losses_and_gradients_are_the_same_bit_for_bit(kind):
    seen = []
    for recompute in (False, True):
        detector = detector_of(kind, FEW_SAMPLED)
        detector.checkpoint_activations(recompute)
        losses = detector.losses(*batch(3))
        sum(losses.values()).mean().backward()
        seen.append((losses, {n: p.grad for n, p in detector.named_parameters()}))
    for kept, recompute in zip(*seen, strict=True):
        assert [name for name in kept if not torch.equal(kept[name], recompute[name])] == []


def test_bfloat16_gives_float32_near_what_float32_gives(kind):
    head, settings = kind
    # Proposals of nearly the same score must not decide which others go.
    every = {"rpn_nms_iou": 1.0, "rpn_top_train": (2000, 2000)}
    detector = detector_of((head, settings | every), ALL_SAMPLED)
    given = batch(3)
    expected = detector.losses(*given)
    with torch.autocast("cpu", torch.bfloat16):
        losses = detector.losses(*given)
        with torch.no_grad():
            found = detector.detections(*given[:2])
    for name, x in losses.items():
        assert x.dtype == torch.float32
        torch.testing.assert_close(x, expected[name], rtol=0.02, atol=1e-3)
    tensors = [x for d in found for x in (d.boxes, d.scores, d.masks) if x is not None]
    assert {x.dtype for x in tensors} == {torch.float32}


def test_masks_are_learned():
    """The loss of the masks alone, on one image whose objects are half full."""
    torch.manual_seed(0)
    settings = ROI_HEADS["faster-rcnn"].settings(**FEW_SAMPLED["faster-rcnn"])
    detector = build_detector(SPEC, 3, FPNSettings(channels=16), settings)
    boxes = torch.tensor([[8.0, 8, 72, 104], [56, 16, 120, 80]])
    half = torch.zeros(2, 16, 16, dtype=torch.bool)
    half[:, :, :8] = True
    given = pyramid(1, (128, 128)), [placement((128, 128), (128, 128))]
    targets = [Targets(boxes, torch.tensor([0, 2]), half)]
    optimiser = torch.optim.Adam(detector.parameters(), lr=3e-3)
    first = None
    for _ in range(200):
        optimiser.zero_grad()
        losses = detector.losses(*given, targets, [5])
        sum(losses.values()).mean().backward()
        first = losses["mask"].item() if first is None else first
        optimiser.step()
    assert losses["mask"].item() < 0.5 * first
    with torch.no_grad():
        (found,) = detector.detections(*given)
    best = int((found.boxes - boxes[0]).abs().sum(dim=1).argmin())
    left, right = found.masks[best, 4:-4, 2:12].mean(), found.masks[best, 4:-4, 16:26].mean()
    assert left > 0.6 > 0.4 > right


def test_targets_without_masks_are_refused_where_masks_are_to_be_learned():
    detector = detector_of(("faster-rcnn", {}), FEW_SAMPLED)
    given, placements, targets, seeds = batch(2)
    bare = [targets[0], Targets(targets[1].boxes, targets[1].labels)]
    with pytest.raises(ValueError, match=r"head\.masks=true"):
        detector.losses(given, placements, bare, seeds)


def test_masks_of_a_cascade_come_from_no_more_rois_than_the_first_stage_may_have():
    """However many a later stage makes positive."""
    head = detector_of(("cascade-rcnn", {"iou_thresholds": (0.5, 0.0, 0.0)}), FEW_SAMPLED).head
    asked = []
    head.masks.register_forward_pre_hook(lambda _, inputs: asked.append(list(map(len, inputs[1]))))
    detector = detector_of(("cascade-rcnn", {}), FEW_SAMPLED)
    detector.head = head
    detector.losses(*batch(3))
    assert asked == [[8, 8, 0]]


def test_masks_learn_from_a_draw_of_all_positives_that_is_the_images_own(monkeypatch):
    """In a later stage every RoI of these is positive."""
    detector = detector_of(("cascade-rcnn", {"iou_thresholds": (0.5, 0.0, 0.0)}), FEW_SAMPLED)
    given, placements, targets, _ = batch(2)
    asked, last = [], []
    monkeypatch.setattr(two_stage, "mask_loss", recorded(asked, two_stage.mask_loss))
    losses = detector.head.stages[-1].losses
    monkeypatch.setattr(detector.head.stages[-1], "losses", recorded(last, losses))

    def locations(seeds):
        """Which of the last stage's RoIs each image's masks learn from; of how many."""
        asked.clear(), last.clear()
        with torch.no_grad():
            detector.losses(given, placements, targets, seeds)
        found = []
        for (_, chosen, _), (_, _, rois, *_) in zip(asked, last, strict=True):
            assert (rois.labels > 0).all()
            same = (chosen.boxes[:, None] == rois.boxes).all(dim=2)
            found.append((same.int().argmax(dim=1).tolist(), len(rois.boxes)))
        return found

    drawn, recompute = locations([5, 6]), locations([9, 6])
    assert drawn[1] == recompute[1]
    assert drawn[0] != recompute[0]
    seen = Counter()
    for seed in range(40):
        ((chosen, count), _) = locations([seed, 0])
        assert chosen == sorted(set(chosen)) and len(chosen) == 8
        seen.update(chosen)
    assert count == 32
    # Expected 10 times each.
    assert set(seen) == set(range(32)) and max(seen.values()) < 25


def recorded(calls, function):
    def called(*given):
        calls.append(given)
        return function(*given)

    return called
