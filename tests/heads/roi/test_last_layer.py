"""What class layers see: the same vectors, logits and losses as on the way through the detector."""

from dataclasses import replace

import pytest
import torch

from fdet.heads.build import HEADS, build_detector
from fdet.heads.long_tail import class_weights
from fdet.heads.necks import NECKS
from fdet.heads.roi import ROI_HEADS
from fdet.heads.roi.box_head import BoxHead
from fdet.heads.roi.last_layer import SeenRoIs, class_losses, seen_rois
from fdet.heads.types import Targets

from ..reference import FEW_SAMPLED, SPEC, batch

CLASSIFIERS = {
    "softmax": {},
    "sigmoid": {"classifier": "sigmoid", "federated": 2},
    "embeddings": {"class_agnostic": True, "masks": False},
}
HEADS_AND_SUMS = [*((head, {}) for head in ROI_HEADS), ("cascade-rcnn", {"stage_losses": "sum"})]
IMAGES = torch.tensor([3.0, 40.0, 500.0])


def detector_of(head, classifier="softmax", **settings):
    torch.manual_seed(0)
    chosen = {**FEW_SAMPLED[head], "class_balance": 0.9, **CLASSIFIERS[classifier], **settings}
    vectors = torch.randn(3, 12) if classifier == "embeddings" else None
    neck, kind = NECKS["fpn"][1](channels=16), HEADS[head][1](**chosen)
    detector = build_detector(SPEC, 3, neck, kind, vectors).eval()
    with torch.no_grad():
        for parameter in detector.head.parameters():
            parameter.mul_(2)
    return detector


def given(images=4):
    pyramid, placements, targets, seeds = batch(images)
    known = torch.tensor([True, False, False])
    shows = [known.index_fill(0, t.labels, True) for t in targets]
    learnt = [
        replace(t, known_classes=k, class_images=IMAGES)
        for t, k in zip(targets, shows, strict=True)
    ]
    return pyramid, placements, learnt, seeds


@pytest.mark.parametrize("classifier", CLASSIFIERS)
@pytest.mark.parametrize(("head", "settings"), HEADS_AND_SUMS, ids=str)
def test_losses_of_what_was_seen_are_the_detectors(head, settings, classifier):
    detector, of_batch = detector_of(head, classifier, **settings), given()
    expected = detector.losses(*of_batch)["classification"]
    seen = seen_rois(detector, *of_batch)
    found = class_losses(detector, seen, of_batch[2], of_batch[3])
    assert torch.equal(found, expected)
    layers = [p for layer in detector.head.classifiers for p in layer.parameters()]
    mine, theirs = (torch.autograd.grad(x.sum(), layers) for x in (found, expected))
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-7)
        assert b.abs().max() > 0


@pytest.mark.parametrize("head", ROI_HEADS)
def test_the_layers_see_what_gives_their_logits_and_no_gradient_goes_beyond(head, monkeypatch):
    """At every stage, bit for bit."""
    logits, labels = [], []
    forward, losses = BoxHead.forward, BoxHead.losses

    def watched(stage, pyramid, rois):
        out = forward(stage, pyramid, rois)
        logits.append(out[0])
        return out

    def labelled(stage, z, deltas, rois, *more):
        labels.append(rois.labels)
        return losses(stage, z, deltas, rois, *more)

    detector, of_batch = detector_of(head), given()
    monkeypatch.setattr(BoxHead, "forward", watched)
    monkeypatch.setattr(BoxHead, "losses", labelled)
    detector.losses(*of_batch)
    seen = seen_rois(detector, *of_batch)
    stages = detector.head.stages
    assert len(logits) == len(stages)
    for k, stage in enumerate(stages):
        vectors = torch.cat([of_image.vectors[k] for of_image in seen])
        assert torch.equal(stage.logits(vectors), logits[k])
        assert torch.equal(torch.cat([s.labels[k] for s in seen]), torch.cat(labels[4 * k :][:4]))
    assert not any(of_image.vectors.requires_grad for of_image in seen)
    assert any((of_image.labels > 0).any() for of_image in seen)


def test_other_seeds_are_other_rois():
    detector, (*of_batch, seeds) = detector_of("faster-rcnn", sampled=8), given(1)
    (one,), (same,), (other,) = (
        seen_rois(detector, *of_batch, drawn) for drawn in (seeds, seeds, [seeds[0] + 1])
    )
    assert torch.equal(one.vectors, same.vectors)
    assert not torch.equal(one.vectors, other.vectors)


def test_the_gradient_is_the_class_balanced_one_literally():
    """Of a softmax: w (p - y) x, a mean over the RoIs; background weighs 1."""
    detector = detector_of("faster-rcnn")
    generator = torch.Generator().manual_seed(0)
    vectors = torch.randn(1, 20, 32, generator=generator)
    labels = torch.randint(0, 4, (1, 20), generator=generator)
    nothing = torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64)
    targets = Targets(*nothing, class_images=IMAGES)
    loss = class_losses(detector, [SeenRoIs(vectors, labels)], [targets], [7]).sum()
    (layer,) = detector.head.classifiers
    found = torch.autograd.grad(loss, (layer.weight, layer.bias))
    weights = [1.0, *class_weights(IMAGES, 0.9).tolist()]
    expected = [torch.zeros(4, 32), torch.zeros(4)]
    for x, label in zip(vectors[0], labels[0].tolist(), strict=True):
        z = layer.weight.detach() @ x + layer.bias.detach()
        off = z.exp() / z.exp().sum()
        off[label] -= 1
        expected[0] += weights[label] * off[:, None] * x / 20
        expected[1] += weights[label] * off / 20
    assert max(weights) > 2 * min(weights)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("embedded", [False, True])
@pytest.mark.parametrize("head", HEADS)
def test_classifiers_are_what_the_logits_come_from(head, embedded):
    """They move the classification loss and no other one."""
    torch.manual_seed(0)
    chosen = {**FEW_SAMPLED.get(head, {}), **({"masks": False} if head in ROI_HEADS else {})}
    if head in ROI_HEADS:
        chosen["class_agnostic"] = True
    vectors = torch.randn(3, 12) if embedded else None
    detector = build_detector(
        SPEC, 3, NECKS["fpn"][1](channels=16), HEADS[head][1](**chosen), vectors
    ).eval()
    layers = detector.head.classifiers
    assert len(layers) == {"cascade-rcnn": 3, "query": 3}.get(head, 1)
    detector.requires_grad_(False)
    for layer in layers:
        layer.requires_grad_(True)
    losses = detector.losses(*given())
    learnt = [p for p in detector.parameters() if p.requires_grad]
    gradients = torch.autograd.grad(losses.pop("classification").sum(), learnt, retain_graph=True)
    assert all(bool(g.abs().max() > 0) for g in gradients)
    for loss in (loss for loss in losses.values() if loss.requires_grad):
        gradients = torch.autograd.grad(loss.sum(), learnt, retain_graph=True, allow_unused=True)
        assert not any(g is not None and g.any() for g in gradients)
