"""Against transformers' own RT-DETR and D-FINE with the same weights: all that is found, and every loss."""

from random import Random

import pytest
import torch
from torch import Tensor
from transformers.loss.loss_d_fine import DFineLoss
from transformers.loss.loss_rt_detr import RTDetrHungarianMatcher

from fdet.heads.query.denoising import noisy_queries
from fdet.heads.query.losses import Objects, stage_losses
from fdet.heads.query.matching import matches
from fdet.heads.query.query_head import _with_selected
from fdet.heads.types import Targets

from .models import CLASSES, LAYERS, QUERIES, config_of, head_of, labels_of, levels, theirs_of

SEEDS = (7, 2**40 + 1)
# The canvas, and the part of it in which objects lie.
CANVASES = {"square": ((128, 128), (128, 128)), "letterboxed": ((96, 160), (96, 100))}


def targets_of(counts, content_hw, seed=1):
    generator = torch.Generator().manual_seed(seed)
    limits = torch.tensor(content_hw[::-1], dtype=torch.float32)
    found = []
    for count in counts:
        low = torch.rand(count, 2, generator=generator) * limits * 0.6
        sizes = (torch.rand(count, 2, generator=generator) * 0.3 + 0.08) * limits
        labels = torch.randint(0, CLASSES, (count,), generator=generator)
        found.append(Targets(torch.cat([low, low + sizes], dim=1), labels))
    return found


def same_noise(monkeypatch, seeds, size):
    """Let transformers draw what our head draws for images of as many denoising queries."""
    each = []
    for seed in seeds:
        generator = Random(seed)
        each.append(torch.tensor([generator.random() for _ in range(10 * size)]))
    draws = torch.stack(each)
    flips, others = draws[:, :size], draws[:, size : 2 * size]
    signs, parts = draws[:, 2 * size :].view(len(seeds), 2, size, 4).unbind(dim=1)
    uniform, whole = [flips, parts], [(others * CLASSES).int(), (signs >= 0.5).float()]
    monkeypatch.setattr(torch, "rand_like", lambda like, **_: uniform.pop(0))
    monkeypatch.setattr(torch, "randint_like", lambda like, *_, **__: whole.pop(0))


class Both:
    """Our head and theirs on the same levels and objects."""

    def __init__(self, monkeypatch, regression, canvas, counts, **settings) -> None:
        self.canvas_hw, content_hw = CANVASES[canvas]
        self.head = head_of(regression, **settings)
        self.pyramid = levels(len(counts), self.canvas_hw)
        self.targets, self.seeds = targets_of(counts, content_hw), SEEDS[: len(counts)]
        self.labels = labels_of(self.targets, self.canvas_hw)
        self.noisy = noisy_queries(
            self.targets, self.seeds, self.canvas_hw, CLASSES, self.head.settings
        )
        self.size = self.noisy.labels.shape[1]
        self.theirs = theirs_of(self.head, self.pyramid)
        with monkeypatch.context() as patch:
            same_noise(patch, self.seeds, self.size)
            images = torch.zeros(len(counts), 3, *self.canvas_hw)
            self.out = self.theirs(images, labels=self.labels)
        self.selected, self.found = self.head.decoded(self.pyramid, self.noisy)

    def stages(self) -> dict[str, Tensor]:
        """Our losses of the matched queries, (B, S) each."""
        main = _with_selected(self.found.part(self.size, self.size + QUERIES), self.selected)
        objects = Objects(self.targets, self.canvas_hw, None)
        rows = self.head._matches(main, objects, 1)
        return stage_losses(main, rows, objects, self.head.settings)

    def noisy_stages(self) -> dict[str, Tensor]:
        """Our losses of the denoising queries, (B, S) each."""
        found = self.found.part(0, self.size)
        rows = self.noisy.rows[:, None].expand(-1, found.logits.shape[1], -1)
        objects = Objects(self.targets, self.canvas_hw, None)
        return stage_losses(found, rows, objects, self.head.settings)


def close(ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("canvas", CANVASES)
@pytest.mark.parametrize("regression", ["direct", "distribution"])
def test_all_that_is_found_is_the_same(regression, canvas, monkeypatch):
    """The selection, and logits and boxes of each layer, for denoising and matched queries alike."""
    both = Both(monkeypatch, regression, canvas, (3, 3))
    assert both.size == 12
    close(both.selected.logits, both.out.enc_topk_logits)
    close(both.selected.boxes.sigmoid(), both.out.enc_topk_bboxes)
    close(both.found.logits, both.out.intermediate_logits)
    close(both.found.boxes, both.out.intermediate_reference_points)
    assert both.found.logits.shape[1] == LAYERS + (regression == "distribution")
    if regression == "distribution":
        close(both.found.distributions.logits.flatten(3), both.out.intermediate_predicted_corners)


@pytest.mark.parametrize("canvas", CANVASES)
@pytest.mark.parametrize("regression", ["direct", "distribution"])
def test_the_matching_of_every_layer_is_the_same(regression, canvas, monkeypatch):
    both = Both(monkeypatch, regression, canvas, (3, 5), denoising=0)
    matcher, boxes = RTDetrHungarianMatcher(both.theirs.config), both.found.boxes.clamp(0, 1)
    objects = Objects(both.targets, both.canvas_hw, None)
    ours = matches(both.found.logits, boxes, objects.labels, objects.shares)
    for stage in range(ours.shape[1]):
        given = {"logits": both.found.logits[:, stage], "pred_boxes": boxes[:, stage]}
        for image, (query, row) in enumerate(matcher(given, both.labels)):
            expected = torch.full((QUERIES,), -1)
            expected[query] = row
            assert torch.equal(ours[image, stage], expected)
            assert (expected >= 0).sum() == (3, 5)[image]


NAMES = {"classification": "loss_vfl", "box": "loss_bbox", "giou": "loss_giou"}


@pytest.mark.parametrize("canvas", CANVASES)
def test_every_loss_of_rt_detr_is_the_same(canvas, monkeypatch):
    """Theirs are divided by the objects of the batch."""
    both = Both(monkeypatch, "direct", canvas, (3, 3))
    ours, noisy, theirs = both.stages(), both.noisy_stages(), both.out.loss_dict
    # The last is that of the selection.
    order = [f"_aux_{LAYERS - 1}", *(f"_aux_{k}" for k in range(LAYERS - 1)), ""]
    for name, their_name in NAMES.items():
        expected = torch.stack([theirs[their_name + end] for end in order])
        close(ours[name].sum(dim=0) / 6, expected)
        expected = torch.stack([theirs[f"{their_name}_dn_{k}"] for k in range(LAYERS)])
        close(noisy[name].sum(dim=0) / 6 / int(both.noisy.groups[0]), expected)
    losses = both.head.losses(both.pyramid, (), both.targets, both.seeds)
    close(sum(losses.values()).mean(), both.out.loss)


def test_images_with_different_numbers_of_objects_have_the_losses_of_rt_detr(monkeypatch):
    """By their mean number; each of a batch of one by its own."""
    both = Both(monkeypatch, "direct", "letterboxed", (1, 5), denoising=0, normaliser=3.0)
    losses = both.head.losses(both.pyramid, (), both.targets, both.seeds)
    close(sum(losses.values()).mean(), both.out.loss)
    alone = Both(monkeypatch, "direct", "letterboxed", (5,))
    losses = alone.head.losses(alone.pyramid, (), alone.targets, alone.seeds)
    close(sum(losses.values()).mean(), alone.out.loss)


@pytest.mark.parametrize("canvas", CANVASES)
def test_every_loss_of_d_fine_is_the_same(canvas, monkeypatch):
    """transformers' own collection pairs the boxes of the first guess with the distributions of the first
    layer, and so on, and drops the last pair. Here its losses get what belongs together. It has a mean over
    the batch in the distillation, and so one image is compared.
    """
    both = Both(monkeypatch, "distribution", canvas, (4,))
    criterion, out = DFineLoss(config_of(both.head)), both.out
    corners, refs = out.intermediate_predicted_corners, out.initial_reference_points

    def stage(k: int, part: slice) -> dict[str, Tensor]:
        """The first guess is stage 0."""
        boxes = out.intermediate_reference_points[:, k, part].clamp(0, 1)
        found = {"logits": out.intermediate_logits[:, k, part], "pred_boxes": boxes}
        if k == 0:
            return found
        return found | {
            "pred_corners": corners[:, k - 1, part],
            "ref_points": refs[:, k - 1, part],
            "teacher_corners": corners[:, -1, part],
            "teacher_logits": out.intermediate_logits[:, -1, part],
        }

    noisy, main = slice(0, both.size), slice(both.size, None)
    selected = {"logits": out.enc_topk_logits, "pred_boxes": out.enc_topk_bboxes}
    theirs = criterion(
        {
            **stage(LAYERS, main),
            "auxiliary_outputs": [selected, *(stage(k, main) for k in range(LAYERS))],
            "dn_auxiliary_outputs": [stage(k, noisy) for k in range(LAYERS + 1)],
            "denoising_meta_values": {
                "dn_positive_idx": [torch.where(both.noisy.rows[0] >= 0)[0]],
                "dn_num_group": int(both.noisy.groups[0]),
            },
        },
        both.labels,
    )
    sets = {
        "": (both.stages(), 4, [f"_aux_{k}" for k in range(LAYERS + 1)] + [""]),
        "_dn": (
            both.noisy_stages(),
            4 * int(both.noisy.groups[0]),
            [f"_dn_{k}" for k in range(LAYERS + 1)],
        ),
    }
    for ours, count, ends in sets.values():
        for name, their_name in NAMES.items():
            close(ours[name][0] / count, torch.stack([theirs[their_name + end] for end in ends]))
        of_sides = ends[-LAYERS:]
        expected = torch.stack([theirs["loss_fgl" + end] for end in of_sides])
        close(ours["localisation"][0] / count, expected)
        expected = torch.stack([theirs["loss_ddf" + end] for end in of_sides[:-1]])
        assert expected.min() > 1e-4
        close(ours["distillation"][0], expected)
