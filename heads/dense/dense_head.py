"""The base of all dense heads: two towers, classes that can be embeddings, losses and detections."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, ClassVar

from torch import Tensor, nn

from ...cache.placement import Placement
from ...cache.pyramid import FeaturePyramid
from ..assign import IGNORED, Assigned
from ..candidates import found_in_images
from ..class_rows import ClassRows, rows_of
from ..detector import Head
from ..embedding import location_classifier
from ..family import NMSSettings
from ..long_tail import federated_classes, label_weights
from ..losses import per_image
from ..types import Detections, Targets
from .towers import tower_outputs

# A function from indices of images (N,) and of locations (N,) to boxes (N, 4) xyxy in canvas px.
BoxesOf = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class Costs:
    """The losses of a batch before they are summed, (B, A) each.

    learnt: what each location learns. counts: (B,), the divisor of each image's sums where the settings name
    no other. classes: the costs of the classification. others: the other costs, by the name of their loss.
    """

    learnt: Assigned
    counts: Tensor
    classes: Tensor
    others: Mapping[str, Tensor]


class DenseHead(Head):
    """A head with class scores and a box for each of A locations, level after level.

    A subclass builds the towers, and defines the costs, the scores and the boxes of their outputs.
    classifier: the name of the last layer of the classification tower. per_cell: the number of locations in
    each cell of a map.
    """

    settings: NMSSettings
    # Towers of torchvision, which is not typed, or `Tower`.
    classification_head: Any
    regression_head: Any
    classifier: ClassVar[str] = "cls_logits"
    per_cell = 1

    @property
    def parts(self) -> tuple[nn.Module, ...]:
        """The two towers."""
        return self.classification_head, self.regression_head

    @property
    def classifiers(self) -> tuple[nn.Module, ...]:
        """The last convolution of the classification tower."""
        return (getattr(self.classification_head, self.classifier),)

    @property
    def class_rows(self) -> ClassRows:
        """The last convolution of the classification tower: the classes of one anchor after another's."""
        return rows_of(self.classifiers[0], places=self.per_cell)

    def use_embeddings(self, vectors: Tensor) -> None:
        """Replace the last convolution of the classification tower by one that compares with vectors."""
        tower = self.classification_head
        layer = location_classifier(self.classifiers[0], self.per_cell, vectors)
        setattr(tower, self.classifier, layer)
        tower.num_classes = len(vectors)

    def outputs(self, pyramid: FeaturePyramid) -> tuple[Tensor, ...]:
        """Return the towers' outputs in float32: class logits (B, A, K) first, then others (B, A, ...)."""
        parts = (tower_outputs(part, pyramid.maps, self.recomputes) for part in self.parts)
        return tuple(chain.from_iterable(parts))

    @abstractmethod
    def costs(
        self,
        outputs: Sequence[Tensor],
        pyramid: FeaturePyramid,
        targets: Sequence[Targets],
        counted: Tensor | None,
    ) -> Costs:
        """Return the costs of the outputs. counted: (B, K), whether each class counts; None for all."""

    @abstractmethod
    def scores(self, outputs: Sequence[Tensor]) -> Tensor:
        """Return the scores (B, A, K), from 0 to 1."""

    @abstractmethod
    def boxes(self, outputs: Sequence[Tensor], pyramid: FeaturePyramid) -> BoxesOf:
        """Return the function that decodes single boxes of the outputs."""

    def losses(
        self,
        pyramid: FeaturePyramid,
        placements: Sequence[Placement],
        targets: Sequence[Targets],
        seeds: Sequence[int],
    ) -> dict[str, Tensor]:
        """Return "classification" and the subclass's own losses, (B,) each.

        Only the classes of a federated loss are drawn at random.
        """
        settings = self.settings
        counted = federated_classes(targets, seeds, settings.federated)
        costs = self.costs(self.outputs(pyramid), pyramid, targets, counted)
        weights = label_weights(targets, costs.learnt.location_labels, settings.class_balance)
        classes = costs.classes * weights * (costs.learnt.rows != IGNORED)
        named = {"classification": classes, **costs.others}
        return {
            name: per_image(cost, costs.counts, settings.normaliser) for name, cost in named.items()
        }

    def detections(
        self, pyramid: FeaturePyramid, placements: Sequence[Placement]
    ) -> list[Detections]:
        """Return what NMS keeps of the 1000 best of each level above the threshold."""
        outputs = self.outputs(pyramid)
        counts = [self.per_cell * x.shape[-2] * x.shape[-1] for x in pyramid.maps]
        boxes_of = self.boxes(outputs, pyramid)
        return found_in_images(self.scores(outputs), counts, boxes_of, placements, self.settings)
