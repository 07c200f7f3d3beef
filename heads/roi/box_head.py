"""The box head: from pooled RoIs to classes and refined boxes, with its targets and losses."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.detection._utils import BoxCoder, Matcher
from torchvision.models.detection.faster_rcnn import FastRCNNConvFCHead, FastRCNNPredictor
from torchvision.ops import box_iou, clip_boxes_to_image

from ...cache.pyramid import FeaturePyramid, PyramidSpec
from ..assign import within_ignored
from ..class_rows import ClassRows, rows_of
from ..convolutions import initialise, initialise_output
from ..embedding import roi_classifier
from ..long_tail import label_weights
from ..norms import norm_layer
from ..types import Targets
from .pooling import RoIPool
from .settings import RoISettings, Weights

# The score of every class in a fresh head, where the classifier is a sigmoid.
PRIOR = 0.01
# The label of a RoI that is neither an object nor background.
IGNORED = -1


@dataclass(frozen=True, slots=True)
class LabelledRoIs:
    """The RoIs of one image, with the labels and objects that they are to learn.

    boxes: (N, 4) canvas px. labels: (N,), 0 for background, k + 1 for class k and -1 for ignored RoIs;
    these labels exist in the RoI heads only. matched: (N,), the object that each positive RoI overlaps
    most.
    """

    boxes: Tensor
    labels: Tensor
    matched: Tensor

    def __getitem__(self, chosen: Tensor) -> LabelledRoIs:
        """Return the RoIs of these indices, in their order."""
        return LabelledRoIs(self.boxes[chosen], self.labels[chosen], self.matched[chosen])


class BoxHead(nn.Module):
    """torchvision's convolutional and linear layers on pooled RoIs, followed by the class and box layers.

    The linear layers have fresh weights as in Detectron. iou_foreground: the overlap from which a RoI
    counts as an object. weights: the factors by which the offsets (x, y, w, h) of its box are multiplied.

    R is the number of boxes per RoI: one for each class, or a single one where boxes are class-agnostic. L
    is the number of logits: K, preceded by one for background where the classifier is a softmax.
    """

    def __init__(
        self,
        spec: PyramidSpec,
        classes: int,
        settings: RoISettings,
        iou_foreground: float,
        weights: Weights,
    ) -> None:
        super().__init__()
        size = settings.pool_size
        self.pool = RoIPool(spec, size, settings.roi_aligned)
        self.layers = FastRCNNConvFCHead(
            (spec.channels[0], size, size),
            [settings.conv_channels] * settings.convs,
            [settings.fc_channels] * settings.fc_layers,
            norm_layer(settings.norm),
        )
        self.settings, self.classes = settings, classes
        sigmoid = settings.classifier == "sigmoid"
        self.predictor = FastRCNNPredictor(settings.fc_channels, classes + (not sigmoid))
        boxes = 1 if settings.class_agnostic else classes
        self.predictor.bbox_pred = nn.Linear(settings.fc_channels, 4 * boxes)
        initialise(nn.ModuleList(m for m in self.layers if isinstance(m, nn.Linear)))
        prior = -math.log((1 - PRIOR) / PRIOR) if sigmoid else 0.0
        initialise_output(self.predictor.cls_score, 0.01, prior)
        initialise_output(self.predictor.bbox_pred, 0.001)
        self.coder = BoxCoder(weights)
        self.matcher = Matcher(iou_foreground, iou_foreground)

    @property
    def parts(self) -> tuple[nn.Module, ...]:
        """The layers that work on pooled RoIs."""
        return self.layers, self.predictor

    @property
    def class_rows(self) -> ClassRows:
        """The class layer, and the box layer where it has a box for each class."""
        softmax = self.settings.classifier == "softmax"
        boxes = () if self.settings.class_agnostic else rows_of(self.predictor.bbox_pred, each=4)
        return (*rows_of(self.predictor.cls_score, background=softmax), *boxes)

    def use_embeddings(self, vectors: Tensor) -> None:
        """Classify by vectors (K, D) from now on, as described in `Head.use_embeddings`."""
        self.predictor.cls_score = roi_classifier(self.predictor.cls_score, vectors)

    def forward(self, pyramid: FeaturePyramid, rois: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Return the logits (N, L) and box deltas (N, R, 4) of the N RoIs of all images, float32."""
        return self.predicted(self.vectors(pyramid, rois))

    def vectors(self, pyramid: FeaturePyramid, rois: list[Tensor]) -> Tensor:
        """Return (N, C): the input of the class and box layers for the N RoIs of all images."""
        return cast(Tensor, self.layers(self.pool(pyramid, rois)))

    def predicted(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Apply the class and box layers to vectors (N, C); the result is that of `forward`."""
        logits, deltas = self.predictor(vectors)
        return logits.float(), deltas.float().unflatten(1, (-1, 4))

    def logits(self, vectors: Tensor) -> Tensor:
        """Apply the class layer alone to vectors (N, C); the result is (N, L), float32."""
        return cast(Tensor, self.predictor.cls_score(vectors)).float()

    def labelled(self, boxes: Tensor, targets: Targets) -> LabelledRoIs:
        """Label each RoI of an image, (N, 4), by its overlap with the image's objects."""
        labels = best = boxes.new_zeros(len(boxes), dtype=torch.int64)
        if len(targets.labels):
            matched = self.matcher(box_iou(targets.boxes, boxes))
            best = matched.clamp(min=0)
            labels = torch.where(matched >= 0, targets.labels[best] + 1, 0)
        if (within := within_ignored(boxes, targets)) is not None:
            labels = labels.masked_fill(within & (labels == 0), IGNORED)
        return LabelledRoIs(boxes, labels, best)

    def scores(self, logits: Tensor) -> Tensor:
        """Return the probabilities of the classes, (N, K), for logits (N, L)."""
        if self.settings.classifier == "sigmoid":
            return logits.sigmoid()
        return logits.softmax(dim=1)[:, 1:]

    def losses(
        self,
        logits: Tensor,
        deltas: Tensor,
        rois: LabelledRoIs,
        targets: Targets,
        counted: Tensor | None = None,
    ) -> Tensor:
        """Return (2,): the classification and box losses of one image, divided by the number of its RoIs.

        counted: (K,), the classes that count in the image's loss, or None for all.
        """
        count = max(1, len(logits))
        classes = self.class_loss(logits, rois.labels, targets, counted)
        if not len(targets.labels):
            return torch.stack([classes, deltas.sum() * 0])
        # All RoIs are encoded, as selecting the positives would wait for the device.
        positive = (rois.labels > 0)[:, None]
        offsets = self.coder.encode_single(targets.boxes[rois.matched], rois.boxes)
        off = functional.smooth_l1_loss(
            of_class(deltas, (rois.labels - 1).clamp(min=0)),
            torch.where(positive, offsets, 0),
            beta=1 / 9,
            reduction="none",
        )
        return torch.stack([classes, torch.where(positive, off, 0).sum() / count])

    def class_loss(
        self, logits: Tensor, labels: Tensor, targets: Targets, counted: Tensor | None = None
    ) -> Tensor:
        """Return the classification loss of one image's N RoIs, divided by N.

        logits: (N, L). labels: (N,). Only the fields of the targets that concern classes are used.
        """
        return self._class_costs(logits, labels, targets, counted) / max(1, len(logits))

    def _class_costs(
        self, logits: Tensor, labels: Tensor, targets: Targets, counted: Tensor | None
    ) -> Tensor:
        """Return the sum of the costs over the RoIs that are not ignored."""
        beta, shown = self.settings.class_balance, labels.clamp(min=0)
        if self.settings.classifier == "softmax":
            cross_entropy = partial(functional.cross_entropy, ignore_index=IGNORED)
            if not beta:
                return cross_entropy(logits, labels, reduction="sum")
            costs = cross_entropy(logits, labels, reduction="none")
        else:
            wanted = functional.one_hot(shown, self.classes + 1)[:, 1:].to(logits)
            each = functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
            costs = (each if counted is None else each * counted).sum(dim=1) * (labels != IGNORED)
        return (costs * label_weights([targets], shown - 1, beta)).sum()

    def decoded(self, deltas: Tensor, rois: Tensor, hw: tuple[int, int]) -> Tensor:
        """Decode deltas (N, R, 4) of an image's RoIs (N, 4) to boxes (N, R, 4) canvas px, clipped to hw."""
        boxes = self.coder.decode_single(deltas.flatten(1), rois).unflatten(1, (-1, 4))
        return cast(Tensor, clip_boxes_to_image(boxes, hw))

    def refined(self, logits: Tensor, deltas: Tensor, rois: Tensor, hw: tuple[int, int]) -> Tensor:
        """Return (N, 4): an image's RoIs, moved by the deltas of their best classes, without gradient."""
        best = of_class(deltas.detach(), logits[:, -self.classes :].argmax(dim=1))
        return self.decoded(best[:, None], rois, hw)[:, 0]


def of_class(boxes: Tensor, labels: Tensor) -> Tensor:
    """Select from boxes (N, R, 4) those of the labels (N,), 0..K-1; the result is (N, 4)."""
    if boxes.shape[1] == 1:
        return boxes[:, 0]
    return boxes[torch.arange(len(labels), device=labels.device), labels]
