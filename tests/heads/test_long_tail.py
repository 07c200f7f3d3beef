"""Weights of classes and classes that count: the formulas literally, and what they do in every head."""

import math
from collections import Counter
from dataclasses import replace
from functools import cache

import pytest
import torch
from torch.nn import functional
from torchvision.ops import sigmoid_focal_loss

from fdet.cache.errors import ConfigError
from fdet.heads.build import HEADS, build_detector
from fdet.heads.dense import DENSE_HEADS
from fdet.heads.long_tail import class_weights, federated_classes, label_weights
from fdet.heads.losses import focal_loss, quality_focal_loss
from fdet.heads.necks import NECKS
from fdet.heads.roi import ROI_HEADS
from fdet.heads.roi.box_head import LabelledRoIs
from fdet.heads.types import Targets

from .reference import FEW_SAMPLED, SPEC, batch
from .test_losses import only
from .test_waiting import Waits

IMAGES = torch.tensor([1.0, 12.0, 400.0, 60000.0, 0.0])
PRIOR = -math.log(99)


def empty(known=None, images=IMAGES):
    known = None if known is None else torch.tensor(known)
    return Targets(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), None, known, images)


@pytest.mark.parametrize("beta", [0.9, 0.99, 0.999, 0.9999, 0.999999])
def test_class_weights_follow_the_formula(beta):
    raw = [(1 - beta) / (1 - beta**n) for n in IMAGES.tolist() if n]
    expected = [weight * len(raw) / sum(raw) for weight in raw]
    found = class_weights(IMAGES, beta)
    torch.testing.assert_close(found[:4], torch.tensor(expected), rtol=1e-5, atol=0)
    assert found[4] == 1 and found[:4].mean() == pytest.approx(1)


def test_no_beta_weighs_all_alike_and_a_great_one_by_the_inverse_count():
    assert torch.equal(class_weights(IMAGES, 0.0)[:4], torch.ones(4))
    great = class_weights(torch.tensor([1.0, 4.0]), 0.9999999)
    assert float(great[0] / great[1]) == pytest.approx(4, rel=1e-4)


def test_labels_have_the_weights_of_their_classes_and_background_one():
    labels = torch.tensor([[0, 3, -1], [2, -1, 1]])
    found, weights = label_weights([empty()], labels, 0.99), class_weights(IMAGES, 0.99)
    expected = [[weights[k] if k >= 0 else 1.0 for k in row] for row in labels.tolist()]
    assert torch.equal(found, torch.tensor(expected))
    assert torch.equal(label_weights([empty(images=None)], labels, 0.0), torch.ones(2, 3))
    with pytest.raises(ValueError, match="expected targets with class_images"):
        label_weights([empty(images=None)], labels, 0.9)


def test_classes_that_were_looked_for_count_and_others_fill_up():
    known = [False, True, False, False, True]
    for count, size in ((1, 2), (2, 2), (3, 3), (4, 4), (5, 5), (50, 5)):
        (found,) = federated_classes([empty(known)], [7], count)
        assert found[1] and found[4] and int(found.sum()) == size
    (found,) = federated_classes([empty([False] * 5)], [7], 5)
    assert found.tolist() == [True] * 4 + [False], "never one that no image shows"
    assert federated_classes([empty()], [7], 0) is None
    for targets in (empty(), empty(known, None)):
        with pytest.raises(
            ValueError, match="expected targets with known_classes and class_images"
        ):
            federated_classes([targets], [7], 3)


def test_the_draw_is_of_the_seed_alone():
    images = torch.tensor([1.0, 12.0, 4.0, 9.0, 0.0])
    targets = [empty([False, True, False, False, False], images)] * 3
    found = federated_classes(targets, [7, 8, 7], 2)
    assert torch.equal(found[0], found[2])
    assert torch.equal(found[1:2], federated_classes(targets[:1], [8], 2))
    draws = {tuple(federated_classes(targets[:1], [s], 2)[0].tolist()) for s in range(200)}
    assert len(draws) == 3


def test_others_are_drawn_by_the_root_of_their_images():
    """Against the chances of drawing one after the other, each by its weight among those left."""
    weights = [math.sqrt(n) for n in (4.0, 100.0, 25.0, 900.0)]

    @cache
    def chance(drawn: frozenset) -> float:
        if not drawn:
            return 1.0
        return sum(
            chance(drawn - {k}) * weights[k] / (sum(weights) - sum(weights[j] for j in drawn - {k}))
            for k in drawn
        )

    images = torch.tensor([w**2 for w in weights] + [9.0])
    targets = [empty([False] * 4 + [True], images)]
    draws, seen = 4000, Counter()
    for seed in range(draws):
        (found,) = federated_classes(targets, [seed], 3)
        seen[frozenset(torch.where(found[:4])[0].tolist())] += 1
    assert sum(seen.values()) == draws
    for drawn, count in seen.items():
        expected = chance(drawn)
        assert len(drawn) == 2
        deviation = math.sqrt(expected * (1 - expected) / draws)
        assert abs(count / draws - expected) < 5 * deviation


def given_logits():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 40, 3, generator=generator) * 3
    labels = torch.randint(-2, 2, (2, 40), generator=generator)
    counted = torch.tensor([[True, True, False], [True, True, True]])
    return logits.requires_grad_(), labels, counted


def one_hot(labels):
    return functional.one_hot(labels.clamp(min=0), 3).float() * (labels >= 0)[..., None]


def assert_same(ours, theirs, leaf):
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
    (gradient,) = torch.autograd.grad(ours.square().sum(), leaf)
    (expected,) = torch.autograd.grad(theirs.square().sum(), leaf)
    torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-5)


def test_focal_losses_know_of_the_counted_classes_alone():
    logits, labels, counted = given_logits()
    each = sigmoid_focal_loss(logits, one_hot(labels)) * counted[:, None]
    assert_same(focal_loss(logits, labels, counted), each.sum(2), logits)
    quality = torch.rand(labels.shape, generator=torch.Generator().manual_seed(1))
    wanted = one_hot(labels) * quality[..., None]
    entropy = functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    each = (wanted - logits.sigmoid()).square() * entropy * counted[:, None]
    assert_same(quality_focal_loss(logits, labels, quality, counted), each.sum(2), logits)


@pytest.mark.parametrize("beta", [0.0, 0.99])
@pytest.mark.parametrize("classifier", ["softmax", "sigmoid"])
@pytest.mark.parametrize("federated", [False, True])
def test_a_box_heads_class_loss_literally(classifier, federated, beta):
    if federated and classifier == "softmax":
        return  # refused, see below
    settings = {"class_balance": beta, "classifier": classifier}
    stage = build("faster-rcnn", **settings).head.stages[0]
    rois, generator = 30, torch.Generator().manual_seed(0)
    labels = torch.randint(0, 3, (rois,), generator=generator)
    width = 4 if classifier == "softmax" else 3
    logits = torch.randn(rois, width, generator=generator, requires_grad=True)
    images = torch.tensor([3.0, 40.0, 500.0])
    counted = torch.tensor([True, True, False]) if federated else None
    weights = [1.0, *(class_weights(images, beta).tolist() if beta else (1.0, 1.0, 1.0))]
    expected = torch.zeros(())
    for z, label in zip(logits, labels.tolist(), strict=True):
        if classifier == "softmax":
            cost = -(z[label].exp() / z.exp().sum()).log()
        else:
            p = z.sigmoid()
            cost = sum(
                -(p[k].log() if k + 1 == label else (1 - p[k]).log())
                for k in range(3)
                if not federated or counted[k]
            )
        expected = expected + weights[label] * cost
    nothing = torch.zeros(rois, dtype=torch.int64)
    found = LabelledRoIs(torch.zeros(rois, 4), labels, nothing)
    deltas = torch.zeros(rois, 3, 4)
    ours = stage.losses(logits, deltas, found, empty(images=images), counted)[0]
    assert_same(ours, expected / rois, logits)


def build(head, **settings):
    torch.manual_seed(0)
    chosen = {**FEW_SAMPLED.get(head, {}), **settings}
    if chosen.get("federated") and head in ROI_HEADS:
        chosen["classifier"] = "sigmoid"
    return build_detector(SPEC, 3, NECKS["fpn"][1](channels=16), HEADS[head][1](**chosen))


def of_two_classes(known=(True, True, False), images=(5.0, 50.0, 500.0), count=3):
    """A batch without an object of class 2."""
    pyramid, placements, targets, seeds = batch(count)
    targets = [
        replace(
            t,
            labels=torch.arange(len(t.labels)) % 2,
            known_classes=torch.tensor(known),
            class_images=torch.tensor(images),
        )
        for t in targets
    ]
    return pyramid, placements, targets, seeds


@pytest.mark.parametrize("head", HEADS)
def test_a_class_that_does_not_count_learns_nothing_in_any_head(head):
    for count, silent in ((2, True), (3, False)):
        detector = build(head, federated=count)
        losses = detector.losses(*of_two_classes())["classification"]
        biases = [
            p for n, p in detector.head.named_parameters() if n.endswith("bias") and _of_classes(p)
        ]
        assert biases
        for gradient in torch.autograd.grad(losses.sum(), biases):
            each = gradient.view(-1, 3).abs().sum(dim=0)
            assert (each[:2] > 0).all()
            assert (each[2] == 0) == silent


def _of_classes(bias):
    """Only a classifier that scores each class by itself begins so."""
    return bool(torch.isclose(bias, torch.tensor(PRIOR)).all())


@pytest.mark.parametrize("head", HEADS)
def test_where_all_classes_count_and_weigh_alike_nothing_changes(head):
    sigmoid = {"classifier": "sigmoid"} if head in ROI_HEADS else {}
    given = of_two_classes((True, True, True), (7.0, 7.0, 7.0))
    expected = build(head, **sigmoid).losses(*given)
    found = build(head, **sigmoid, federated=2, class_balance=0.99).losses(*given)
    for name, loss in expected.items():
        torch.testing.assert_close(found[name], loss, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("head", HEADS)
def test_the_loss_of_an_image_is_the_weighted_sum_of_its_classes_and_background(head):
    """So it is linear in the weights: those of other counts are foretold from three of them."""
    detector = build(head, class_balance=0.9)

    def loss(*images):
        given = of_two_classes(images=images)
        return detector.losses(*given)["classification"]

    def weights(*images):
        return class_weights(torch.tensor(images), 0.9)[:2].tolist()

    counts = [(5.0, 50.0, 500.0), (50.0, 5.0, 500.0), (7.0, 7.0, 7.0)]
    known = torch.tensor([[*weights(*c), 1.0] for c in counts])
    parts = torch.linalg.solve(known, torch.stack([loss(*c) for c in counts]))
    other = (2.0, 3.0, 9.0)
    time_logged = torch.tensor([*weights(*other), 1.0]) @ parts
    torch.testing.assert_close(loss(*other), time_logged, rtol=1e-4, atol=1e-5)
    assert (parts[:2, :2] > 1e-4).all(), "images 0 and 1 have objects of both"


@pytest.mark.parametrize("head", HEADS)
def test_an_image_has_the_same_losses_in_every_batch(head):
    detector = build(head, federated=2, class_balance=0.99)
    given = of_two_classes(count=4)
    for k, targets in enumerate(given[2]):
        shows = torch.zeros(3, dtype=torch.bool).index_fill(0, targets.labels, True)
        given[2][k] = replace(targets, known_classes=shows)
    together = detector.losses(*given)
    for name, expected in together.items():
        apart = [detector.losses(*only(slice(k, k + 1), *given))[name] for k in range(4)]
        torch.testing.assert_close(torch.cat(apart), expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("head", DENSE_HEADS)
def test_dense_losses_wait_for_nothing_still(head):
    detector, given = build(head, federated=2, class_balance=0.99), of_two_classes()
    detector.losses(*given)
    with Waits() as waits:
        sum(detector.losses(*given).values()).mean().backward()
    assert waits.names == []


@pytest.mark.parametrize("head", ROI_HEADS)
def test_a_sigmoid_classifier_has_no_background_and_scores_each_class_by_itself(head):
    detector = build(head, classifier="sigmoid", score_threshold=0.0, masks=False).eval()
    assert all(s.predictor.cls_score.out_features == 3 for s in detector.head.stages)
    given = batch(2)
    with torch.no_grad():
        found = detector.detections(*given[:2])
    for image in found:
        assert len(image) > 10
        assert image.scores.mean() == pytest.approx(0.01, abs=0.005), "as a fresh one is to begin"


@pytest.mark.parametrize("head", ROI_HEADS)
def test_federated_needs_classes_that_stand_for_themselves(head):
    with pytest.raises(ConfigError, match=r"set head\.classifier=sigmoid"):
        build_detector(SPEC, 3, NECKS["fpn"][1](channels=16), HEADS[head].settings(federated=50))
