"""Mask R-CNN's head (He et al., arXiv 1703.06870): torchvision's layers on pooled RoIs."""

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
    """A mask of M × M cells for each RoI, of one class; M is twice the pooled side."""

    def __init__(self, spec: PyramidSpec, classes: int, settings: RoISettings) -> None:
        super().__init__()
        width = settings.mask_channels
        self.pool = RoIPool(spec, settings.mask_pool_size, settings.roi_aligned)
        self.layers = MaskRCNNHeads(
            spec.channels[0], [width] * settings.mask_convs, 1, norm_layer(settings.norm)
        )
        self.predictor = _OfOneClass(width, width, classes)
        # As in Detectron. torchvision's fresh logits grow as there are fewer classes.
        nn.init.zeros_(self.predictor.conv5_mask.bias)
        initialise_output(self.predictor.mask_fcn_logits, 0.001)

    @property
    def parts(self) -> tuple[nn.Module, ...]:
        """The layers on pooled RoIs."""
        return self.layers, self.predictor

    def forward(self, pyramid: FeaturePyramid, rois: list[Tensor], labels: list[Tensor]) -> Tensor:
        """Logits (N, M, M) float32 of the N RoIs of all images, of the class 0..K-1 of each."""
        pooled = self.layers(self.pool(pyramid, rois))
        return cast(Tensor, self.predictor(pooled, torch.cat(labels)).float())


class _OfOneClass(MaskRCNNPredictor):  # type: ignore[misc]
    """torchvision's predictor, of which only the channel of each RoI's class is computed: with the
    thousand classes of LVIS the others would be nearly all of the work, and half a gigabyte an image.
    """

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        x = self.relu(self.conv5_mask(x))
        weight, bias = self.mask_fcn_logits.weight[labels], self.mask_fcn_logits.bias[labels]
        masks = torch.einsum("nchw,nc->nhw", x, weight.flatten(1)) + bias[:, None, None]
        return cast(Tensor, masks)


def mask_loss(logits: Tensor, rois: LabelledRoIs, targets: Targets) -> Tensor:
    """Of one image: binary cross-entropy of logits (P, M, M) and the objects of its P positive RoIs,
    cut out by these; the mean over all cells.
    """
    assert targets.masks is not None
    objects = resampled(targets.masks, targets.boxes, rois.boxes, rois.matched, logits.shape[-1])
    loss = functional.binary_cross_entropy_with_logits(logits, objects, reduction="sum")
    return loss / max(1, logits.numel())
