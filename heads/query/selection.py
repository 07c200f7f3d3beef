"""Query selection: the cells of all levels with the best scores become the queries of the decoder."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from ...cache.pyramid import FeaturePyramid, PyramidSpec
from ..memo import Memo
from .decoder import class_layer

# The sides of the first box of the finest level's cells, in shares of the canvas. Each further level has
# twice that, up to LARGEST, as boxes beyond 1 - MARGIN are no first boxes (RT-DETR, arXiv 2304.08069).
FIRST_SIDE = 0.05
LARGEST = 0.9
MARGIN = 0.01


class FirstBoxes(NamedTuple):
    """The boxes that cells begin with.

    logits: (A, 4), of centres and sizes in shares of the canvas. valid: (A, 1), whether a cell may be an
    object's; the others have features of zero and the largest logits.
    """

    logits: Tensor
    valid: Tensor


class FirstBoxesOf:
    """A function from a pyramid to the first boxes of its cells, made once for each canvas and device."""

    def __init__(self, spec: PyramidSpec) -> None:
        self._kept = Memo(partial(_first_boxes, spec))

    def __call__(self, pyramid: FeaturePyramid) -> FirstBoxes:
        return self._kept(pyramid.canvas_hw, pyramid.maps[0].device)


class Selection(nn.Module):
    """The layers that give every cell features of its own, and the scores of the classes."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Linear(channels, channels), nn.LayerNorm(channels))
        self.classifier: nn.Module = class_layer(channels, classes)
        nn.init.xavier_uniform_(cast(Tensor, self.features[0].weight))

    def forward(self, tokens: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """Return features (B, A, C) and logits (B, A, K), float32, of cells (B, A, C).

        valid: (A, 1), whether a cell may be an object's.
        """
        features = self.features(tokens * valid)
        return features, self.classifier(features).float()


def best_cells(logits: Tensor, count: int) -> Tensor:
    """Return (B, count): the cells whose best class has the greatest logits (B, A, K), best first."""
    return logits.detach().amax(dim=2).topk(count, dim=1).indices


def cells_at(values: Tensor, index: Tensor) -> Tensor:
    """Return the values (B, N, ...) of single cells (B, N) of (B, A, ...).

    No cell comes twice, so their gradients are the same in every order.
    """
    return values.gather(1, index[..., None].expand(-1, -1, values.shape[2]))


def _first_boxes(spec: PyramidSpec, canvas_hw: tuple[int, int], device: torch.device) -> FirstBoxes:
    boxes = []
    for k, level in enumerate(spec.levels):
        _, rows, columns = level.shape(canvas_hw)
        y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
        side = torch.full_like(x, min(FIRST_SIDE * 2**k, LARGEST), dtype=torch.float32)
        each = torch.stack([(x + 0.5) / columns, (y + 0.5) / rows, side, side], dim=-1)
        boxes.append(each.flatten(0, 1))
    first = torch.cat(boxes)
    valid = ((first > MARGIN) & (first < 1 - MARGIN)).all(dim=1, keepdim=True)
    logits = (first / (1 - first)).log().where(valid, torch.finfo(torch.float32).max)
    return FirstBoxes(logits.to(device), valid.to(device))
