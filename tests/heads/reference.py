"""Synthetic pyramids and batches, and torchvision's own models around the same neck and head."""

from collections import OrderedDict
from dataclasses import fields

import torch
from torch import nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torchvision.models.detection.image_list import ImageList

from fdet.cache.placement import Placement
from fdet.cache.pyramid import FeaturePyramid, LevelSpec, PyramidSpec
from fdet.heads.build import HEADS
from fdet.heads.detector import Detector
from fdet.heads.family import NeckSettings
from fdet.heads.necks import NECKS
from fdet.heads.sampling import balanced
from fdet.heads.types import Targets

SPEC = PyramidSpec((LevelSpec("c3", 8, 6), LevelSpec("c4", 16, 10), LevelSpec("c5", 32, 12)))

# Settings of the heads that draw anchors or RoIs: where chance decides, and where all are taken
# (as of places, where the last bit of a score could decide).
SMALL_ROI = {"fc_channels": 32, "masks": True, "mask_convs": 1, "mask_channels": 16}
SMALL_QUERY = {"ffn_channels": 32, "points": 2}
FEW_SAMPLED = {
    "faster-rcnn": {"rpn_sampled": 32, "sampled": 32, **SMALL_ROI},
    "cascade-rcnn": {"rpn_sampled": 32, "sampled": 32, **SMALL_ROI},
    "query": {"queries": 20, "layers": 2, "denoising": 8, **SMALL_QUERY},
}
ALL_SAMPLED = {
    "faster-rcnn": {"rpn_sampled": 2**20, "sampled": 2**20, **SMALL_ROI},
    "cascade-rcnn": {"rpn_sampled": 2**20, "sampled": 2**20, **SMALL_ROI},
    "tal": {"top_k": 2**20},
    "query": {"queries": 2**20, "layers": 2, "denoising": 8, **SMALL_QUERY},
}


# Necks that do not take SPEC, and the cached levels that they do take.
TAPS = PyramidSpec((LevelSpec("block7", 16, 12), LevelSpec("block11", 16, 8)))
EQUAL = PyramidSpec(tuple(LevelSpec(f"p{k}", 2**k, 16) for k in range(3, 7)))
CACHED = {"vit-pyramid": TAPS, "tap-attention": TAPS, "identity": EQUAL}

# A neck and a head know nothing of each other: every head on one neck, every neck below one head.
PAIRS = [("fpn", head) for head in HEADS] + [(neck, "retinanet") for neck in NECKS if neck != "fpn"]


def neck_settings(name: str, **wanted) -> NeckSettings:
    """Of a neck of 16 channels; of what else is wanted, the settings that it has."""
    kind = NECKS[name].settings
    known = {f.name for f in fields(kind)}
    return kind(channels=16, **{n: v for n, v in wanted.items() if n in known})


def pyramid(
    images: int, canvas_hw: tuple[int, int], seed: int = 0, spec: PyramidSpec = SPEC
) -> FeaturePyramid:
    generator = torch.Generator().manual_seed(seed)
    maps = tuple(
        torch.randn((images, *level.shape(canvas_hw)), generator=generator) for level in spec.levels
    )
    return FeaturePyramid(spec, maps, canvas_hw)


def placement(canvas_hw, content_hw, image_hw=None) -> Placement:
    image_hw = image_hw or content_hw
    scale = (content_hw[1] / image_hw[1], content_hw[0] / image_hw[0])
    return Placement(image_hw, canvas_hw, content_hw, scale, (0.0, 0.0))


def batch(images: int, canvas_hw=(128, 128), spec: PyramidSpec = SPEC):
    """What a detector's losses take: images with four objects, two, and none, and again; with masks."""
    generator = torch.Generator().manual_seed(images)
    of_masks = torch.Generator().manual_seed(images)
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
        labels = torch.randint(0, 3, (count,), generator=generator)
        masks = torch.rand(count, 9, 9, generator=of_masks)
        targets.append(Targets(boxes, labels, masks))
    return (
        pyramid(images, canvas_hw, spec=spec),
        placements,
        targets,
        [2**40 + k for k in range(images)],
    )


def decided(detector: Detector) -> Detector:
    """With box and mask heads that tell RoIs apart and move them, as torch's own fresh layers do."""
    masks = detector.head.masks
    layers = [m for m in detector.head.modules() if isinstance(m, nn.Linear)]
    for layer in layers if masks is None else [*layers, masks.predictor.mask_fcn_logits]:
        layer.reset_parameters()
    return detector


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
