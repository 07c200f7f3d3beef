"""The images, caches and sizes of the suite. Images are drawn, and the backbones have random weights."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from fdet.heads.build import HEADS
from fdet.pipeline.extraction.extract import extract
from fdet.pipeline.extraction.options import ExtractConfig
from fdet.pipeline.sources.data import Data, open_cached

HW = tuple[int, int]
COLOURS = ((220, 60, 50), (60, 90, 230), (240, 210, 40))


@dataclass(frozen=True, slots=True)
class Scale:
    """How large everything is.

    checked, pictures, trained: backbone, images and training steps of the checks, of these heads. hw: their
    canvas. compiled: the heads that are compiled, which takes long. backbones: those of the figures, on
    canvases of `measured_hw`. together: the heads that are trained at the same time.
    """

    checked: str
    hw: HW
    pictures: int
    channels: int
    batch: int
    trained: int
    heads: tuple[str, ...]
    compiled: tuple[str, ...]
    backbones: tuple[str, ...]
    measured_hw: HW
    measured_images: int
    measured_batch: int
    measured_channels: int
    steps: int
    rounds: int
    together: int
    workers: int


FULL = Scale(
    checked="resnet18",
    hw=(256, 384),
    pictures=12,
    channels=96,
    batch=4,
    trained=60,
    heads=tuple(HEADS),
    compiled=("tal", "faster-rcnn"),
    backbones=("resnet50", "vit_large_patch16_224", "tf_efficientnet_b7"),
    measured_hw=(800, 1333),
    measured_images=48,
    measured_batch=16,
    measured_channels=96,
    steps=6,
    rounds=2,
    together=4,
    workers=8,
)
QUICK = Scale(
    checked="test_resnet",
    hw=(64, 96),
    pictures=4,
    channels=16,
    batch=2,
    trained=24,
    heads=("tal", "faster-rcnn"),
    compiled=(),
    backbones=("test_resnet", "test_vit"),
    measured_hw=(64, 96),
    measured_images=4,
    measured_batch=2,
    measured_channels=16,
    steps=2,
    rounds=1,
    together=2,
    workers=1,
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where the suite runs: the device, the sizes, and a folder for what it writes."""

    device: torch.device
    scale: Scale
    folder: Path


def draw_images(folder: Path, count: int, hw: HW) -> Path:
    """Draw JPEG images of soft noise with rectangles of three colours; return their annotations."""
    rng, (height, width) = np.random.default_rng(0), hw
    (folder / "images").mkdir(parents=True)
    images, boxes = [], []
    for k in range(count):
        coarse = rng.integers(60, 160, (height // 8, width // 8, 3)).astype(np.uint8)
        pixels = np.asarray(Image.fromarray(coarse).resize((width, height))).copy()
        images.append({"id": k + 1, "file_name": f"{k}.jpg", "width": width, "height": height})
        for _ in range(int(rng.integers(2, 7))):
            side = [int(rng.integers(s // 8, s // 3)) for s in (width, height)]
            x, y = (int(rng.integers(0, s - d)) for s, d in zip((width, height), side, strict=True))
            kind = int(rng.integers(len(COLOURS)))
            pixels[y : y + side[1], x : x + side[0]] = COLOURS[kind]
            box = {"bbox": [x, y, *side], "area": side[0] * side[1], "iscrowd": 0}
            boxes.append({"id": len(boxes) + 1, "image_id": k + 1, "category_id": kind + 1, **box})
        Image.fromarray(pixels).save(folder / "images" / f"{k}.jpg", quality=90)
    kinds = [{"id": k + 1, "name": f"kind {k}"} for k in range(len(COLOURS))]
    path = folder / "annotations.json"
    path.write_text(json.dumps({"images": images, "annotations": boxes, "categories": kinds}))
    return path


def make_cache(place: Place, annotations: Path, backbone: str, hw: HW, **more: object) -> Path:
    """Extract the images on the device with random weights; return the cache."""
    out = annotations.parent / f"{backbone}.fdet"
    extract(
        ExtractConfig(
            annotations=annotations,
            images=annotations.parent / "images",
            out=out,
            backbone=backbone,
            weights="random",
            short=min(hw),
            long=max(hw),
            device=str(place.device),
            workers=place.scale.workers,
            **more,
        )
    )
    return out


def opened(cache: Path, device: torch.device) -> Data:
    """Open a cache for training on a device, with nothing resident."""
    return open_cached([cache], None, device)
