"""Synthetic pyramids and batches, and torchvision's own models around the same neck and head."""

from collections import OrderedDict

import torch
from torch import nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torchvision.models.detection.image_list import ImageList

from fdet.cache.placement import Placement
from fdet.cache.pyramid import FeaturePyramid, LevelSpec, PyramidSpec
from fdet.heads.sampling import balanced
from fdet.heads.types import Targets

SPEC = PyramidSpec((LevelSpec("c3", 8, 6), LevelSpec("c4", 16, 10), LevelSpec("c5", 32, 12)))

# Settings of the heads that draw anchors or RoIs: where chance decides, and where all are taken
# (as of places, where the last bit of a score could decide).
FEW_SAMPLED = {"faster-rcnn": {"rpn_sampled": 32, "sampled": 32, "fc_channels": 32}}
ALL_SAMPLED = {
    "faster-rcnn": {"rpn_sampled": 2**20, "sampled": 2**20, "fc_channels": 32},
    "tal": {"top_k": 2**20},
}


def pyramid(images: int, canvas_hw: tuple[int, int], seed: int = 0) -> FeaturePyramid:
    generator = torch.Generator().manual_seed(seed)
    maps = tuple(
        torch.randn((images, *level.shape(canvas_hw)), generator=generator) for level in SPEC.levels
    )
    return FeaturePyramid(SPEC, maps, canvas_hw)


def placement(canvas_hw, content_hw, image_hw=None) -> Placement:
    image_hw = image_hw or content_hw
    scale = (content_hw[1] / image_hw[1], content_hw[0] / image_hw[0])
    return Placement(image_hw, canvas_hw, content_hw, scale, (0.0, 0.0))


def batch(images: int, canvas_hw=(128, 128)):
    """What a detector's losses take: images with four objects, two, and none, and again."""
    generator = torch.Generator().manual_seed(images)
    placements = [
        placement(canvas_hw, (canvas_hw[0] // (1 + k % 2), canvas_hw[1])) for k in range(images)
    ]
    targets = []
    for k, placed in enumerate(placements):
        count = (4, 2, 0)[k % 3]
        limits = torch.tensor(placed.content_hw[::-1], dtype=torch.float32)
        corners = torch.rand(count, 2, generator=generator) * limits * 0.5
        sizes = (torch.rand(count, 2, generator=generator) * 0.4 + 0.1) * limits
        boxes = torch.cat([corners, corners + sizes], dim=1)
        targets.append(Targets(boxes, torch.randint(0, 3, (count,), generator=generator)))
    return pyramid(images, canvas_hw), placements, targets, [2**40 + k for k in range(images)]


class LivingBytes(TorchDispatchMode):
    """The bytes of all that was computed within and lives on, whoever holds it."""

    def __init__(self) -> None:
        super().__init__()
        self.storages: dict[int, tuple[StorageWeakRef, int]] = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        given = {x.untyped_storage()._cdata for x in tree_leaves((args, kwargs)) if is_tensor(x)}
        for x in filter(is_tensor, tree_leaves(out)):
            storage = x.untyped_storage()
            if storage._cdata not in given:
                self.storages[storage._cdata] = (StorageWeakRef(storage), storage.nbytes())
        return out

    @property
    def total(self) -> int:
        return sum(size for storage, size in self.storages.values() if not storage.expired())


def is_tensor(x) -> bool:
    return isinstance(x, torch.Tensor)


class SameDraw:
    """In place of torchvision's sampler: its answer, with the draw that our head makes."""

    def __init__(self, generators, count: int, positive_share: float) -> None:
        self.generators, self.count, self.positive_share = generators, count, positive_share

    def __call__(self, labels):
        masks = [[], []]
        for of_image, generator in zip(labels, self.generators, strict=True):
            drawn = balanced(of_image, self.count, self.positive_share, generator)
            assert sum(map(len, drawn)) == self.count  # else the normalisers are not the same
            for kind, indices in zip(masks, drawn, strict=True):
                kind.append(
                    torch.zeros_like(of_image, dtype=torch.uint8).index_fill_(0, indices, 1)
                )
        return masks


class GivenPyramid(nn.Module):
    """A torchvision backbone that runs our neck over given maps, whatever the images show."""

    def __init__(self, neck: nn.Module, given: FeaturePyramid) -> None:
        super().__init__()
        self.neck, self.given = neck, given
        self.out_channels = neck.spec.channels[0]

    def forward(self, images: torch.Tensor) -> OrderedDict:
        assert tuple(images.shape[-2:]) == self.given.canvas_hw
        out = self.neck(self.given)
        return OrderedDict(zip(out.spec.names, out.maps, strict=True))


class PaddedImages(nn.Module):
    """torchvision's transform without resizing: images that are padded already."""

    def __init__(self, canvas_hw, contents) -> None:
        super().__init__()
        self.canvas_hw, self.contents = canvas_hw, contents

    def forward(self, images, targets=None):
        batch = torch.zeros(len(images), 3, *self.canvas_hw)
        return ImageList(batch, list(self.contents)), targets

    def postprocess(self, result, image_shapes, original_image_sizes):
        return result
