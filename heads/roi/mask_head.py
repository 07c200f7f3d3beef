"""The mask head of Mask R-CNN (He et al., arXiv 1703.06870): torchvision's layers on pooled RoIs."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor

from ...cache.pyramid import FeaturePyramid, PyramidSpec
from ..convolutions import initialise_output
from ..masks import resampled
from ..norms import norm_layer
from ..types import Targets
from .box_head import LabelledRoIs
from .pooling import RoIPool
from .settings import RoISettings


class MaskHead(nn.Module):
    """A head that predicts a mask of M × M cells for each RoI and its class; M is twice the pooled side."""

    def __init__(self, spec: PyramidSpec, classes: int, settings: RoISettings) -> None:
        super().__init__()
        width = settings.mask_channels
        self.pool = RoIPool(spec, settings.mask_pool_size, settings.roi_aligned)
        self.layers = MaskRCNNHeads(
            spec.channels[0], [width] * settings.mask_convs, 1, norm_layer(settings.norm)
        )
        self.predictor = _OfOneClass(width, width, classes)
        # As in Detectron: torchvision's initial logits are larger where there are fewer classes.
        nn.init.zeros_(self.predictor.conv5_mask.bias)
        initialise_output(self.predictor.mask_fcn_logits, 0.001)

    @property
    def parts(self) -> tuple[nn.Module, ...]:
        """The layers that work on pooled RoIs."""
        return self.layers, self.predictor

    def forward(self, pyramid: FeaturePyramid, rois: list[Tensor], labels: list[Tensor]) -> Tensor:
        """Return logits (N, M, M), float32, of the N RoIs of all images, each for its class 0..K-1."""
        pooled = self.layers(self.pool(pyramid, rois))
        return cast(Tensor, self.predictor(pooled, torch.cat(labels)).float())


class _OfOneClass(MaskRCNNPredictor):  # type: ignore[misc]
    """torchvision's predictor, which computes only the channel of each RoI's class.

    With the thousand classes of LVIS the other channels would be nearly all of the work, and half a
    gigabyte per image.
    """

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        x = self.relu(self.conv5_mask(x))
        weight, bias = self.mask_fcn_logits.weight[labels], self.mask_fcn_logits.bias[labels]
        masks = torch.einsum("nchw,nc->nhw", x, weight.flatten(1)) + bias[:, None, None]
        return cast(Tensor, masks)


def mask_loss(logits: Tensor, rois: LabelledRoIs, targets: Targets) -> Tensor:
    """Return the binary cross-entropy of one image's mask logits (P, M, M), the mean over all cells.

    The targets are the objects of the image's P positive RoIs, cut out by these RoIs.
    """
    assert targets.masks is not None
    objects = resampled(targets.masks, targets.boxes, rois.boxes, rois.matched, logits.shape[-1])
    loss = functional.binary_cross_entropy_with_logits(logits, objects, reduction="sum")
    return loss / max(1, logits.numel())
