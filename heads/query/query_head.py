"""The query head: RT-DETR's decoder (Zhao et al., arXiv 2304.08069), or D-FINE's, on any neck's levels."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from ...cache.errors import ConfigError
from ...cache.placement import Placement
from ...cache.pyramid import FeaturePyramid, PyramidSpec
from ..attention import Perceptron
from ..class_rows import ClassRows, rows_of
from ..detector import Head
from ..embedding import query_classifier
from ..long_tail import federated_classes
from ..recompute import recomputed
from ..types import Detections, Fit, Targets
from .boxes import inverse_sigmoid, pixels_of
from .decoder import Stage, box_layers
from .denoising import Noisy, noisy_queries, visible
from .distribution import Quality, corrections, moved_boxes
from .labels import LabelEmbedding
from .losses import Distributions, Objects, Predictions, stage_losses
from .matching import matches
from .selection import FirstBoxesOf, Selection, best_cells, cells_at
from .settings import QuerySettings


class Selected(NamedTuple):
    """The cells that become queries, best first.

    features: (B, N, C). logits: (B, N, K). boxes: (B, N, 4), logits of centres and sizes in shares of the
    canvas.
    """

    features: Tensor
    logits: Tensor
    boxes: Tensor


class QueryHead(Head):
    """Queries that start from the best cells of all levels and find at most one object each, without NMS.

    Every stage of the decoder is trained, and so are the cells that were selected. In training, denoising
    queries come before the matched ones, and those of the one-to-many branch after them.
    """

    # The corrections of the distributions, where there are some.
    steps: Tensor

    def __init__(self, spec: PyramidSpec, classes: int, settings: QuerySettings) -> None:
        super().__init__()
        channels, heads = spec.channels[0], settings.attention_heads
        if channels % heads:
            raise ConfigError(
                f"setting 'head.attention_heads': expected a divisor of the neck's {channels} channels, got "
                f"{heads}"
            )
        if settings.reg_max % 2:
            raise ConfigError(
                f"setting 'head.reg_max': expected an even number, got {settings.reg_max}"
            )
        self.settings, self.classes = settings, classes
        levels = len(spec.levels)
        self.first_boxes_of = FirstBoxesOf(spec)
        self.selection = Selection(channels, classes)
        self.selected_boxes = box_layers(channels, 4)
        self.position = Perceptron(4, 2 * channels, channels, 2)
        stages = (Stage(channels, levels, classes, settings) for _ in range(settings.layers))
        self.stages = cast(Sequence[Stage], nn.ModuleList(stages))
        self.noisy_labels = LabelEmbedding(classes, channels) if settings.denoising else None
        self.distribution = settings.regression == "distribution"
        if self.distribution:
            self.first_boxes = box_layers(channels, 4)
            self.quality = nn.ModuleList(Quality(settings) for _ in range(settings.layers))
            steps = corrections(settings.reg_max, settings.up, settings.reg_scale)
            self.register_buffer("steps", steps, persistent=False)

    @property
    def parts(self) -> tuple[nn.Module, ...]:
        """The layers of the selection, those of positions, and the stages of the decoder."""
        of_sides = (self.first_boxes, *self.quality) if self.distribution else ()
        return self.selection, self.selected_boxes, self.position, *self.stages, *of_sides

    @property
    def classifiers(self) -> tuple[nn.Module, ...]:
        """The class layer of the selection and that of each stage."""
        return self.selection.classifier, *(stage.classifier for stage in self.stages)

    @property
    def class_rows(self) -> ClassRows:
        """The class layers, and the embedding of noisy labels."""
        noisy = () if self.noisy_labels is None else (self.noisy_labels.table,)
        return tuple(chain.from_iterable(rows_of(layer) for layer in (*self.classifiers, *noisy)))

    def use_embeddings(self, vectors: Tensor) -> None:
        """Replace the class layers, and the embedding of noisy labels, as `Head.use_embeddings` says."""
        self.selection.classifier = query_classifier(self.selection.classifier, vectors)
        for stage in self.stages:
            stage.classifier = query_classifier(stage.classifier, vectors)
        if self.noisy_labels is not None:
            self.noisy_labels.use_embeddings(vectors)
        self.classes = len(vectors)

    def fit(self, boxes: Tensor, canvas_hw: tuple[int, int]) -> Fit:
        """Return the fit: every object is reached, and one query learns it."""
        each = torch.ones(len(boxes), dtype=torch.int64, device=boxes.device)
        return Fit(each, each.bool())

    def losses(
        self,
        pyramid: FeaturePyramid,
        placements: Sequence[Placement],
        targets: Sequence[Targets],
        seeds: Sequence[int],
    ) -> dict[str, Tensor]:
        """Return "classification", "box" and "giou", (B,) each; with distributions two more.

        These are "localisation" and "distillation". Each is the sum over all stages and the selection, and
        over the matched queries, the denoising queries and those of the one-to-many branch. An image's
        losses are divided by its number of objects or by the normaliser, those of the denoising queries and
        the branch also by their number for an object. An image's seed draws its denoising queries and, by a
        separate generator, the classes of a federated loss.
        """
        settings = self.settings
        counted = federated_classes(targets, seeds, settings.federated)
        objects = Objects(targets, pyramid.canvas_hw, counted)
        noisy = noisy_queries(targets, seeds, pyramid.canvas_hw, self.classes, settings)
        selected, found = self.decoded(pyramid, noisy)
        size = noisy.labels.shape[1]
        count = found.logits.shape[2] - size
        queries = min(settings.queries, count)
        main = _with_selected(found.part(size, size + queries), selected)
        sets = [self._losses(main, self._matches(main, objects, 1), objects)]
        if settings.denoising:
            known = found.part(0, size)
            rows = noisy.rows[:, None].expand(-1, known.logits.shape[1], -1)
            sets.append(self._losses(known, rows, objects, noisy.groups))
        if settings.groups:
            many = found.part(size + queries, size + count)
            rows = self._matches(many, objects, settings.groups)
            repeats = torch.full_like(noisy.groups, settings.groups)
            sets.append(self._losses(many, rows, objects, repeats))
        return {name: torch.stack([of[name] for of in sets]).sum(dim=0) for name in sets[0]}

    def _matches(self, found: Predictions, objects: Objects, repeats: int) -> Tensor:
        boxes = found.boxes.clamp(0, 1)
        return matches(found.logits, boxes, objects.labels, objects.shares, repeats)

    def _losses(
        self,
        found: Predictions,
        rows: Tensor,
        objects: Objects,
        repeats: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Return the losses of one set of queries, (B,) each. repeats: (B,), its queries for each object."""
        by = self.settings.normaliser
        counts = rows.new_tensor([len(labels) for labels in objects.labels]).clamp(min=1)
        divisor = (
            counts if isinstance(by, str) else torch.full_like(counts, by, dtype=torch.float32)
        )
        if repeats is not None:
            divisor = divisor * repeats
        losses = stage_losses(found, rows, objects, self.settings)
        # The distillation is a mean over queries already.
        return {
            name: x.sum(dim=1) / (1 if name == "distillation" else divisor)
            for name, x in losses.items()
        }

    def detections(
        self, pyramid: FeaturePyramid, placements: Sequence[Placement]
    ) -> list[Detections]:
        """Return the best scores of the last stage, each of one class of one query."""
        scores, boxes = self.outputs(pyramid)
        images = zip(scores, boxes, placements, strict=True)
        return [self._best(*of_image) for of_image in images]

    def outputs(self, pyramid: FeaturePyramid) -> tuple[Tensor, Tensor]:
        """Return the scores (B, Q, K) and boxes (B, Q, 4), canvas px, of the last stage, float32."""
        _, found = self.decoded(pyramid, None)
        boxes = pixels_of(found.boxes[:, -1], pyramid.canvas_hw)
        return found.logits[:, -1].sigmoid(), boxes

    def _best(self, scores: Tensor, boxes: Tensor, placement: Placement) -> Detections:
        count = min(self.settings.max_detections, scores.numel())
        best, index = scores.flatten().topk(count)
        index = index[best > self.settings.score_threshold]
        query, label = index.div(scores.shape[1], rounding_mode="floor"), index % scores.shape[1]
        hw = placement.content_hw
        limits = boxes.new_tensor([hw[1], hw[0]] * 2)
        clipped = boxes[query].clamp(min=0).minimum(limits)
        return Detections(clipped, scores[query, label], label)

    def decoded(self, pyramid: FeaturePyramid, noisy: Noisy | None) -> tuple[Selected, Predictions]:
        """Return the cells that were selected, and what all queries find after each stage.

        noisy: the denoising queries, which come first; None outside of training, without the one-to-many
        branch.
        """
        tokens = torch.cat([x.flatten(2).transpose(1, 2) for x in pyramid.maps], dim=1)
        further = 0 if noisy is None else self.settings.groups * self.settings.queries
        selected = self._selected(pyramid, tokens, self.settings.queries + further)
        queries, boxes = selected.features.detach(), selected.boxes.detach()
        attend = None
        if noisy is not None:
            queries, boxes = self._with_noisy(queries, boxes, noisy)
            count = min(self.settings.queries, selected.boxes.shape[1])
            attend = visible(noisy, count, selected.boxes.shape[1] - count)
        sizes = tuple((x.shape[-2], x.shape[-1]) for x in pyramid.maps)
        refine = self._by_distributions if self.distribution else self._by_numbers
        return selected, refine(queries, boxes.sigmoid(), (tokens, sizes, attend))

    def _selected(self, pyramid: FeaturePyramid, tokens: Tensor, count: int) -> Selected:
        first = self.first_boxes_of(pyramid)
        features, logits = self._run(self.selection, tokens, first.valid)
        index = best_cells(logits, min(count, tokens.shape[1]))
        features, logits = cells_at(features, index), cells_at(logits, index)
        moved = self._run(self.selected_boxes, features).float()
        return Selected(features, logits, moved + first.logits[index])

    def _with_noisy(self, queries: Tensor, boxes: Tensor, noisy: Noisy) -> tuple[Tensor, Tensor]:
        if self.noisy_labels is None:
            return queries, boxes
        labels = self.noisy_labels(noisy.labels).to(queries.dtype)
        return torch.cat([labels, queries], dim=1), torch.cat([noisy.logits, boxes], dim=1)

    def _by_numbers(self, queries: Tensor, boxes: Tensor, others: tuple[Any, ...]) -> Predictions:
        """Return what queries (B, N, C) with boxes (B, N, 4) find, each stage correcting four numbers."""
        found = []
        for stage in self.stages:
            positions = self._run(self.position, boxes)
            queries, logits, moved = self._run(stage, queries, positions, boxes, *others, None)
            corrected = (moved + inverse_sigmoid(boxes)).sigmoid()
            found.append((logits, corrected))
            boxes = corrected.detach()
        return Predictions(*_by_stage(found))

    def _by_distributions(
        self, queries: Tensor, boxes: Tensor, others: tuple[Any, ...]
    ) -> Predictions:
        """Return the same, with D-FINE's distributions; the first box of the first stage is a stage too."""
        found, of_sides = [], []
        before, first, sides = None, None, torch.zeros((), device=queries.device)
        for stage, quality in zip(self.stages, self.quality, strict=True):
            # D-FINE's own bound.
            positions = self._run(self.position, boxes).clamp(-10, 10)
            queries, logits, moved = self._run(stage, queries, positions, boxes, *others, before)
            if first is None:
                moves = self._run(self.first_boxes, queries).float()
                corrected = (moves + inverse_sigmoid(boxes)).sigmoid()
                found.append((logits, corrected))
                first = corrected.detach()
            sides = sides + moved.unflatten(2, (4, -1))
            corrected = moved_boxes(first, sides, self.steps, self.settings.reg_scale)
            found.append((logits + self._run(quality, sides), corrected))
            of_sides.append(sides)
            before, boxes = queries.detach(), corrected.detach()
        assert first is not None
        of = Distributions(torch.stack(of_sides, dim=1), first, self.steps)
        return Predictions(*_by_stage(found), of)

    def _run(self, part: nn.Module, *inputs: Any) -> Any:
        """Return part(*inputs), whose activations are recomputed in the backward pass where that is set."""
        return recomputed(part, *inputs) if self.recomputes else part(*inputs)


def _by_stage(found: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Return the logits (B, S, N, K) and boxes (B, S, N, 4) of all stages."""
    logits, boxes = zip(*found, strict=True)
    return torch.stack(logits, dim=1), torch.stack(boxes, dim=1)


def _with_selected(found: Predictions, selected: Selected) -> Predictions:
    """Return the predictions with those of the selected cells themselves as the first stage."""
    count = found.logits.shape[2]
    first = selected.logits[:, None, :count], selected.boxes[:, None, :count].sigmoid()
    given = found.logits, found.boxes
    logits, boxes = (torch.cat(pair, dim=1) for pair in zip(first, given, strict=True))
    return Predictions(logits, boxes, found.distributions)
