"""Small detectors of every neck and head, on a backbone of one convolution a level."""

from dataclasses import fields

import torch
from torch import nn

from fdet.cache.pyramid import FeaturePyramid, PyramidSpec
from fdet.heads.build import HEADS, build_detector
from fdet.heads.detector import Detector

from ....heads.reference import CACHED, FEW_SAMPLED, SPEC, decided, neck_settings, placement

CANVASES = (128, 64), (64, 192)


class Patches(nn.Module):
    """In place of `Features`: each level is one convolution of the image."""

    def __init__(self, spec: PyramidSpec, canvas_hw: tuple[int, int]) -> None:
        super().__init__()
        self.spec, self.canvas_hw = spec, canvas_hw
        self.nets = nn.ModuleList(
            nn.Conv2d(3, level.channels, level.stride, level.stride) for level in spec.levels
        )

    def forward(self, images, sizes):
        maps = tuple(net(images).float() for net in self.nets)
        return FeaturePyramid(self.spec, maps, self.canvas_hw)


def detector_of(neck: str, head: str, canvas_hw, **settings) -> tuple[Patches, Detector]:
    """One whose scores differ, so that something is found."""
    torch.manual_seed(0)
    spec, kind = CACHED.get(neck, SPEC), HEADS[head].settings
    known = {f.name for f in fields(kind)}
    wanted = {
        **FEW_SAMPLED.get(head, {}),
        "score_threshold": 0.02,
        "rpn_top_test": (50, 40),
        "layers": 1,
    }
    wanted = {name: v for name, v in {**wanted, **settings}.items() if name in known}
    detector = build_detector(spec, 3, neck_settings(neck), kind(**wanted)).eval()
    if head.endswith("rcnn"):
        decided(detector)
    for layer in detector.head.classifiers:
        nn.init.normal_(layer.weight, std=0.3)
    if detector.refiner is not None:
        for stage in detector.refiner.stages:
            nn.init.normal_(stage.output.weight, std=0.05)
    return Patches(spec, canvas_hw), detector


def batch_of(canvas_hw, images: int = 3):
    """Canvases, and the sizes of the images on them."""
    generator = torch.Generator().manual_seed(1)
    rows, columns = canvas_hw
    sizes = torch.tensor([[rows, columns], [rows // 2 + 3, columns], [rows, columns - 9]])[:images]
    x = torch.randn(images, 3, rows, columns, generator=generator)
    return x, sizes


def expected_of(features, detector, canvas_hw, x, sizes):
    """What the head itself finds, in canvas px."""
    placements = [placement(canvas_hw, tuple(size)) for size in sizes.tolist()]
    with torch.no_grad():
        cached = features(x, sizes)
        levels = detector.levels(cached)
        found = detector.head.without_masks(levels, placements)
        if detector.refiner is not None:
            found = detector.refiner(cached, found, placements)
        return detector.head.with_masks(levels, found)
