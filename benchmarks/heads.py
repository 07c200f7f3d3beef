"""The losses and detections of fdet's heads against those of torchvision's models with the same weights.

    python benchmarks/heads.py --heads retinanet,fcos,faster-rcnn --rounds 9

Both are fed the same maps, without neck or backbone, and run in turn in this process; `losses` is forward
and backward, down to the maps. Ratios are fdet's time to torchvision's: the median over the rounds, and the
range.
"""

import argparse
import statistics
import time
from collections import OrderedDict
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torchvision.models.detection import FCOS, FasterRCNN, RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import MultiScaleRoIAlign

from fdet.cache.placement import Placement
from fdet.cache.pyramid import FeaturePyramid, LevelSpec, PyramidSpec
from fdet.heads.build import HEADS
from fdet.heads.detector import Head
from fdet.heads.types import Targets

STRIDES = (8, 16, 32, 64, 128)
# torchvision's settings, whatever fdet's defaults are.
SETTINGS = {
    "retinanet": {"norm": "none", "convs": 4},
    "fcos": {"norm": "gn32", "convs": 4, "offset": 0.0},
    "faster-rcnn": {
        **{"rpn_top_train": (2000, 2000), "rpn_top_test": (1000, 1000), "sampled": 512},
        **{"rpn_norm": "none", "roi_aligned": False, "anchor_scales": (8.0,)},
        **{"convs": 0, "fc_channels": 1024},
    },
}
# fdet's losses are divided by each image's own numbers, torchvision's by the batch's, and its RPN and RoI
# heads draw other samples; so the losses are equal only approximately.
LOOSELY = ("fcos", "faster-rcnn")


class GivenMaps(nn.Module):
    """A stand-in for torchvision's backbone that already has the maps."""

    def __init__(self, pyramid: FeaturePyramid) -> None:
        super().__init__()
        self.pyramid, self.out_channels = pyramid, pyramid.spec.channels[0]

    def forward(self, images: Tensor) -> OrderedDict:
        return OrderedDict(zip(self.pyramid.spec.names, self.pyramid.maps, strict=True))


class Untouched(nn.Module):
    """A stand-in for torchvision's transform that leaves images as they are."""

    def __init__(self, canvas_hw: tuple[int, int], device: torch.device) -> None:
        super().__init__()
        self.canvas_hw, self.device = canvas_hw, device

    def forward(self, images, targets=None):
        batch = torch.zeros((len(images), 3, 1, 1), device=self.device).expand(
            -1, -1, *self.canvas_hw
        )
        return ImageList(batch, [self.canvas_hw] * len(images)), targets

    def postprocess(self, result, image_shapes, original_image_sizes):
        return result


class Pair:
    """One of fdet's heads and torchvision's model, the maps of a batch and the objects of its images."""

    def __init__(self, name: str, arguments: argparse.Namespace) -> None:
        device, side = torch.device(arguments.device), arguments.side
        torch.manual_seed(0)
        self.autocast = arguments.precision == "bf16"
        self.pyramid = make_pyramid(arguments.batch_size, arguments.channels, side, device)
        settings = HEADS[name].settings(**SETTINGS[name])
        self.head: Head = HEADS[name].build(self.pyramid.spec, arguments.classes, settings)
        scores_above_threshold(self.head)
        self.head.to(device)
        self.model = torchvision_model(name, self.head, self.pyramid, arguments.classes).to(device)
        self.model.transform = Untouched((side, side), device)
        self.targets = [make_targets(k, arguments, device) for k in range(arguments.batch_size)]
        scale, shift = (1.0, 1.0), (0.0, 0.0)
        placed = Placement((side, side), (side, side), (side, side), scale, shift)
        self.placements = [placed] * arguments.batch_size
        self.seeds = list(range(arguments.batch_size))
        first_label = int(name == "faster-rcnn")
        self.theirs = [{"boxes": t.boxes, "labels": t.labels + first_label} for t in self.targets]
        self.images = [torch.zeros(3, 1, 1)] * arguments.batch_size

    def our_losses(self) -> dict[str, Tensor]:
        losses = self.head.losses(self.pyramid, self.placements, self.targets, self.seeds)
        return {name: of_images.mean() for name, of_images in losses.items()}

    def their_losses(self) -> dict[str, Tensor]:
        return self.model.train()(self.images, self.theirs)

    def our_detections(self) -> list[int]:
        return [len(found) for found in self.head.detections(self.pyramid, self.placements)]

    def their_detections(self) -> list[int]:
        return [len(found["scores"]) for found in self.model.eval()(self.images)]

    def trained(self, losses: Callable[[], dict[str, Tensor]]) -> float:
        """Return the seconds of a forward and a backward pass."""
        for x in (*self.pyramid.maps, *self.head.parameters(), *self.model.parameters()):
            x.grad = None
        with self.timed() as clock:
            with self.precision():
                total = torch.stack(list(losses().values())).sum()
            total.backward()
        return clock.seconds

    def detected(self, detections: Callable[[], list[int]]) -> float:
        """Return the seconds of detection without gradients."""
        with self.timed() as clock, torch.no_grad(), self.precision():
            detections()
        return clock.seconds

    def precision(self) -> torch.autocast:
        device = self.pyramid.maps[0].device.type
        return torch.autocast(device, torch.bfloat16, enabled=self.autocast)

    def timed(self) -> "Clock":
        return Clock(self.pyramid.maps[0].device)


class Clock:
    """A clock of wall time, which waits for the device to finish."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.seconds = device, 0.0

    def __enter__(self) -> "Clock":
        self.wait()
        self.started = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.wait()
        self.seconds = time.perf_counter() - self.started

    def wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def make_pyramid(images: int, channels: int, side: int, device: torch.device) -> FeaturePyramid:
    spec = PyramidSpec(tuple(LevelSpec(f"p{k + 3}", s, channels) for k, s in enumerate(STRIDES)))
    shapes = [level.shape((side, side)) for level in spec.levels]
    maps = [torch.randn((images, *s), device=device, requires_grad=True) for s in shapes]
    return FeaturePyramid(spec, tuple(maps), (side, side))


def make_targets(image: int, arguments: argparse.Namespace, device: torch.device) -> Targets:
    generator, count = torch.Generator().manual_seed(image), arguments.objects
    corner = torch.rand(count, 2, generator=generator) * arguments.side * 0.7
    size = (torch.rand(count, 2, generator=generator) * 0.25 + 0.02) * arguments.side
    labels = torch.randint(0, arguments.classes, (count,), generator=generator)
    return Targets(torch.cat([corner, corner + size], dim=1).to(device), labels.to(device))


def scores_above_threshold(head: Head) -> None:
    """Initialise towers to keep the spread of their maps, so that a few percent of locations score."""
    for name, parameter in head.named_parameters():
        if parameter.dim() == 4 and "bbox" not in name:
            nn.init.kaiming_normal_(parameter)
        elif name.endswith("cls_logits.bias"):
            nn.init.constant_(parameter, -6.0)


def torchvision_model(
    name: str, head: Head, pyramid: FeaturePyramid, classes: int
) -> RetinaNet | FCOS | FasterRCNN:
    """Build torchvision's model with the head's settings and a copy of its weights."""
    backbone, own = GivenMaps(pyramid), head.settings
    reported = (own.score_threshold, own.nms_iou, own.max_detections)
    kinds = {"retinanet": RetinaNet, "fcos": FCOS}
    if name in kinds:
        names = ("score_thresh", "nms_thresh", "detections_per_img")
        model = kinds[name](backbone, classes, **dict(zip(names, reported, strict=True)))
        if name == "retinanet":
            # torchvision's own anchors are rounded down.
            ours = head.anchors
            model.anchor_generator = AnchorGenerator(ours.sizes, ours.aspect_ratios)
        model.head.load_state_dict(head.state_dict())
        return model
    names = ("box_score_thresh", "box_nms_thresh", "box_detections_per_img")
    model = FasterRCNN(
        backbone,
        classes + 1,
        rpn_anchor_generator=head.rpn.anchor_generator,
        box_roi_pool=MultiScaleRoIAlign(list(pyramid.spec.names[:4]), 7, 2),
        **dict(zip(names, reported, strict=True)),
    )
    model.rpn.load_state_dict(head.rpn.state_dict())
    (stage,) = head.stages
    theirs = model.roi_heads
    layers = [layer for layer in stage.layers if isinstance(layer, nn.Linear)]
    for layer, own in zip((theirs.box_head.fc6, theirs.box_head.fc7), layers, strict=True):
        layer.load_state_dict(own.state_dict())
    theirs.box_predictor.cls_score.load_state_dict(stage.predictor.cls_score.state_dict())
    # torchvision's predictor has boxes of the background too.
    with torch.no_grad():
        theirs.box_predictor.bbox_pred.weight[4:] = stage.predictor.bbox_pred.weight
        theirs.box_predictor.bbox_pred.bias[4:] = stage.predictor.bbox_pred.bias
    return model


def main() -> None:
    arguments = parse()
    torch.set_num_threads(arguments.threads)
    for name in arguments.heads.split(","):
        pair = Pair(name, arguments)
        assert_same(name, pair)
        sides = {
            "losses": (
                lambda pair=pair: pair.trained(pair.our_losses),
                lambda pair=pair: pair.trained(pair.their_losses),
            ),
            "detections": (
                lambda pair=pair: pair.detected(pair.our_detections),
                lambda pair=pair: pair.detected(pair.their_detections),
            ),
        }
        for kind, (ours, theirs) in sides.items():
            report(name, kind, in_turn(ours, theirs, arguments.rounds))


def in_turn(
    ours: Callable[[], float], theirs: Callable[[], float], rounds: int
) -> list[tuple[float, float]]:
    """Return the seconds of both; the first round warms up, and the order alternates."""
    pairs = []
    for number in range(rounds + 1):
        if number % 2:
            pairs.append((ours(), theirs()))
        else:
            other, own = theirs(), ours()
            pairs.append((own, other))
    return pairs[1:]


def report(name: str, kind: str, seconds: list[tuple[float, float]]) -> None:
    ratios = [ours / theirs for ours, theirs in seconds]
    ours, theirs = (statistics.median(side) * 1e3 for side in zip(*seconds, strict=True))
    print(
        f"{name:<12} {kind:<10} {ours:9.1f} ms, torchvision {theirs:9.1f} ms, ratio "
        f"{statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})",
        flush=True,
    )


def assert_same(name: str, pair: Pair) -> None:
    """Raise AssertionError unless both agree, as otherwise the times would not be comparable."""
    with torch.no_grad():
        ours, theirs = pair.our_losses(), pair.their_losses()
        found = pair.our_detections(), pair.their_detections()
    tolerance = 0.2 if name in LOOSELY else 1e-4
    sums = [sum(x.values()) for x in (ours, theirs)]
    torch.testing.assert_close(*sums, rtol=tolerance, atol=0)
    print(f"{name:<12} loss {float(sums[0]):.4f} and {float(sums[1]):.4f}, found {found[0]}")
    assert found[0] == found[1], found


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--heads", default=",".join(SETTINGS))
    parser.add_argument("--channels", type=int, default=256)
    parser.add_argument("--classes", type=int, default=80)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--objects", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    return parser.parse_args()


if __name__ == "__main__":
    main()
