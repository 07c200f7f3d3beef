"""The common part of Faster R-CNN and Cascade R-CNN: proposals, box heads one after another, masks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from random import Random
from typing import cast

import torch
from torch import Tensor, nn
from torchvision.ops import remove_small_boxes

from ...cache.errors import ConfigError
from ...cache.placement import Placement
from ...cache.pyramid import FeaturePyramid, PyramidSpec
from ..anchors import Anchors, best_iou
from ..candidates import suppressed
from ..class_rows import ClassRows, rows_of
from ..detector import Head
from ..long_tail import federated_classes
from ..recompute import recomputed
from ..sampling import balanced, some
from ..types import Detections, Fit, Targets
from .box_head import BoxHead, LabelledRoIs, of_class
from .mask_head import MaskHead, mask_loss
from .rpn import RPN
from .settings import RoISettings, StageLosses, Weights

# The logits (N, L) and box deltas (N, R, 4) of one image.
_Outputs = tuple[Tensor, Tensor]


class TwoStage(Head):
    """An RPN on every level, with box heads and a mask head on all levels except those for the RPN alone.

    stages: for each box head, the overlap from which a RoI counts as an object, and the weights of its
    boxes. stage_losses: how the losses of the stages are combined. The boxes of one stage are the RoIs of
    the next: in training only those that were drawn for the first stage, so that every stage learns from
    equally many. Raises ConfigError where a federated loss is combined with a softmax.
    """

    def __init__(
        self,
        spec: PyramidSpec,
        classes: int,
        settings: RoISettings,
        stages: Sequence[tuple[float, Weights]],
        stage_losses: StageLosses = "mean",
    ) -> None:
        super().__init__()
        if settings.federated and settings.classifier != "sigmoid":
            raise ConfigError(
                f"setting 'head.federated': a loss over {settings.federated} classes of an image needs a "
                "separate score for each class; set head.classifier=sigmoid"
            )
        self.settings, self.stage_losses = settings, stage_losses
        self.rpn = RPN(spec, settings)
        heads = nn.ModuleList(BoxHead(spec, classes, settings, *stage) for stage in stages)
        self.stages = cast(Sequence[BoxHead], heads)
        self.masks = MaskHead(spec, classes, settings) if settings.masks else None

    @property
    def parts(self) -> tuple[nn.Module, ...]:
        """The RPN's convolutions and the layers on pooled RoIs."""
        of_masks = () if self.masks is None else self.masks.parts
        return (self.rpn.head, *(m for stage in self.stages for m in stage.parts), *of_masks)

    @property
    def classifiers(self) -> tuple[nn.Module, ...]:
        """The class layer of each stage."""
        return tuple(stage.predictor.cls_score for stage in self.stages)

    @property
    def class_rows(self) -> ClassRows:
        """The layers of each stage that have something for each class, and the last one of the masks."""
        masks = () if self.masks is None else rows_of(self.masks.predictor.mask_fcn_logits)
        return (*(layer for stage in self.stages for layer in stage.class_rows), *masks)

    def use_embeddings(self, vectors: Tensor) -> None:
        """Replace the class layer of each box head, as described in `Head.use_embeddings`.

        Raises ConfigError also where boxes or masks are learnt for each class.
        """
        for name, wanted in (("class_agnostic", True), ("masks", False)):
            if getattr(self.settings, name) != wanted:
                raise ConfigError(
                    f"setting 'head.{name}': expected {str(wanted).lower()} with class embeddings, as these "
                    "can be exchanged"
                )
        for stage in self.stages:
            stage.use_embeddings(vectors)

    @property
    def anchor_generator(self) -> Anchors:
        """The RPN's anchor generator."""
        return cast(Anchors, self.rpn.anchor_generator)

    def fit(self, boxes: Tensor, canvas_hw: tuple[int, int]) -> Fit:
        """Return how objects fit the anchors: reached by an IoU of 0.5 or more with an anchor.

        RoIs are sampled in a fixed number, so `locations` is 1 for every object.
        """
        reached = best_iou(self.anchor_generator, boxes, canvas_hw) >= 0.5
        return Fit(torch.ones_like(reached, dtype=torch.int64), reached)

    def losses(
        self,
        pyramid: FeaturePyramid,
        placements: Sequence[Placement],
        targets: Sequence[Targets],
        seeds: Sequence[int],
    ) -> dict[str, Tensor]:
        """Return named losses, (B,) each.

        They are "objectness", "proposal_box", "classification", "box" and, with masks, "mask". The losses
        of an image are divided by the number of its own sampled anchors, RoIs or positive RoIs. torchvision
        divides by the number of the batch: the mean over images equals its losses where every image has
        equally many. The losses of several stages are combined by `over_stages`. An image's seed draws its
        anchors first, then its RoIs; the classes of a federated loss and the RoIs that masks learn from are
        drawn by separate generators. Raises ValueError where masks are to be learnt and a target has none.
        """
        if self.masks is not None and any(of_image.masks is None for of_image in targets):
            raise ValueError("head.masks=true learns from masks: expected them in all targets")
        losses, drawn = self.sampled(pyramid, placements, targets, seeds)
        by_stage: list[Tensor] = []
        counted = self.counted(targets, seeds)
        for stage, boxes, outputs in self._stages(pyramid, placements, [r.boxes for r in drawn]):
            images = zip(boxes, targets, strict=True)
            rois = [stage.labelled(*of) for of in images] if by_stage else drawn
            learned = zip(outputs, rois, targets, counted, strict=True)
            by_stage.append(torch.stack([stage.losses(*of, r, t, c) for of, r, t, c in learned]))
        of_boxes = self.over_stages(by_stage).unbind(dim=1)
        losses |= dict(zip(("classification", "box"), of_boxes, strict=True))
        if self.masks is not None:
            losses["mask"] = self._mask_losses(pyramid, rois, targets, seeds)
        return losses

    def sampled(
        self,
        pyramid: FeaturePyramid,
        placements: Sequence[Placement],
        targets: Sequence[Targets],
        seeds: Sequence[int],
    ) -> tuple[dict[str, Tensor], list[LabelledRoIs]]:
        """Return the RPN's losses, and for each image the RoIs that the first stage learns from."""
        generators = [Random(seed) for seed in seeds]
        first = self.rpn.propose(pyramid, placements, training=True, recompute=self.recomputes)
        losses = self.rpn.losses(first, targets, generators)
        images = zip(first.boxes, targets, generators, strict=True)
        return losses, [self._drawn(*of_image) for of_image in images]

    def counted(self, targets: Sequence[Targets], seeds: Sequence[int]) -> Sequence[Tensor | None]:
        """Return for each image the classes that count in its loss, (K,), or None for all."""
        of_classes = federated_classes(targets, seeds, self.settings.federated)
        return [None] * len(targets) if of_classes is None else of_classes.unbind()

    def over_stages(self, losses: Sequence[Tensor]) -> Tensor:
        """Combine the losses of the stages, (B, ...) each, by their mean or sum, as `stage_losses` says."""
        of_stages = torch.stack(tuple(losses))
        return of_stages.mean(dim=0) if self.stage_losses == "mean" else of_stages.sum(dim=0)

    def detections(
        self, pyramid: FeaturePyramid, placements: Sequence[Placement]
    ) -> list[Detections]:
        """Return the boxes of the last stage after NMS; scores are the mean over the stages."""
        return self.with_masks(pyramid, self.without_masks(pyramid, placements))

    def without_masks(
        self, pyramid: FeaturePyramid, placements: Sequence[Placement]
    ) -> list[Detections]:
        """Return the same detections without masks, which `with_masks` adds."""
        propose = self.rpn.propose
        first = propose(pyramid, placements, training=False, recompute=self.recomputes)
        stages = list(self._stages(pyramid, placements, first.boxes))
        by_stage = [outputs for _, _, outputs in stages]
        last, rois, outputs = stages[-1]
        scores = [_mean_scores(last, of_image) for of_image in zip(*by_stage, strict=True)]
        images = zip(outputs, rois, placements, strict=True)
        boxes = [last.decoded(deltas, of, placed.content_hw) for (_, deltas), of, placed in images]
        return [self._best(*of_image) for of_image in zip(boxes, scores, strict=True)]

    def with_masks(self, pyramid: FeaturePyramid, found: Sequence[Detections]) -> list[Detections]:
        """Return detections with the masks of their boxes, where the head predicts masks."""
        if self.masks is None:
            return list(found)
        logits = self._mask_logits(pyramid, [d.boxes for d in found], [d.labels for d in found])
        images = zip(found, logits, strict=True)
        return [replace(of_image, masks=x.sigmoid()) for of_image, x in images]

    def _stages(
        self, pyramid: FeaturePyramid, placements: Sequence[Placement], rois: list[Tensor]
    ) -> Iterator[tuple[BoxHead, list[Tensor], list[_Outputs]]]:
        """Yield each stage in turn, with every image's RoIs and the stage's outputs for them."""
        for k, stage in enumerate(self.stages, 1):
            outputs = self._outputs(stage, pyramid, rois)
            yield stage, rois, outputs
            if k < len(self.stages):
                rois = moved(stage, outputs, rois, placements)

    def _outputs(
        self, stage: BoxHead, pyramid: FeaturePyramid, rois: list[Tensor]
    ) -> list[_Outputs]:
        outputs = recomputed(stage, pyramid, rois) if self.recomputes else stage(pyramid, rois)
        return by_image(outputs, rois)

    def _drawn(self, proposals: Tensor, targets: Targets, generator: Random) -> LabelledRoIs:
        """Sample the first stage's RoIs from an image's proposals and its objects themselves."""
        rois = self.stages[0].labelled(torch.cat([proposals, targets.boxes]), targets)
        sampled, positive = self.settings.sampled, self.settings.positive
        return rois[torch.cat(balanced(rois.labels, sampled, positive, generator))]

    def _best(self, boxes: Tensor, scores: Tensor) -> Detections:
        """Return the detections of one image from boxes (N, R, 4) and scores (N, K)."""
        rois, labels = torch.where(scores > self.settings.score_threshold)
        found = Detections(of_class(boxes[rois], labels), scores[rois, labels], labels)
        return suppressed(found[remove_small_boxes(found.boxes, min_size=1e-2)], self.settings)

    def _mask_losses(
        self,
        pyramid: FeaturePyramid,
        rois: Sequence[LabelledRoIs],
        targets: Sequence[Targets],
        seeds: Sequence[int],
    ) -> Tensor:
        """Return the mask losses (B,) of the positive RoIs of the last stage.

        These RoIs come nearest to the boxes whose masks are predicted. At most as many are taken as the
        first stage draws, as a later stage may have made positives of others.
        """
        images = zip(rois, seeds, strict=True)
        positive = [self._drawn_for_masks(*of_image) for of_image in images]
        logits = self._mask_logits(
            pyramid, [p.boxes for p in positive], [p.labels - 1 for p in positive]
        )
        learned = zip(logits, positive, targets, strict=True)
        return torch.stack([mask_loss(*of_image) for of_image in learned])

    def _drawn_for_masks(self, rois: LabelledRoIs, seed: int) -> LabelledRoIs:
        """Sample the positive RoIs of an image that masks learn from, in their order.

        A separate generator draws them, so that the other draws do not depend on this one.
        """
        maximum = int(self.settings.sampled * self.settings.positive)
        positive = torch.where(rois.labels > 0)[0]
        return rois[some(positive, maximum, Random(f"masks {seed}")).sort().values]

    def _mask_logits(
        self, pyramid: FeaturePyramid, rois: list[Tensor], labels: list[Tensor]
    ) -> Sequence[Tensor]:
        """Return the mask logits (N, M, M) of each image."""
        inputs = (pyramid, rois, labels)
        assert self.masks is not None
        logits = recomputed(self.masks, *inputs) if self.recomputes else self.masks(*inputs)
        return torch.split(logits, [len(of_image) for of_image in rois])


def by_image(outputs: _Outputs, rois: Sequence[Tensor]) -> list[_Outputs]:
    """Split the outputs for the RoIs of all images into those of each image."""
    counts = [len(of_image) for of_image in rois]
    logits, deltas = (torch.split(x, counts) for x in outputs)
    return list(zip(logits, deltas, strict=True))


def moved(
    stage: BoxHead,
    outputs: Sequence[_Outputs],
    rois: Sequence[Tensor],
    placements: Sequence[Placement],
) -> list[Tensor]:
    """Return for each image (N, 4): its RoIs as a stage moves them for the next one, without gradient."""
    images = zip(outputs, rois, placements, strict=True)
    return [stage.refined(*of, r, placed.content_hw) for of, r, placed in images]


def _mean_scores(head: BoxHead, of_stages: Sequence[_Outputs]) -> Tensor:
    """Return the probabilities (N, K) of an image's RoIs: the mean over the stages' scores."""
    return torch.stack([head.scores(logits) for logits, _ in of_stages]).mean(dim=0)
