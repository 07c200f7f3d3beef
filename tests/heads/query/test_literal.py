"""What parity does not cover: formulas written out, drawings, ignored regions, groups, settings."""

from random import Random

import pytest
import torch
from torch.nn import functional
from torchvision.ops import box_iou

from fdet.cache.errors import ConfigError
from fdet.heads.assign import BACKGROUND, IGNORED
from fdet.heads.build import build_detector
from fdet.heads.necks.settings import FPNSettings
from fdet.heads.query.boxes import corners_of, inverse_sigmoid, pair_iou, pixels_of, shares_of
from fdet.heads.query.denoising import noisy_queries, visible
from fdet.heads.query.losses import Objects, Predictions, class_costs, stage_losses
from fdet.heads.query.matching import matches, pair_costs
from fdet.heads.query.query_head import QueryHead
from fdet.heads.query.settings import QuerySettings
from fdet.heads.types import Targets

from ..reference import SMALL_QUERY, SPEC, batch, placement
from .models import head_of, levels

CANVAS = (64, 128)


def objects_of(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    low = torch.rand(count, 2, generator=generator) * torch.tensor([60.0, 30.0])
    sizes = torch.rand(count, 2, generator=generator) * 25 + 5
    labels = torch.randint(0, 3, (count,), generator=generator)
    return Targets(torch.cat([low, low + sizes], dim=1), labels)


def test_boxes_go_from_one_form_to_the_other():
    boxes = torch.tensor([[16.0, 8.0, 48.0, 40.0]])
    shares = shares_of(boxes, CANVAS)
    assert shares.tolist() == [[0.25, 0.375, 0.25, 0.5]]
    torch.testing.assert_close(pixels_of(shares, CANVAS), boxes)
    assert corners_of(shares).tolist() == [[0.125, 0.125, 0.375, 0.625]]
    x = torch.tensor([0.0, 0.25, 1.0])
    torch.testing.assert_close(inverse_sigmoid(x).sigmoid(), x, atol=2e-5, rtol=0)
    one, other = objects_of(9).boxes, objects_of(9, 1).boxes
    torch.testing.assert_close(pair_iou(one, other), box_iou(one, other).diag())


@pytest.mark.parametrize("kind", ["vfl", "mal"])
def test_the_classification_losses_are_the_papers(kind):
    """Varifocal loss as in RT-DETR, with alpha 0.75 and gamma 2; DEIM's with gamma 1.5."""
    generator = torch.Generator().manual_seed(0)
    logits = (torch.randn(2, 1, 30, 3, generator=generator) * 3).requires_grad_()
    labels = torch.randint(-1, 3, (2, 1, 30), generator=generator)
    quality = torch.rand(2, 1, 30, generator=generator) * (labels >= 0)
    counted = torch.tensor([[True, True, False], [True, True, True]])
    hot = functional.one_hot(labels.clamp(min=0), 3).float() * (labels >= 0)[..., None]
    p, q = logits.detach().sigmoid(), quality[..., None] * hot
    if kind == "vfl":
        wanted, weights = q, 0.75 * p**2 * (1 - hot) + q
    else:
        wanted, weights = q**1.5, p**1.5 * (1 - hot) + hot
    entropy = functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    each = weights * entropy
    for of, expected in ((None, each), (counted[:, None, None], each * counted[:, None, None])):
        # The class of an object always counts.
        expected = torch.where(hot.bool(), each, expected).sum(dim=3)
        found = class_costs(logits, labels, quality, of, kind)
        torch.testing.assert_close(found, expected)
        gradients = [
            torch.autograd.grad(x.square().sum(), logits, retain_graph=True)[0]
            for x in (found, expected)
        ]
        torch.testing.assert_close(*gradients)


def test_a_pair_costs_what_its_parts_do():
    logits, boxes = torch.tensor([[[1.0, -2.0]]]), torch.tensor([[[0.5, 0.5, 0.4, 0.2]]])
    cost = pair_costs(logits, boxes, torch.tensor([1]), torch.tensor([[0.5, 0.5, 0.2, 0.2]]))
    p = 1 / (1 + torch.tensor(2.0).exp())
    focal = 0.25 * (1 - p) ** 2 * -p.log() - 0.75 * p**2 * -(1 - p).log()
    torch.testing.assert_close(cost, (2 * focal + 5 * 0.2 - 2 * 0.5).view(1, 1, 1))


@pytest.mark.parametrize("repeats", [1, 3])
def test_each_object_gets_its_own_queries_and_a_broken_prediction_none(repeats):
    torch.manual_seed(0)
    targets = [objects_of(4), objects_of(0), objects_of(2, 1)]
    logits, boxes = torch.randn(3, 2, 20, 3), torch.rand(3, 2, 20, 4) * 0.5 + 0.1
    boxes[0, 0, 5] = torch.nan
    wanted = [shares_of(t.boxes, CANVAS) for t in targets]
    rows = matches(logits, boxes, [t.labels for t in targets], wanted, repeats)
    for image, t in enumerate(targets):
        for stage in range(2):
            counts = torch.bincount(rows[image, stage] + 1, minlength=len(t.labels) + 1)
            assert counts[1:].tolist() == [repeats] * len(t.labels)
    assert rows[0, 0, 5] == BACKGROUND
    few = matches(logits[:, :, :3], boxes[:, :, :3], [t.labels for t in targets], wanted)
    assert (few[0] >= 0).all(), "with fewer queries than objects each query has one"


def noise_settings(**settings):
    return QuerySettings(**{"denoising": 12, **settings})


def test_noisy_boxes_lie_about_their_objects_and_the_noisier_ones_further_off():
    targets = objects_of(3)
    noisy = noisy_queries([targets], [5], CANVAS, 3, noise_settings(denoising=300))
    assert int(noisy.groups[0]) == 100
    assert noisy.labels.shape == (1, 600)
    found = pixels_of(noisy.logits.sigmoid(), CANVAS)[0]
    rows, groups = noisy.rows[0], noisy.group[0]
    near, position = rows >= 0, torch.arange(600) % 3
    assert torch.equal(rows[near], position[near])
    assert torch.equal(groups, torch.arange(100).repeat_interleave(6))
    assert torch.equal(near, torch.arange(600) % 6 < 3)
    boxes = targets.boxes[position]
    half = (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2) / 2
    away = (found - boxes).abs() / half
    inside = (found > 0.01) & (found < torch.tensor([127.9, 63.9, 127.9, 63.9]))
    # Sides that have passed each other make a box of no size.
    inside &= (found[:, 2:] - found[:, :2]).amin(dim=1, keepdim=True) > 0.1
    assert away[near].max() < 1.001
    assert away[~near & inside.all(dim=1)].min() > 0.999
    wrong = (noisy.labels[0] != targets.labels[position]).float().mean()
    assert 0.1 < wrong < 0.25, "a quarter are drawn anew, a third of them as they were"


def test_without_noise_they_are_the_objects():
    targets = objects_of(2)
    settings = noise_settings(label_noise=0.0, box_noise=0.0)
    noisy = noisy_queries([targets], [5], CANVAS, 3, settings)
    found = pixels_of(noisy.logits.sigmoid(), CANVAS)[0]
    torch.testing.assert_close(found, targets.boxes.repeat(12, 1), atol=0.01, rtol=1e-4)
    assert torch.equal(noisy.labels[0], targets.labels.repeat(12))


def test_what_is_drawn_for_an_image_is_its_own():
    targets, seeds = [objects_of(3), objects_of(0), objects_of(1, 2)], [1, 2, 3]
    together = noisy_queries(targets, seeds, CANVAS, 3, noise_settings())
    assert together.groups.tolist() == [4, 1, 12]
    for k in range(3):
        alone = noisy_queries(targets[k : k + 1], seeds[k : k + 1], CANVAS, 3, noise_settings())
        size = alone.labels.shape[1]
        for name in ("labels", "logits", "rows", "group"):
            assert torch.equal(getattr(together, name)[k, :size], getattr(alone, name)[0])
        assert (together.rows[k, size:] == IGNORED).all()
        assert (together.group[k, size:] == -1).all()
    none = noisy_queries(targets, seeds, CANVAS, 3, noise_settings(denoising=0))
    assert none.labels.shape == (3, 0)
    assert Random(1).random() != Random(2).random()


def test_queries_see_their_own_kind_and_noisy_ones_the_matched_too():
    noisy = noisy_queries(
        [objects_of(1), objects_of(0)], [1, 2], CANVAS, 3, noise_settings(denoising=2)
    )
    sees = visible(noisy, 2, 1)
    assert sees.shape == (2, 7, 7)
    expected = [
        [1, 1, 0, 0, 1, 1, 0],
        [1, 1, 0, 0, 1, 1, 0],
        [0, 0, 1, 1, 1, 1, 0],
        [0, 0, 1, 1, 1, 1, 0],
        [0, 0, 0, 0, 1, 1, 0],
        [0, 0, 0, 0, 1, 1, 0],
        [0, 0, 0, 0, 0, 0, 1],
    ]
    assert sees[0].int().tolist() == expected
    assert sees[1, 4:, :4].sum() == 0
    nothing = noisy_queries([objects_of(0)], [1], CANVAS, 3, noise_settings())
    assert visible(nothing, 2, 0) is None


def test_what_is_found_does_not_depend_on_the_queries_of_training():
    head, pyramid = head_of(groups=1), levels(1, (128, 128))
    targets = [objects_of(3)]
    noisy = noisy_queries(targets, [1], (128, 128), 5, head.settings)
    size, count = noisy.labels.shape[1], head.settings.queries
    with torch.no_grad():
        _, alone = head.decoded(pyramid, None)
        _, found = head.decoded(pyramid, noisy)
    assert found.logits.shape[2] == size + 2 * count
    assert alone.logits.shape[2] == count
    part = found.part(size, size + count)
    torch.testing.assert_close(part.logits, alone.logits, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(part.boxes, alone.boxes, rtol=1e-4, atol=1e-5)


def test_background_within_an_ignored_region_learns_no_class():
    """A query's place is the box that it finds at that stage."""
    targets = objects_of(1)
    targets = Targets(
        targets.boxes, targets.labels, ignored=torch.tensor([[80.0, 0.0, 128.0, 64.0]])
    )
    boxes = torch.tensor(
        [[100.0, 10, 120, 30], [75.0, 10, 87, 30], [70.0, 10, 88, 30], [10.0, 10, 30, 30]]
    )
    found = Predictions(
        torch.randn(1, 1, 4, 3, requires_grad=True), shares_of(boxes, CANVAS)[None, None]
    )
    objects = Objects([targets], CANVAS, None)
    for learns in (BACKGROUND, 0):
        rows = torch.tensor([[[learns, BACKGROUND, BACKGROUND, BACKGROUND]]])
        losses = stage_losses(found, rows, objects, QuerySettings())
        (gradient,) = torch.autograd.grad(
            losses["classification"].sum(), found.logits, retain_graph=True
        )
        learnt = gradient[0, 0].abs().sum(dim=1) > 0
        assert learnt.tolist() == [learns == 0, False, True, True]


@pytest.mark.parametrize(
    "settings",
    [
        {"regression": "distribution"},
        {"groups": 2},
        {"groups": 2, "regression": "distribution", "class_loss": "mal"},
        {"denoising": 0},
    ],
    ids=str,
)
def test_gradients_reach_all_and_no_image_changes_another(settings):
    torch.manual_seed(0)
    chosen = QuerySettings(
        **{"queries": 20, "layers": 2, "denoising": 8, **SMALL_QUERY, **settings}
    )
    detector = build_detector(SPEC, 3, FPNSettings(channels=16), chosen)
    given = batch(3)
    together = detector.losses(*given)
    names = {"classification", "box", "giou"}
    if "regression" in settings:
        names |= {"localisation", "distillation"}
    assert set(together) == names
    for k in range(3):
        one = type(given[0])(
            given[0].spec, tuple(x[k : k + 1] for x in given[0].maps), given[0].canvas_hw
        )
        alone = detector.losses(one, *(x[k : k + 1] for x in given[1:]))
        for name, loss in alone.items():
            torch.testing.assert_close(loss[0], together[name][k], rtol=1e-4, atol=1e-6)
    sum(together.values()).mean().backward()
    dead = [n for n, p in detector.named_parameters() if p.grad is None or not p.grad.any()]
    assert dead == []


def test_the_normaliser_divides_all_but_the_distillation():
    given = batch(2, (128, 128))
    losses = {}
    for by in (1.0, 4.0):
        torch.manual_seed(0)
        chosen = QuerySettings(
            **{"queries": 20, "layers": 2, "regression": "distribution", "normaliser": by},
            **SMALL_QUERY,
        )
        losses[by] = build_detector(SPEC, 3, FPNSettings(channels=16), chosen).losses(*given)
    for name, loss in losses[1.0].items():
        factor = 1 if name == "distillation" else 4
        torch.testing.assert_close(loss, losses[4.0][name] * factor)


def test_the_best_classes_of_the_queries_are_found_within_the_image():
    """One query may be found as several classes, as a score for each class has no rival."""
    head = head_of(max_detections=7, score_threshold=0.0)
    placed, pyramid = placement((128, 128), (64, 128)), levels(1, (128, 128))
    with torch.no_grad():
        (found,) = head.detections(pyramid, [placed])
        scores, boxes = head.outputs(pyramid)
    best = scores[0].flatten().sort(descending=True)
    assert torch.equal(found.scores, best.values[:7])
    assert torch.equal(found.labels, best.indices[:7] % 5)
    clipped = (
        boxes[0, best.indices[:7] // 5].clamp(min=0).minimum(torch.tensor([128.0, 64, 128, 64]))
    )
    assert torch.equal(found.boxes, clipped)
    limit = float(best.values[3])
    with torch.no_grad():
        (few,) = head_of(score_threshold=limit).detections(pyramid, [placed])
    assert len(few) == 3


def test_what_cannot_be_is_said():
    with pytest.raises(
        ConfigError, match=r"'head.attention_heads': expected a divisor of the neck's 16"
    ):
        QueryHead(levels(1, CANVAS).spec, 3, QuerySettings(attention_heads=5))
    with pytest.raises(ConfigError, match=r"'head.reg_max': expected an even number, got 7"):
        QueryHead(levels(1, CANVAS).spec, 3, QuerySettings(reg_max=7))
