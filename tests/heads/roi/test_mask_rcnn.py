"""Against torchvision's own MaskRCNN with the same weights."""

from random import Random

import pytest
import torch
from torchvision.models.detection import MaskRCNN as TorchvisionMaskRCNN
from torchvision.models.detection import roi_heads
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.mask_rcnn import MaskRCNNPredictor
from torchvision.ops import MultiScaleRoIAlign

from fdet.cache.pyramid import FeaturePyramid
from fdet.heads.build import build_detector
from fdet.heads.necks.settings import FPNSettings
from fdet.heads.roi.settings import FasterRCNNSettings
from fdet.heads.types import Targets

from ..reference import (
    SPEC,
    GivenPyramid,
    PaddedImages,
    SameDraw,
    decided,
    placement,
    pyramid,
)
from ..test_parity import (
    CLASSES,
    CONTENTS,
    FASTER_RCNN_LOSSES,
    TORCHVISIONS,
    assert_same_detections,
    images,
    strides_from_the_canvas,
    with_background,
)

LOSSES = FASTER_RCNN_LOSSES | {"mask": "loss_mask"}


def bitmaps(contents, seed: int):
    """Objects on whole pixels whose sides divide 64, so that 64 x 64 cells are these pixels exactly:
    for each image its targets, and what torchvision takes.
    """
    rng = Random(seed)
    ours, theirs = [], []
    for rows, columns in contents:
        boxes, crops, canvases = [], [], []
        for _ in range(4):
            width, height = rng.choice([32, 64]), rng.choice([32, 64])
            x, y = rng.randint(0, columns - width), rng.randint(0, rows - height)
            generator = torch.Generator().manual_seed(rng.randrange(2**32))
            blob = torch.rand(height // 8, width // 8, generator=generator) > 0.4
            bitmap = blob.repeat_interleave(8, 0).repeat_interleave(8, 1)
            canvas = torch.zeros(256, 256, dtype=torch.uint8)
            canvas[y : y + height, x : x + width] = bitmap
            boxes.append([x, y, x + width, y + height])
            crops.append(
                bitmap.repeat_interleave(64 // height, 0).repeat_interleave(64 // width, 1)
            )
            canvases.append(canvas)
        boxes = torch.tensor(boxes, dtype=torch.float32)
        labels = torch.tensor([rng.randrange(CLASSES) for _ in range(4)])
        ours.append(Targets(boxes, labels, torch.stack(crops)))
        theirs.append({"boxes": boxes, "labels": labels + 1, "masks": torch.stack(canvases)})
    return ours, theirs


def cut_by_area(bitmaps, boxes, matched, size):
    """In place of torchvision's projection, which reads each mask half a pixel off: the exact mean over
    each of size × size cells of every box.
    """

    def shares(start: float, end: float) -> torch.Tensor:
        side = (end - start) / size
        cells = [(start + k * side, start + (k + 1) * side) for k in range(size)]
        return torch.tensor(
            [[max(0.0, min(b, k + 1) - max(a, k)) / side for k in range(256)] for a, b in cells]
        )

    cut = [
        shares(y1, y2) @ bitmaps[k].float() @ shares(x1, x2).T
        for (x1, y1, x2, y2), k in zip(boxes.tolist(), matched.tolist(), strict=True)
    ]
    return torch.stack(cut)


def mask_rcnns(contents, maps=slice(None), sampled=64, **settings):
    """Our detector and torchvision's, of the same weights, and the maps that both are given."""
    torch.manual_seed(1)
    chosen = FasterRCNNSettings(
        **{
            **TORCHVISIONS,
            **{"fc_channels": 32, "mask_channels": 16, "mask_convs": 2, "norm": "none"},
            **settings,
        },
        masks=True,
        rpn_sampled=128,
        sampled=sampled,
    )
    detector = decided(build_detector(SPEC, CLASSES, FPNSettings(channels=16, norm="none"), chosen))
    both = pyramid(2, (256, 256))
    given = FeaturePyramid(SPEC, tuple(x[maps] for x in both.maps), both.canvas_hw)
    head = detector.head
    predictor = MaskRCNNPredictor(16, 16, CLASSES + 1)
    predictor.conv5_mask.load_state_dict(head.masks.predictor.conv5_mask.state_dict())
    with torch.no_grad():
        predictor.mask_fcn_logits.weight[1:] = head.masks.predictor.mask_fcn_logits.weight
        predictor.mask_fcn_logits.bias[1:] = head.masks.predictor.mask_fcn_logits.bias
    pooler = MultiScaleRoIAlign(["p3", "p4", "p5", "p6"], 14, 2)
    pooler.scales = strides_from_the_canvas().scales
    pooler.map_levels = strides_from_the_canvas().map_levels
    reference = TorchvisionMaskRCNN(
        GivenPyramid(detector.neck, given),
        num_classes=None,
        rpn_anchor_generator=AnchorGenerator(
            tuple((8.0 * s,) for s in (8, 16, 32, 64, 128)), ((0.5, 1.0, 2.0),) * 5
        ),
        rpn_batch_size_per_image=128,
        box_roi_pool=strides_from_the_canvas(),
        box_head=head.stages[0].layers,
        box_predictor=with_background(head.stages[0].predictor),
        box_batch_size_per_image=sampled,
        rpn_post_nms_top_n_train=1000,
        box_score_thresh=0.0,
        mask_roi_pool=pooler,
        mask_head=head.masks.layers,
        mask_predictor=predictor,
    )
    reference.transform = PaddedImages((256, 256), contents)
    reference.rpn.head.load_state_dict(head.rpn.head.state_dict())
    return detector, reference, given


KINDS = {
    "2 fc, square": ("square", {}),
    "2 fc, letterboxed": ("letterboxed", {}),
    "4 conv + 2 fc": ("letterboxed", {"convs": 4, "conv_channels": 8}),
    "gn": ("square", {"convs": 1, "conv_channels": 16, "norm": "gn"}),
    "gn32": ("square", {"convs": 1, "conv_channels": 16, "norm": "gn32"}),
}


@pytest.mark.parametrize(("name", "kind"), KINDS.values(), ids=KINDS)
def test_losses_of_each_image_equal_torchvisions(name, kind, monkeypatch):
    contents = CONTENTS[name]
    ours, theirs = bitmaps(contents, seed=2)
    detector, _, given = mask_rcnns(contents, **kind)
    placements = [placement((256, 256), content) for content in contents]
    found = detector.losses(given, placements, ours, [7, 8])
    assert set(found) == set(LOSSES)
    for k in range(2):
        alone = slice(k, k + 1)
        losses = []
        for exact in (True, False):
            _, reference, _ = mask_rcnns(contents[alone], alone, **kind)
            generators = [Random(7 + k)]
            reference.rpn.fg_bg_sampler = SameDraw(generators, 128, 0.5)
            reference.roi_heads.fg_bg_sampler = SameDraw(generators, 64, 0.25)
            with monkeypatch.context() as patch:
                if exact:
                    patch.setattr(roi_heads, "project_masks_on_boxes", cut_by_area)
                losses.append(reference.train()(images(contents[alone]), theirs[alone]))
        for mine, torchvisions in LOSSES.items():
            torch.testing.assert_close(found[mine][k], losses[0][torchvisions], rtol=1e-4, atol=0)
        # Half a pixel is not much.
        torch.testing.assert_close(found["mask"][k], losses[1]["loss_mask"], rtol=0.02, atol=0)


@pytest.mark.parametrize("name", ["square", "letterboxed"])
def test_detections_and_their_masks_equal_torchvisions(name):
    contents = CONTENTS[name]
    detector, reference, given = mask_rcnns(contents)
    placements = [placement((256, 256), content) for content in contents]
    with torch.no_grad():
        found = detector.head.detections(detector.neck(given), placements)
        expected = reference.eval()(images(contents))
    assert_same_detections(found, expected, 1)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.masks.shape == (len(ours), 28, 28)
        assert len(set(ours.labels.tolist())) > 1
        torch.testing.assert_close(ours.masks, theirs["masks"][:, 0], rtol=1e-4, atol=1e-5)
